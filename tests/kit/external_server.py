# SPDX-License-Identifier: Apache-2.0
"""An external database server: a real second mariadbd on a port of this machine, with other people's data on it."""

import socket
from pathlib import Path
from typing import Any

from ansible.module_utils.th_server import mariadb, private_server
from ansible.module_utils.th_server.engine import of_machine

from . import boxes, shared

OPTIONS = ["--character-set-server=utf8mb4", "--innodb-log-file-size=16M", "--userstat=ON", "--performance-schema=ON"]
GRANTS = [
    "CREATE USER th@localhost IDENTIFIED BY 'secret word'",
    "GRANT CREATE USER, PROCESS, CONNECTION ADMIN ON *.* TO th@localhost",
    "GRANT SELECT ON mysql.user TO th@localhost",
    "GRANT SELECT ON mysql.proc TO th@localhost",
    r"GRANT ALL ON `th\_%`.* TO th@localhost WITH GRANT OPTION",
    "GRANT ALL ON `shop`.* TO th@localhost WITH GRANT OPTION",
    "GRANT SELECT ON performance_schema.* TO th@localhost",
    # what a reset leaves runs in the name of an account that has that database alone
    "CREATE USER owner@localhost ACCOUNT LOCK",
    "GRANT ALL ON `shop`.* TO owner@localhost",
    "CREATE USER reader@localhost IDENTIFIED BY 'secret word'",
    "GRANT SELECT, SHOW VIEW, TRIGGER ON *.* TO reader@localhost",
]


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


class External:
    """Somebody's server: reached by network, without rights for us but those that docs/datasets.md asks for."""

    account = "th@localhost"

    def __init__(self, folder: Path, *more: str) -> None:
        self.port = free_port()
        folder.mkdir()
        shared.create_data(folder, OPTIONS, boxes.settings(kind="none"))
        network = ["--skip-networking=OFF", "--bind-address=127.0.0.1", f"--port={self.port}"]
        self.server = private_server.start(
            folder,
            of_machine(),
            databases={"": "shop", "others": "others"},
            user="somebody",
            password="x",
            options=[*OPTIONS, *network, *more],
            time_limit=300,
            sandbox=boxes.settings(kind="none"),
        )
        for statement in [*GRANTS, "CREATE TABLE others.t (id int)", "INSERT INTO others.t VALUES (1)"]:
            self.ask(statement)

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        with mariadb.connect(self.server, self.server.admin_file) as connection:
            return mariadb.query(connection, statement)

    def ours(self) -> list[str]:
        """What jobs have on it: databases and accounts."""
        databases = self.ask(r"SELECT schema_name FROM information_schema.schemata WHERE schema_name LIKE 'th\_%'")
        return sorted(row[0] for row in databases + self.ask(r"SELECT user FROM mysql.user WHERE user LIKE 'th\_%'"))

    def stop(self) -> None:
        """Stop it."""
        mariadb.stop(self.server)

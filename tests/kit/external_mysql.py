# SPDX-License-Identifier: Apache-2.0
"""An external MySQL server on a port of this machine, with other people's data on it."""

import subprocess
import time
from pathlib import Path

import pymysql
from ansible.module_utils.th_server import mariadb

from .engines import mysql_engine
from .external_server import External, free_port
from .waiting import PATIENCE

GRANTS = [
    "CREATE USER th@'%' IDENTIFIED BY 'secret word'",
    "GRANT CREATE USER, PROCESS, CONNECTION_ADMIN, XA_RECOVER_ADMIN, SHOW_ROUTINE ON *.* TO th@'%'",
    "GRANT SELECT ON mysql.user TO th@'%'",
    r"GRANT ALL ON `th\_%`.* TO th@'%' WITH GRANT OPTION",
    "GRANT ALL ON `shop`.* TO th@'%' WITH GRANT OPTION",
    "GRANT SELECT ON performance_schema.* TO th@'%'",
    "CREATE USER owner@localhost ACCOUNT LOCK",
    "GRANT ALL ON `shop`.* TO owner@localhost",
]
LINKS = [("usr/lib", "/lib"), ("usr/lib64", "/lib64"), ("usr/bin", "/bin"), ("usr/sbin", "/sbin")]


class ExternalMySQL(External):
    """Somebody's MySQL: like `External`, and as its package sets it up, with a binary log and TLS."""

    account = "th@'%'"

    def __init__(self, folder: Path, *more: str) -> None:
        self.port = free_port()
        data, tmp = folder / "data", folder / "tmp"
        data.mkdir(parents=True)
        tmp.mkdir()
        self._options = [
            "--no-defaults", f"--datadir={data}", f"--tmpdir={tmp}", "--secure-file-priv=", "--mysqlx=OFF",
            "--lc-messages-dir=/usr/share/mysql", "--innodb-redo-log-capacity=16M", "--innodb-buffer-pool-size=64M",
        ]  # fmt: skip
        self._folder = folder
        subprocess.run(self._boxed("--initialize-insecure"), check=True, capture_output=True, timeout=PATIENCE)
        self.server = mariadb.Server(str(folder), str(folder / "mysqld.sock"), {"": "shop"}, "somebody")
        mariadb.write_option_file(self.server.admin_file, self.server, user="root", password="")
        self._log = self.server.error_log.open("ab")
        network = [f"--socket={self.server.socket}", "--bind-address=127.0.0.1", f"--port={self.port}"]
        self._process = subprocess.Popen(
            self._boxed(*network, "--event-scheduler=OFF", "--log-bin-trust-function-creators=ON", *more),
            stdout=self._log,
            stderr=self._log,
        )
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.ask("SELECT 1")
                break
            except pymysql.err.OperationalError:
                assert self._process.poll() is None and time.monotonic() < deadline, self.server.last_words()
                time.sleep(0.02)
        for database in ("shop", "others"):
            self.ask(f"CREATE DATABASE {database}")
        for statement in [*GRANTS, "CREATE TABLE others.t (id int)", "INSERT INTO others.t VALUES (1)"]:
            self.ask(statement)

    def _boxed(self, *options: str) -> list[str]:
        links = [word for target, name in LINKS for word in ("--symlink", target, name)]
        return [
            "bwrap", "--unshare-user", "--unshare-pid", "--die-with-parent", "--uid", "1000", "--gid", "1000",
            "--ro-bind", str(mysql_engine() / "usr"), "/usr", *links, "--proc", "/proc", "--dev", "/dev", "--bind",
            str(self._folder), str(self._folder), "--chdir", "/", "/usr/sbin/mysqld", *self._options, *options,
        ]  # fmt: skip

    def stop(self) -> None:
        """Stop it."""
        self._process.kill()
        self._process.wait()
        self._log.close()

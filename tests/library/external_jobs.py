# SPDX-License-Identifier: Apache-2.0
"""A dataset on an external server, and jobs that restore it, as fixtures for several files."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.th_dataset.failure import RestoreError
from ansible.module_utils.th_server import external_server, mariadb

from tests.kit import ROOT, boxes
from tests.kit.external_server import External

from . import restoring

DUMP = """-- MariaDB dump 10.19  Distrib 10.11.6-MariaDB, for debian-linux-gnu (x86_64)
CREATE TABLE alembic_version (version_num varchar(32) NOT NULL PRIMARY KEY);
INSERT INTO alembic_version VALUES ('a1');
CREATE TABLE users (id int PRIMARY KEY AUTO_INCREMENT, name varchar(50), born timestamp NULL, KEY by_name (name));
INSERT INTO users (name, born) VALUES ('one', '2001-02-03 04:05:06'), ('zwei ü 😀', NULL), (NULL, NULL);
/*!50001 CREATE ALGORITHM=UNDEFINED */
/*!50013 DEFINER=`app`@`10.0.%` SQL SECURITY DEFINER */
/*!50001 VIEW `names` AS select `users`.`id` AS `id`, `users`.`name` AS `name` from `users` */;
DELIMITER ;;
/*!50003 CREATE*/ /*!50017 DEFINER=`app`@`10.0.%`*/ /*!50003 TRIGGER upper BEFORE UPDATE ON users
FOR EACH ROW SET NEW.name = UPPER(NEW.name) */;;
CREATE DEFINER=`app`@`10.0.%` PROCEDURE twice() BEGIN SELECT 1; SELECT 2; END ;;
/*!50106 CREATE*/ /*!50117 DEFINER=`app`@`10.0.%`*/ /*!50106 EVENT nightly ON SCHEDULE EVERY 1 DAY
STARTS '2026-01-01 00:00:00' ON COMPLETION NOT PRESERVE ENABLE DO DELETE FROM users */;;
DELIMITER ;
-- Dump completed on 2026-01-01  0:00:00
"""


class Jobs:
    """A dataset on the external server, and jobs that restore it."""

    def __init__(self, root: Path, external: External) -> None:
        self.root, self.external, self.count = root, external, 0
        self.dump = root / "toy.sql"
        self.dump.write_text(DUMP)
        self.password = root / "th.password"
        self.password.write_text("secret word\n")
        self.password.chmod(0o600)
        self.keys: dict[str, Any] = {
            "project": "org/toy",
            "type": "mysql",
            "database": "shop",
            "seed_data": "toy.sql",
            "server": {"host": "127.0.0.1", "port": external.port, "user": "th", "password_file": "th.password"},
        }
        self.time_limit = 300
        self.started: list[mariadb.Server] = []

    def options(self) -> dict[str, Any]:
        self.count += 1
        config = self.root / f"toy{self.count}.json"
        config.write_text(json.dumps(self.keys))
        query = "SELECT version_num FROM alembic_version"
        names = self.keys.get("databases", {"": None})
        return {
            "job_dir": str(self.root / f"job{self.count}"),
            "name": "toy",
            "config": str(config),
            "snapshots_dir": str(self.root / "snapshots"),
            "databases": [
                {"name": name, "tool": "alembic", "versions": "alembic", "version_query": query} for name in names
            ],
            "lock_program": str(ROOT / "roles" / "restore_datasets" / "files" / "hold_locks.py"),
            "sandbox": boxes.given(),
            "server_options": [],
            "import_time_limit": self.time_limit,
            "start_time_limit": 300,
        }

    def restore(self, options: dict[str, Any] | None = None) -> tuple[dict[str, Any], mariadb.Server]:
        options = options or self.options()
        facts = restoring.restore(options)
        server = mariadb.load(Path(options["job_dir"]) / "db" / "toy")
        self.started.append(server)
        return facts, server

    def failure(self) -> tuple[str, str]:
        before = self.external.ours()
        with pytest.raises(RestoreError) as caught:
            self.restore()
        assert self.external.ours() == before, "what was begun is undone"
        assert "secret word" not in str(caught.value)
        return caught.value.code, str(caught.value)


@pytest.fixture
def jobs(tmp_path: Path, external: External) -> Iterator[Jobs]:
    made = Jobs(tmp_path, external)
    yield made
    for server in made.started:
        external_server.release(server)
    assert external.ours() == []
    assert external.ask("SELECT * FROM others.t") == [(1,)]


@pytest.fixture
def preloaded(jobs: Jobs) -> Jobs:
    jobs.keys["preloaded"] = True
    return jobs


def ask(server: mariadb.Server, statement: str) -> list[tuple[Any, ...]]:
    """A statement of the job's own account."""
    with mariadb.connect(server, server.job_file, database=server.database) as connection:
        return mariadb.query(connection, statement)

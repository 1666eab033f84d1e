# SPDX-License-Identifier: Apache-2.0
"""A private server is like production's: collations, time zones, the optimizer's statistics, server settings."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest
from ansible.module_utils import th_mariadb, th_meter

from .conftest import load_module
from .test_restore import DUMP, Home

restore_dataset = load_module("restore_datasets", "restore_dataset")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path)
    yield made
    for server in made.started:
        th_mariadb.stop(server, 0)


def ask(server: th_mariadb.Server, *statements: str) -> list[tuple[Any, ...]]:
    """What the job's account gets, with the session that a project's code has."""
    account = th_mariadb.read_account(server.job_file)
    connection = pymysql.connect(
        user=account["user"], password=account["password"], unix_socket=server.socket, database=server.database
    )
    with connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        return list(cursor.fetchall())


def failure(home: Home) -> str:
    with pytest.raises(restore_dataset.RestoreError) as caught:
        home.restore()
    assert caught.value.code == "seed_broken"
    return str(caught.value)


def dump(text: str) -> str:
    return DUMP.replace("-- Dump completed", f"{text}\n-- Dump completed")


USERS = "CREATE TABLE users (id char(36) PRIMARY KEY) ENGINE=InnoDB\n DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci"
REFERENCE = "CREATE TABLE c (id int PRIMARY KEY, user char(36), FOREIGN KEY (user) REFERENCES users (id))"


def test_a_foreign_key_on_a_table_of_the_dumps_collation(home: Home) -> None:
    """mariadb-dump of one database does not say which collation the database has: its tables do."""
    home.dump.write_text(
        "CREATE TABLE `users` (\n  `id` char(36) NOT NULL,\n  PRIMARY KEY (`id`)\n"
        ") ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;\n"
    )
    _, server = home.restore()
    ask(server, REFERENCE)
    assert ask(server, "SELECT @@collation_database") == [("utf8mb4_unicode_ci",)]
    noon = "SELECT CAST(CONVERT_TZ('2026-07-01 12:00', 'Europe/Berlin', 'UTC') AS CHAR)"
    assert ask(server, noon) == [("2026-07-01 10:00:00",)]
    ask(server, "CREATE TABLE z (t datetime NOT NULL)", "INSERT INTO z SELECT CONVERT_TZ(NOW(), 'GB', 'US/Pacific')")


def test_the_optimizer_knows_the_tables_of_the_snapshot(home: Home) -> None:
    """Statistics that InnoDB kept in the middle of an import made a join read millions of rows of some thousand."""
    rows = [f"({number}, {number % 7}, 'name {number}')" for number in range(9000)]
    text = "CREATE TABLE a (id int PRIMARY KEY, kind int, name varchar(50), KEY (kind)) ENGINE=InnoDB;\n"
    text += text.replace("TABLE a", "TABLE b")
    for start in range(0, 9000, 500):
        for table in "ab":
            text += f"INSERT INTO {table} VALUES {', '.join(rows[start : start + 500])};\n"
    home.dump.write_text(dump(text))
    facts, server = home.restore()
    assert facts["rows"] > 17000
    with th_mariadb.connect(server, server.admin_file) as connection:
        kept = th_mariadb.query(connection, "SELECT table_name, n_rows FROM mysql.innodb_table_stats WHERE table_name IN ('a', 'b')")
        assert all(8000 < rows < 10000 for _, rows in kept) and len(kept) == 2
        before = th_meter.read(connection, server)
        ask(server, "UPDATE a JOIN b ON a.id = b.id SET a.name = b.name WHERE b.kind = 3")
        read = th_meter.read(connection, server).since(before)["rows_read"]
    assert read is not None and 1000 < read < 30000

# SPDX-License-Identifier: Apache-2.0
"""A private server is like production's: collations, time zones, the optimizer's statistics, server settings."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest
from ansible.module_utils.th_dataset.failure import RestoreError
from ansible.module_utils.th_measure import meter
from ansible.module_utils.th_server import mariadb

from tests.kit import ROOT

from .test_restore import DUMP, Home


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path)
    yield made
    for server in made.started:
        mariadb.stop(server, 0)


def ask(server: mariadb.Server, *statements: str) -> list[tuple[Any, ...]]:
    """What the job's account gets, with the session that a project's code has."""
    account = mariadb.read_account(server.job_file)
    connection = pymysql.connect(
        user=account["user"], password=account["password"], unix_socket=server.socket, database=server.database
    )
    with connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        return list(cursor.fetchall())


def failure(home: Home) -> str:
    with pytest.raises(RestoreError) as caught:
        home.restore()
    assert caught.value.code == "seed_broken"
    return str(caught.value)


def dump(text: str) -> str:
    return DUMP.replace("-- Dump completed", f"{text}\n-- Dump completed")


NAMES = ("users", "orders", "products")
REFERENCE = "CREATE TABLE c (id int PRIMARY KEY, user char(36), FOREIGN KEY (user) REFERENCES users (id))"


def test_a_foreign_key_on_a_table_of_the_dumps_collation(home: Home) -> None:
    """mariadb-dump of one database does not say which collation the database has: its tables do."""
    end = ") ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;\n"
    tables = [f"CREATE TABLE `{name}` (\n  `id` char(36) NOT NULL,\n  PRIMARY KEY (`id`)\n{end}" for name in NAMES]
    home.dump.write_text(dump("\n".join(tables)))
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
    with mariadb.connect(server, server.admin_file) as connection:
        tables = "SELECT table_name, n_rows FROM mysql.innodb_table_stats WHERE table_name IN ('a', 'b')"
        kept = mariadb.query(connection, tables)
        assert all(8000 < rows < 10000 for _, rows in kept) and len(kept) == 2
        before = meter.read(connection, server)
        ask(server, "UPDATE a JOIN b ON a.id = b.id SET a.name = b.name WHERE b.kind = 3")
        read = meter.read(connection, server).since(before)["rows_read"]
    assert read is not None and 1000 < read < 30000


WIDE = ", ".join(f"c{number} text" for number in range(30))
SETTINGS = {
    "collation_server": "latin1_german1_ci",
    "explicit_defaults_for_timestamp": False,
    "group_concat_max_len": 4096,
    "innodb_page_size": 8192,
    "innodb_strict_mode": "OFF",
    "log_bin": "ON",
    "lower_case_table_names": 1,
    "max_allowed_packet": "16M",
    "optimizer_switch": "mrr=on",
    "sql_auto_is_null": 1,
    "sql_mode": "TRADITIONAL,ANSI_QUOTES,NO_BACKSLASH_ESCAPES",
    "time_zone": "Europe/Berlin",
    "tx_isolation": "READ-COMMITTED",
}


def test_a_server_has_the_settings_of_its_dataset(home: Home) -> None:
    home.keys |= {"database": "Toy_DB", "server_settings": SETTINGS, "character_set": "utf8mb4"}
    home.dump.write_text(dump(f"CREATE TABLE Wide ({WIDE}) ENGINE=InnoDB ROW_FORMAT=COMPACT;"))
    facts, server = home.restore()
    assert facts["version"] == ["a1"] and facts["settings"]["max_allowed_packet"] == str(16 << 20)
    with mariadb.connect(server, server.admin_file) as connection:
        before = meter.read(connection, server)
        ask(server, "INSERT INTO T (Name) VALUES ('1'), ('2')")
        assert meter.read(connection, server).since(before)["data_bytes"] == 0
    assert list((Path(server.folder) / "run").glob("binlog.0*"))
    assert ask(server, "SELECT COUNT(*) FROM WIDE") == [(0,)]
    assert ask(server, 'SELECT "ID" FROM `T` WHERE "ID" = 1') == [(1,)]
    names = "@@sql_auto_is_null, @@time_zone, @@tx_isolation, @@collation_server, @@innodb_page_size, @@log_bin"
    assert ask(server, f"SELECT {names}, @@explicit_defaults_for_timestamp, @@group_concat_max_len") == [
        (1, "Europe/Berlin", "READ-COMMITTED", "latin1_german1_ci", 8192, 1, 0, 4096)
    ]
    with pytest.raises(pymysql.err.OperationalError) as refused:
        ask(server, "CREATE TRIGGER x BEFORE INSERT ON t FOR EACH ROW SET NEW.name = 'x'")
    assert refused.value.args[0] == 1419
    assert ask(server, "SELECT CAST(FROM_UNIXTIME(0) AS CHAR)") == [("1970-01-01 01:00:00",)]

    home.keys["server_settings"] = {**SETTINGS, "log_bin": "OFF"}
    facts, server = home.restore()
    assert facts["snapshot"] == "made", "another setting, another snapshot"
    ask(server, "CREATE TRIGGER x BEFORE INSERT ON t FOR EACH ROW SET NEW.name = 'x'")


def test_rows_that_only_load_without_the_strict_mode(home: Home) -> None:
    home.dump.write_text(dump(f"CREATE TABLE wide ({WIDE}) ENGINE=InnoDB ROW_FORMAT=COMPACT;"))
    text = failure(home)
    assert "server_settings" in text and '{"innodb_strict_mode": "OFF"}' in text


def test_what_the_documented_statement_prints_can_be_used_as_it_is(home: Home) -> None:
    (statement,) = re.findall(
        r"^    SHOW GLOBAL VARIABLES.*?;$",
        (ROOT / "docs" / "datasets.md").read_text(),
        re.MULTILINE | re.DOTALL,
    )
    _, server = home.restore()
    client = ["mariadb", f"--defaults-file={server.job_file}", "--batch", "-e", statement]
    printed = subprocess.run(client, capture_output=True, text=True, check=True).stdout
    (home.root / "toy.settings").write_text(printed.replace("lower_case_table_names\t0", "lower_case_table_names\t1"))
    home.keys["server_settings_file"] = "toy.settings"
    facts, server = home.restore()
    assert facts["snapshot"] == "made" and facts["settings"].items() >= {("lower_case_table_names", "1")}
    assert ask(server, "SELECT COUNT(*) FROM T") == [(3,)]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"server_settings": {"plugin_load_add": "x.so"}}, "server_settings.plugin_load_add cannot be set"),
        ({"server_settings": {"character_set_collations": "utf8mb4=utf8mb4_bin"}}, "does not know it"),
        ({"server_settings": {"collation_server": "utf8mb4_0900_ai_ci"}}, "server_settings.collation_server: "),
        ({"server_settings": {"default_storage_engine": "RocksDB"}}, "server_settings.default_storage_engine: "),
        ({"server_settings": {"time_zone": "Europe/Nowhere"}}, "server_settings.time_zone: Unknown or incorrect"),
        ({"collation": "utf8mb4_0900_ai_ci"}, "set collation in the dataset's file"),
    ],
)
def test_what_the_server_does_not_know(home: Home, keys: dict[str, Any], words: str) -> None:
    home.keys |= keys
    assert words in failure(home)
    assert not list(home.root.glob("snapshots/*/snapshot.json")) and not list(home.root.glob("snapshots/.*making*"))


def test_two_databases_have_each_the_collation_of_their_own_dump(home: Home) -> None:
    """As `mariadb-dump --databases` writes them: with a statement that makes the database."""
    home.several()
    wanted = {"toy_db": (home.root / "main.sql", "utf8mb4_polish_ci"), "toy_api": (home.dump, "utf8mb4_german2_ci")}
    for name, (path, collation) in wanted.items():
        create = (
            f"CREATE DATABASE /*!32312 IF NOT EXISTS*/ `{name}` /*!40100 DEFAULT CHARACTER SET utf8mb4 COLLATE"
            f" {collation} */;\n\nUSE `{name}`;\nCREATE TABLE `more` (\n  `id` int PRIMARY KEY\n"
            ") ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;\n"
        )
        path.write_text(create + path.read_text())
    _, server = home.restore()
    for name, (_, collation) in wanted.items():
        found = ask(server, f"USE {name}", "SELECT @@collation_database, (SELECT COUNT(*) FROM more)")
        assert found == [(collation, 0)]

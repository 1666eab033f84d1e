# SPDX-License-Identifier: Apache-2.0
"""Dumps that a real server gets, or refuses; the tests of this file share the server."""

import gzip
import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.th_dump import load
from ansible.module_utils.th_dump.arrived import Arrived, Expected, arrived
from ansible.module_utils.th_dump.load import examine, load_dump
from ansible.module_utils.th_dump.seed_errors import SeedError
from ansible.module_utils.th_sandbox.box import Settings
from ansible.module_utils.th_server import mariadb, private_server
from ansible.module_utils.th_server.engine import of_machine

from tests.kit import dumps, shared
from tests.kit.boxes import given

from .test_dump_end import folder

OPTIONS = ["--character-set-server=utf8mb4", "--innodb-log-file-size=16M", "--performance-schema=OFF"]
SECRETS = [f"alice{number}@example.org" for number in range(3000)]
ROWS = ",".join(f"({number},'{secret}')" for number, secret in enumerate(SECRETS))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[mariadb.Server]:
    place = tmp_path_factory.mktemp("loading")
    sandbox = Settings.of(given())
    shared.create_data(place, OPTIONS, sandbox)
    started = private_server.start(
        place, of_machine(),
        databases={"": "shop"}, user="shop", password="x", options=OPTIONS, time_limit=60, sandbox=sandbox
    )
    yield started
    mariadb.stop(started, 0)


class Place:
    """A database that is made for each dump."""

    def __init__(self, server: mariadb.Server, tmp_path: Path) -> None:
        self.server, self.path = server, tmp_path / "dump.sql"

    def load(self, content: str | bytes | Path, expect: dict[str, Any] | None = None) -> Arrived:
        if isinstance(content, Path):
            self.path = content
        else:
            self.path.write_bytes(content.encode() if isinstance(content, str) else content)
        self.ask("DROP DATABASE IF EXISTS shop", "")
        self.ask("CREATE DATABASE shop", "")
        expected = Expected.of(expect)
        finding = examine(self.path, "shop", expected)
        load_dump(self.server, self.server.admin_file, self.path, "shop", 60)
        return arrived(self.server, self.server.admin_file, self.path, "shop", finding, expected)

    def refused(self, content: str | bytes | Path, expect: dict[str, Any] | None = None) -> str:
        with pytest.raises(SeedError) as caught:
            self.load(content, expect)
        assert caught.value.code == "seed_broken"
        said = str(caught.value)
        assert not any(secret in said for secret in SECRETS[:50]) and "alice" not in said
        assert len(said.splitlines()) == 1 and len(said) < 1500
        return said.partition("dump.sql")[2] or said

    def ask(self, statement: str, database: str = "shop") -> list[tuple[Any, ...]]:
        with mariadb.connect(self.server, self.server.admin_file, database=database or None) as connection:
            return mariadb.query(connection, statement)


@pytest.fixture
def place(server: mariadb.Server, tmp_path: Path) -> Place:
    return Place(server, tmp_path)


@pytest.mark.parametrize("name", dumps.SIGNED)
def test_a_dump_of_each_program_is_loaded(place: Place, name: str) -> None:
    found = place.load(dumps.SIGNED[name])
    assert found.notes == ()
    assert [row[0] for row in place.ask("SELECT id FROM customers ORDER BY id")] == [1, 2, 3]
    assert place.ask("SELECT email FROM customers WHERE id = 2") == [("it's; -- Dump completed\n'/*",)]


def test_what_mariadb_dump_writes_here_is_whole_and_comes_back(place: Place) -> None:
    argv = [mariadb.tool("mariadb-dump"), f"--defaults-file={place.server.admin_file}", "--routines", "shop"]
    for options in ([], ["--skip-extended-insert"], ["--skip-comments"], ["--hex-blob", "--complete-insert"]):
        place.load(dumps.MARIADB_DUMP)
        dumped = subprocess.run([*argv, *options], capture_output=True, check=True).stdout
        assert place.load(dumped).notes == ()
        assert len(place.ask("SELECT * FROM customers")) == 3
        assert "cut off" in place.refused(dumped[: dumped.rindex(b"VALUES") + 30])


def test_a_dump_without_an_end_mark_is_loaded_with_a_note(place: Place) -> None:
    (note,) = place.load(dumps.COMPACT).notes
    assert note.startswith("dump.sql: ") and "cannot be seen" in note and "expect" in note
    assert place.load(dumps.COMPACT, {"tables": 2, "rows": {"customers": 3}}).notes == ()


@pytest.mark.parametrize(
    ("expect", "words"),
    [
        ({"tables": 3}, "brings 2 tables, and the key expect.tables of the dataset says 3"),
        ({"rows": {"customers": 4}}, "customers has 3 rows, the key expect.rows of the dataset says 4"),
        ({"rows": {"items": 0}}, "the table items is missing"),
        ({"size": 5}, "the key expect.size of the dataset says 5"),
        ({"sha256": "0" * 64}, "the key expect.sha256 says 000"),
    ],
)
def test_what_the_dataset_expects_must_be_there(place: Place, expect: dict[str, Any], words: str) -> None:
    assert words in place.refused(dumps.COMPACT, expect)


def test_a_dump_with_the_size_and_digest_that_were_expected(place: Place) -> None:
    digest = hashlib.sha256(dumps.COMPACT.encode()).hexdigest()
    assert place.load(dumps.COMPACT, {"size": len(dumps.COMPACT), "sha256": digest}).notes == ()


@pytest.mark.parametrize(
    ("statements", "words"),
    [
        (
            f"CREATE TABLE t (id int, email varchar(90) UNIQUE);\nINSERT INTO `t` VALUES {ROWS},(9,'{SECRETS[0]}');\n",
            ", line 3 (INSERT INTO `t`): ERROR 1062: Duplicate entry '…' for key 'email' – does the dump hold",
        ),
        (f"INSERT INTO `t` VALUES {ROWS} (9,'x');\n", ", line 2 (INSERT INTO `t`): ERROR 1064: You have an error"),
        ("CREATE TABLE `f` (\n `e` varchar(9),\n KEY `k` ((lower(`e`)))\n);\n", "index on an expression"),
        ("CREATE TABLE `g` (`a` int, `b` int GENERATED ALWAYS AS (1) STORED NOT NULL);\n", "NOT NULL away"),
        ("CREATE TABLE `g` (`a` int, `b` int AS (a + 1));\nINSERT INTO `g` VALUES (1,2);\n", "generated column: mysql"),
        ("CREATE TABLE `c` (`a` char(1)) COLLATE utf8mb4_0900_ai_ci;\n", "MySQL 8"),
        ("CREATE TABLE `r` (`a` varchar(9000), `b` varchar(9000)) CHARSET utf8mb4;\n", "innodb_strict_mode"),
        ("SET @@GLOBAL.GTID_PURGED=/*!80000 '+'*/ 'a:1-5';\n", "line 2 (SET): ERROR 1193: Unknown system variable"
         " 'GTID_PURGED' – dump with --set-gtid-purged=OFF"),
        ("SET SQL_NOTES=@OLD_SQL_NOTES;\n", "the beginning of the dump is missing"),
        ("CREATE VIEW `v` AS SELECT * FROM `gone`;\n", "line 2 (CREATE VIEW `v`): ERROR 1146"),
        ("\\! touch /tmp/x;\n", "a command of the client's"),
        ("DROP TABLE `nothing`;\n", "(DROP TABLE `nothing`): ERROR 1051"),
        ("INSERT INTO nothing VALUES ('alice');\n", "(INSERT INTO nothing): ERROR 1146"),
    ],
)  # fmt: skip
def test_what_the_server_refuses_has_a_line_and_a_cure_and_no_rows(place: Place, statements: str, words: str) -> None:
    said = place.refused("SET sql_mode='STRICT_ALL_TABLES';\n" + statements)
    assert words in said


def test_what_mysql_8_writes_for_itself_alone_does_no_harm(place: Place) -> None:
    place.load(
        "CREATE TABLE `t` (`id` int, `u` char(36) DEFAULT (uuid()), KEY `k` (`id`) /*!80000 INVISIBLE */)"
        " /*!80016 ENCRYPTION='N' */;\nINSERT INTO `t` (`id`) VALUES (1);\n"
    )
    assert place.ask("SELECT id FROM t") == [(1,)]


@pytest.mark.parametrize("options", ["", ", KEY p (p)"])
def test_foreign_keys_to_tables_that_the_dump_does_not_have(place: Place, options: str) -> None:
    """As mysqldump --ignore-table leaves them."""
    said = place.refused(
        "SET FOREIGN_KEY_CHECKS=0;\n"
        f"CREATE TABLE child (id int PRIMARY KEY, p int{options},"
        " CONSTRAINT fk_p FOREIGN KEY (p) REFERENCES parent (id));\n"
        "CREATE TABLE other (id int PRIMARY KEY, c int, FOREIGN KEY (c) REFERENCES child (id));\n"
    )
    assert "child.fk_p points to parent" in said and "--ignore-table" in said and "--no-data NAME parent" in said
    assert "other" not in said


def test_rows_without_their_parent_are_noted(place: Place) -> None:
    made = (
        "SET FOREIGN_KEY_CHECKS=0;\nCREATE TABLE parent (id int PRIMARY KEY);\n"
        "CREATE TABLE child (id int PRIMARY KEY, p int, CONSTRAINT fk_p FOREIGN KEY (p) REFERENCES parent (id));\n"
        "INSERT INTO parent VALUES (1);\nINSERT INTO child VALUES (1,1),(2,NULL);\n"
    )
    expect = {"tables": 2}
    assert place.load(made, expect).notes == ()
    (note,) = place.load(made + "INSERT INTO child VALUES (3,77);\n", expect).notes
    assert "child.fk_p (to parent)" in note and "foreign key checks turned off" in note and "77" not in note


def test_a_folder_of_mydumpers_is_loaded_in_its_order(place: Place, tmp_path: Path) -> None:
    path = folder(
        tmp_path,
        **{
            "shop.orders-schema.sql": "CREATE TABLE `orders` (`id` int);\n",
            "shop.v-schema.sql": "CREATE TABLE IF NOT EXISTS `v`(\n`id` int\n);\n",
            "shop.v-schema-view.sql": "DROP TABLE IF EXISTS `v`;\nCREATE VIEW `v` AS SELECT id FROM customers;\n",
            "shop.customers-schema-triggers.sql": (
                "CREATE TRIGGER `up` BEFORE INSERT ON `customers` FOR EACH ROW SET NEW.email = 'changed';\n"
            ),
            "mysql.user-schema.sql": "CREATE TABLE `user` (`id` int);\n",
        },
    )
    packed = path / "shop.customers.00000.sql"
    (path / "shop.customers.00000.sql.gz").write_bytes(gzip.compress(packed.read_bytes()))
    packed.unlink()
    assert place.load(path).notes == ()
    assert place.ask("SELECT COUNT(*), MIN(email) FROM customers") == [(3, "alice@example.org")]
    assert place.ask("SELECT COUNT(*) FROM v") == [(3,)]
    assert [row[0] for row in place.ask("SHOW TABLES")] == ["customers", "orders", "v"]


def test_a_folder_of_mydumpers_without_some_rows(place: Place, tmp_path: Path) -> None:
    path = folder(tmp_path)
    rows = path / "shop.customers.00000.sql"
    rows.write_text("INSERT INTO `customers` VALUES(1,'a');\n")
    assert "customers has 1 rows, its metadata says 3" in place.refused(path)
    rows.write_text("INSERT INTO `customers` VALUES(1,'a');\nINSERT INTO `gone` VALUES (1);\n")
    assert "shop.customers.00000.sql, line 2 (INSERT INTO `gone`): ERROR 1146" in place.refused(path)


def test_the_last_words_of_a_server_that_died_have_no_rows(tmp_path: Path) -> None:
    server = mariadb.Server(str(tmp_path), "", {"": "shop"}, "shop")
    rows = "\n".join(f"(1,'{secret}')," for secret in SECRETS[:200])
    server.error_log.write_text(
        "2026-03-01 10:00:00 4 [ERROR] InnoDB: a record\n 1: len 17; hex 616c696365; asc alice0@example.org;;\n"
        f"[ERROR] mysqld got signal 11 ;\nQuery (0x7f0001): INSERT INTO t VALUES\n{rows}\n\nConnection ID: 4\n"
    )
    said = load._last_words(server)
    assert "signal 11" in said and "alice" not in said


def test_a_dump_that_takes_the_servers_accounts_away(place: Place) -> None:
    """Which no reading of it finds: it is the dump's fault nevertheless, and the last test of this file."""
    said = place.refused(
        "CREATE TABLE t (id int);\nSET @who = SUBSTRING_INDEX(CURRENT_USER(), '@', 1);\n"
        "SET @s = CONCAT('ALTER USER ', @who, '@localhost ACCOUNT LOCK');\nPREPARE p FROM @s;\nEXECUTE p;\n"
        "SET @s = CONCAT('DROP USER ', @who, '@localhost');\nPREPARE p FROM @s;\nEXECUTE p;\n"
    )
    assert "accounts" in said

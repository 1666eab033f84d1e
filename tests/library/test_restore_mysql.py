# SPDX-License-Identifier: Apache-2.0
"""Restoring a dump of MySQL, which MySQL's own mysqldump has written, on MySQL and on MariaDB."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest
from ansible.module_utils.th_dataset.failure import RestoreError
from ansible.module_utils.th_dump.definers import make_definers
from ansible.module_utils.th_dump.load import examine, load_dump
from ansible.module_utils.th_dump.seed_errors import SeedError
from ansible.module_utils.th_server import mariadb

from tests.kit import mysql_home, toy

from .test_restore import Home

TEXT = mysql_home.DUMP.read_bytes()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    made = Home(tmp_path_factory.mktemp("mysql"))
    made.dump.write_bytes(TEXT)
    yield made
    for server in made.started:
        mariadb.stop(server, 0)


@pytest.fixture(scope="module")
def restored(home: Home) -> tuple[dict[str, Any], mariadb.Server]:
    return home.restore(mysql_home.options(home.options()))


@pytest.fixture(scope="module")
def server(restored: tuple[dict[str, Any], mariadb.Server]) -> mariadb.Server:
    return restored[1]


def ask(server: mariadb.Server, *statements: str) -> list[tuple[Any, ...]]:
    """The rows that the job's account gets for the last statement."""
    rows: list[tuple[Any, ...]] = []
    with mariadb.connect(server, server.job_file, database=server.database) as connection:
        for statement in statements:
            rows = mariadb.query(connection, statement)
    return rows


def test_the_engine_is_chosen_by_the_dump(restored: tuple[dict[str, Any], mariadb.Server]) -> None:
    facts, _ = restored
    assert facts["engine"] == "mysql-9.7" and facts["version"] == ["a1"]
    assert facts["server"]["flavour"] == "MySQL" and facts["server"]["private"]
    (note,) = facts["notes"]
    assert "orders.orders_ibfk_1 (to customers)" in note


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("SELECT name, short, lower_email, initial, HEX(picture), flags + 0, CAST(born AS CHAR) FROM customers",
         [("Zoë 😀", "ß", "zoe@example.org", "Z", "00FF5C27", 5, "0000-00-00"),
          ("back\\slash 'quote'", None, "b@example.org", "b", None, 5, "2026-02-03")]),
        ("SELECT id FROM customers WHERE 2 MEMBER OF (tags->'$')", [(1,)]),
        ("SELECT ST_SRID(place), ST_AsText(place) FROM customers WHERE id = 2", [(4326, "POINT(4 3)")]),
        ("SELECT secret, CHAR_LENGTH(token) FROM customers WHERE id = 1", [(7, 36)]),
        ("SELECT VECTOR_TO_STRING(v) FROM embeddings", [("[1.00000e+00,2.00000e+00,3.00000e+00]",)]),
        ("SELECT partition_name FROM information_schema.partitions WHERE table_schema = DATABASE()"
         " AND table_name = 'log' ORDER BY 1", [("past",), ("rest",)]),
        ("SELECT constraint_name, enforced FROM information_schema.table_constraints WHERE table_schema = DATABASE()"
         " AND constraint_type = 'CHECK' ORDER BY 1", [("has_name", "YES"), ("not_minded", "NO")]),
        ("SELECT index_name, is_visible FROM information_schema.statistics WHERE table_name = 'customers'"
         " AND table_schema = DATABASE() AND (expression IS NOT NULL OR is_visible = 'NO') ORDER BY 1",
         [("by_name", "YES"), ("by_tag", "YES"), ("unseen", "NO")]),
        ("SELECT row_format FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'orders'",
         [("Compressed",)]),
        ("SELECT column_name FROM information_schema.column_statistics WHERE schema_name = DATABASE()", [("at",)]),
        ("SELECT @@collation_database", [("utf8mb4_0900_ai_ci",)]),
        ("SELECT CAST(CONVERT_TZ('2026-07-01 12:00', 'Europe/Berlin', 'UTC') AS CHAR)", [("2026-07-01 10:00:00",)]),
    ],
)  # fmt: skip
def test_what_the_dump_has_is_there(server: mariadb.Server, query: str, rows: list[tuple[Any, ...]]) -> None:
    assert ask(server, query) == rows


def test_what_runs_in_the_name_of_another_account_runs(server: mariadb.Server) -> None:
    assert ask(server, "SELECT * FROM first_names") == [("Zoë 😀",)]
    assert ask(server, "SELECT twice(21)") == [(42,)]
    assert ask(server, "CALL count_orders(@number)", "SELECT @number") == [(3,)]
    assert ask(server, "SELECT event_name, definer FROM information_schema.events") == [("tidy", "batch@localhost")]
    assert ask(server, "SELECT COUNT(*) FROM log") == [(3,)]
    insert = "INSERT INTO orders (customer, at) VALUES (1, '2024-01-01')"
    assert ask(server, insert, "SELECT COUNT(*) FROM log") == [(4,)]
    # a migration makes them again, and its own
    ask(server, "CREATE OR REPLACE VIEW first_names AS SELECT name FROM customers", "DROP TRIGGER logged")
    ask(server, "CREATE TRIGGER logged AFTER INSERT ON orders FOR EACH ROW INSERT INTO log VALUES (1, 'mine')")
    assert ask(server, insert, "SELECT COUNT(*) FROM log WHERE what = 'mine'") == [(1,)]
    with mariadb.connect(server, server.admin_file) as connection:
        accounts = mariadb.query(connection, "SELECT user, host FROM mysql.user WHERE account_locked = 'Y'")
    assert {("writer", "10.0.%"), ("reader", "%"), ("it's `app`", "%"), ("batch", "localhost")} <= set(accounts)


def test_strict_mode_is_the_servers(server: mariadb.Server) -> None:
    with pytest.raises(pymysql.err.OperationalError) as caught:
        connection = pymysql.connect(**account(server))
        with connection, connection.cursor() as cursor:
            cursor.execute("CREATE TABLE zero (d date NOT NULL DEFAULT '0000-00-00')")
    assert caught.value.args[0] == 1067


def account(server: mariadb.Server) -> dict[str, Any]:
    """The job's account, as arguments of a driver."""
    given = mariadb.read_account(server.job_file)
    given = {name: given[name] for name in ("user", "password")}
    return {"unix_socket": server.socket, "database": server.database, **given}


# a driver that takes no socket for a secure channel, as some do: it can only log in where the server has kept the
# account's password from an earlier login
CAREFUL = """
import socket
import pymysql

def log_in(path, user, password):
    plain = socket.socket(socket.AF_UNIX)
    plain.connect(path)
    connection = pymysql.connect(user=user, password=password, ssl_disabled=True, defer_connect=True)
    connection.connect(plain)
    return connection
"""
MIGRATION = f"""
{CAREFUL}
url = op.get_bind().engine.url
log_in(url.query["unix_socket"], url.username, url.password).close()
op.execute("CREATE TABLE walked AS SELECT name FROM customers")
"""


def test_every_driver_can_log_in_and_walk(home: Home, server: mariadb.Server) -> None:
    events = toy.walk(home.root / "job1", {"a1": (None, "pass"), "b2": ("a1", MIGRATION)})
    assert "error" not in toy.kinds(events), toy.error(events)
    assert ask(server, "SELECT version_num FROM alembic_version") == [("b2",)]
    assert ask(server, "SELECT COUNT(*) FROM walked") == [(2,)]
    known: dict[str, Any] = {}
    exec(CAREFUL, known)  # what the migration has run
    with mariadb.connect(server, server.admin_file) as connection:
        mariadb.query(connection, "FLUSH PRIVILEGES")  # forgets the passwords
    arguments = account(server)
    with pytest.raises((pymysql.MySQLError, RuntimeError)):
        known["log_in"](server.socket, arguments["user"], arguments["password"])
    assert ask(server, "SELECT 1") == [(1,)]
    known["log_in"](server.socket, arguments["user"], arguments["password"]).close()


def load(server: mariadb.Server, folder: Path, text: bytes, database: str = "other") -> None:
    """Load a dump into an empty database of the server, as an import does."""
    dump = folder / "dump.sql"
    dump.write_bytes(text)
    with mariadb.connect(server, server.admin_file) as connection:
        mariadb.query(connection, f"DROP DATABASE IF EXISTS {database}")
        mariadb.query(connection, f"CREATE DATABASE {database}")
    make_definers(server, [database], examine(dump, database).definers, "import")
    load_dump(server, server.admin_file, dump, database, 300)


def test_two_dumps_of_one_server_both_name_its_transactions(server: mariadb.Server, tmp_path: Path) -> None:
    assert b"SET @@GLOBAL.GTID_PURGED=/*!80000 '+'*/ '" in TEXT
    load(server, tmp_path, TEXT)
    load(server, tmp_path, TEXT.replace(b"/*!80000 '+'*/ ", b""), "other_one")  # as MySQL 5.7 writes it
    assert ask(server, "SELECT @@GLOBAL.gtid_executed") == [("",)]


def test_definers_that_the_server_has_itself(server: mariadb.Server, tmp_path: Path) -> None:
    for name in (b"root", b"mysql.sys"):
        load(server, tmp_path, TEXT.replace(b"`reader`@`%`", b"`" + name + b"`@`localhost`"))
        with mariadb.connect(server, server.admin_file, database="other") as connection:
            assert mariadb.query(connection, "SELECT * FROM first_names") == [("Zoë 😀",)]
            (grants,) = zip(*mariadb.query(connection, f"SHOW GRANTS FOR '{name.decode()}'@localhost"), strict=True)
        assert not [grant for grant in grants if "`other`" not in grant and "USAGE" not in grant]
    with pytest.raises(SeedError, match=r"runs as mysql\.infoschema@localhost"):
        load(server, tmp_path, TEXT.replace(b"`reader`@`%`", b"`mysql.infoschema`@`LOCALHOST`"))


# its mysqldump asks for a storage engine that Percona has
OF_PERCONA = rb"""-- MySQL dump 10.13  Distrib 8.0.35-27, for Linux (x86_64)
-- Server version	8.0.35-27
/*!50717 SELECT COUNT(*) INTO @rocksdb_has_p_s_session_variables FROM INFORMATION_SCHEMA.TABLES
 WHERE TABLE_SCHEMA = 'performance_schema' AND TABLE_NAME = 'session_variables' */;
/*!50717 SET @rocksdb_get_is_supported = IF (@rocksdb_has_p_s_session_variables,
 'SELECT COUNT(*) INTO @rocksdb_is_supported FROM performance_schema.session_variables
 WHERE VARIABLE_NAME=\'rocksdb_bulk_load\'', 'SELECT 0') */;
/*!50717 PREPARE s FROM @rocksdb_get_is_supported */;
/*!50717 EXECUTE s */;
/*!50717 DEALLOCATE PREPARE s */;
/*!50717 SET @rocksdb_enable_bulk_load = IF (@rocksdb_is_supported, 'SET SESSION rocksdb_bulk_load = 1',
 'SET @rocksdb_dummy_bulk_load = 0') */;
/*!50717 PREPARE s FROM @rocksdb_enable_bulk_load */;
/*!50717 EXECUTE s */;
/*!50717 DEALLOCATE PREPARE s */;
CREATE TABLE `t` (`id` int NOT NULL);
-- Dump completed on 2026-01-01  0:00:00
"""


def test_what_mysqldump_of_percona_asks_for(server: mariadb.Server, tmp_path: Path) -> None:
    load(server, tmp_path, OF_PERCONA)


OF_5_7 = b"""-- MySQL dump 10.13  Distrib 5.7.44, for Linux (x86_64)
CREATE TABLE `t` (`id` int(11) NOT NULL, `word` varchar(99) DEFAULT NULL) ENGINE=InnoDB DEFAULT CHARSET=utf8;
INSERT INTO `t` VALUES (1,'NO_AUTO_CREATE_USER');
/*!50003 SET sql_mode              = 'STRICT_TRANS_TABLES,NO_AUTO_CREATE_USER,NO_ENGINE_SUBSTITUTION' */ ;
DELIMITER ;;
/*!50003 CREATE*/ /*!50017 DEFINER=`app`@`%`*/ /*!50003 TRIGGER `up` BEFORE INSERT ON `t` FOR EACH ROW
SET NEW.word = 'NO_AUTO_CREATE_USER,' */;;
DELIMITER ;
SET @OLDTMP_SQL_MODE=@@SQL_MODE, SQL_MODE='NO_AUTO_CREATE_USER';
SET sql_mode='NO_AUTO_CREATE_USER,ANSI_QUOTES';
CREATE TABLE "u" (id int);
-- Dump completed on 2026-01-01  0:00:00
"""


def test_a_mode_that_servers_no_longer_have(server: mariadb.Server, tmp_path: Path) -> None:
    """MySQL 5.7 and MariaDB have it by default, so that every dump with a trigger names it."""
    load(server, tmp_path, OF_5_7)
    with mariadb.connect(server, server.admin_file, database="other") as connection:
        assert mariadb.query(connection, "SELECT word FROM t") == [("NO_AUTO_CREATE_USER",)]
        mariadb.query(connection, "INSERT INTO t VALUES (2, NULL)")
        assert mariadb.query(connection, "SELECT word FROM t WHERE id = 2") == [("NO_AUTO_CREATE_USER,",)]
        triggers = "SELECT sql_mode FROM information_schema.triggers WHERE trigger_schema = 'other'"
        assert mariadb.query(connection, triggers) == [("STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION",)]


def test_literals_have_the_collation_that_mysqls_own_client_gives_them(server: mariadb.Server, tmp_path: Path) -> None:
    load(server, tmp_path, b"CREATE TABLE t (a int);\nCREATE VIEW v AS SELECT 'x' AS kind FROM t;\n")
    query = "SELECT collation_name FROM information_schema.columns WHERE table_schema = 'other' AND table_name = 'v'"
    with mariadb.connect(server, server.admin_file) as connection:
        assert mariadb.query(connection, query) == [("utf8mb4_0900_ai_ci",)]


@pytest.mark.parametrize(
    ("statement", "line", "words"),
    [
        ("CREATE TABLE `t` (`a` int) /*!80016 ENCRYPTION='Y' */", "ERROR 3185", "ENCRYPTION='N'"),
        ("CREATE TABLE `t` (`d` date DEFAULT '0000-00-00')", "ERROR 1067", '"sql_mode"'),
        ("CREATE TABLE `t` (`a` uuid)", "ERROR 1064", "only MariaDB writes it"),
        ("CREATE TABLE `t` (`a` int) ENGINE=Aria PAGE_CHECKSUM=1", "ERROR 1064", "engine of MariaDB (key engine)"),
        ("CREATE TABLE `t` (`a` int) ENGINE=Aria", "ERROR 1286", "InnoDB"),
        ("CREATE TABLE `t` (`a` int) WITH SYSTEM VERSIONING", "ERROR 1064", "only MariaDB writes it"),
        ("CREATE TABLE `t` (`a` int, KEY `a` (`a`) IGNORED)", "ERROR 1064", "only MariaDB writes it"),
        ("CREATE TABLE `t` (`a` int AUTO_INCREMENT PRIMARY KEY, `b` int AS (`a` + 1))", "ERROR 3109", "of MariaDB"),
        ("CREATE TABLE `t` (`a` text DEFAULT 'x')", "ERROR 1101", "engine of MariaDB"),
        ("CREATE TABLE `t` (`a` varchar(9)) COLLATE=utf8mb4_uca1400_ai_ci", "ERROR 1273", "utf8mb4_unicode_ci"),
        ("CREATE SEQUENCE `s` start with 1", "ERROR 1064", "only MariaDB has"),
        ("CREATE TABLE `t` (`a` int) /*!50100 TABLESPACE `mine` */", "ERROR 3510", "innodb_file_per_table"),
        ("CREATE TABLE `t` (`a` text /*!50633 COLUMN_FORMAT COMPRESSED */)", "ERROR 1064", "kind and version"),
        ("CREATE TABLE `t` (`a` frob)", "ERROR 1064", "kind and version that it comes from"),
        ("CREATE TABLE `p` (`a` int, KEY (`a`));\nCREATE TABLE `t` (`a` int, FOREIGN KEY (`a`) REFERENCES `p` (`a`))",
         "line 2 (CREATE TABLE `t`): ERROR 6125", "restrict_fk_on_non_standard_key"),
        ("CREATE TABLE `t` (`a` int, `b` int GENERATED ALWAYS AS (`a` + 1));\nINSERT INTO `t` VALUES (1, 2)",
         "ERROR 3105", "generated column"),
        ("CREATE TABLE `t` (`a` int) ROW_FORMAT=FIXED", "ERROR 1031", "innodb_strict_mode"),
        ("CREATE TABLE `t` (`a` int) TABLESPACE=`mysql`", "ERROR 3723: The table 't' may not", "database mysql"),
        ("SET sql_mode = 'ORACLE'", "ERROR 1231", "sql_mode"),
        ("SET @@SESSION.character_set_collations = ''", "ERROR 1193", "take that SET out"),
    ],
)  # fmt: skip
def test_what_mysql_does_not_load(
    server: mariadb.Server, tmp_path: Path, statement: str, line: str, words: str
) -> None:
    with pytest.raises(SeedError) as caught:
        load(server, tmp_path, f"{statement};\n".encode())
    assert line in str(caught.value) and words in str(caught.value)


def test_the_job_s_account_may_not_set_what_a_dump_of_mysql_sets(server: mariadb.Server, tmp_path: Path) -> None:
    """On an external server the job's own account loads the dump."""
    dump = tmp_path / "dump.sql"
    for text in (TEXT, TEXT.replace(b"SET @@SESSION.SQL_LOG_BIN= 0;", b"")):
        dump.write_bytes(text)
        with pytest.raises(SeedError, match=r"ERROR 1227: .*dump with --set-gtid-purged=OFF"):
            load_dump(server, server.job_file, dump, server.database, 300)


def test_on_mariadb_the_remedy_is_an_engine_of_mysql(running: mariadb.Server, tmp_path: Path) -> None:
    without_gtids = b"".join(line for line in TEXT.splitlines(True) if b"GTID_PURGED" not in line)
    without_both = without_gtids.replace(b"utf8mb4_0900_ai_ci", b"utf8mb4_unicode_ci")
    for text, error, words in (
        (TEXT, "ERROR 1193", "dump with --set-gtid-purged=OFF"),
        (without_gtids, "ERROR 1273", "engine of MySQL (key engine)"),
        (without_both, "(CREATE TABLE `customers`): ERROR 1064", "engine of MySQL (key engine)"),
    ):
        with pytest.raises(SeedError) as caught:
            load(running, tmp_path, text)
        assert error in str(caught.value) and words in str(caught.value)


PRINTED = """Variable_name\tValue
binlog_row_image\tMINIMAL
block_encryption_mode\taes-256-cbc
collation_server\tutf8mb4_0900_as_cs
character_set_server\tutf8mb4
disabled_storage_engines\tMyISAM,ARCHIVE
enforce_gtid_consistency\tON
explicit_defaults_for_timestamp\tON
foreign_key_checks\tON
gtid_mode\tON
innodb_autoinc_lock_mode\t2
lc_time_names\tde_DE
log_bin\tON
log_bin_trust_function_creators\tOFF
lower_case_table_names\t1
max_allowed_packet\t67108864
max_execution_time\t20000
optimizer_switch\tindex_merge=on,hash_join=off,rowid_filter=on
restrict_fk_on_non_standard_key\tOFF
show_gipk_in_create_table_and_information_schema\tOFF
sql_auto_is_null\tOFF
sql_generate_invisible_primary_key\tON
sql_mode\tSTRICT_TRANS_TABLES,NO_AUTO_CREATE_USER,NO_ENGINE_SUBSTITUTION
sql_require_primary_key\tON
time_zone\tEurope/Berlin
transaction_isolation\tREAD-COMMITTED
version\t8.0.43
"""


def test_the_settings_of_production_are_in_effect(tmp_path: Path) -> None:
    home = Home(tmp_path)
    (tmp_path / "toy.settings").write_text(PRINTED)
    home.keys |= {"server_settings_file": "toy.settings", "engine": "mysql-9.7"}
    facts, server = home.restore(mysql_home.options(home.options()))
    try:
        assert facts["settings"]["optimizer_switch"] == "index_merge=on,hash_join=off"
        assert facts["settings"]["sql_mode"] == "STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION"
        assert ask(server, "SELECT @@log_bin, @@gtid_mode, @@lower_case_table_names") == [(1, "ON", 1)]
        assert ask(server, "SELECT @@collation_server, @@GLOBAL.time_zone") == [("utf8mb4_0900_as_cs", "Europe/Berlin")]
        assert ask(server, "CREATE TABLE Bare (a int)", "SELECT * FROM bARE") == []
        assert ask(server, "SHOW INDEX FROM bare") == []
        for statement, number in (
            ("CREATE TABLE old (id int PRIMARY KEY) ENGINE=MyISAM", 3161),
            ("CREATE FUNCTION one() RETURNS int RETURN 1", 1418),
            ("CREATE TRIGGER up BEFORE INSERT ON bare FOR EACH ROW SET NEW.a = 1", 1419),
        ):
            with pytest.raises(pymysql.err.MySQLError) as caught:
                ask(server, "SET sql_mode = DEFAULT", statement)
            assert caught.value.args[0] == number
    finally:
        mariadb.stop(server, 0)


def test_a_setting_of_the_other_family_is_refused_where_it_matters(home: Home) -> None:
    home.keys |= {"engine": "mysql-9.7", "server_settings": {"max_statement_time": 0, "alter_algorithm": "COPY"}}
    with pytest.raises(RestoreError, match=r"alter_algorithm: mysqld of the engine mysql-9\.7 does not know it"):
        home.restore(mysql_home.options(home.options()))
    home.keys |= {"server_settings": {"gtid_mode": "OFF", "restrict_fk_on_non_standard_key": 1}}
    home.keys |= {"engine": "system", "mysql_dump_into_mariadb": True}
    with pytest.raises(RestoreError, match="restrict_fk_on_non_standard_key: mariadbd of the engine system does not"):
        home.restore(mysql_home.options(home.options()))

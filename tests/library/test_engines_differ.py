# SPDX-License-Identifier: Apache-2.0
"""Statements of migrations that MariaDB and MySQL take differently, or alike: because of them a dataset is walked on
production's engine. Each error has an explanation."""

import pymysql
import pytest
from ansible.module_utils.th_server import mariadb

from tests.kit.external_mysql import ExternalMySQL
from worker.verdict.sql_errors import ERRORS

PARENT = "CREATE TABLE p (id int PRIMARY KEY, b int, KEY (b)); "
CHILD = "CREATE TABLE t (p int, CONSTRAINT f FOREIGN KEY (p) REFERENCES p (id))"

# what is there before; the statement; the error on MariaDB and on MySQL, 0 for none
CASES = [
    # CHECK
    ("CREATE TABLE t (a int); INSERT INTO t VALUES (-1)", "ALTER TABLE t ADD CHECK (a > 0)", 4025, 3819),
    ("CREATE TABLE t (a int, CHECK (a > 0))", "INSERT INTO t VALUES (0)", 4025, 3819),
    ("", "CREATE TABLE t (a int, CHECK (a > 0) NOT ENFORCED)", 1064, 0),
    ("CREATE TABLE t (a int, b int, CONSTRAINT c CHECK (a > b))", "ALTER TABLE t DROP COLUMN a", 1054, 3959),
    ("CREATE TABLE t (a int, CONSTRAINT c CHECK (a > 0))", "ALTER TABLE t RENAME COLUMN a TO b", 0, 3959),
    ("CREATE TABLE t (a int, CONSTRAINT c CHECK (a > 0))", "ALTER TABLE t DROP CHECK c", 1064, 0),
    ("CREATE TABLE t (a int, CONSTRAINT c CHECK (a > 0))", "ALTER TABLE t DROP CONSTRAINT c", 0, 0),
    # JSON
    ("CREATE TABLE t (a json)", "INSERT INTO t VALUES ('{')", 4025, 3140),
    ("CREATE TABLE t (a text); INSERT INTO t VALUES ('{')", "ALTER TABLE t MODIFY a json", 4025, 3140),
    ("CREATE TABLE t (a json)", "SELECT a->'$.b' FROM t", 1064, 0),
    ("CREATE TABLE t (a json)", "ALTER TABLE t ADD KEY (a)", 0, 3152),
    # defaults
    ("", "CREATE TABLE t (a text DEFAULT 'x')", 0, 1101),
    ("", "CREATE TABLE t (a char(36) DEFAULT (uuid()))", 0, 0),
    ("", "CREATE TABLE t (a char(36) DEFAULT uuid())", 0, 1064),
    ("", "CREATE TABLE t (a date DEFAULT '0000-00-00')", 0, 1067),
    ("CREATE TABLE t (a date)", "INSERT INTO t VALUES ('0000-00-00')", 0, 1292),
    ("CREATE TABLE t (a date)", "INSERT INTO t VALUES ('2026-02-31')", 1292, 1292),
    # ALTER TABLE
    ("CREATE TABLE t (a int, c int)", "ALTER TABLE t ADD b int AFTER a, ALGORITHM=INSTANT", 0, 0),
    ("CREATE TABLE t (a int, c int)", "ALTER TABLE t DROP COLUMN a, ALGORITHM=INSTANT", 0, 0),
    ("CREATE TABLE t (a int)", "ALTER TABLE t ADD KEY (a), ALGORITHM=INSTANT", 1846, 1845),
    ("CREATE TABLE t (a int)", "ALTER TABLE t MODIFY a bigint, ALGORITHM=INPLACE", 1846, 1846),
    ("CREATE TABLE t (a int)", "ALTER TABLE t RENAME COLUMN a TO b", 0, 0),
    ("CREATE TABLE t (a int)", "ALTER TABLE t ADD COLUMN IF NOT EXISTS a int", 0, 1064),
    ("CREATE TABLE t (a int)", "DROP INDEX IF EXISTS i ON t", 0, 1064),
    ("CREATE TABLE t (a varchar(9)); INSERT INTO t VALUES ('x')", "ALTER TABLE t MODIFY a int", 1292, 1366),
    ("CREATE TABLE t (a int); INSERT INTO t VALUES (NULL)", "ALTER TABLE t MODIFY a int NOT NULL", 1265, 1138),
    # foreign keys
    ("CREATE TABLE p (id int unsigned PRIMARY KEY)",
     "CREATE TABLE t (p int, FOREIGN KEY (p) REFERENCES p (id))", 1005, 3780),
    (PARENT, "CREATE TABLE t (p int, FOREIGN KEY (p) REFERENCES p (b))", 0, 6125),
    ("", "CREATE TABLE t (p int, FOREIGN KEY (p) REFERENCES missing (id))", 1005, 1824),
    (PARENT + CHILD, "DROP TABLE p", 1451, 3730),
    (PARENT + CHILD, "TRUNCATE p", 1701, 1701),
    (PARENT + CHILD, "ALTER TABLE t MODIFY p bigint", 1832, 3780),
    (PARENT + CHILD, "ALTER TABLE p MODIFY id bigint", 1833, 3780),
    (PARENT + CHILD, "ALTER TABLE t DROP KEY f", 1553, 1553),
    # indexes and columns
    ("CREATE TABLE t (a varchar(9))", "CREATE INDEX i ON t ((lower(a)))", 1064, 0),
    ("CREATE TABLE t (a varchar(1000))", "ALTER TABLE t ADD KEY (a)", 0, 1071),
    ("", "CREATE TABLE t (a int, b int NOT NULL INVISIBLE)", 4108, 0),
    ("CREATE TABLE t (a int, b int DEFAULT 1 INVISIBLE)", "INSERT INTO t VALUES (1)", 0, 0),
    ("CREATE TABLE t (a int, b int DEFAULT 1 INVISIBLE)", "INSERT INTO t VALUES (1, 2)", 1136, 1136),
    ("", "CREATE TABLE t (a int, b int AS (a + 1) STORED NOT NULL)", 1064, 0),
    ("CREATE TABLE t (a int, b int AS (a + 1))", "INSERT INTO t VALUES (1, 2)", 1906, 3105),
    ("CREATE TABLE t (a int, b int AS (a + 1))", "ALTER TABLE t DROP COLUMN a", 1054, 3108),
    ("", "CREATE TABLE t (a datetime AS (now()))", 0, 3763),
    ("", "CREATE TABLE t (a int AUTO_INCREMENT PRIMARY KEY, b int AS (a + 1))", 0, 3109),
    # words and names
    ("", "CREATE TABLE t (rank int, groups int)", 0, 1064),
    ("", "CREATE TABLE t (offset int)", 1064, 0),
    ("CREATE TABLE t (a int)", "SELECT * FROM T", 1146, 1146),
    ("CREATE VIEW v AS SELECT 1 AS a", "DROP TABLE v", 1965, 1051),
    # character sets
    ("CREATE TABLE t (a varchar(9)) CHARACTER SET utf8mb3", "INSERT INTO t VALUES ('😀')", 1366, 1366),
    ("", "CREATE TABLE t (a int) COLLATE utf8mb4_uca1400_ai_ci", 0, 1273),
    # what one of them has alone
    ("", "CREATE SEQUENCE s", 0, 1064),
    ("CREATE TABLE t (a int)", "INSERT INTO t VALUES (1) RETURNING a", 0, 1064),
    ("CREATE TABLE t (a int, b int)", "SELECT a, b FROM t GROUP BY a", 0, 1055),
    ("CREATE TABLE t (a int)", "UPDATE t SET a = (SELECT MAX(a) + 1 FROM t)", 0, 1093),
]  # fmt: skip


def error(server: mariadb.Server, before: str, statement: str) -> int:
    """The number of the error that a statement ends in on a server in its own sql_mode; 0 for none."""
    with mariadb.connect(server, server.admin_file) as connection:
        for one in ("DROP DATABASE IF EXISTS differ", "CREATE DATABASE differ CHARACTER SET utf8mb4", "USE differ"):
            mariadb.query(connection, one)
        for one in filter(None, before.split("; ")):
            mariadb.query(connection, one)
        mariadb.query(connection, "SET sql_mode = DEFAULT")
        try:
            mariadb.query(connection, statement)
        except pymysql.MySQLError as problem:
            return int(problem.args[0])
    return 0


@pytest.mark.parametrize(("before", "statement", "on_mariadb", "on_mysql"), CASES)
def test_what_a_statement_ends_in(
    running: mariadb.Server,
    external_mysql: ExternalMySQL,
    before: str,
    statement: str,
    on_mariadb: int,
    on_mysql: int,
) -> None:
    assert error(running, before, statement) == on_mariadb
    assert error(external_mysql.server, before, statement) == on_mysql
    for number in {on_mariadb, on_mysql} - {0}:
        assert ERRORS[number].explanation and ERRORS[number].remedy

# SPDX-License-Identifier: Apache-2.0
"""Dumps whose views, triggers and routines run as accounts of the place that they come from."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible.module_utils.th_dump.completeness import inspect
from ansible.module_utils.th_server import mariadb

from .test_restore import Home

# in the form and the order of mariadb-dump: a trigger comes before the next table's rows, views come last
DUMP = """-- MariaDB dump 10.19  Distrib 10.11.6-MariaDB, for debian-linux-gnu (x86_64)
CREATE TABLE alembic_version (version_num varchar(32) NOT NULL PRIMARY KEY);
INSERT INTO alembic_version VALUES ('a1');
CREATE TABLE log (name varchar(50));
CREATE TABLE t (id int PRIMARY KEY AUTO_INCREMENT, name varchar(50));
DELIMITER ;;
/*!50003 CREATE*/ /*!50017 DEFINER=`writer`@`10.0.%`*/ /*!50003 TRIGGER up AFTER INSERT ON t FOR EACH ROW
INSERT INTO log VALUES (NEW.name) */;;
DELIMITER ;
INSERT INTO t (name) VALUES ('one'), ('DEFINER=`row`@`%`');
/*!50001 CREATE ALGORITHM=UNDEFINED */
/*!50013 DEFINER=`it's ``app```@`%` SQL SECURITY DEFINER */
/*!50001 VIEW `a` AS select `t`.`name` AS `name` from `t` */;
/*!50001 CREATE ALGORITHM=UNDEFINED */
/*!50013 DEFINER=`reader`@`db.example.org` SQL SECURITY DEFINER */
/*!50001 VIEW `b` AS select `a`.`name` AS `name` from `a` */;
-- Dump completed on 2026-01-01  0:00:00
"""
NAMED = ("it's `app`@%", "reader@db.example.org", "writer@10.0.%")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path)
    made.dump.write_text(DUMP)
    yield made
    for server in made.started:
        mariadb.stop(server, 0)


def test_a_view_of_a_view_and_a_trigger_that_rows_set_off(home: Home) -> None:
    _, server = home.restore()
    with mariadb.connect(server, server.job_file, database="toy_db") as connection:
        assert mariadb.query(connection, "SELECT COUNT(*) FROM b") == [(2,)]
        assert mariadb.query(connection, "SELECT COUNT(*) FROM log") == [(2,)]
        mariadb.query(connection, "INSERT INTO t (name) VALUES ('three')")
        assert mariadb.query(connection, "SELECT COUNT(*) FROM log") == [(3,)]
    with mariadb.connect(server, server.admin_file) as connection:
        query = "SELECT CONCAT(user, '@', host) FROM mysql.user WHERE user NOT IN ('mariadb.sys', 'toy')"
        (administrator,) = mariadb.query(connection, "SELECT CURRENT_USER()")[0]
        assert {name for (name,) in mariadb.query(connection, query)} == {*NAMED, administrator}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("DEFINER=`a``b`@`%`", "a`b@%"),
        ("DEFINER='it''s'@'localhost'", "it's@localhost"),
        ('DEFINER = "x" @ "y"', "x@y"),
        ("definer=app@localhost", "app@localhost"),
        ("DEFINER=CURRENT_USER", ""),
        ("DEFINER=`role`", ""),
    ],
)
def test_accounts_are_read_in_every_form(tmp_path: Path, written: str, meant: str) -> None:
    dump = tmp_path / "toy.sql"
    dump.write_text(f"CREATE TABLE t (a int);\nCREATE {written} VIEW v AS SELECT a FROM t;\n")
    assert inspect(dump).definers == ((meant,) if meant else ())


def test_accounts_are_not_read_out_of_rows_and_are_bounded(tmp_path: Path) -> None:
    dump = tmp_path / "toy.sql"
    dump.write_text(DUMP)
    assert inspect(dump).definers == NAMED
    dump.write_text("".join(f"CREATE DEFINER=`u{number}`@`%` VIEW v{number} AS SELECT 1;\n" for number in range(2000)))
    assert len(inspect(dump).definers) == 500

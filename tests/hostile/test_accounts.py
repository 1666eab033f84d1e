# SPDX-License-Identifier: Apache-2.0
"""What a change can do with what a dataset's database runs in somebody else's name (DEFINER).

The account in the dataset is the administrator's, the server's own, or one that has more than the job. A change cannot
make such an object; it alters what one that is there uses."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest
from ansible.module_utils.th_dataset import lent_rights
from ansible.module_utils.th_server import external_server, mariadb

from tests.kit import load_module
from tests.kit.external_server import External
from tests.library.external_jobs import Jobs
from tests.library.test_restore import Home
from tests.unit.test_cli_check import Installation

check_servers = load_module("restore_datasets", "check_servers")

DEFINERS = ("root@localhost", "`mariadb.sys`@localhost", "`root`@`%`", "app@`10.0.%`", "CURRENT_USER")
IN_A_FUNCTION = (
    "SELECT COUNT(*) INTO n FROM mysql.global_priv",
    "SELECT COUNT(*) INTO n FROM mysql.db",
    "SET GLOBAL long_query_time = 9",
    "DELETE FROM mysql.global_priv WHERE User = 'nobody'",
)
IN_A_PROCEDURE = (
    "SELECT * FROM mysql.global_priv",
    "CREATE USER more@localhost",
    "GRANT ALL ON *.* TO toy@localhost",
    "CREATE DATABASE other",
    "SELECT 'x' INTO OUTFILE '/tmp/out'",
    "SHUTDOWN",
)


def dump() -> str:
    """One object of each kind for each definer, all of which use what the job may replace."""
    lines = [
        "CREATE TABLE alembic_version (version_num varchar(32) NOT NULL PRIMARY KEY);",
        "INSERT INTO alembic_version VALUES ('a1');",
        "CREATE TABLE below (id int);",
        "CREATE FUNCTION under() RETURNS int RETURN 1;",
        "CREATE PROCEDURE inside() SELECT 1;",
    ]
    for number, definer in enumerate(DEFINERS):
        create = f"CREATE DEFINER={definer}"
        lines += [
            f"{create} VIEW view{number} AS SELECT id FROM below;",
            f"{create} SQL SECURITY INVOKER VIEW invoker{number} AS SELECT id FROM below;",
            f"{create} FUNCTION function{number}() RETURNS int RETURN under();",
            f"{create} PROCEDURE procedure{number}() CALL inside();",
            f"{create} PROCEDURE altered{number}() SQL SECURITY INVOKER CALL inside();",
            f"CREATE TABLE t{number} (id int);",
            f"{create} TRIGGER trigger{number} BEFORE INSERT ON t{number} FOR EACH ROW SET NEW.id = under();",
            f"{create} EVENT event{number} ON SCHEDULE EVERY 1 DAY DO SELECT under();",
        ]
    return "\n".join(lines) + "\n-- Dump completed on 2026-01-01  0:00:00\n"


def refused(connection: Any, statement: str) -> bool:
    """Whether the server lets nobody do what the statement comes to."""
    try:
        mariadb.query(connection, statement)
    except pymysql.err.MySQLError as error:
        return error.args[0] in (1044, 1045, 1142, 1227, 1356, 1370)
    return False


@pytest.fixture(scope="module")
def restored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[mariadb.Server]:
    home = Home(tmp_path_factory.mktemp("home"))
    home.dump.write_text(dump())
    _, server = home.restore()
    yield server
    mariadb.stop(server, 0)


def test_to_borrow_the_rights_of_a_dumps_definers(
    restored: mariadb.Server, stopped_by: Callable[[str], None]
) -> None:
    """What each of its objects uses is replaced by something that has the rights of whoever uses it."""
    numbers = range(len(DEFINERS))
    with mariadb.connect(restored, restored.job_file, database="toy_db") as job:
        for number in numbers:
            mariadb.query(job, f"ALTER PROCEDURE altered{number} SQL SECURITY DEFINER")
        mariadb.query(job, "DROP TABLE below")
        mariadb.query(job, "CREATE SQL SECURITY INVOKER VIEW below AS SELECT under() AS id")
        for goal in IN_A_FUNCTION:
            body = f"BEGIN DECLARE n int DEFAULT 0; {goal}; RETURN n; END"
            mariadb.query(job, "DROP FUNCTION under")
            mariadb.query(job, f"CREATE FUNCTION under() RETURNS int SQL SECURITY INVOKER {body}")
            for number in numbers:
                for use in (
                    f"SELECT * FROM view{number}", f"SELECT * FROM invoker{number}", f"SELECT function{number}()",
                    f"INSERT INTO t{number} VALUES (1)",
                ):  # fmt: skip
                    assert refused(job, use), f"{DEFINERS[number]} lends to {use}: {goal}"
        for goal in IN_A_PROCEDURE:
            mariadb.query(job, "DROP PROCEDURE inside")
            mariadb.query(job, f"CREATE PROCEDURE inside() SQL SECURITY INVOKER {goal}")
            for number in numbers:
                for use in (f"CALL procedure{number}()", f"CALL altered{number}()"):
                    assert refused(job, use), f"{DEFINERS[number]} lends to {use}: {goal}"
        with mariadb.connect(restored, restored.admin_file, database="toy_db") as admin:
            assert mariadb.query(admin, "SHOW GRANTS FOR toy@localhost")[1:] == [
                ("GRANT ALL PRIVILEGES ON `toy\\_db`.* TO `toy`@`localhost`",)
            ]
            mariadb.query(job, "CREATE OR REPLACE PROCEDURE inside() SQL SECURITY INVOKER SELECT 1 FROM mysql.db")
            assert mariadb.query(admin, "CALL inside()"), "who has the right gets there"
    stopped_by("definers that are locked accounts with the job's rights")


def test_to_know_the_administrators_name(restored: mariadb.Server, stopped_by: Callable[[str], None]) -> None:
    """There is no account with more rights than the job's whose name a dump or a change could write."""
    name = mariadb.read_account(restored.admin_file)["user"]
    with (
        mariadb.connect(restored, restored.admin_file) as admin,
        mariadb.connect(restored, restored.job_file, database="toy_db") as job,
    ):
        rows = mariadb.query(admin, "SELECT User, Host, Priv FROM mysql.global_priv")
        accounts = {f"{user}@{host}": json.loads(priv) for user, host, priv in rows}
        assert [who for who, priv in accounts.items() if priv["access"]] == [f"{name}@localhost"]
        unlocked = {who for who, priv in accounts.items() if not priv.get("account_locked")}
        assert unlocked == {f"{name}@localhost", "toy@localhost"}
        assert accounts.keys() > {"root@localhost", "root@%", "mariadb.sys@localhost", "app@10.0.%"}
        assert {row[0] for row in mariadb.query(admin, "SELECT Db FROM mysql.db")} == {"toy\\_db"}
        for table in ("tables_priv", "columns_priv", "procs_priv", "roles_mapping"):
            assert not mariadb.query(admin, f"SELECT * FROM mysql.{table}"), table
        seen = mariadb.query(job, "SELECT user FROM information_schema.processlist")
        seen += mariadb.query(job, "SELECT grantee FROM information_schema.user_privileges")
        seen += mariadb.query(job, "SELECT DISTINCT definer FROM information_schema.routines")
        assert not [row for row in seen if name in row[0]]
    assert len(name) > 24
    stopped_by("an administrator with a random name, another on each server")


def test_to_have_rows_written_after_the_step(restored: mariadb.Server, stopped_by: Callable[[str], None]) -> None:
    with (
        mariadb.connect(restored, restored.admin_file) as admin,
        mariadb.connect(restored, restored.job_file, database="toy_db") as job,
    ):
        mariadb.query(job, "CREATE OR REPLACE TABLE later (id int) ENGINE=MyISAM")
        with mariadb.connect(restored, restored.job_file, database="toy_db") as other:
            mariadb.query(other, "LOCK TABLES later READ")  # a thread of the server's would wait, and say it is done
            mariadb.query(job, "SET SESSION lock_wait_timeout = 1")
            for before in ("DO 0", "SET SESSION max_delayed_threads = 20", "SET GLOBAL max_delayed_threads = 20"):
                if before != "DO 0":
                    with pytest.raises(pymysql.err.MySQLError):
                        mariadb.query(job, before)
                with pytest.raises(pymysql.err.OperationalError, match="Lock wait timeout"):
                    mariadb.query(job, "INSERT DELAYED INTO later VALUES (1)")
        mariadb.query(job, "INSERT DELAYED INTO later SELECT 2")
        threads = "SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'DELAYED'"
        assert mariadb.query(admin, threads) == [(0,)]
        assert mariadb.query(job, "SELECT id FROM later") == [(2,)]
    stopped_by("a server without threads for delayed rows")


@pytest.fixture
def jobs(tmp_path: Path, external: External) -> Iterator[Jobs]:
    """Jobs on a database of the external server that a command of the operator's resets, which does nothing."""
    made = Jobs(tmp_path, external)
    del made.keys["seed_data"]
    made.keys |= {"preloaded": True, "reset": ["/bin/true"]}
    for statement in (
        "CREATE OR REPLACE DATABASE shop",
        "CREATE TABLE shop.alembic_version (version_num varchar(32) NOT NULL PRIMARY KEY)",
        "INSERT INTO shop.alembic_version VALUES ('a1')",
        "CREATE TABLE shop.below (id int)",
    ):
        external.ask(statement)
    yield made
    for server in made.started:
        external_server.release(server)


LENDERS = (
    "VIEW shop.v AS SELECT id FROM shop.below",
    "SQL SECURITY INVOKER VIEW shop.v AS SELECT id FROM shop.below",
    "FUNCTION shop.f() RETURNS int RETURN 1",
    "PROCEDURE shop.p() SELECT 1",
    "PROCEDURE shop.p() SQL SECURITY INVOKER SELECT 1",
    "TRIGGER shop.g BEFORE INSERT ON shop.below FOR EACH ROW SET NEW.id = 1",
    "EVENT shop.e ON SCHEDULE EVERY 1 DAY DO SELECT 1",
)
ACCOUNTS = (
    ("super@localhost", "GRANT SUPER ON *.* TO super@localhost", "SUPER ON *.*"),
    ("peeks@localhost", "GRANT SELECT ON others.* TO peeks@localhost", "SELECT ON `others`.*"),
    ("peeks@localhost", "GRANT SELECT ON others.t TO peeks@localhost", "SELECT ON `others`.`t`"),
    ("wild@localhost", "GRANT SELECT ON `sho_`.* TO wild@localhost", "SELECT ON `sho_`.*"),
    ("wild@localhost", "GRANT SELECT ON `%`.* TO wild@localhost", "SELECT ON `%`.*"),
    ("gives@localhost", "GRANT SELECT ON shop.* TO gives@localhost WITH GRANT OPTION", "WITH GRANT OPTION"),
    ("acts@localhost", "GRANT r TO acts@localhost", "GRANT `r`"),
    ("anywhere@`%`", "GRANT SELECT ON mysql.* TO anywhere@`%`", "SELECT ON `mysql`.*"),
)


def test_to_borrow_the_rights_of_an_external_servers_definers(
    jobs: Jobs, stopped_by: Callable[[str], None]
) -> None:
    ask = jobs.external.ask
    ask("CREATE OR REPLACE ROLE r")
    ask("CREATE OR REPLACE USER super@localhost")
    ask("GRANT SUPER ON *.* TO super@localhost")
    ask("GRANT SELECT ON mysql.* TO th@localhost")
    try:
        for lender in LENDERS:  # of each kind
            ask(f"CREATE OR REPLACE DEFINER=super@localhost {lender}")
            code, text = jobs.failure()
            assert code == "seed_changed" and "super@localhost, who has SUPER ON *.*" in text, text
            assert "ACCOUNT LOCK" in text and not list(jobs.root.glob("snapshots/seals/*")), "nothing is sealed"
            ask("DROP VIEW IF EXISTS shop.v")
            for kind, name in (("FUNCTION", "f"), ("PROCEDURE", "p"), ("TRIGGER", "g"), ("EVENT", "e")):
                ask(f"DROP {kind} IF EXISTS shop.{name}")
        with mariadb.connect(jobs.external.server, jobs.external.server.admin_file) as admin:
            for definer, grant, said in ACCOUNTS:  # of each account, as the operator's account sees them
                ask(f"CREATE OR REPLACE USER {definer}")
                ask(grant)
                named = definer.replace("`%`", "'10.0.0.1'")
                ask(f"CREATE OR REPLACE DEFINER={named} VIEW shop.v AS SELECT id FROM shop.below")
                (found,) = lent_rights.lenders(admin, ["shop"], "")
                assert said in found and found.startswith("the view v (shop) has the definer"), found
            for definer, grant in (
                ("plain@localhost", r"GRANT ALL ON shop.* TO plain@localhost"),
                ("plain@localhost", "GRANT SELECT (id), UPDATE (id) ON shop.below TO plain@localhost"),
                ("plain@localhost", "GRANT USAGE ON *.* TO plain@localhost WITH MAX_USER_CONNECTIONS 3"),
            ):
                ask(f"CREATE OR REPLACE USER {definer} IDENTIFIED BY 'x' ACCOUNT LOCK")
                ask(grant)
                ask(f"CREATE OR REPLACE DEFINER={definer} VIEW shop.v AS SELECT id FROM shop.below")
                assert lent_rights.lenders(admin, ["shop"], "") == []
            ask("DROP USER plain@localhost")
            assert lent_rights.lenders(admin, ["shop"], "") == [], "nobody of that name: it lends nothing"
    finally:
        ask("REVOKE SELECT ON mysql.* FROM th@localhost")
        for name in {definer for definer, _, _ in ACCOUNTS}:
            ask(f"DROP USER IF EXISTS {name}")
        ask("DROP ROLE r")
    stopped_by("a look at what each definer may do")


@pytest.mark.parametrize(
    ("grant", "more"),
    [
        ("GRANT PROXY ON ''@'%' TO 'a'@'%' WITH GRANT OPTION", "GRANT PROXY ON ''@'%'"),
        ("GRANT `r`@`%` TO `a`@`%`", "GRANT `r`@`%`"),
        ("GRANT ROLE_ADMIN,XA_RECOVER_ADMIN ON *.* TO `a`@`%`", "ROLE_ADMIN,XA_RECOVER_ADMIN ON *.*"),
        ("GRANT EXECUTE ON FUNCTION `mysql`.`f` TO `a`@`%`", "EXECUTE ON `mysql`.`f`"),
        ("GRANT ALL PRIVILEGES ON `my\\_shop`.* TO `a`@`%`", ""),
        ("GRANT SELECT (`a`, `b`), DROP ON `my_shop`.`t` TO `a`@`%`", ""),
        ("GRANT USAGE ON *.* TO `a`@`%` REQUIRE SSL", ""),
        ("REVOKE INSERT ON `mysql`.* FROM `a`@`%`", ""),
        ("GRANT SELECT ON `my\\_shop2`.* TO `a`@`%`", "SELECT ON `my\\_shop2`.*"),
        ("GRANT SELECT ON `myxshop`.* TO `a`@`%`", "SELECT ON `myxshop`.*"),
        ("nobody knows what this is", "nobody knows what this is"),
    ],
)
def test_rights_are_read_in_the_words_of_every_server(grant: str, more: str) -> None:
    assert lent_rights._more(grant, lent_rights._Own(["my_shop"], caseless=False, exact=False)) == more


def test_th_check_names_what_a_preloaded_database_would_lend(
    tmp_path: Path, jobs: Jobs, stopped_by: Callable[[str], None]
) -> None:
    installation = Installation(tmp_path)
    password = tmp_path / "datasets" / "password"
    password.write_text("secret word\n")
    password.chmod(0o600)
    server = {"socket": jobs.external.server.socket, "user": "th", "password_file": "password"}
    keys = {"project": "org/project", "type": "mysql", "database": "shop", "preloaded": True, "reset": ["/bin/true"]}
    (tmp_path / "datasets" / "one.json").write_text(json.dumps({**keys, "server": server}))
    jobs.external.ask("CREATE OR REPLACE USER super@localhost")
    jobs.external.ask("CREATE DEFINER=super@localhost VIEW shop.v AS SELECT id FROM shop.below")
    jobs.external.ask("GRANT SELECT ON mysql.* TO th@localhost")
    try:
        given = {"path": "x", "server": {**server, "password_file": str(password)}, "databases": ["shop"]}
        assert check_servers.report([given]) == [{"path": "x", "problems": []}]
        jobs.external.ask("GRANT SUPER ON *.* TO super@localhost")
        (found,) = [one for one in installation.checks() if one.name == "dataset" and not one.ok]
        assert "the view v (shop) has the definer super@localhost, who has SUPER ON *.*" in found.text
        assert "Preloaded databases" in found.remedy
        password.write_text("another\n")
        (unasked,) = check_servers.report([given])
        assert "Access denied for user 'th'" in unasked["problems"][0]
    finally:
        jobs.external.ask("DROP USER super@localhost")
        jobs.external.ask("REVOKE SELECT ON mysql.* FROM th@localhost")
    stopped_by("the same look before there is a job")


def test_definers_whose_rights_nobody_can_see(jobs: Jobs, stopped_by: Callable[[str], None]) -> None:
    jobs.external.ask("CREATE OR REPLACE USER secretive@localhost ACCOUNT LOCK")
    jobs.external.ask("CREATE DEFINER=secretive@localhost VIEW shop.v AS SELECT id FROM shop.below")
    try:
        code, text = jobs.failure()
        assert code == "seed_changed" and "GRANT SELECT ON mysql.*" in text, text
        jobs.external.ask("GRANT SELECT ON mysql.* TO th@localhost")
        assert jobs.restore()[0]["method"] == "reset"
    finally:
        jobs.external.ask("DROP USER secretive@localhost")
        jobs.external.ask("REVOKE SELECT ON mysql.* FROM th@localhost")
    stopped_by("a proof that asks for the right to see it")


def test_to_leave_something_for_the_operators_own_account(jobs: Jobs, stopped_by: Callable[[str], None]) -> None:
    """A command that resets the database reads a table, in whose place an earlier job has left something else."""
    ask, external = jobs.external.ask, jobs.external
    seed = jobs.root / "seed.sql"
    seed.write_text(
        "DROP VIEW IF EXISTS below; CREATE OR REPLACE TABLE below (id int); DROP FUNCTION IF EXISTS leave_it;"
        " DROP PROCEDURE IF EXISTS more; DROP EVENT IF EXISTS later;"
    )
    jobs.keys["reset"] = ["/bin/sh", "-c", f"{mariadb.tool('mariadb')} --defaults-file={external.server.admin_file}"
                          f" --force shop -e 'SELECT * FROM below'; {mariadb.tool('mariadb')}"
                          f" --defaults-file={external.server.admin_file} shop < {seed}"]  # fmt: skip
    _, server = jobs.restore()
    with mariadb.connect(server, server.job_file, database="shop") as job:
        for statement in (
            "DROP TABLE below",
            "CREATE FUNCTION leave_it() RETURNS int MODIFIES SQL DATA SQL SECURITY INVOKER"
            " BEGIN INSERT INTO others.t VALUES (2); RETURN 1; END",
            "CREATE SQL SECURITY INVOKER VIEW below AS SELECT leave_it() AS id",
            "CREATE PROCEDURE more() SELECT 1",
            "CREATE EVENT later ON SCHEDULE EVERY 1 DAY DO SELECT 1",
            "CREATE TRIGGER g BEFORE INSERT ON alembic_version FOR EACH ROW SET NEW.version_num = 'x'",
        ):
            mariadb.query(job, statement)
    external_server.release(server)
    try:
        assert jobs.restore()[0]["version"] == ["a1"]
        assert ask("SELECT * FROM others.t") == [(1,)]
    finally:
        ask("DELETE FROM others.t WHERE id = 2")
    stopped_by("databases without anything that runs, before the command of the operator's is")


def test_a_name_that_would_stand_for_other_databases_too(jobs: Jobs, stopped_by: Callable[[str], None]) -> None:
    jobs.keys["database"] = "shop_" + "x" * 58 + "_"
    code, text = jobs.failure()
    assert code == "seed_broken" and "Give it a shorter name" in text, text
    stopped_by("a look at the name before anything is granted")

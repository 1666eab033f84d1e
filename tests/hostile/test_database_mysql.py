# SPDX-License-Identifier: Apache-2.0
"""What a change can do with the job's own account on a MySQL: what there is to try beside what MariaDB has
(test_database.py), and whether that is stopped there as well."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible.module_utils.th_measure import meter
from ansible.module_utils.th_server import mariadb
from ansible.module_utils.th_server.mariadb import query
from ansible.module_utils.th_server.plain_table import not_plain

from tests.kit import engines

from .test_database import DEFINER, Attempt, Bench, refuse, refuse_a_local_file

ACCOUNT = "toy@localhost"
NO_DEFINER = "no right SET_ANY_DEFINER"
ATTEMPTS = (
    Attempt("to write a file", "SELECT 'x' INTO OUTFILE '{tmp}/out'", "no right FILE"),
    Attempt("to read a file", "SELECT LOAD_FILE('{tmp}/secret')", "no right FILE", None, expected=[(None,)]),
    Attempt("to load a file", "LOAD DATA INFILE '{tmp}/secret' INTO TABLE t", "no right FILE", undo="DELETE FROM t"),
    Attempt(
        "to load a file outside the one folder", "LOAD DATA INFILE '/etc/passwd' INTO TABLE t", works=False,
        stopped="no right FILE, and secure_file_priv for who has it",
    ),
    Attempt("to import a table's file", "IMPORT TABLE FROM '{tmp}/x.sdi'", "no right FILE", works=False),
    Attempt("to load a library", "CREATE FUNCTION f RETURNS STRING SONAME 'f.so'", works=False),
    Attempt("to install a plugin", "INSTALL PLUGIN clone SONAME 'mysql_clone.so'", works=False),
    Attempt("to install a component", "INSTALL COMPONENT 'file://component_validate_password'", works=False),
    Attempt("to copy the server", "CLONE LOCAL DATA DIRECTORY = '{tmp}/clone'", works=False),
    Attempt("to change the server", "SET GLOBAL long_query_time = 9", undo="SET GLOBAL long_query_time = 10"),
    Attempt("to change it for ever", "SET PERSIST long_query_time = 9", undo="RESET PERSIST long_query_time"),
    Attempt("to change its next start", "SET PERSIST_ONLY long_query_time = 9", undo="RESET PERSIST long_query_time"),
    Attempt("to allow local files", "SET GLOBAL local_infile = ON", undo="SET GLOBAL local_infile = OFF"),
    Attempt("to start the scheduler", "SET GLOBAL event_scheduler = ON", undo="SET GLOBAL event_scheduler = OFF"),
    Attempt(
        "to write no redo log", "ALTER INSTANCE DISABLE INNODB REDO_LOG", undo="ALTER INSTANCE ENABLE INNODB REDO_LOG"
    ),
    Attempt("to set the counters back", "FLUSH STATUS"),
    Attempt("to stop counting", "UPDATE performance_schema.setup_instruments SET enabled = 'YES'"),
    Attempt("to stop counting itself", "UPDATE performance_schema.threads SET instrumented = 'YES'"),
    Attempt("to empty what is counted", "TRUNCATE performance_schema.table_io_waits_summary_by_table"),
    Attempt("to read what others execute", "SELECT * FROM performance_schema.events_statements_current"),
    Attempt("to stop a metric", "SET GLOBAL innodb_monitor_disable = 'purge_del_mark_records'"),
    Attempt("to shut the server down", "SHUTDOWN", works=False),
    Attempt("to start it again", "RESTART", works=False),
    Attempt("to end the measuring connection", "KILL {measuring}", "it is not the user's own"),
    Attempt("to make an account", "CREATE USER more@localhost", undo="DROP USER more@localhost"),
    Attempt("to rename an account", "RENAME USER 'mysql.sys'@localhost TO x@localhost", works=False),
    Attempt("to take another's password", "ALTER USER 'mysql.sys'@localhost IDENTIFIED BY 'x'", works=False),
    Attempt("to lift its own limits", f"ALTER USER {ACCOUNT} WITH MAX_USER_CONNECTIONS 0"),
    Attempt("to grant itself rights", f"GRANT FILE ON *.* TO {ACCOUNT}", undo=f"REVOKE FILE ON *.* FROM {ACCOUNT}"),
    Attempt("to share its rights", "GRANT ALL ON toy.* TO 'mysql.sys'@localhost", works=False),
    Attempt("to make a role", "CREATE ROLE r", undo="DROP ROLE r"),
    Attempt("to take a role", "SET ROLE root", "there is none", "is not granted", works=False),
    Attempt("to grant a role", f"GRANT 'mysql.sys'@localhost TO {ACCOUNT}", works=False),
    Attempt("to act as another", f"GRANT PROXY ON 'mysql.sys'@localhost TO {ACCOUNT}", works=False),
    Attempt("to read passwords", "SELECT * FROM mysql.user"),
    Attempt("to write to the accounts", "UPDATE mysql.user SET File_priv = 'N' WHERE User = 'nobody'"),
    Attempt(
        "to see what others do", "SELECT COUNT(*) FROM information_schema.processlist WHERE user <> 'toy'",
        "no right PROCESS", None, expected=[(0,)],
    ),
    Attempt("to see the engine's tables", "SELECT * FROM information_schema.innodb_tables"),
    Attempt("to make another database", "CREATE DATABASE other", undo="DROP DATABASE other"),
    Attempt("to make an administrator's view", f"{DEFINER} VIEW v AS SELECT 1", NO_DEFINER, undo="DROP VIEW v"),
    Attempt(
        "to make an administrator's procedure", f"{DEFINER} PROCEDURE p() SELECT 1", NO_DEFINER, undo="DROP PROCEDURE p"
    ),
    Attempt(
        "to make an administrator's function", f"{DEFINER} FUNCTION f() RETURNS INT DETERMINISTIC RETURN 1", NO_DEFINER,
        undo="DROP FUNCTION f",
    ),
    Attempt(
        "to make an administrator's trigger", f"{DEFINER} TRIGGER g BEFORE INSERT ON t FOR EACH ROW SET NEW.id = 1",
        NO_DEFINER, undo="DROP TRIGGER g",
    ),
    Attempt(
        "to make an administrator's event", f"{DEFINER} EVENT e ON SCHEDULE EVERY 1 DAY DO DO 1", NO_DEFINER,
        undo="DROP EVENT e",
    ),
    Attempt(
        "to name another server", "CREATE SERVER s FOREIGN DATA WRAPPER mysql OPTIONS (HOST '127.0.0.1')",
        undo="DROP SERVER s",
    ),
    Attempt("to follow another server", "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1'", works=False),
    Attempt("to run another's events", "BINLOG 'x'", works=False),
    Attempt(
        "to reach a server through a table", "CREATE TABLE c (a int) ENGINE=FEDERATED CONNECTION='mysql://x@127.0.0.1/x'",
        "the engine is not there", "Unknown storage engine", works=False,
    ),
    Attempt("to lock everybody out", "FLUSH TABLES WITH READ LOCK", undo="UNLOCK TABLES"),
    Attempt("to stop all other DDL", "LOCK INSTANCE FOR BACKUP", undo="UNLOCK INSTANCE"),
    Attempt("to lock a system table", "LOCK TABLES mysql.user WRITE", undo="UNLOCK TABLES"),
    Attempt("to see others' transactions", "XA RECOVER", "no right XA_RECOVER_ADMIN", "XAER_RMERR"),
    Attempt("to make a tablespace", "CREATE TABLESPACE s ADD DATAFILE 's.ibd'", undo="DROP TABLESPACE s"),
    Attempt("to make room for undoing", "CREATE UNDO TABLESPACE s ADD DATAFILE 's.ibu'", works=False),
    Attempt("to put a table elsewhere", "CREATE TABLE c (a int) DATA DIRECTORY = '{tmp}'", works=False),
    Attempt("to take processors", "CREATE RESOURCE GROUP g TYPE = USER", works=False),
)  # fmt: skip


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    made = Bench(tmp_path_factory.mktemp("bench"), engines.mysql(), engines.mysql_options())
    yield made
    mariadb.stop(made.server, 0)


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=lambda attempt: attempt.tries)
def test_the_jobs_user_tries(bench: Bench, attempt: Attempt, stopped_by: Callable[[str], None]) -> None:
    refuse(bench, attempt)
    stopped_by(attempt.stopped)


def test_a_file_of_the_clients_is_not_loaded(bench: Bench, stopped_by: Callable[[str], None], tmp_path: Path) -> None:
    refuse_a_local_file(bench, tmp_path, "Loading local data is disabled")
    stopped_by("a server without local_infile")


def test_an_event_never_comes(bench: Bench, stopped_by: Callable[[str], None]) -> None:
    bench.clean()
    bench.user("CREATE TABLE t (id int)", "CREATE EVENT e ON SCHEDULE EVERY 1 SECOND DO INSERT INTO t VALUES (1)")
    event = "SELECT status, last_executed FROM information_schema.events"
    assert bench.user("DO SLEEP(1.5)", event) == [("ENABLED", None)]
    assert bench.admin("SELECT @@GLOBAL.event_scheduler") == [("OFF",)]
    stopped_by("a server whose scheduler does not run")


def test_a_server_has_one_way_in_and_sees_its_own_folder_alone(
    bench: Bench, stopped_by: Callable[[str], None]
) -> None:
    process = Path(f"/proc/{bench.server.pid}")
    status = (process / "status").read_text()
    assert re.search(r"^CapEff:\t0+$", status, re.MULTILINE) and re.search(r"^Seccomp:\t2$", status, re.MULTILINE)
    *_, listening = (process / "net" / "tcp").read_text(), (process / "net" / "tcp6").read_text()
    assert len(listening.splitlines()) == 1, listening
    sockets = re.findall(r"\S+$", (process / "net" / "unix").read_text(), re.MULTILINE)
    assert {name for name in sockets if name.startswith("/")} == {bench.server.socket}
    other = "SELECT plugin_status FROM information_schema.plugins WHERE plugin_name = 'mysqlx'"
    assert bench.admin(other) in ([("DISABLED",)], [])
    inside = process / "root"
    here = Path(bench.server.folder).relative_to("/")
    assert sorted(path.name for path in (inside / here).iterdir()) == ["data", "init.sql", "run", "server.log", "tmp"]
    secret = mariadb.read_account(bench.server.admin_file)["password"].encode()
    for path in filter(Path.is_file, (inside / here).rglob("*")):
        assert secret not in path.read_bytes(), path
    assert not (inside / "etc" / "shadow").exists() and not (inside / "root" / ".ssh").exists()
    stopped_by("a box of the server's own")


TRAPS = {
    "is a view": "CREATE SQL SECURITY INVOKER VIEW alembic_version AS SELECT spy() AS version_num",
    "computes its column": "CREATE TABLE alembic_version (a int, version_num varchar(9) AS (CONCAT('b', a)))",
    "is kept by the engine": "CREATE TABLE alembic_version (version_num varchar(9)) ENGINE=BLACKHOLE",
}


@pytest.mark.parametrize("problem", TRAPS)
def test_the_version_is_read_from_a_plain_table(
    bench: Bench, problem: str, stopped_by: Callable[[str], None]
) -> None:
    """A function in a view would run with the rights of who reads it."""
    bench.clean()
    spy = "CREATE FUNCTION spy() RETURNS varchar(32) DETERMINISTIC SQL SECURITY INVOKER RETURN CURRENT_USER()"
    version = "SELECT version_num FROM alembic_version"
    bench.user(spy, TRAPS[problem])
    with mariadb.connect(bench.server, bench.server.job_file, database="toy") as connection:
        assert problem in not_plain(connection, "toy", version)
        query(connection, f"DROP {'VIEW' if 'view' in problem else 'TABLE'} alembic_version")
        query(connection, "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
        assert not_plain(connection, "toy", version) == ""
    stopped_by("a walk that reads plain tables alone")


ROWS = "WITH RECURSIVE s (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < 100000)"
FILLING = {
    "with a table": f"CREATE TABLE x {ROWS} SELECT REPEAT('x', 1000) AS a FROM s",
    "with a table of another engine's": f"CREATE TABLE x ENGINE=MyISAM {ROWS} SELECT REPEAT('x', 1000) AS a FROM s",
    "with what it sorts": f"SELECT COUNT(*) FROM ({ROWS} SELECT i, REPEAT(i, 200) AS a FROM s"
    " ORDER BY SHA2(i, 256), a LIMIT 99999) y",
}


@pytest.mark.parametrize("how", FILLING)
def test_a_database_that_fills_the_disk(bench: Bench, how: str, stopped_by: Callable[[str], None]) -> None:
    many = "op.execute('SET SESSION cte_max_recursion_depth = 100000')"
    event = bench.walk(f'{many}\nop.execute("{FILLING[how]}")', disk=20 << 20)
    assert event["code"] == "over_limit" and "sandbox_database_disk" in event["detail"], event["detail"]
    stopped_by("sandbox_database_disk")


def test_a_server_that_runs_out_of_memory(bench: Bench, stopped_by: Callable[[str], None]) -> None:
    """The limit is not far above what a server has that does nothing."""
    body = "for number in range(40): op.execute(f\"SET @v{number} = REPEAT('x', 30 << 20)\")"
    event = bench.walk(body, at_start=True, memory=1100 << 20)
    assert event["code"] == "over_limit" and "(sandbox_database_memory): " in event["detail"], event["detail"]
    stopped_by("sandbox_database_memory")


def test_what_the_server_does_by_itself_is_no_data(bench: Bench) -> None:
    bench.clean()
    bench.user("CREATE TABLE t (id int)")
    before = meter._size(bench.server.datadir)
    bench.user(
        "SET SESSION cte_max_recursion_depth = 200000",
        f"CREATE TEMPORARY TABLE x {ROWS} SELECT REPEAT('x', 200) AS a FROM s",
        "BEGIN",
        "UPDATE x SET a = 'y'",
        "ROLLBACK",
    )
    bench.ask(bench.server.admin_file, "FLUSH LOGS")
    assert meter._size(bench.server.datadir) == before
    with mariadb.connect(bench.server, bench.server.job_file, database="toy") as connection:
        query(connection, "CREATE TABLE undo_1 (a varchar(2000)) SELECT REPEAT('x', 2000) AS a")
    assert meter._size(bench.server.datadir) > before, "a table of the name of a file that is none of the data's"

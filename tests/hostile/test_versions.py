# SPDX-License-Identifier: Apache-2.0
"""Versions that are not what a database would hold: in a transaction that is never committed, or in what is no table.

Each change says that it has arrived, and is looked at by the walk that measures it."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pymysql
import pytest
from ansible.module_utils.th_dataset.failure import RestoreError
from ansible.module_utils.th_server import external_server, mariadb, prepared
from ansible.module_utils.th_server.plain_table import not_plain, tables_of
from ansible.module_utils.th_walk import leftovers, server_probe
from ansible.module_utils.th_walk.walkers import WalkError

from tests.kit import toy
from tests.kit.external_server import External
from tests.library.external_jobs import Jobs
from tests.library.test_restore import Home
from worker.verdict import advice

from .test_database import Bench, bench  # noqa: F401 - one server for all of them

ENDS = """
import json, os, sys
channel = int(sys.argv[1])
os.write(channel, json.dumps({{"done": {number}}}).encode() + b"\\n")
read = b""
while b"seen" not in read:
    read += os.read(channel, 4096)
os.write(channel, b'{{"end": true}}\\n')
os._exit(0)
"""
"""What says that all is well, and goes at once: whatever is not committed, the server undoes."""

OWN = """
import pymysql
from sqlalchemy.engine import make_url
url = make_url(op.get_context().config.get_main_option("sqlalchemy.url"))
own = pymysql.connect(
    user=url.username, password=url.password, unix_socket=url.query["unix_socket"], database=url.database
)
cursor = own.cursor()
"""
LAST = ENDS.format(number=1)


def walked(made: Bench, body: str) -> list[dict[str, Any]]:
    """The events of the walk of a change that migrates twice; the second migration does `body`."""
    made.clean()
    job_dir = made.root / "job"
    (job_dir / "db").mkdir(parents=True)
    (job_dir / "db" / toy.NAME).symlink_to(made.server.folder)
    try:
        return toy.walk(job_dir, {"a1": (None, toy.FIRST), "b2": ("a1", body)})
    finally:
        shutil.rmtree(job_dir)


def failed(made: Bench, body: str) -> str:
    """The detail of the error that such a walk ends with."""
    events = walked(made, body)
    error = toy.error(events)
    assert error["code"] == "walk_failed" and "final" not in toy.kinds(events), events
    assert advice.of(error["code"], error["detail"]), "there is a remedy for it"
    return str(error["detail"])


XA = f"""
{OWN}
cursor.execute("XA START 'x'")
cursor.execute("UPDATE alembic_version SET version_num = 'b2'")
cursor.execute("XA END 'x'")
cursor.execute("XA PREPARE 'x'")
{LAST}
"""
XA_ELSEWHERE = f"""
{OWN}
cursor.execute("XA START '\\\\x00\\\\xff','\\\\xfe',7")
cursor.execute("INSERT INTO t (name) VALUES ('x')")
cursor.execute("XA END '\\\\x00\\\\xff','\\\\xfe',7")
cursor.execute("XA PREPARE '\\\\x00\\\\xff','\\\\xfe',7")
own.close()
"""
ROLLED_BACK = f"""
{OWN}
own.begin()
cursor.execute("UPDATE alembic_version SET version_num = 'b2'")
cursor.execute("INSERT INTO t (name) SELECT 'x' FROM seq_1_to_ROWS")
{LAST}
"""


def forget(made: Bench) -> None:
    """Roll back what is prepared: the next test's server is the same."""
    for _, first, second, name in made.admin("XA RECOVER FORMAT='SQL'"):
        assert first + second
        made.admin(f"XA ROLLBACK {name}")
    assert not made.admin("XA RECOVER")


@pytest.mark.parametrize("body", [XA, XA_ELSEWHERE], ids=["the version", "something else"])
def test_to_prepare_and_never_commit(bench: Bench, body: str, stopped_by: Callable[[str], None]) -> None:  # noqa: F811
    try:
        detail = failed(bench, body)
        assert "neither committed nor rolled back ('x" in detail and "XA COMMIT" in detail, detail
    finally:
        forget(bench)
    stopped_by("a look at what is prepared when the process is gone")


def test_a_version_that_is_never_committed(
    bench: Bench, stopped_by: Callable[[str], None], monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:
    """However long it takes to undo it, nobody gives up and believes what was there before."""
    events = walked(bench, ROLLED_BACK.replace("ROWS", "20000"))
    ends = [event["version"] for event in events if event["event"] == "end"]
    assert ends == ["a1", "b2"], "what is seen within the step"
    assert (events[-1]["event"], events[-1]["version"], events[-1]["expected"]) == ("final", "a1", "b2")
    monkeypatch.setattr(server_probe, "KILL_PATIENCE", 0)
    detail = failed(bench, ROLLED_BACK.replace("ROWS", "300000"))
    assert "still being rolled back after 0 s (connection" in detail and "Commit what a migration does" in detail
    stopped_by("a final version that is committed, and a walk that waits or fails")


LIES = {
    "a view": "CREATE VIEW alembic_version AS SELECT 'b2' AS version_num",
    "a view of the merge kind": "CREATE ALGORITHM=MERGE VIEW alembic_version AS SELECT version_num FROM kept",
    "a computed column": "CREATE TABLE alembic_version (id int, version_num varchar(32) AS ('b2') VIRTUAL)",
    "a table that is forgotten": "CREATE TABLE alembic_version (version_num varchar(32)) ENGINE=MEMORY",
    "a table of tables": "CREATE TABLE alembic_version (version_num varchar(32)) ENGINE=MRG_MyISAM UNION=(below)",
    "a stored column": "CREATE TABLE alembic_version (id int, version_num varchar(32) AS (CONCAT('b', id)) STORED)",
}
TRIGGERS = tuple(
    f"CREATE TRIGGER g {when} {event} ON alembic_version FOR EACH ROW DO 1"
    for when in ("BEFORE", "AFTER")
    for event in ("INSERT", "UPDATE", "DELETE")
)


def test_a_version_table_that_makes_up_its_version(
    bench: Bench, stopped_by: Callable[[str], None]  # noqa: F811
) -> None:
    said = failed(bench, f"op.execute('RENAME TABLE alembic_version TO kept')\nop.execute({LIES['a view']!r})\n{LAST}")
    assert "alembic_version is a view: a version is read from a base table" in said
    said = failed(bench, f"op.execute({TRIGGERS[0]!r})")
    assert "alembic_version has the trigger g: a version" in said
    stopped_by("a look at what the version is read from")


VERSION_TABLES = {
    "SELECT version_num FROM `alembic_version`": ("alembic_version", "version_num"),
    "SELECT version FROM `toy`.`migrate_version`": ("migrate_version", "version"),
    "SELECT CONCAT(app, '.', name) FROM `django_migrations`": ("django_migrations", "app"),
    "SELECT MAX(v) FROM (SELECT version AS v FROM other o, versions WHERE id > 0) AS x": ("versions", "version"),
    "select a.version from other a left join `versions` b on a.id = b.id": ("versions", "version"),
}


@pytest.mark.parametrize("query", VERSION_TABLES)
def test_every_tools_version_table(bench: Bench, query: str) -> None:  # noqa: F811
    table, column = VERSION_TABLES[query]
    bench.clean()
    bench.user(
        "CREATE TABLE other (id int)", "CREATE TABLE kept (version_num varchar(32))",
        f"CREATE TABLE below ({column} varchar(32)) ENGINE=MyISAM",
    )  # fmt: skip
    with mariadb.connect(bench.server, bench.server.job_file, database="toy") as connection:
        assert not_plain(connection, "toy", query) == "", "what is not there is no lie"
        for what, lie in LIES.items():
            lie = lie.replace("alembic_version", table).replace("version_num", column)
            if what == "a view of the merge kind":
                lie = lie.replace(f"SELECT {column}", f"SELECT version_num AS {column}")
            mariadb.query(connection, lie)
            found = not_plain(connection, "toy", query)
            kind = "computes its column" if "column" in what else "is a " if "view" in what else "is kept by the engine"
            assert found.startswith(f"{table} {kind}"), (what, found)
            mariadb.query(connection, f"DROP {'VIEW' if 'view' in what else 'TABLE'} {table}")
        mariadb.query(
            connection,
            f"CREATE TABLE {table} (id int PRIMARY KEY, {column} varchar(32) DEFAULT (UUID()), at timestamp, KEY (at),"
            " CHECK (id > 0))",
        )
        assert not_plain(connection, "toy", query) == ""
        for trigger in TRIGGERS:
            mariadb.query(connection, trigger.replace("alembic_version", table))
            assert not_plain(connection, "toy", query).startswith(f"{table} has the trigger g"), trigger
            mariadb.query(connection, "DROP TRIGGER g")


def test_tables_are_found_in_a_query() -> None:
    assert tables_of("SELECT 1") == []
    assert tables_of("SELECT a FROM `we``ird` , b.c AS d, `e`.`f g` WHERE x = (SELECT 1 FROM h)") == [
        ("", "we`ird"), ("b", "c"), ("e", "f g"), ("", "h"),
    ]  # fmt: skip


@pytest.mark.parametrize("lie", [f"DROP TABLE alembic_version; {LIES['a view']}", TRIGGERS[3]], ids=["view", "trigger"])
def test_a_dump_whose_version_table_makes_up_its_version(
    tmp_path: Path, lie: str, stopped_by: Callable[[str], None]
) -> None:
    home = Home(tmp_path)
    home.dump.write_text(home.dump.read_text().replace("-- Dump completed", f"{lie};\n-- Dump completed"))
    with pytest.raises(RestoreError, match="the version table alembic_version") as caught:
        home.restore()
    assert caught.value.code == "seed_broken" and "migrations.version_table" in str(caught.value)
    stopped_by("a look at what the version is read from")


def test_to_prepare_or_delay_on_an_external_server(external: External, stopped_by: Callable[[str], None]) -> None:
    """Other people's transactions are none of the change's; what holds a lock in its databases is."""
    with mariadb.connect(external.server, external.server.admin_file) as admin:
        server = replace(external.server, private=False, databases={"": "shop"})
        assert server.user == "somebody"

        def prepare(name: str, table: str) -> None:
            with mariadb.connect(external.server, external.server.job_file) as job:
                for statement in ("START", f"INSERT INTO {table} VALUES (7)", "END", "PREPARE"):
                    mariadb.query(job, statement if " " in statement else f"XA {statement} '{name}'")

        mariadb.query(admin, "CREATE TABLE shop.a (id int PRIMARY KEY)")
        mariadb.query(admin, "CREATE TABLE shop.m (id int) ENGINE=MyISAM")
        leftovers.nothing_prepared(admin, server)
        prepare("theirs", "others.t")
        try:
            leftovers.end_connections(admin, server, toy.PATIENCE)
            leftovers.nothing_prepared(admin, server)
            prepare("ours", "shop.a")
            leftovers.end_connections(admin, server, toy.PATIENCE)
            with pytest.raises(WalkError, match=r"left a transaction .* which locks the table shop\.a") as caught:
                leftovers.nothing_prepared(admin, server)
            assert caught.value.code == "walk_failed"
        finally:
            for *_, name in mariadb.query(admin, "XA RECOVER FORMAT='SQL'"):
                mariadb.query(admin, f"XA ROLLBACK {name}")
        mariadb.query(admin, "SET GLOBAL max_delayed_threads = 20")
        with mariadb.connect(external.server, external.server.job_file, database="shop") as job:
            leftovers.delayed(admin, server)
            mariadb.query(job, "SET SESSION max_delayed_threads = 20")
            mariadb.query(job, "INSERT DELAYED INTO m VALUES (1)")
            with pytest.raises(WalkError, match="INSERT DELAYED") as caught:
                leftovers.delayed(admin, server)
            assert advice.of(caught.value.code, caught.value.detail)
            leftovers.delayed(admin, external.server)
    stopped_by("a look at what locks the job's tables, and at the server's threads for delayed rows")


def test_to_lock_an_external_server_for_the_next_job(
    tmp_path: Path, external: External, stopped_by: Callable[[str], None]
) -> None:
    """However the job ends: by itself, canceled, or with its worker."""
    jobs = Jobs(tmp_path, external)

    def prepare(name: str, table: str, server: mariadb.Server, account: Path) -> None:
        with mariadb.connect(server, account) as job:
            insert = f"INSERT INTO {table} VALUES (CRC32('{name}') % 1000)"
            for statement in ("XA START", insert, "XA END", "XA PREPARE"):
                mariadb.query(job, statement if "INSERT" in statement else f"{statement} '{name}'")

    def recover() -> set[str]:
        return {name for *_, name in external.ask("XA RECOVER FORMAT='SQL'")}

    prepare("theirs", "others.t", external.server, external.server.admin_file)
    try:
        for end in ("released", "canceled", "killed"):
            _, server = jobs.restore()
            for name in ("one", "two"):
                prepare(f"{end} {name}", f"{server.database}.alembic_version", server, server.job_file)
            assert len(recover()) == 3
            if end == "released":
                external_server.release(server)
            else:
                os.kill(server.pid, signal.SIGTERM if end == "canceled" else signal.SIGKILL)
                os.waitpid(server.pid, 0)
            if end != "killed":
                assert recover() == {"'theirs'"} and external.ours() == []
        jobs.restore()
        assert server.database in external.ours(), "nobody can know any more whose the transaction is"
        assert recover() == {"'theirs'", "'killed one'", "'killed two'"}
    finally:
        for name in recover():
            external.ask(f"XA ROLLBACK {name}")
    for server in jobs.started:
        external_server.release(server)
    stopped_by("a job's end that rolls back what locks its tables")


def test_the_names_of_transactions_as_mysql_has_them() -> None:
    class Fake:
        """A cursor of a server that has no FORMAT."""

        def __init__(self, rows: list[tuple[Any, ...]] | None) -> None:
            self.rows, self.answer = rows, list[tuple[Any, ...]]()

        def cursor(self) -> Fake:
            return self

        def __enter__(self) -> Fake:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def execute(self, sql: str, values: object) -> None:
            if "FORMAT" in sql:
                raise pymysql.err.ProgrammingError(1064, "You have an error in your SQL syntax")
            if self.rows is None:
                raise pymysql.err.OperationalError(1401, "XAER_RMERR")
            self.answer = self.rows

        def fetchall(self) -> list[tuple[Any, ...]]:
            return self.answer

    assert prepared.prepared(Fake([(7, 2, 1, "0x00ff27")])) == ["X'00ff',X'27',7"]
    assert prepared.prepared(Fake([])) == [] and prepared.prepared(Fake(None)) is None


def test_a_server_that_lets_nobody_end_connections(external: External, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the operator's account that lacks a right, not the change that is at fault."""
    with (
        mariadb.connect(external.server, external.server.admin_file) as admin,
        mariadb.connect(external.server, external.server.job_file) as job,
    ):
        mariadb.query(admin, "CREATE OR REPLACE USER looks@localhost IDENTIFIED BY 'x'")
        mariadb.query(admin, "GRANT PROCESS ON *.* TO looks@localhost")
        with (
            pymysql.connect(user="looks", password="x", unix_socket=external.server.socket) as looks,
            pytest.raises(WalkError, match="does not let connections be ended") as caught,
        ):
            leftovers.end_connections(looks, external.server, toy.PATIENCE)
        assert caught.value.code == "server_unreachable"
        assert mariadb.query(job, "SELECT 1") == [(1,)]

# SPDX-License-Identifier: Apache-2.0
"""Errors of a migration whose cause the measuring side sees: a lock that another connection holds, too long a name."""

from pathlib import Path

import pytest
from ansible.module_utils.th_measure import locks, meter
from ansible.module_utils.th_server import mariadb

from tests.kit import toy

OTHER = """
other = sa.create_engine(op.get_bind().engine.url).connect()
other.exec_driver_sql({statement!r})
"""
READS = OTHER.format(statement="SELECT * FROM t")
CHANGES = OTHER.format(statement="UPDATE t SET name = 'x' WHERE id = 1")


def chain(*bodies: str) -> dict[str, tuple[str | None, str]]:
    names = ["a1", "b2", "c3"][: len(bodies)]
    return {name: (below, body) for name, below, body in zip(names, [None, *names], bodies, strict=False)}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (f"{READS}\nop.execute('ALTER TABLE t ADD y int')", "waits for table metadata lock (ALTER TABLE t ADD y int)"),
        (f"{CHANGES}\nop.execute('ALTER TABLE t ADD y int')", "(1 rows changed)"),
        (f"{CHANGES}\nop.execute('DELETE FROM t')", "waits for a lock of rows (DELETE FROM t)"),
    ],
    ids=["read", "changed", "rows"],
)
def test_the_holder_of_a_lock_when_the_time_is_over(
    job_dir: Path, server: mariadb.Server, body: str, words: str
) -> None:
    error = toy.error(toy.walk(job_dir, chain(toy.FIRST, toy.ROWS, body), time_limit=4))
    assert error["code"] == "migration_timed_out"
    assert words in error["detail"]
    assert "it is held by connection" in error["detail"] and "of the project's own, idle for" in error["detail"]
    assert "in a transaction that was begun" in error["detail"]
    assert "use the migration's own connection" in error["detail"]


def test_the_holder_of_a_lock_when_the_server_gives_up(job_dir: Path, server: mariadb.Server) -> None:
    body = f"{READS}\nop.execute('SET lock_wait_timeout = 3')\nop.execute('ALTER TABLE t ADD y int')"
    error = toy.error(toy.walk(job_dir, chain(toy.FIRST, toy.ROWS, body)))
    assert error["code"] == "migration_raised" and "1205" in error["detail"]
    assert "it is held by connection" in error["detail"]
    assert (error["file"], error["line"] > 0) == ("migrations/versions/c3_.py", True)


def test_who_does_not_wait_is_not_blamed(job_dir: Path, server: mariadb.Server) -> None:
    error = toy.error(toy.walk(job_dir, chain(toy.FIRST, f"{READS}\nop.execute('SELECT SLEEP(900)')"), time_limit=2))
    assert "it was executing: SELECT SLEEP(900)" in error["detail"] and "held by" not in error["detail"]


def test_a_look_is_not_counted(server: mariadb.Server) -> None:
    with (
        mariadb.connect(server, server.admin_file) as connection,
        mariadb.connect(server, server.admin_file) as other,
    ):
        before = meter.read(connection, server)
        assert locks.waiting(other, server.user) == ""
        after = meter.read(connection, server).since(before)
        assert (after["rows_changed"], after["rows_read"]) == (0, 0)


LONG = "add_a_unique_index_to_the_names_of_customers"


def test_a_revision_that_the_version_table_has_no_room_for(job_dir: Path, server: mariadb.Server) -> None:
    error = toy.error(toy.walk(job_dir, {"a1": (None, toy.FIRST), LONG: ("a1", "pass")}))
    assert (error["code"], error["to"]) == ("migration_raised", LONG)
    said = f"the revision id {LONG} has {len(LONG)} characters, and alembic_version.version_num holds 32: give"
    assert error["detail"].startswith(said) and "1406" in error["detail"]


def test_a_revision_that_is_cut_in_silence(job_dir: Path, server: mariadb.Server) -> None:
    error = toy.error(toy.walk(job_dir, {"a1": (None, "op.execute(\"SET sql_mode = ''\")"), LONG: ("a1", "pass")}))
    assert error["code"] == "version_not_in_tree"
    assert f"it is the beginning of {LONG}" in error["detail"] and "holds 32 characters" in error["detail"]


def test_a_value_that_is_too_long_elsewhere_is_not_about_the_revision(job_dir: Path, server: mariadb.Server) -> None:
    body = "op.execute(\"INSERT INTO t (name) VALUES (REPEAT('x', 99))\")"
    error = toy.error(toy.walk(job_dir, {"a1": (None, toy.FIRST), LONG[:30]: ("a1", body)}))
    assert "1406" in error["detail"] and "revision id" not in error["detail"]

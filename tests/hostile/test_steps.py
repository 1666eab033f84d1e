# SPDX-License-Identifier: Apache-2.0
"""Changes that lie about their steps: which they are, how long they may take, and what was done in them, beneath them
and between them. Each is walked with real alembic on a real server, and judged."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.th_server import mariadb

from tests.kit import toy
from tests.kit.old_logs import meaning
from worker.verdict import Outcome, artifacts, decide

N = 3000
"""Rows that an attack changes, of which nothing would be seen; dozens of them may be the server's own."""
MOST = 1000
PATIENCE = toy.PATIENCE


@pytest.fixture
def job_dir(tmp_path: Path) -> Path:
    for name in ("artifacts", "results", "src"):
        (tmp_path / name).mkdir()
    return tmp_path


TALK = """
import sys
frame = sys._getframe()
while "stepper" not in frame.f_locals:
    frame = frame.f_back
talk = frame.f_locals["stepper"]
"""
"""Code that gets hold of the talk with the measuring side."""


def walk(job_dir: Path, tree: Mapping[str, Sequence[Any]], **more: Any) -> list[dict[str, Any]]:
    return toy.walk(job_dir, tree, **more)


def ends(events: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The ends of the events' migrations, by what they lead to."""
    return {event["to"]: event for event in events if event["event"] == "end"}


def judged(job_dir: Path, **limits: Any) -> decide.Verdict:
    """The verdict on a walk with these limits of the dataset."""
    (job_dir / "artifacts" / f"dataset-{toy.NAME}.json").write_text(json.dumps({"version": [], "limits": limits}))
    return decide.decide(artifacts.read(job_dir / "artifacts"), [toy.NAME])


def executed(*statements: str) -> str:
    return "\n".join(f"op.execute({statement!r})" for statement in statements)


CHILD = (
    "CREATE TABLE child (id INT PRIMARY KEY, up INT, FOREIGN KEY (up) REFERENCES parent(id) ON DELETE {} ON UPDATE {})"
)
FILL = ["INSERT INTO parent VALUES (1, 0), (2, 0), (3, 0)", f"INSERT INTO child SELECT seq, 1 FROM seq_1_to_{N}"]


def family(delete: str, update: str = "CASCADE") -> list[str]:
    """Two tables, the one's rows in the hands of the other's."""
    drop = ["DROP TABLE IF EXISTS child, parent", "CREATE TABLE parent (id INT PRIMARY KEY, v INT)"]
    return [*drop, CHILD.format(delete, update), *FILL]


FILLED = ["CREATE OR REPLACE TABLE t (id INT PRIMARY KEY, v INT)", f"INSERT INTO t SELECT seq, 0 FROM seq_1_to_{N}"]
PARTS = "PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN MAXVALUE)"
PARTED = [
    f"CREATE OR REPLACE TABLE t (id INT PRIMARY KEY, v INT) {PARTS}",
    f"INSERT INTO t SELECT seq, 0 FROM seq_1_to_{N + 9}",
]
HISTORY = [
    "CREATE OR REPLACE TABLE h (id INT PRIMARY KEY, v INT) WITH SYSTEM VERSIONING",
    f"INSERT INTO h SELECT seq, 0 FROM seq_1_to_{N}",
]
KEEP = "SET system_versioning_alter_history = KEEP"
OFF, ON = "SET foreign_key_checks = 0", "SET foreign_key_checks = 1"
BENEATH: dict[str, tuple[list[str], list[str]]] = {
    "rows that a foreign key deletes": (family("CASCADE"), ["DELETE FROM parent WHERE id = 1"]),
    "rows that a foreign key sets to NULL": (family("SET NULL"), ["DELETE FROM parent WHERE id = 1"]),
    "rows that a foreign key updates": (family("CASCADE"), ["UPDATE parent SET id = 9 WHERE id = 1"]),
    "deleted rows, and statistics made anew": (
        family("CASCADE"), ["DELETE FROM parent WHERE id = 1", "ANALYZE TABLE child"]
    ),
    "deleted rows of a table that is rebuilt or dropped": (
        family("CASCADE"), ["DELETE FROM parent WHERE id = 1", "DROP TABLE child"]
    ),
    "rows of a foreign key that comes and goes": (
        [*family("CASCADE"), "ALTER TABLE child DROP FOREIGN KEY child_ibfk_1"],
        [
            OFF, "ALTER TABLE child ADD CONSTRAINT f FOREIGN KEY (up) REFERENCES parent(id) ON DELETE CASCADE", ON,
            "DELETE FROM parent WHERE id = 1", "ALTER TABLE child DROP FOREIGN KEY f",
        ],
    ),
    "rows that a trigger writes": (
        [
            *FILLED, "CREATE OR REPLACE TABLE s (id INT)",
            "CREATE TRIGGER g AFTER INSERT ON s FOR EACH ROW UPDATE t SET v = v + 1",
        ],
        ["INSERT INTO s VALUES (1)"],
    ),
    "rows that a procedure deletes": (
        [*FILLED, "CREATE OR REPLACE PROCEDURE gone() DELETE FROM t"], ["CALL gone()"]
    ),
    "a table that is emptied": (FILLED, ["TRUNCATE t"]),
    "a table that is dropped": (FILLED, ["DROP TABLE t"]),
    "a table that is replaced": (FILLED, ["CREATE OR REPLACE TABLE t (id INT)"]),
    "a table that is emptied and rebuilt": (FILLED, ["TRUNCATE t", "ALTER TABLE t FORCE"]),
    "a partition that is dropped": (PARTED, ["ALTER TABLE t DROP PARTITION p1"]),
    "a partition that is emptied": (PARTED, ["ALTER TABLE t TRUNCATE PARTITION p1"]),
    "a partition that is exchanged and dropped": (
        [*PARTED, "CREATE OR REPLACE TABLE s (id INT PRIMARY KEY, v INT)"],
        ["SET autocommit = 1", "ALTER TABLE t EXCHANGE PARTITION p1 WITH TABLE s", "DROP TABLE s"],
    ),
    "rows that are replaced": (FILLED, [f"REPLACE INTO t SELECT seq, 1 FROM seq_1_to_{N}"]),
    "rows that are selected": (FILLED, ["CREATE OR REPLACE TABLE s (id INT)", "INSERT INTO s SELECT id FROM t"]),
    "all rows of another engine": (
        [
            "CREATE OR REPLACE TABLE m (id INT) ENGINE=MyISAM",
            f"INSERT INTO m SELECT seq FROM seq_1_to_{N}",
        ],
        ["DELETE FROM m"],
    ),
    "a table whose file is discarded": (FILLED, ["ALTER TABLE t DISCARD TABLESPACE"]),
    "the history of a table": (
        [*HISTORY, "UPDATE h SET v = 1"], [KEEP, "ALTER TABLE h DROP SYSTEM VERSIONING"]
    ),
    "rows that are deleted and still in a history": (
        [*HISTORY, "DELETE FROM h"], [KEEP, "ALTER TABLE h DROP SYSTEM VERSIONING"]
    ),
    "a table with nothing but a history": ([*HISTORY, "DELETE FROM h"], ["DROP TABLE h"]),
    "a history in a table of another engine": (
        [*(one.replace("WITH", "ENGINE=Aria WITH") for one in HISTORY), "DELETE FROM h"], ["DROP TABLE h"]
    ),
    "a table of another engine": (
        [
            "CREATE OR REPLACE TABLE m (id INT) ENGINE=Aria",
            f"INSERT INTO m SELECT seq FROM seq_1_to_{N}",
        ],
        ["DROP TABLE m"],
    ),
}  # fmt: skip
INNOCENT: dict[str, tuple[list[str], list[str]]] = {
    "a table that is rebuilt in place": (FILLED, ["ALTER TABLE t FORCE, ALGORITHM=INPLACE"]),
    "a table with a new column and index": (FILLED, ["ALTER TABLE t ADD w INT, ADD KEY (v)", "DROP INDEX v ON t"]),
    "partitions that are made anew": (
        PARTED,
        [
            "ALTER TABLE t REBUILD PARTITION p0", "ALTER TABLE t ADD KEY (v)",
            "CREATE OR REPLACE TABLE s (id INT PRIMARY KEY, v INT, KEY (v))", "SET autocommit = 1",
            "ALTER TABLE t EXCHANGE PARTITION p0 WITH TABLE s",
        ],
    ),
    "tables that change their names": (FILLED, ["RENAME TABLE t TO u", "ALTER TABLE u RENAME t"]),
    "a parent without children": (family("CASCADE"), ["DELETE FROM parent WHERE id = 3", "UPDATE parent SET v = 1"]),
    "a foreign key of no consequence": (family("RESTRICT", "RESTRICT"), ["UPDATE child SET up = 2 WHERE id < 9"]),
    "many small tables": (
        [], [f"CREATE TABLE z{n} (id INT PRIMARY KEY, a INT, b INT, KEY (a), KEY (b))" for n in range(9)]
    ),
    "many small tables that go": ([], [f"DROP TABLE z{n}" for n in range(9)]),
}  # fmt: skip


def in_turn(cases: Mapping[str, tuple[list[str], list[str]]]) -> dict[str, tuple[Any, ...]]:
    """A tree in which each case has two migrations, the first of which is what it needs."""
    tree: dict[str, tuple[Any, ...]] = {}
    last: str | None = None
    for number, (before, attack) in enumerate(cases.values()):
        tree[f"a{number}"] = (last, executed(*before))
        tree[f"b{number}"] = (f"a{number}", executed(*attack))
        last = f"b{number}"
    return tree


def test_rows_that_change_beneath_the_statements_are_counted(job_dir: Path, server: mariadb.Server) -> None:
    found = ends(walk(job_dir, in_turn(BENEATH)))
    counted = {name: found[f"b{number}"]["counters"]["rows_changed"] for number, name in enumerate(BENEATH)}
    assert {name: rows for name, rows in counted.items() if rows is None or not N <= rows <= 2 * N + 500} == {}
    result = judged(job_dir, XInnodb_rows_changed={"default": MOST})
    told = {message.to for message in result.messages if message.code == "migration_changed_rows" and message.counts}
    assert {f"b{number}" for number in range(len(BENEATH))} <= told and result.outcome is Outcome.WARNING


def test_what_only_changes_tables_changes_no_rows(job_dir: Path, server: mariadb.Server) -> None:
    found = ends(walk(job_dir, in_turn(INNOCENT)))
    counted = {name: found[f"b{number}"]["counters"]["rows_changed"] for number, name in enumerate(INNOCENT)}
    assert {name: rows for name, rows in counted.items() if rows is None or rows > 100} == {}


def test_what_cannot_be_counted_is_no_success(job_dir: Path, server: mariadb.Server) -> None:
    """While another transaction may still look at them, InnoDB keeps the rows that a foreign key has deleted."""
    holds = """
    kept = op.get_bind().engine.connect()
    kept.exec_driver_sql('START TRANSACTION WITH CONSISTENT SNAPSHOT')
    op.get_bind().engine.kept = kept
    """
    tree = {
        "a1": (None, executed(*family("CASCADE"))),
        "b2": ("a1", f"{textwrap.dedent(holds)}{executed('DELETE FROM parent WHERE id = 1')}"),
        "c3": ("b2", executed("DROP TABLE child")),
    }
    found = ends(walk(job_dir, tree))
    assert found["b2"]["counters"]["rows_changed"] is None
    result = judged(job_dir, XInnodb_rows_changed={"default": 2 * N})
    assert [message.code for message in result.messages if message.counts] == ["limit_not_measurable"]


AFTER = """
with engine.connect() as connection:
    connection.exec_driver_sql("INSERT INTO t (name) SELECT 'x' FROM seq_1_to_3000")
    connection.commit()
"""
BEFORE = """
with engine.connect() as connection:
    if connection.exec_driver_sql("SHOW TABLES LIKE 't'").fetchall():
        connection.exec_driver_sql("ALTER TABLE t ADD more VARCHAR(200), ADD KEY (name), ADD KEY (name, id), FORCE")
"""
WAITING = (
    TALK
    + """
told = talk._wait_for
def wait(message):
    if "seen" in message or message.get("go"):
        with engine.connect() as connection:
            connection.exec_driver_sql("INSERT INTO t (name) SELECT 'x' FROM seq_1_to_1500")
            connection.commit()
    return told(message)
talk._wait_for = wait
"""
)
IN_A_THREAD = """
import threading, time
def work():
    while True:
        time.sleep(0.02)
        try:
            with engine.connect() as connection:
                connection.exec_driver_sql("INSERT INTO t (name) SELECT 'x' FROM seq_1_to_1500")
                connection.commit()
        except Exception:
            pass
threading.Thread(target=work, daemon=True).start()
"""
BODY = toy.ENV_PY.partition("with engine")[0]
REST = toy.ENV_PY.removeprefix(BODY)
QUIET = {"a1": (None, toy.FIRST), "b2": ("a1", ""), "c3": ("b2", "")}


@pytest.mark.parametrize(
    "env_py",
    [toy.ENV_PY + AFTER, BODY + WAITING + REST, BODY + IN_A_THREAD + REST + "time.sleep(1)"],
    ids=["after the last of them", "between two of them", "in a thread of its own"],
)
def test_rows_that_are_written_outside_of_the_migrations_have_a_row_of_their_own(
    job_dir: Path, server: mariadb.Server, env_py: str
) -> None:
    events = walk(job_dir, QUIET, env_py=env_py)
    around = next(event for event in events if event["event"] == "end" and event.get("kind") == "around")
    assert (around["stage"], around["from"], around["to"], around["exit"]) == ("change 1,1", "around", "change", 0)
    with mariadb.connect(server, server.admin_file) as connection:
        written = int(mariadb.query(connection, "SELECT COUNT(*) FROM toy.t")[0][0])
    every = [event["counters"]["rows_changed"] for event in events if event["event"] == "end"]
    # the version's rows are the others, and what a thread was at in the end is taken back; nothing is in none of them
    assert written + 3 <= sum(every) <= written + 3 + N // 2
    result = judged(job_dir, XInnodb_rows_changed={"default": MOST})
    assert ("migration_changed_rows", "around", True) in [(one.code, one.step, one.counts) for one in result.messages]
    assert result.outcome is Outcome.WARNING and "Migration around->change changed" in str(result.messages)
    allowed = judged(job_dir, XInnodb_rows_changed={"default": 10**6, "around->change": 10**6})
    assert allowed.outcome is Outcome.SUCCESS, allowed.messages


def test_tables_that_are_rebuilt_before_the_first_migration(job_dir: Path, server: mariadb.Server) -> None:
    """No row changes, but the redo log is written."""
    walk(job_dir, {"a1": (None, toy.FIRST), "b2": ("a1", toy.ROWS)})
    (job_dir / "artifacts" / f"walk-{toy.NAME}.jsonl").unlink()
    tree = {"a1": (None, toy.FIRST), "b2": ("a1", toy.ROWS), "c3": ("b2", "")}
    toy.write(job_dir / "src", tree)
    judged(job_dir, maximum_redo_bytes={"default": 9000})
    events = walk(job_dir, tree, env_py=BODY + BEFORE + REST)
    around = next(event for event in events if event["event"] == "end" and event.get("kind") == "around")
    assert around["counters"]["redo_bytes"] > 9000 and around["counters"]["rows_changed"] == 0
    result = judged(job_dir, maximum_redo_bytes={"default": 9000})
    assert ("migration_redo_bytes", "around") in [(one.code, one.step) for one in result.messages if one.counts]


def test_a_walk_that_does_nothing_else_has_no_such_row(job_dir: Path, server: mariadb.Server) -> None:
    events = walk(job_dir, toy.CHAIN)
    assert toy.kinds(events) == ["stage", *["begin", "end"] * 3, "final"]


NAMES = TALK + "plan = talk.plan\n"
LIES = {
    "a migration of another name": (
        NAMES + "talk.plan = lambda them, **more: plan([(a, b if b != 'b2' else 'waived') for a, b in them], **more)\n",
        "runs waived, which is none of the migrations that are to come here",
    ),
    "a migration that is out of turn": (
        NAMES + "talk.plan = lambda steps, **more: plan([steps[0], steps[2], steps[1]], **more)\n",
        "runs c3 out of turn: b2 it builds on",
    ),
    "a migration of what is merged": (
        NAMES + "talk.plan = lambda steps, **more: plan([('base', 'z0'), *steps], **more)\n",
        "runs z0, which is none of the migrations that are to come here",
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_code_that_names_its_steps_itself_names(job_dir: Path, server: mariadb.Server, lie: str) -> None:
    lies, words = LIES[lie]
    events = walk(job_dir, QUIET, env_py=lies + toy.ENV_PY)
    found = toy.error(events)
    assert found["code"] == "walk_failed" and words in found["detail"]
    assert not {found.get("to"), *ends(events)} & {"waived", "c3", "z0"}


def test_a_step_has_the_name_that_the_trees_give_it(job_dir: Path, server: mariadb.Server) -> None:
    lies = NAMES + "talk.plan = lambda steps, **more: plan([('waived', b) for a, b in steps], **more)\n"
    events = walk(job_dir, QUIET, env_py=lies + toy.ENV_PY)
    assert [(event["from"], event["to"]) for event in events if event["event"] == "end"] == [
        ("base", "a1"), ("a1", "b2"), ("b2", "c3")
    ]  # fmt: skip
    assert events[-1]["event"] == "final"


def test_a_step_is_run_once(job_dir: Path, server: mariadb.Server) -> None:
    again = """
with engine.connect() as connection:
    connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'b2'")
    connection.commit()
with talk.step(talk.plan([("b2", "c3")])):
    with engine.connect() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'c3'")
        connection.commit()
"""
    events = walk(job_dir, QUIET, env_py=TALK + toy.ENV_PY + again)
    assert [event["to"] for event in events if event["event"] == "end"] == ["a1", "b2", "c3"]
    assert "runs c3 a second time" in toy.error(events)["detail"]


def test_announcing_nothing_prolongs_no_limit(job_dir: Path, server: mariadb.Server) -> None:
    idle = TALK + "import time\nwhile True:\n    talk.plan([])\n    time.sleep(0.05)\n"
    found = toy.error(walk(job_dir, QUIET, env_py=idle, start_time_limit=4))
    assert found["code"] == "walk_failed" and "more than 4 s (run_migrations_start_time_limit)" in found["detail"]


def test_the_log_tells_of_it_as_well(job_dir: Path, server: mariadb.Server) -> None:
    events = walk(job_dir, QUIET, env_py=toy.ENV_PY + AFTER)
    told = meaning((job_dir / "results" / f"{toy.NAME}.log").read_bytes())
    (found,) = [event for event in told.walks[0] if event["event"] == "end" and event.get("kind") == "around"]
    (written,) = [event for event in events if event["event"] == "end" and event.get("kind") == "around"]
    assert found["counters"] == written["counters"] and (found["from"], found["to"]) == ("around", "change")


def test_a_table_that_is_locked_keeps_nobody_from_counting(job_dir: Path, server: mariadb.Server) -> None:
    """While a table is made of a query that never ends, nobody else gets to it; that is no fault of the server's."""
    locks = """
import threading
other = create_engine(engine.url, poolclass=pool.NullPool).connect()
threading.Thread(target=other.exec_driver_sql, args=("CREATE TABLE locked AS SELECT SLEEP(3600)",), daemon=True).start()
def made():
    with engine.connect() as one:
        return one.exec_driver_sql("SELECT info FROM information_schema.processlist").fetchall()
while not any("CREATE" in str(row) for row in made()):
    pass
"""
    events = walk(job_dir, QUIET, env_py=BODY + locks + REST)
    assert [event["version"] for event in events if event["event"] == "end"][:3] == ["a1", "b2", "c3"]
    assert events[-1]["event"] == "final" and events[-1]["version"] == "c3"


HIDDEN = {
    "in a table that is rebuilt then": (
        toy.ENV_PY,
        [*family("CASCADE"), "UPDATE parent SET v = 1"],
        ["UPDATE parent SET id = 9 WHERE id = 1", "ALTER TABLE child FORCE"],
    ),
    "in a transaction around all of them": (
        toy.ENV_PY_ONE_TRANSACTION, family("CASCADE"), ["DELETE FROM parent WHERE id = 1"]
    ),
}  # fmt: skip


@pytest.mark.parametrize("where", HIDDEN)
def test_what_a_foreign_key_changes(job_dir: Path, server: mariadb.Server, where: str) -> None:
    env_py, before, attack = HIDDEN[where]
    tree = {"a1": (None, executed(*before)), "b2": ("a1", executed(*attack)), "c3": ("b2", "")}
    events = walk(job_dir, tree, env_py=env_py)
    assert events[-1]["event"] == "final"
    every = [event["counters"]["rows_changed"] for event in events if event["event"] == "end" and event["to"] != "a1"]
    assert None in every or sum(every) >= N
    result = judged(job_dir, XInnodb_rows_changed={"default": MOST, "base->a1": 10 * N})
    assert result.outcome is Outcome.WARNING

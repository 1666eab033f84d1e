# SPDX-License-Identifier: Apache-2.0
"""The walk of one dataset: a real server, real alembic, and every way in which a migration can end."""

import math
import os
import signal
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from ansible.module_utils.th_server import mariadb
from ansible.module_utils.th_walk.walk import DatasetWalk
from ansible.module_utils.th_walk.walkers import WalkLimits

from tests.kit import boxes, toy
from tests.kit.old_logs import meaning
from tests.kit.toy import CHAIN, FIRST, NAME, ROWS, error, kinds, walk
from tests.kit.waiting import wait_until


@pytest.fixture
def own_server(job_dir: Path) -> Iterator[mariadb.Server]:
    """A server that a test may destroy."""
    server = toy.start(job_dir / "db" / NAME)
    yield server
    mariadb.stop(server, 0)


def several_times_a_migration(
    job_dir: Path, database: Mapping[str, Any] = toy.DATABASE, env_py: str = toy.ENV_PY
) -> int:
    """A time limit for what never ends, in seconds, far above what a migration takes at this moment: the dataset is
    at a1 then."""
    events = walk(job_dir, {"a1": (None, FIRST)}, database, env_py)
    (end,) = [event for event in events if event["event"] == "end"]
    (job_dir / "artifacts" / f"walk-{NAME}.jsonl").unlink()
    return max(2, math.ceil(10 * end["seconds"]))


def test_each_migration_is_measured(job_dir: Path, server: mariadb.Server) -> None:
    begun = time.monotonic()
    events = walk(job_dir, CHAIN)
    took = time.monotonic() - begun
    assert kinds(events) == ["stage", *["begin", "end"] * 3, "final"]
    assert events[0]["steps"] == 3
    assert 0 < events[0]["seconds"] < took
    ends = [event for event in events if event["event"] == "end"]
    assert [(end["from"], end["to"], end["version"], end["exit"]) for end in ends] == [
        ("base", "a1", "a1", 0),
        ("a1", "b2", "b2", 0),
        ("b2", "c3", "c3", 0),
    ]
    # the rows, and the one of alembic's version table
    assert ends[1]["counters"]["rows_changed"] == 1001
    assert ends[2]["counters"]["rows_changed"] == 1001
    assert ends[2]["counters"]["rows_read"] >= 1000
    assert ends[0]["counters"]["rows_read"] < 10
    assert ends[0]["counters"]["data_bytes"] > 0
    assert ends[2]["counters"]["redo_bytes"] > 10_000
    assert all(end["seconds"] > 0 for end in ends) and sum(end["seconds"] for end in ends) < took
    assert (events[-1]["version"], events[-1]["expected"]) == ("c3", "c3")


def test_the_log_has_the_classic_form(job_dir: Path, server: mariadb.Server) -> None:
    walk(job_dir, CHAIN)
    lines = (job_dir / "results" / f"{NAME}.log").read_text().splitlines()
    texts = [line.split(" ", 2)[2] for line in lines]
    assert texts[texts.index("[output] a1 -> b2...") + 1] == "[output] done"
    assert "Final schema version is c3" in texts
    for line in lines:
        time.strptime(line[:19], "%Y-%m-%d %H:%M:%S")
        assert line[19] == "," and line[20:23].isdigit()


@pytest.mark.parametrize("last", [CHAIN["c3"], ("b2", "raise ValueError('one\\ntwo')")], ids=["good", "raised"])
def test_the_log_tells_the_walk_again(job_dir: Path, server: mariadb.Server, last: tuple[str, str]) -> None:
    events = walk(job_dir, {**CHAIN, "c3": last})
    told = meaning((job_dir / "results" / f"{NAME}.log").read_bytes())
    assert list(told.walks) == [0] and told.reader.unknown == 0
    assert list(map(facts, told.walks[0])) == list(map(facts, events))


def facts(event: dict[str, Any]) -> dict[str, Any]:
    """What of an event the log has, too."""
    keys = ["event", "name", "stage", "target", "steps", "from", "to", "code", "detail"]
    if event["event"] == "end" and event["exit"] == 0:
        keys.append("seconds")
    if event["event"] != "end" or event["exit"] == 0:
        keys += ["version", "expected", "exit", "counters"]
    return {key: event[key] for key in keys if key in event}


def test_a_walk_begins_where_the_dataset_is(job_dir: Path, server: mariadb.Server) -> None:
    walk(job_dir, {"a1": CHAIN["a1"]})
    events = walk(job_dir, CHAIN)
    ends = [event["to"] for event in events if event["event"] == "end"]
    assert ends == ["a1", "b2", "c3"]  # the first walk's, then the second's
    assert events[-1]["version"] == "c3"


def test_one_transaction_around_all_hides_no_version(job_dir: Path, server: mariadb.Server) -> None:
    events = walk(job_dir, CHAIN, env_py=toy.ENV_PY_ONE_TRANSACTION)
    assert [event["version"] for event in events if event["event"] == "end"] == ["a1", "b2", "c3"]
    assert events[-1]["version"] == "c3"


def test_a_branch_and_its_merge(job_dir: Path, server: mariadb.Server) -> None:
    tree = {"a1": (None, FIRST), "b2": ("a1", ""), "b3": ("a1", ""), "c4": (("b2", "b3"), "")}
    events = walk(job_dir, tree)
    ends = [event for event in events if event["event"] == "end"]
    assert ends[-1]["from"] == "b2,b3"
    assert [end["to"] in end["version"].split(",") for end in ends] == [True] * 4
    assert events[-1]["event"] == "final"


def test_a_migration_that_raises(job_dir: Path, server: mariadb.Server) -> None:
    body = 'op.execute("INSERT INTO t (id) VALUES (1), (1)")'
    events = walk(job_dir, {"a1": (None, FIRST), "b2": ("a1", body), "c3": ("b2", "")})
    assert kinds(events) == ["stage", "begin", "end", "begin", "end", "error"]
    assert events[4]["exit"] == 1
    found = error(events)
    assert found["code"] == "migration_raised"
    assert "1062" in found["detail"] and "Duplicate entry" in found["detail"]
    assert "[SQL: INSERT INTO t" in found["detail"]
    assert found["file"] == "migrations/versions/b2_.py"
    assert found["line"] == 10
    assert (found["from"], found["to"]) == ("a1", "b2")


@pytest.mark.parametrize(
    ("body", "code", "status", "words"),
    [
        ("import os; os._exit(0)", "migration_ended", None, "status 0"),
        ("import os; os._exit(3)", "migration_ended", 3, "status 3"),
        ("import sys; sys.exit(0)", "migration_raised", 1, "SystemExit"),
        ("import os, signal; os.killpg(0, signal.SIGKILL)", "migration_killed", -9, "SIGKILL"),
        ("import no_such_module", "import_failed", 1, "no_such_module"),
    ],
)
def test_a_migration_that_does_not_end(
    job_dir: Path, server: mariadb.Server, body: str, code: str, status: int | None, words: str
) -> None:
    events = walk(job_dir, {"a1": (None, FIRST), "b2": ("a1", body)})
    found = error(events)
    assert found["code"] == code
    assert words in found["detail"]
    assert events[-2]["event"] == "end" and events[-2]["exit"] == status
    assert events[-2]["version"] == "a1"


@pytest.mark.parametrize(
    ("body", "sandbox", "words"),
    [
        ("x = bytearray(b'x') * (400 << 20)", {"memory": "256M"}, "memory, 256 MiB (sandbox_memory): MemoryError"),
        (
            "import time\nopen('x', 'wb').write(bytes(40 << 20)); time.sleep(3600)",
            {"disk": "20M"},
            "disk, 20 MiB (sandbox_disk)",
        ),
    ],
)
def test_a_migration_that_takes_more_than_it_may(
    job_dir: Path, server: mariadb.Server, body: str, sandbox: dict[str, Any], words: str
) -> None:
    events = walk(job_dir, {"a1": (None, FIRST), "b2": ("a1", body)}, sandbox=sandbox)
    found = error(events)
    assert (found["code"], found["from"], found["to"]) == ("over_limit", "a1", "b2") and words in found["detail"]
    assert events[-2]["event"] == "end" and events[-2]["exit"] != 0 and events[-2]["version"] == "a1"


def test_code_around_the_migrations_that_takes_more_than_it_may(job_dir: Path, server: mariadb.Server) -> None:
    env_py = "kept = [open('/dev/null') for _ in range(300)]\n" + toy.ENV_PY
    found = error(walk(job_dir, {"a1": (None, FIRST)}, env_py=env_py, sandbox={"open_files": 200}))
    assert found["code"] == "over_limit" and "open files, 200 (sandbox_open_files)" in found["detail"]


def test_a_migration_that_never_ends(job_dir: Path, server: mariadb.Server) -> None:
    limit = several_times_a_migration(job_dir)
    body = "op.execute('SELECT SLEEP(3600)')"
    events = walk(job_dir, {"a1": (None, FIRST), "b2": ("a1", body)}, time_limit=limit)
    found = error(events)
    assert found["code"] == "migration_timed_out" and found["to"] == "b2"
    assert "SELECT SLEEP(3600)" in found["detail"]
    assert events[-2]["exit"] is None and limit <= events[-2]["seconds"] < 5 * limit
    with mariadb.connect(server, server.admin_file) as connection:
        left = mariadb.query(connection, "SELECT id FROM information_schema.processlist WHERE user = 'toy'")
    assert not left


def test_nothing_outlives_the_walk(job_dir: Path, server: mariadb.Server) -> None:
    body = """
    import os, time
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execve('/bin/sleep', ['sleep', '4242'], {})
        os._exit(0)
    time.sleep(0.5)
    """
    before = {process.pid for process in psutil.process_iter()}
    events = walk(job_dir, {"a1": (None, body)})
    assert events[-1]["event"] == "final"
    left = [
        process
        for process in psutil.process_iter(["cmdline"])
        if process.pid not in before and process.info["cmdline"] == ["sleep", "4242"]
    ]
    assert not [process for process in left if process.status() != psutil.STATUS_ZOMBIE]


def test_several_heads_are_named(job_dir: Path, server: mariadb.Server) -> None:
    found = error(walk(job_dir, {"a1": (None, FIRST), "b2": ("a1", ""), "b3": ("a1", "")}))
    assert found["code"] == "several_heads"
    assert "b2, b3" in found["detail"]


def test_a_script_that_only_alembic_finds_does_not_go_unnoticed(job_dir: Path, server: mariadb.Server) -> None:
    toy.write(job_dir / "src", {"d4": ("c3", "raise RuntimeError")})
    events = walk(job_dir, CHAIN)
    assert kinds(events) == ["error"] and error(events)["code"] == "walk_failed"
    assert "alembic's heads are d4" in error(events)["detail"] and "lead to c3" in error(events)["detail"]


def test_a_pyproject_alone_configures_alembic(job_dir: Path, server: mariadb.Server) -> None:
    helpers = job_dir / "src" / "helpers"
    helpers.mkdir(parents=True)
    (helpers / "words.py").write_text("NAME = 't'\n")
    (job_dir / "src" / "pyproject.toml").write_text(
        '[tool.alembic]\nscript_location = "%(here)s/migrations"\nprepend_sys_path = ["helpers"]\n'
    )
    tree = {"a1": (None, f"import words\nassert words.NAME == 't'\n{FIRST}"), "b2": ("a1", ROWS)}
    events = walk(job_dir, tree, {"tool": "alembic", "config": "pyproject.toml"})
    assert kinds(events) == ["stage", *["begin", "end"] * 2, "final"]
    assert events[-1]["version"] == "b2"


def test_a_project_without_migrations(job_dir: Path, server: mariadb.Server) -> None:
    assert error(walk(job_dir, {}))["code"] == "no_migrations"


def test_a_dataset_of_another_world(job_dir: Path, server: mariadb.Server) -> None:
    walk(job_dir, {"z9": (None, FIRST)})
    (job_dir / "artifacts" / f"walk-{NAME}.jsonl").unlink()
    found = error(walk(job_dir, CHAIN))
    assert found["code"] == "version_unknown"
    assert "z9" in found["detail"]


@pytest.mark.parametrize(
    ("env_py", "code"),
    [
        ("raise RuntimeError('no such setting')", "walk_failed"),
        ("import no_such_module", "import_failed"),
        ("pass", "walk_failed"),
        ("import os; os._exit(0)", "walk_failed"),
        (toy.ENV_PY + "\nraise RuntimeError('at the end')", "walk_failed"),
        ("this is not Python", "walk_failed"),
    ],
)
def test_an_environment_that_fails(job_dir: Path, server: mariadb.Server, env_py: str, code: str) -> None:
    events = walk(job_dir, CHAIN, env_py=env_py)
    assert error(events)["code"] == code
    assert events[-1]["event"] == "error"


def test_a_lie_about_the_version_is_seen(job_dir: Path, server: mariadb.Server) -> None:
    env_py = toy.ENV_PY + "\nengine.connect().exec_driver_sql('TRUNCATE alembic_version')"
    events = walk(job_dir, {"a1": (None, FIRST)}, env_py=env_py)
    assert events[-1] | {"at": ""} == {"event": "final", "version": "base", "expected": "a1", "at": ""}


def kill_when(ready: Path, pid: int) -> None:
    """Kill a process as soon as a file is there."""
    wait_until(ready.exists)
    os.kill(pid, signal.SIGKILL)


def test_a_server_that_dies(job_dir: Path, own_server: mariadb.Server) -> None:
    begun = time.monotonic()
    with ThreadPoolExecutor(1) as other:
        other.submit(kill_when, job_dir / "src" / "ready", own_server.pid)
        body = "import time; open('ready', 'w').close(); time.sleep(3600)"
        events = walk(job_dir, {"a1": (None, FIRST), "b2": ("a1", body)})
    took = time.monotonic() - begun
    assert error(events)["code"] == "server_died"
    assert events[-2]["event"] == "end"
    # seen soon: what came before the migration, which starts a process as well, says how quick the machine is
    assert events[-2]["seconds"] < max(15, 5 * (took - events[-2]["seconds"]))
    assert events[-2]["counters"] == dict.fromkeys(["rows_changed", "rows_read", "redo_bytes", "data_bytes"])


def test_a_flood_of_output_is_cut_in_the_middle(job_dir: Path, server: mariadb.Server) -> None:
    body = "import sys\nfor n in range(200_000): print('line', n, '\\x1b[31m\\u202e')"
    events = walk(job_dir, {"a1": (None, body)}, log_bytes=50_000)
    assert events[-1]["event"] == "final"
    text = (job_dir / "results" / f"{NAME}.log").read_text()
    assert len(text) < 60_000
    assert "line 1 " in text and "line 199999 " in text and "bytes left out here" in text
    assert "\x1b" not in text and "\u202e" not in text
    assert "Final schema version is a1" in text


COMMAND: dict[str, Any] = {
    "tool": "command",
    "version_locations": ["migrations/versions"],
    "command": ["alembic", "-x", "unused", "-c", "{files}/own.ini", "upgrade", "{version}"],
    "files": [
        {
            "path": "own.ini",
            # a percent sign of the URL is doubled, as the configuration file of alembic wants it
            "content": "[alembic]\nscript_location = {src}/migrations\n",
        }
    ],
    "environment": {"TOY_URL": "{url}"},
}
COMMAND_ENV_PY = toy.ENV_PY.replace(
    'context.config.get_main_option("sqlalchemy.url")', '__import__("os").environ["TOY_URL"]'
)


def test_a_command_of_the_projects_own(job_dir: Path, server: mariadb.Server) -> None:
    events = walk(job_dir, CHAIN, COMMAND, COMMAND_ENV_PY)
    assert kinds(events) == ["stage", *["begin", "end"] * 3, "final"]
    assert [event["version"] for event in events if event["event"] == "end"] == ["a1", "b2", "c3"]
    assert events[-1]["version"] == "c3"
    own = job_dir / "home" / NAME / "files" / "own.ini"
    assert own.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("raise RuntimeError('own')", "migration_raised"),
        ("import os, signal; os.kill(0, signal.SIGKILL)", "migration_killed"),
        ("import no_such_module", "import_failed"),
        ("import time; time.sleep(3600)", "migration_timed_out"),
    ],
)
def test_a_command_that_fails(job_dir: Path, server: mariadb.Server, body: str, code: str) -> None:
    limit = several_times_a_migration(job_dir, COMMAND, COMMAND_ENV_PY) if "3600" in body else toy.PATIENCE
    events = walk(job_dir, {"a1": (None, FIRST), "b2": ("a1", body)}, COMMAND, COMMAND_ENV_PY, time_limit=limit)
    assert error(events)["to"] == "b2"
    assert error(events)["code"] == code
    assert kinds(events)[-2:] == ["end", "error"]


def test_a_command_that_does_nothing_and_says_it_is_fine(job_dir: Path, server: mariadb.Server) -> None:
    events = walk(job_dir, CHAIN, {**COMMAND, "command": ["true"]})
    assert [event["version"] for event in events if event["event"] == "end"] == ["base"]
    found = error(events)
    assert (found["code"], found["from"], found["to"]) == ("version_unchanged", "base", "a1")


def test_the_jobs_user_has_its_database_and_nothing_more(job_dir: Path, server: mariadb.Server) -> None:
    with mariadb.connect(server, server.job_file) as connection:
        assert {row[0] for row in mariadb.query(connection, "SHOW DATABASES")} == {"information_schema", "toy"}
        grants = " ".join(row[0] for row in mariadb.query(connection, "SHOW GRANTS"))
    assert "SUPER" not in grants and "FILE" not in grants and "ON *.*" in grants and "USAGE ON *.*" in grants
    assert os.stat(server.admin_file).st_mode & 0o777 == 0o600


def test_migrations_that_form_a_circle(job_dir: Path, server: mariadb.Server) -> None:
    tree = {"a1": (None, ""), "b2": ("d4", ""), "c3": ("b2", ""), "d4": ("c3", ""), "e5": (("a1", "d4"), "")}
    found = error(walk(job_dir, tree, COMMAND, COMMAND_ENV_PY))
    assert found["code"] == "walk_failed" and "circle" in found["detail"]


def test_an_environment_that_never_comes_to_its_migrations(job_dir: Path, server: mariadb.Server) -> None:
    found = error(walk(job_dir, CHAIN, env_py="import time; time.sleep(3600)", start_time_limit=2))
    assert found["code"] == "walk_failed"
    assert "more than 2 s (run_migrations_start_time_limit) before the first" in found["detail"]


def test_a_child_that_keeps_the_socket_does_not_hold_up_the_walk(job_dir: Path, server: mariadb.Server) -> None:
    body = "import os, time\nif os.fork():\n    os._exit(3)\ntime.sleep(3600)"
    begun = time.monotonic()
    events = walk(job_dir, {"a1": (None, FIRST), "b2": ("a1", body)})
    took, found = time.monotonic() - begun, error(events)
    assert events[-2]["seconds"] < max(15, 5 * (took - events[-2]["seconds"]))
    assert found["code"] == "migration_ended" and "status 3" in found["detail"]


def test_what_depends_on_another_branch(job_dir: Path, server: mariadb.Server) -> None:
    tree = {
        "a1": (None, FIRST),
        "x1": (None, "op.create_table('x', sa.Column('id', sa.Integer))"),
        "x2": ("x1", "op.execute('INSERT INTO x VALUES (1)')"),
        "b2": ("a1", "op.execute('INSERT INTO t SELECT id, id FROM x')", "", "x2"),
    }
    events = walk(job_dir, tree)
    ends = [event for event in events if event["event"] == "end"]
    assert {end["to"] for end in ends} == tree.keys() and ends[-1]["to"] == "b2"
    assert (ends[-1]["from"], ends[-1]["version"], events[-1]["version"]) == ("a1,x2", "b2", "b2")
    assert events[-1]["expected"] == "b2" and ends[-1]["counters"]["rows_read"] >= 1


def test_several_heads_by_design(job_dir: Path, server: mariadb.Server) -> None:
    tree = {"a1": (None, FIRST), "b2": ("a1", ""), "b3": ("a1", "")}
    events = walk(job_dir, tree, {**toy.DATABASE, "heads": 2})
    assert (events[-1]["event"], events[-1]["version"], events[-1]["expected"]) == ("final", "b2,b3", "b2,b3")
    versions = [event["version"] for event in events if event["event"] == "end"]
    assert versions[0] == "a1" and versions[1] in ("b2", "b3") and versions[2] == "b2,b3"


ASYNC_ENV_PY = """
import asyncio
from alembic import context
from sqlalchemy import create_engine, pool

engine = create_engine(context.config.get_main_option("sqlalchemy.url"), poolclass=pool.NullPool)

async def migrate():
    with engine.connect() as connection:
        context.configure(connection=connection)
        with context.begin_transaction():
            context.run_migrations()

asyncio.run(migrate())
"""


def test_migrations_within_an_event_loop(job_dir: Path, server: mariadb.Server) -> None:
    events = walk(job_dir, CHAIN, env_py=ASYNC_ENV_PY)
    assert [event["version"] for event in events if event["event"] == "end"] == ["a1", "b2", "c3"]


def applied(statement: str) -> str:
    """An env.py that executes a statement after each migration."""
    text = toy.ENV_PY.replace("connection=connection)", "connection=connection, on_version_apply=applied)")
    return f"def applied(ctx, **_):\n    ctx.connection.exec_driver_sql({statement!r})\n" + text


def test_a_version_that_no_migration_has(job_dir: Path, server: mariadb.Server) -> None:
    found = error(walk(job_dir, CHAIN, env_py=applied("UPDATE alembic_version SET version_num = 'z9'")))
    assert (found["code"], found["from"], found["to"]) == ("version_not_in_tree", "base", "a1")
    assert "z9" in found["detail"]


def test_a_version_that_stays(job_dir: Path, server: mariadb.Server) -> None:
    walk(job_dir, {"a1": CHAIN["a1"]})
    events = walk(job_dir, CHAIN, env_py=applied("UPDATE alembic_version SET version_num = 'a1'"))
    found = error(events)
    assert (found["code"], found["from"], found["to"]) == ("version_unchanged", "a1", "b2")
    assert events[-2]["exit"] == 0 and events[-2]["version"] == "a1"


UP_AND_DOWN = {
    "a1": (None, FIRST, "op.drop_table('t')"),
    "b2": ("a1", ROWS, "op.execute('DELETE FROM t')"),
    "c3": ("b2", "op.add_column('t', sa.Column('more', sa.Integer))", "op.drop_column('t', 'more')"),
}


def way(events: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [
        (event.get("kind", "schema"), event["from"], event["to"], event["version"])
        for event in events
        if event["event"] == "end"
    ]


def test_down_to_where_the_dataset_was_and_up_again(job_dir: Path, server: mariadb.Server) -> None:
    events = walk(job_dir, UP_AND_DOWN, downgrade=True)
    up = [("schema", "base", "a1", "a1"), ("schema", "a1", "b2", "b2"), ("schema", "b2", "c3", "c3")]
    down = [("downgrade", "c3", "b2", "b2"), ("downgrade", "b2", "a1", "a1"), ("downgrade", "a1", "base", "base")]
    assert way(events) == up + down + up
    stages = [(event["direction"], event["steps"], event["target"]) for event in events if event["event"] == "stage"]
    assert stages == [("up", 3, "c3"), ("down", 3, "base"), ("up", 3, "c3")]
    deleted = [event for event in events if event["event"] == "end" and event["to"] == "a1"][1]
    assert deleted["counters"]["rows_changed"] >= 1000
    assert events[-1]["event"] == "final" and events[-1]["version"] == "c3"


def test_down_to_the_last_release(job_dir: Path, server: mariadb.Server) -> None:
    walk(job_dir, {name: UP_AND_DOWN[name] for name in ("a1", "b2")})
    (job_dir / "artifacts" / f"walk-{NAME}.jsonl").unlink()
    events = walk(job_dir, UP_AND_DOWN, downgrade=True, release=["b2"])
    assert events[0]["event"] == "skipped"
    assert way(events) == [("schema", "b2", "c3", "c3"), ("downgrade", "c3", "b2", "b2"), ("schema", "b2", "c3", "c3")]


def test_the_way_down_takes_new_branches_along(job_dir: Path, server: mariadb.Server) -> None:
    drop = "op.execute('SELECT 1')"
    old = {"a1": (None, FIRST, drop), "b2": ("a1", "", drop)}
    walk(job_dir, old)
    (job_dir / "artifacts" / f"walk-{NAME}.jsonl").unlink()
    new = {"c2": ("a1", "", drop), "x1": (None, "", drop), "x2": ("x1", "", drop, "b2")}
    events = walk(job_dir, {**old, **new}, {**toy.DATABASE, "heads": 2}, downgrade=True, release=["b2"])
    down = [(start, end, version) for kind, start, end, version in way(events) if kind == "downgrade"]
    assert down == [("c2", "a1", "x2"), ("x2", "b2,x1", "b2,x1"), ("x1", "base", "b2")]
    assert events[-1]["version"] == events[-1]["expected"] == "c2,x2"


@pytest.mark.parametrize(
    ("tool", "change"),
    [
        ("alembic", {}),
        ("alembic", {"downgrade_command": ["alembic", "-c", "{files}/own.ini", "downgrade", "{version}"]}),
        ("command", {"downgrade_command": ["alembic", "-c", "{files}/own.ini", "downgrade", "{version}"]}),
    ],
)
def test_a_downgrade_that_raises(job_dir: Path, server: mariadb.Server, tool: str, change: dict[str, Any]) -> None:
    tree = {**UP_AND_DOWN, "c3": ("b2", "", "raise RuntimeError('no way back')")}
    database = {**COMMAND, **change} if tool == "command" else {**toy.DATABASE, **change}
    env_py = toy.ENV_PY
    if change:
        database |= {"files": COMMAND["files"], "environment": COMMAND["environment"]}
    if tool == "command":
        env_py = COMMAND_ENV_PY
    elif change:
        database |= {"command": ["alembic", "-c", "{files}/own.ini", "upgrade", "{version}"]}
        env_py = COMMAND_ENV_PY
    events = walk(job_dir, tree, database, env_py, downgrade=True)
    found = error(events)
    assert (found["code"], found["from"], found["to"]) == ("migration_raised", "c3", "b2")
    assert found["detail"] == "RuntimeError: no way back"
    assert way(events)[-1] == ("downgrade", "c3", "b2", "c3")
    assert tool == "command" or found["file"] == "migrations/versions/c3_.py"


def test_a_downgrade_that_is_not_there(job_dir: Path, server: mariadb.Server) -> None:
    tree = {**UP_AND_DOWN, "c3": ("b2", "")}
    found = error(walk(job_dir, tree, downgrade=True))
    assert found["code"] == "walk_failed" and "has no attribute 'downgrade'" in found["detail"]


def test_a_downgrade_that_leaves_the_version(job_dir: Path, server: mariadb.Server) -> None:
    walk(job_dir, UP_AND_DOWN)
    (job_dir / "artifacts" / f"walk-{NAME}.jsonl").unlink()
    command = {**COMMAND, "downgrade_command": ["true"]}
    found = error(walk(job_dir, UP_AND_DOWN, command, COMMAND_ENV_PY, downgrade=True, release=["b2"]))
    assert (found["code"], found["from"], found["to"]) == ("version_unchanged", "c3", "b2")


def test_the_start_of_a_command_is_no_part_of_the_migration(job_dir: Path, server: mariadb.Server) -> None:
    env_py = "import time\ntime.sleep(1.5)\n" + COMMAND_ENV_PY
    events = walk(job_dir, {"a1": (None, "op.execute('SELECT SLEEP(1)')")}, COMMAND, env_py)
    (end,) = [event for event in events if event["event"] == "end"]
    assert end["start_up"] >= 1.5 and 1 <= end["seconds"] < end["start_up"] + 1


def data(body: str, **more: Any) -> list[dict[str, Any]]:
    """A data migration that does `body`."""
    script = f"import os, sys, pymysql\nurl, place = sys.argv[1:]\n{body}"
    command = ["python", "-c", script.replace("{", "{{").replace("}", "}}"), "{url}", "{files}"]
    return [{"name": "move", "command": command, **more}]


CONNECT = """
import urllib.parse
at = urllib.parse.urlsplit(url)
connection = pymysql.connect(
    user=at.username, password=urllib.parse.unquote(at.password), database=at.path[1:], autocommit=True,
    unix_socket=urllib.parse.parse_qs(at.query)["unix_socket"][0],
)
cursor = connection.cursor()
"""


def test_data_is_moved_in_rounds(job_dir: Path, server: mariadb.Server) -> None:
    body = CONNECT + "sys.exit(7 if cursor.execute('DELETE FROM t LIMIT 400') else 0)"
    events = walk(job_dir, CHAIN, data_migrations=data(body, again=[7]))
    (end,) = [event for event in events if event["event"] == "end" and event.get("kind") == "data"]
    assert (end["from"], end["to"], end["exit"], end["rounds"], end["version"]) == ("data", "move", 0, 4, "c3")
    assert end["counters"]["rows_changed"] == 1000 and end["start_up"] >= 0
    assert events[-1]["event"] == "final" and kinds(events)[-3:] == ["begin", "end", "final"]


@pytest.mark.parametrize(
    ("body", "more", "code", "words", "rounds"),
    [
        ("sys.exit(7)", {"again": [7], "rounds": 3}, "migration_ended", "after 3 rounds", 3),
        ("sys.exit(2)", {"again": [7]}, "migration_raised", "ended with status 2", 1),
        ("raise RuntimeError('own')", {}, "migration_raised", "RuntimeError: own", 1),
        ("os.kill(os.getpid(), 9)", {}, "migration_killed", "SIGKILL", 1),
        ("import no_such_module", {}, "import_failed", "no_such_module", 1),
        ("x = [open('/dev/null') for _ in range(5000)]", {}, "over_limit", "open files, 4096 (sandbox_open_files)", 1),
        ("import time; time.sleep(3600)", {}, "migration_timed_out", "s (run_migrations_time_limit), in round 1", 1),
        ("import time; time.sleep(1); sys.exit(7)", {"again": [7]}, "migration_timed_out", "ended after ", None),
    ],
)
def test_data_that_cannot_be_moved(
    job_dir: Path, server: mariadb.Server, body: str, more: dict[str, Any], code: str, words: str, rounds: int
) -> None:
    limit = several_times_a_migration(job_dir) if code == "migration_timed_out" else toy.PATIENCE
    events = walk(job_dir, {"a1": (None, FIRST)}, data_migrations=data(body, **more), time_limit=limit)
    found = error(events)
    assert code != "migration_timed_out" or f"ended after {limit:g} s" in found["detail"]
    assert (found["code"], found["from"], found["to"]) == (code, "data", "move") and words in found["detail"]
    assert events[-2]["event"] == "end" and events[-2]["kind"] == "data"
    assert rounds is None or events[-2]["rounds"] == rounds


@pytest.mark.parametrize("separator", ["", "path_separator = os\n", "version_path_separator = space\n"])
def test_the_folders_that_the_profile_names(job_dir: Path, server: mariadb.Server, separator: str) -> None:
    (job_dir / "src" / "more" / "expand").mkdir(parents=True)
    (job_dir / "src" / "more" / "expand" / "c3_.py").write_text(toy.migration("c3", "b2", ROWS))
    (job_dir / "src" / "own.ini").write_text(f"[alembic]\n{separator}")
    places = {"version_locations": ["migrations/versions", "more"], "recursive_version_locations": True}
    toy.write(job_dir / "src", {name: CHAIN[name] for name in ("a1", "b2")})
    toy.artifacts(job_dir, job_dir / "src", CHAIN)
    profile = toy.profile({**toy.DATABASE, "config": "own.ini", **places})
    limits = WalkLimits(toy.PATIENCE, toy.PATIENCE, 100_000)
    DatasetWalk(job_dir, NAME, profile, limits, toy.PROGRAMS, boxes.settings()).run()
    events = toy.events(job_dir, NAME)
    assert [end for _, _, end, _ in way(events)] == ["a1", "b2", "c3"] and events[-1]["version"] == "c3"

# SPDX-License-Identifier: Apache-2.0
"""The walk of one dataset: a real server, real alembic, and every way in which a migration can end."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from ansible.module_utils import th_mariadb

from tests.unit.logs import meaning

from . import toy
from .toy import CHAIN, FIRST, NAME, error, kinds, walk


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[th_mariadb.Server]:
    server = toy.start(tmp_path_factory.mktemp("server") / "toy")
    yield server
    th_mariadb.stop(server, 0)


@pytest.fixture
def server(job_dir: Path, running: th_mariadb.Server) -> th_mariadb.Server:
    return toy.emptied(running, job_dir)


@pytest.fixture
def own_server(job_dir: Path) -> Iterator[th_mariadb.Server]:
    """A server that a test may destroy."""
    server = toy.start(job_dir / "db" / NAME)
    yield server
    th_mariadb.stop(server, 0)


def test_each_migration_is_measured(job_dir: Path, server: th_mariadb.Server) -> None:
    events = walk(job_dir, CHAIN)
    assert kinds(events) == ["stage", *["begin", "end"] * 3, "final"]
    assert events[0]["steps"] == 3
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
    assert all(0 < end["seconds"] < 10 for end in ends)
    assert (events[-1]["version"], events[-1]["expected"]) == ("c3", "c3")


def test_the_log_has_the_classic_form(job_dir: Path, server: th_mariadb.Server) -> None:
    walk(job_dir, CHAIN)
    lines = (job_dir / "results" / f"{NAME}.log").read_text().splitlines()
    texts = [line.split(" ", 2)[2] for line in lines]
    assert texts[texts.index("[output] a1 -> b2...") + 1] == "[output] done"
    assert "Final schema version is c3" in texts
    for line in lines:
        time.strptime(line[:19], "%Y-%m-%d %H:%M:%S")
        assert line[19] == "," and line[20:23].isdigit()


@pytest.mark.parametrize("last", [CHAIN["c3"], ("b2", "raise ValueError('one\\ntwo')")], ids=["good", "raised"])
def test_the_log_tells_the_walk_again(job_dir: Path, server: th_mariadb.Server, last: tuple[str, str]) -> None:
    events = walk(job_dir, {**CHAIN, "c3": last})
    told = meaning((job_dir / "results" / f"{NAME}.log").read_bytes())
    assert list(told.walks) == [0] and told.reader.unknown == 0
    assert list(map(facts, told.walks[0])) == list(map(facts, events))


def facts(event: dict[str, Any]) -> dict[str, Any]:
    """What of an event the log has, too."""
    keys = ["event", "name", "stage", "target", "steps", "from", "to", "code", "detail"]
    if event["event"] != "end" or event["exit"] == 0:
        keys += ["version", "expected", "seconds", "exit", "counters"]
    return {key: event[key] for key in keys if key in event}


def test_a_walk_begins_where_the_dataset_is(job_dir: Path, server: th_mariadb.Server) -> None:
    walk(job_dir, {"a1": CHAIN["a1"]})
    events = walk(job_dir, CHAIN)
    ends = [event["to"] for event in events if event["event"] == "end"]
    assert ends == ["a1", "b2", "c3"]  # the first walk's, then the second's
    assert events[-1]["version"] == "c3"


def test_one_transaction_around_all_hides_no_version(job_dir: Path, server: th_mariadb.Server) -> None:
    events = walk(job_dir, CHAIN, env_py=toy.ENV_PY_ONE_TRANSACTION)
    assert [event["version"] for event in events if event["event"] == "end"] == ["a1", "b2", "c3"]
    assert events[-1]["version"] == "c3"


def test_a_branch_and_its_merge(job_dir: Path, server: th_mariadb.Server) -> None:
    tree = {"a1": (None, FIRST), "b2": ("a1", ""), "b3": ("a1", ""), "c4": (("b2", "b3"), "")}
    events = walk(job_dir, tree)
    ends = [event for event in events if event["event"] == "end"]
    assert ends[-1]["from"] == "b2,b3"
    assert [end["to"] in end["version"].split(",") for end in ends] == [True] * 4
    assert events[-1]["event"] == "final"


def test_a_migration_that_raises(job_dir: Path, server: th_mariadb.Server) -> None:
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
    job_dir: Path, server: th_mariadb.Server, body: str, code: str, status: int | None, words: str
) -> None:
    events = walk(job_dir, {"a1": (None, FIRST), "b2": ("a1", body)})
    found = error(events)
    assert found["code"] == code
    assert words in found["detail"]
    assert events[-2]["event"] == "end" and events[-2]["exit"] == status
    assert events[-2]["version"] == "a1"


def test_a_migration_that_never_ends(job_dir: Path, server: th_mariadb.Server) -> None:
    events = walk(job_dir, {"a1": (None, FIRST), "b2": ("a1", "op.execute('SELECT SLEEP(600)')")}, time_limit=2)
    found = error(events)
    assert found["code"] == "migration_timed_out"
    assert "SELECT SLEEP(600)" in found["detail"]
    assert events[-2]["exit"] is None and 2 <= events[-2]["seconds"] < 10
    with th_mariadb.connect(server, server.admin_file) as connection:
        left = th_mariadb.query(connection, "SELECT id FROM information_schema.processlist WHERE user = 'toy'")
    assert not left


def test_nothing_outlives_the_walk(job_dir: Path, server: th_mariadb.Server) -> None:
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


def test_several_heads_are_named(job_dir: Path, server: th_mariadb.Server) -> None:
    found = error(walk(job_dir, {"a1": (None, FIRST), "b2": ("a1", ""), "b3": ("a1", "")}))
    assert found["code"] == "several_heads"
    assert "b2, b3" in found["detail"]


def test_a_script_that_only_alembic_finds_does_not_go_unnoticed(job_dir: Path, server: th_mariadb.Server) -> None:
    toy.write(job_dir / "src", {"d4": ("c3", "raise RuntimeError")})
    events = walk(job_dir, CHAIN)
    assert kinds(events) == ["error"] and error(events)["code"] == "walk_failed"
    assert "alembic's heads are d4" in error(events)["detail"] and "lead to c3" in error(events)["detail"]


def test_a_project_without_migrations(job_dir: Path, server: th_mariadb.Server) -> None:
    assert error(walk(job_dir, {}))["code"] == "no_migrations"


def test_a_dataset_of_another_world(job_dir: Path, server: th_mariadb.Server) -> None:
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
def test_an_environment_that_fails(job_dir: Path, server: th_mariadb.Server, env_py: str, code: str) -> None:
    events = walk(job_dir, CHAIN, env_py=env_py)
    assert error(events)["code"] == code
    assert events[-1]["event"] == "error"


def test_a_lie_about_the_version_is_seen(job_dir: Path, server: th_mariadb.Server) -> None:
    env_py = toy.ENV_PY + "\nengine.connect().exec_driver_sql('TRUNCATE alembic_version')"
    events = walk(job_dir, {"a1": (None, FIRST)}, env_py=env_py)
    assert events[-1] | {"at": ""} == {"event": "final", "version": "base", "expected": "a1", "at": ""}


def test_a_server_that_dies(job_dir: Path, own_server: th_mariadb.Server) -> None:
    body = f"import os, time; os.kill({own_server.pid}, {signal.SIGKILL}); time.sleep(60)"
    begun = time.monotonic()
    events = walk(job_dir, {"a1": (None, FIRST), "b2": ("a1", body)})
    assert time.monotonic() - begun < 20
    assert error(events)["code"] == "server_died"
    assert events[-2]["event"] == "end"
    assert events[-2]["counters"] == dict.fromkeys(["rows_changed", "rows_read", "redo_bytes", "data_bytes"])


def test_a_flood_of_output_is_cut_in_the_middle(job_dir: Path, server: th_mariadb.Server) -> None:
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


def test_a_command_of_the_projects_own(job_dir: Path, server: th_mariadb.Server) -> None:
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
        ("import time; time.sleep(60)", "migration_timed_out"),
    ],
)
def test_a_command_that_fails(job_dir: Path, server: th_mariadb.Server, body: str, code: str) -> None:
    events = walk(job_dir, {"a1": (None, FIRST), "b2": ("a1", body)}, COMMAND, COMMAND_ENV_PY, time_limit=4)
    assert error(events)["code"] == code
    assert kinds(events)[-2:] == ["end", "error"]


def test_a_command_that_does_nothing_and_says_it_is_fine(job_dir: Path, server: th_mariadb.Server) -> None:
    events = walk(job_dir, CHAIN, {**COMMAND, "command": ["true"]})
    assert [event["version"] for event in events if event["event"] == "end"] == ["base"]
    found = error(events)
    assert (found["code"], found["from"], found["to"]) == ("version_unchanged", "base", "a1")


def test_the_jobs_user_has_its_database_and_nothing_more(job_dir: Path, server: th_mariadb.Server) -> None:
    with th_mariadb.connect(server, server.job_file) as connection:
        assert {row[0] for row in th_mariadb.query(connection, "SHOW DATABASES")} == {"information_schema", "toy"}
        grants = " ".join(row[0] for row in th_mariadb.query(connection, "SHOW GRANTS"))
    assert "SUPER" not in grants and "FILE" not in grants and "ON *.*" in grants and "USAGE ON *.*" in grants
    assert os.stat(server.admin_file).st_mode & 0o777 == 0o600


def test_migrations_that_form_a_circle(job_dir: Path, server: th_mariadb.Server) -> None:
    tree = {"a1": (None, ""), "b2": ("d4", ""), "c3": ("b2", ""), "d4": ("c3", ""), "e5": (("a1", "d4"), "")}
    found = error(walk(job_dir, tree, COMMAND, COMMAND_ENV_PY))
    assert found["code"] == "walk_failed" and "circle" in found["detail"]


def test_an_environment_that_never_comes_to_its_migrations(job_dir: Path, server: th_mariadb.Server) -> None:
    found = error(walk(job_dir, CHAIN, env_py="import time; time.sleep(600)", start_time_limit=2))
    assert found["code"] == "walk_failed" and "more than 2 s before the first" in found["detail"]


def test_a_child_that_keeps_the_socket_does_not_hold_up_the_walk(job_dir: Path, server: th_mariadb.Server) -> None:
    body = "import os, time\nif os.fork():\n    os._exit(3)\ntime.sleep(600)"
    begun = time.monotonic()
    found = error(walk(job_dir, {"a1": (None, FIRST), "b2": ("a1", body)}))
    assert time.monotonic() - begun < 20
    assert found["code"] == "migration_ended" and "status 3" in found["detail"]

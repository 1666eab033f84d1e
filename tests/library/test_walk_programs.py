# SPDX-License-Identifier: Apache-2.0
"""Walking with a program of the project's own: everything that such programs do around their migrations."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.th_server import mariadb

from tests.kit import toy
from tests.kit.toy import CHAIN, FIRST, error, kinds, walk

ENV_PY = toy.ENV_PY.replace('context.config.get_main_option("sqlalchemy.url")', '__import__("os").environ["TOY_URL"]')
HELPER = """
import os, subprocess, sys
from alembic import command
from alembic.config import Config

config = Config("alembic.ini")

def upgrade(target="heads"):
    command.upgrade(config, target)
"""
RAISES = {"a1": (None, FIRST), "b2": ("a1", "raise RuntimeError('own')"), "c3": ("b2", "")}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[mariadb.Server]:
    server = toy.start(tmp_path_factory.mktemp("server") / "toy", password="secret")
    yield server
    mariadb.stop(server, 0)


@pytest.fixture
def server(job_dir: Path, running: mariadb.Server) -> mariadb.Server:
    """The server with an empty database, as the job's."""
    return toy.emptied(running, job_dir)


def run(job_dir: Path, body: str, revisions: Any = CHAIN, **more: Any) -> list[dict[str, Any]]:
    """Walk with a program that does `body`; beside it is a module that has what it needs."""
    tools = job_dir / "src" / "tools"
    tools.mkdir(parents=True, exist_ok=True)
    (tools / "helper.py").write_text(HELPER)
    (tools / "manage.py").write_text("from helper import *\n" + body + "\n")
    command = more.pop("command", ["python", "tools/manage.py"])
    database = {**toy.DATABASE, "environment": {"TOY_URL": "{url}"}, "command": command, **more.pop("database", {})}
    return walk(job_dir, revisions, database, ENV_PY, **more)


def went_to_its_end(events: list[dict[str, Any]]) -> bool:
    versions = [event["version"] for event in events if event["event"] == "end"]
    return kinds(events) == ["stage", *["begin", "end"] * 3, "final"] and versions == ["a1", "b2", "c3"]


@pytest.mark.parametrize(
    "body",
    [
        "upgrade()",
        "upgrade('b2'); upgrade()",
        "upgrade(); upgrade(); sys.exit(0)",
        "import threading; thread = threading.Thread(target=upgrade); thread.start(); thread.join()",
        "upgrade(sys.argv[1])",
    ],
)
def test_a_program_that_comes_to_its_end(job_dir: Path, server: mariadb.Server, body: str) -> None:
    command = ["python", "tools/manage.py", "{version}"]
    assert went_to_its_end(run(job_dir, body, command=command))


def test_a_module_and_a_script_on_the_path(job_dir: Path, server: mariadb.Server) -> None:
    assert went_to_its_end(run(job_dir, "", command=["python", "-m", "alembic", "upgrade", "heads"]))
    events = run(job_dir, "", command=["alembic", "upgrade", "heads"])
    assert events[-2]["event"] == "stage" and events[-2]["steps"] == 0 and events[-1]["event"] == "final"


@pytest.mark.parametrize(
    "body",
    [
        "try:\n    upgrade()\nexcept Exception:\n    pass",
        "try:\n    upgrade()\nexcept Exception:\n    sys.exit(1)",
        "try:\n    upgrade()\nexcept Exception:\n    sys.exit('it did not work')",
        "try:\n    upgrade()\nexcept Exception:\n    upgrade()",
        "try:\n    upgrade()\nexcept Exception as error:\n    raise SystemError('other') from error",
    ],
)
def test_a_program_that_keeps_a_migrations_error_to_itself(job_dir: Path, server: mariadb.Server, body: str) -> None:
    found = error(run(job_dir, body, RAISES))
    assert (found["code"], found["from"], found["to"]) == ("migration_raised", "a1", "b2")
    assert found["detail"] == "RuntimeError: own"
    assert found["file"] == "migrations/versions/b2_.py" and found["line"] == 10


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("pass", "ended without having asked for its migrations"),
        ("subprocess.run([sys.executable, '-m', 'alembic', 'upgrade', 'heads'], check=True)", "without having asked"),
        ("command.stamp(config, 'heads')", "a1, b2, c3 did not run where the walk sees it"),
        ("upgrade('a1'); subprocess.run(['alembic', 'upgrade', 'heads'], check=True)", "b2, c3 did not run where"),
        ("upgrade('a1'); command.stamp(config, 'heads')", "b2, c3 did not run where the walk sees it"),
        ("sys.exit(3)", "manage.py ended with status 3"),
        ("print('no such setting\\n'); sys.exit(3)", "manage.py ended with status 3: no such setting"),
        ("sys.exit('no such setting')", "manage.py ended with: no such setting"),
        ("try:\n    {}['setting']\nexcept KeyError:\n    sys.exit(1)", "KeyError: 'setting'"),
        ("upgrade('nowhere')", "Can't locate revision"),
        ("upgrade(); sys.exit('at the end')", "ended with: at the end"),
        ("upgrade(); os.kill(0, 9)", "was killed by SIGKILL after the last migration"),
        ("os.execv(sys.executable, ['python', '-m', 'alembic', 'upgrade', 'heads'])", "ended with status 0 before"),
    ],
)
def test_a_program_that_does_not_do_its_work(job_dir: Path, server: mariadb.Server, body: str, words: str) -> None:
    found = error(run(job_dir, body))
    assert found["code"] == "walk_failed" and words in found["detail"]


def test_a_program_that_lacks_a_module(job_dir: Path, server: mariadb.Server) -> None:
    body = "try:\n    import no_such_module\nexcept ImportError:\n    sys.exit(1)"
    found = error(run(job_dir, body))
    assert found["code"] == "import_failed" and "no_such_module" in found["detail"]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["true"], "true is not written in Python"),
        (["tools/manage.sh"], "tools/manage.sh is not written in Python"),
        (["no-such-command"], "there is no command no-such-command in the environment"),
        (["tools"], "there is no command tools"),
        (["python", "-m", "no_such_module"], "no_such_module"),
    ],
)
def test_a_command_that_cannot_be_run(job_dir: Path, server: mariadb.Server, command: list[str], words: str) -> None:
    (job_dir / "src" / "tools").mkdir(parents=True)
    script = job_dir / "src" / "tools" / "manage.sh"
    script.write_text("#!/bin/sh\nalembic upgrade heads\n")
    script.chmod(0o755)
    found = error(run(job_dir, "", command=command))
    assert found["code"] in ("walk_failed", "import_failed") and words in found["detail"]


def test_a_program_that_stops_short(job_dir: Path, server: mariadb.Server) -> None:
    events = run(job_dir, "upgrade('b2')")
    assert kinds(events) == ["stage", *["begin", "end"] * 2, "final"]
    assert (events[-1]["version"], events[-1]["expected"]) == ("b2", "c3")


def test_a_program_that_finds_nothing_to_do(job_dir: Path, server: mariadb.Server) -> None:
    run(job_dir, "upgrade()")
    events = run(job_dir, "print('the database is up to date')")
    assert events[-2]["event"] == "stage" and events[-2]["steps"] == 0
    assert events[-1]["event"] == "final" and events[-1]["version"] == "c3"


def test_a_program_that_never_ends(job_dir: Path, server: mariadb.Server) -> None:
    begun = time.monotonic()
    run(job_dir, "upgrade('b2')")
    # the same limit holds for the program's start
    limit = max(3, 2 * (time.monotonic() - begun))
    found = error(run(job_dir, "upgrade(); import time; time.sleep(3600)", start_time_limit=limit))
    assert found["code"] == "walk_failed" and "after the last migration" in found["detail"]


def test_folders_of_the_checkout_that_are_called_like_packages(job_dir: Path, server: mariadb.Server) -> None:
    for name in ("alembic", "sqlalchemy"):
        (job_dir / "src" / name).mkdir(parents=True)
        (job_dir / "src" / name / "__init__.py").write_text("raise RuntimeError('the wrong one')\n")
    assert went_to_its_end(run(job_dir, "", command=["alembic", "upgrade", "heads"]))


def test_a_url_that_goes_through_configparser(job_dir: Path, server: mariadb.Server) -> None:
    body = "config.set_main_option('sqlalchemy.url', os.environ['TOY_URL'])\nupgrade()"
    assert went_to_its_end(run(job_dir, body))

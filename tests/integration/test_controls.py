# SPDX-License-Identifier: Apache-2.0
"""Whole jobs whose walk fails: whether it fails without the change as well decides whose fault it is."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.kit import installation as worlds
from tests.kit import toy
from tests.kit.installation import DUMP, JOB, PROFILE, TIP, World, script


@pytest.fixture(scope="module")
def own_world(tmp_path_factory: pytest.TempPathFactory, packages: Path, kept: Path) -> Iterator[World]:
    with worlds.made(tmp_path_factory.mktemp("world"), packages, kept) as made:
        yield made


@pytest.fixture
def world(own_world: World) -> Iterator[World]:
    """The world, whose branch, profile and dataset a test may alter."""
    own_world.dataset("first", dump=TIP.encode())
    tip = own_world.repository.git("rev-parse", "master")
    yield own_world
    own_world.repository.git("reset", "--quiet", "--hard", tip)
    own_world.profile(PROFILE)


def run(world: World, arguments: Mapping[str, str]) -> dict[str, Any]:
    """Run the job; what it prints as JSON, with the events of its walk."""
    params = world.root / "params.json"
    params.write_text(json.dumps({**arguments, "ZUUL_UUID": "1234567"}))
    words = ("run", "-c", str(world.config_path), "--job", JOB, "--params", str(params), "--json")
    done = world.th(*words, patience=900)  # it walks twice
    assert "Traceback" not in done.stderr, done.stderr
    assert done.stdout.startswith("{"), done.stdout + done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    folder = Path(document["url"].removeprefix("file://"))
    events = (folder / "artifacts" / "walk-first.jsonl").read_text().splitlines()
    controls = [event for event in map(json.loads, events) if event["event"] == "control"]
    assert [event["outcome"] == "begun" for event in controls] == [True, False] * (len(controls) // 2)
    document["controls"] = controls[1::2]
    document["names"] = {path.name for path in folder.iterdir()}
    assert not world.leftovers()
    return document


def merge_env_py(world: World, *lines: str) -> None:
    """Merge an env.py with more lines at its end."""
    world.repository.commit({"migrations/env.py": "\n".join([toy.ENV_PY, *lines, ""])}, "Alter env.py")


def test_an_env_py_that_fails_as_it_did_before_the_change(world: World) -> None:
    merge_env_py(world, "raise KeyError('NO_SUCH_SETTING')")
    found = run(world, world.migration("pass"))
    assert (found["result"], found["fault"]) == ("INFRASTRUCTURE", "operator")
    [message] = found["messages"]
    assert message["code"] == "walk_failed" and "NO_SUCH_SETTING" in message["detail"]
    [control] = found["controls"]
    assert (control["outcome"], control["stage"]) == ("failed", "master")
    assert f"fails the same way, at {control['commit'][:12]}" in message["detail"]
    assert "first-control.log" in found["names"]


def test_a_change_whose_own_env_py_fails_is_not_spared(world: World) -> None:
    """Given one that first spoils the database, and then fails as the branch does not."""
    spoil = "engine.connect().exec_driver_sql('DROP TABLE alembic_version')"
    files = {**script("d4", "c3"), "migrations/env.py": "\n".join([toy.ENV_PY, spoil, "raise KeyError('MINE')", ""])}
    found = run(world, world.change(files))
    assert [control["outcome"] for control in found["controls"]] == ["passed"]
    assert (found["result"], found["fault"]) == ("FAILURE", "change")
    # and one that fails otherwise where the branch fails, too
    merge_env_py(world, "raise KeyError('NO_SUCH_SETTING')")
    found = run(world, world.change(files))
    assert [control["outcome"] for control in found["controls"]] == ["failed"]
    assert (found["result"], found["fault"]) == ("FAILURE", "change")


def test_a_command_that_moves_data_and_fails_as_it_did_before_the_change(world: World) -> None:
    world.repository.commit({"move.py": "raise SystemExit('there is no table of customers')\n"}, "Move data")
    world.profile({**PROFILE, "data_migrations": [{"name": "move", "command": ["python", "move.py"]}]})
    found = run(world, world.migration("pass"))
    assert (found["result"], found["fault"]) == ("INFRASTRUCTURE", "dataset")
    assert {message["code"] for message in found["messages"]} == {"migration_unfinished", "migration_raised"}


def test_a_merged_migration_over_its_limit_is_reported_and_fails_no_change(world: World) -> None:
    world.dataset("first", dump=DUMP.encode(), maximum_migration_times={"default": 60, "b2->c3": 0.0})
    found = run(world, world.migration("pass"))
    assert (found["result"], found["fault"]) == ("SUCCESS", "none")
    [message] = [message for message in found["messages"] if message["code"] == "migration_too_long"]
    assert (message["fault"], message["counts"], message["dataset"]) == ("dataset", False, "first")
    file, key = world.root / "datasets" / "first" / "config.json", '"maximum_migration_times": {"b2->c3": '
    assert f"in {file}: raise the limit for this migration, {key}" in message["remedy"]
    found = run(world, world.migration("op.create_index('uq', 't', ['name'], unique=True)"))
    assert (found["result"], found["fault"]) == ("FAILURE", "change")
    assert "1062" in json.dumps(found["messages"])

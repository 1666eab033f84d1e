# SPDX-License-Identifier: Apache-2.0
"""Steps of one project, as docs/editing.md has them: where they run, what they prepare, and whose fault they are."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.examples import example
from tests.kit import ROOT, toy
from tests.kit import installation as worlds
from tests.kit.installation import JOB, PROJECT, World, program, script

STAGES = ("checkout", "build-environment", "restore-datasets", "run-migrations", "upload-logs")
PLACES = [f"{when}-{stage}" for stage in STAGES for when in ("before", "after")]
OF_A_CONTROL = ["before-build-environment", "after-build-environment", "before-restore-datasets",
                "after-restore-datasets", "before-run-migrations"]  # fmt: skip
PACKAGE = example("editing.md", "A system package that the project's build needs")
TABLE = example("editing.md", "A table that production has and the dump lacks")
HEADER = "/usr/include/mariadb/mysql.h"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, packages: Path) -> Iterator[World]:
    with worlds.made(tmp_path_factory.mktemp("own"), packages) as made:
        merged = script("c4", "c3", "op.execute(\"INSERT INTO scheduler VALUES ('nightly')\")")
        made.repository.commit(merged, "Tell the scheduler")
        yield made


def steps(world: World) -> Path:
    folder = world.root / "projects" / PROJECT
    folder.mkdir(exist_ok=True)
    return folder


def mark(world: World, place: str, *more: dict[str, Any]) -> None:
    """A step that notes where it runs, after others; in Ansible's output as long as that is published."""
    note = f"RAN {place} {{{{ own_steps_dir | basename }}}} {{{{ own_steps_datasets | length }}}}"
    say: dict[str, Any] = {"name": "Note it", "ansible.builtin.debug": {"msg": note}}
    if "upload-logs" in place:
        say = {"name": "Note it", "ansible.builtin.shell": f'echo "{note}" >> {world.root}/ran', "changed_when": False}
    (steps(world) / f"{place}.yaml").write_text(yaml.safe_dump([*more, say]))


def ran(text: str) -> list[list[str]]:
    """What steps have noted: the place, the folder, and how many datasets."""
    return [found.split() for found in re.findall(r"\bRAN (\S+ \S+ \d+)", text)]


def run(world: World, config: Path, given: dict[str, str]) -> dict[str, Any]:
    params = world.root / "params.json"
    params.write_text(json.dumps({**given, "ZUUL_UUID": "own"}))
    done = world.th("run", "-c", str(config), "--job", JOB, "--params", str(params), "--json")
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_they_run_in_their_places_and_in_a_control_once_more(world: World) -> None:
    """What they prepare is there with and without the change, so that the two can be compared."""
    for place in PLACES:
        mark(world, place, *(yaml.safe_load(TABLE) if place == "after-restore-datasets" else []))
    env_py = toy.ENV_PY + "\nraise RuntimeError('at the end')\n"
    document = run(world, world.configure(), world.change({**script("d4", "c4"), "migrations/env.py": env_py}))
    assert [(one["code"], one["fault"], one["counts"]) for one in document["messages"]] == [
        ("walk_failed", "change", True)
    ]
    folder = Path(document["url"].removeprefix("file://"))
    events = map(json.loads, (folder / "artifacts" / "walk-first.jsonl").read_text().splitlines())
    assert [one["outcome"] for one in events if one["event"] == "control"] == ["begun", "passed"]
    noted = ran((folder / "task_output.log").read_text() + (world.root / "ran").read_text())
    assert [place for place, where, count in noted if (where, count) == ("own", "1")] == PLACES
    assert [place for place, where, count in noted if (where, count) == ("control", "1")] == OF_A_CONTROL
    assert not world.leftovers()


def test_one_that_fails_is_the_operators_and_is_named(world: World) -> None:
    for file in steps(world).iterdir():
        file.unlink()
    assert HEADER in PACKAGE
    (steps(world) / "before-build-environment.yaml").write_text(PACKAGE.replace(HEADER, "/no/such/header.h"))
    late = "- name: Tell the team\n  ansible.builtin.fail: {msg: the chat is away}\n"
    (steps(world) / "after-upload-logs.yaml").write_text(late)
    config, given = world.configure(), world.change(script("d4", "c4"))
    document = run(world, config, given)
    assert (document["result"], document["fault"]) == ("INFRASTRUCTURE", "operator")
    found = {one["code"]: one for one in document["messages"]}
    assert found.keys() == {"playbook_failed", "upload_failed"}
    file = steps(world) / "before-build-environment.yaml"
    name = "Check that libmariadb-dev is installed, which the build of mysqlclient needs"
    assert found["playbook_failed"]["detail"] == f"{file}: {name}: it is not: apt-get install libmariadb-dev"
    assert found["upload_failed"]["detail"].endswith("/after-upload-logs.yaml: Tell the team: the chat is away")
    assert not found["upload_failed"]["counts"]
    folder = Path(document["url"].removeprefix("file://"))
    assert (folder / "index.html").is_file(), "it was published before that step failed"
    (steps(world) / "before-build-environment.yaml").write_text(PACKAGE.replace(HEADER, str(ROOT)))
    mark(world, "after-checkout")
    words = [program("ansible-playbook"), "playbooks/checkout.yaml", "-e", f"@{folder}/job.yaml"]
    done = subprocess.run(
        [*words, "-e", f"th_job_dir={world.root}/by-hand"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and ran(done.stdout) == [["after-checkout", "by-hand", "1"]], done.stdout


def test_one_that_is_no_yaml_is_told_with_its_error(world: World) -> None:
    for file in steps(world).iterdir():
        file.unlink()
    (steps(world) / "before-checkout.yaml").write_text("- name: [broken\n")
    document = run(world, world.configure(), world.change(script("d4", "c4")))
    (message,) = document["messages"]
    assert (message["code"], message["fault"]) == ("playbook_failed", "operator")
    assert "YAML parsing failed" in message["detail"] and "before-checkout.yaml" in message["detail"]

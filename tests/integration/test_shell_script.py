# SPDX-License-Identifier: Apache-2.0
"""The plugin shell_script, in a worker as it is installed: a project that has no profile and no datasets."""

import json
from pathlib import Path
from typing import Any

import yaml

from tests.kit.installation import PROJECT, World

SCRIPT = """#!/bin/sh
set -e
test "$(cat alembic.ini | head -1)" = '[alembic]'
echo "checked $ZUUL_PROJECT at $(basename "$1") for $TH_JOB_NAME" >$TH_RESULT_FILE
"""
LINT = {"name": "lint", "plugin": "shell_script", "time_limit": 600}


def run(world: World, job: dict[str, Any], given: dict[str, str], status: int) -> dict[str, Any]:
    config = world.configure(jobs=[job], projects_dir=str(world.root / "no-profiles"))
    params = world.root / "script.json"
    params.write_text(json.dumps({**given, "ZUUL_UUID": "script"}))
    done = world.th("run", "-c", str(config), "--job", "lint", "--params", str(params), "--json")
    assert done.returncode == status, done.stdout + done.stderr
    assert not world.leftovers()
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_a_script_that_succeeds_is_quoted_in_the_report(world: World) -> None:
    script = world.root / "lint.sh"
    script.write_text(SCRIPT)
    script.chmod(0o755)
    document = run(world, {**LINT, "script": str(script)}, world.change({"README": "words"}), 0)
    assert document["result"] == "SUCCESS" and document["messages"] == []
    assert document["notes"] == [f"The test says: checked {PROJECT} at src for lint"]
    folder = Path(document["url"].removeprefix("file://"))
    page = (folder / "index.html").read_text()
    assert f"checked {PROJECT} at src for lint" in page and "shell_output.log" in page
    assert yaml.safe_load((folder / "job.yaml").read_text())["th_plugin"]["script"] == str(script)
    again = world.th("verdict", "--json", str(folder))
    assert again.returncode == 0 and json.loads(again.stdout)["notes"] == document["notes"]


def test_a_script_that_nobody_has_is_not_the_changes_fault(world: World) -> None:
    """And neither is a step of the operator's that fails before it."""
    document = run(world, {**LINT, "script": "none.sh"}, world.change({"README": "more"}), 3)
    (message,) = document["messages"]
    assert (message["code"], message["fault"]) == ("playbook_failed", "operator")
    assert message["detail"] == "script: there is no none.sh in the checkout: correct the configuration."
    steps = world.root / "no-profiles" / PROJECT
    steps.mkdir(parents=True)
    (steps / "before-checkout.yaml").write_text("- name: Look for disk\n  ansible.builtin.fail: {msg: too little}\n")
    document = run(world, {**LINT, "script": "none.sh"}, world.change({"README": "more yet"}), 3)
    (message,) = document["messages"]
    assert (message["code"], message["fault"]) == ("playbook_failed", "operator")
    assert message["detail"] == f"{steps}/before-checkout.yaml: Look for disk: too little"

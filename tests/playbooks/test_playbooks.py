# SPDX-License-Identifier: Apache-2.0
"""Every role's test playbook, run as an operator would run it, and once more in the same place."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.kit import ROOT, shared
from worker.inputs import documents

from . import arrange

HERE = Path(__file__).parent
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if (path / "tasks").is_dir())
RECORDS_NOTHING = {"prepare_host", "prepare_engine", "deploy_worker", "own_steps", "verdict"}
"""Roles that have no errors of their own in errors.jsonl."""
DATASET = {"restore_datasets": "good", "run_migrations": "good"}
"""The dataset that an error of a role is about."""
CHANGES_NOTHING = {"prepare_host", "prepare_engine", "deploy_worker", "project", "own_steps"}
"""Roles that find all that they do done already."""
GO_ON = ("git_prep.log", "environment.log", "server.log")
"""Logs to which a later run adds, and the server's own."""
READ = ("job/artifacts", "job/results", "published")
"""Where the files are that somebody reads."""
NEW = {'"made"': '"hit"', '"cached": false': '"cached": true'}
"""What is said of a snapshot and an environment, the first time and later."""


def play(name: str, folder: Path, job: Path, again: bool = False) -> "subprocess.CompletedProcess[str]":
    """Run a test playbook on what `arrange` has made in a folder, with the variables of the file `job`."""
    more = json.dumps({"test_dir": str(folder), "again": again})
    program = Path(sys.executable).parent / "ansible-playbook"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    return subprocess.run(
        [str(program), str(HERE / name), "-e", f"@{job}", "-e", more],
        cwd=ROOT,
        env=environment | {"HOME": str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1200,
    )


def processes(folder: Path) -> dict[int, str]:
    """What runs in a folder: the command of each process whose environment or command names it."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words, environment = (process / "cmdline").read_bytes(), (process / "environ").read_bytes()
        except OSError:
            continue
        if words and os.fsencode(folder) in words + environment:
            found[int(process.name)] = os.fsdecode(words.replace(b"\0", b" "))
    return found


def places(folder: Path) -> set[str]:
    """All files and folders, but for those that a database or git makes as it needs them."""
    left_out = re.compile(r"/(data|run|\.git)/")
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not left_out.search(str(path))}


def texts(folder: Path) -> dict[str, str]:
    """What a job leaves for those who read it, without its numbers, what NEW has and the logs that go on."""
    files = [path for place in READ for path in (folder / place).rglob("*") if path.is_file()]
    told = [path for path in files if not path.name.endswith(GO_ON)]
    found = {str(path.relative_to(folder)): re.sub(r"\d+", "0", path.read_text()) for path in told}
    for first, later in NEW.items():
        found = {name: text.replace(first, later) for name, text in found.items()}
    return found


def error(role: str) -> str:
    """A line of errors.jsonl that is of an earlier run."""
    what = {"code": "profile_wrong", "detail": "x", "dataset": DATASET.get(role, "")}
    return json.dumps({"event": "error", "role": role, **what}) + "\n"


@pytest.mark.parametrize("role", ROLES)
def test_a_role_twice_in_the_same_place(role: str, tmp_path: Path) -> None:
    """The second run leads to the same, and leaves nothing of the first: no process, file or error."""
    arrange.main(tmp_path, role)
    shared.share_empty_data(tmp_path / "snapshots")
    errors = tmp_path / "job" / "artifacts" / "errors.jsonl"
    if not errors.exists():
        errors.parent.mkdir(0o700, parents=True, exist_ok=True)
        errors.write_text(error("worker"))
    try:
        first = play(f"{role}.yaml", tmp_path, tmp_path / "job.yaml")
        assert first.returncode == 0, first.stdout
        old, found, left = processes(tmp_path), places(tmp_path), texts(tmp_path)
        if role not in RECORDS_NOTHING:
            errors.write_text(errors.read_text() + error(role))
        second = play(f"{role}.yaml", tmp_path, tmp_path / "job.yaml", again=True)
        assert second.returncode == 0, second.stdout
        new = processes(tmp_path)
    finally:
        for number in processes(tmp_path):
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
    assert places(tmp_path) == found
    assert texts(tmp_path) == left
    # only a restore leaves servers, and the next one ends them
    assert not old.keys() & new.keys() and len(old) == len(new), (old, new)
    assert bool(new) == (role == "restore_datasets"), new
    if role in CHANGES_NOTHING:
        assert not re.findall(rf"^TASK \[{role} : ([^\n]*)\][^[]*\nchanged:", second.stdout, re.MULTILINE)


def test_no_argument_of_a_job_is_a_template(tmp_path: Path) -> None:
    """Neither in the worker's job.yaml, nor in the one that the role verdict leaves to be used again."""
    arrange.main(tmp_path, "verdict")
    witness, job = tmp_path / "witness", tmp_path / "job.yaml"
    evil = "{{ lookup('pipe', 'touch " + str(witness) + "') }} {% if %} {{ no_such_variable }}"
    variables = yaml.safe_load(job.read_text())
    variables["th_job"] = {**dict.fromkeys(variables["th_job"], evil), "id": "1", "zuul": {"ZUUL_CHANGES": evil}}
    variables["th_datasets"] = [{"name": "one", "config": evil}]
    job.write_text(documents.ansible_variables(variables))
    assert (done := play("verdict.yaml", tmp_path, job)).returncode == 0, done.stdout
    left = Path(variables["th_job_dir"]) / "job.yaml"
    assert documents.read_mapping(left) == {key: variables[key] for key in ("th_job", "th_datasets")}
    shutil.copytree(arrange.FILES / "verdict" / "job", tmp_path / "again")
    again = tmp_path / "again.yaml"
    again.write_text(f"th_job_dir: {tmp_path}/again\n" + left.read_text())
    assert (done := play("verdict.yaml", tmp_path, again)).returncode == 0, done.stdout
    assert not witness.exists()

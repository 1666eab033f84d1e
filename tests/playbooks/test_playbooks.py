# SPDX-License-Identifier: Apache-2.0
"""Every test playbook, run as an operator would run it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.kit import ROOT
from worker.inputs import documents

from . import arrange

HERE = Path(__file__).parent


def play(name: str, folder: Path, job: Path) -> "subprocess.CompletedProcess[str]":
    """Run a test playbook on what `arrange` has made in a folder, with the variables of the file `job`."""
    program = Path(sys.executable).parent / "ansible-playbook"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    return subprocess.run(
        [str(program), str(HERE / name), "-e", f"@{job}", "-e", f"test_dir={folder}"],
        cwd=ROOT,
        env=environment | {"HOME": str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1200,
    )


@pytest.mark.parametrize("name", sorted(path.name for path in HERE.glob("*.yaml")))
def test_playbook(name: str, tmp_path: Path) -> None:
    arrange.main(tmp_path)
    done = play(name, tmp_path, tmp_path / "job.yaml")
    assert done.returncode == 0, done.stdout


def test_no_argument_of_a_job_is_a_template(tmp_path: Path) -> None:
    """Neither in the worker's job.yaml, nor in the one that the role verdict leaves to be used again."""
    arrange.main(tmp_path)
    witness, job = tmp_path / "witness", tmp_path / "job.yaml"
    evil = "{{ lookup('pipe', 'touch " + str(witness) + "') }} {% if %} {{ no_such_variable }}"
    variables = yaml.safe_load(job.read_text())
    variables["th_job"] = {**dict.fromkeys(variables["th_job"], evil), "id": "1", "zuul": {"ZUUL_CHANGES": evil}}
    variables["th_datasets"] = [{"name": "one", "config": evil}]
    job.write_text(documents.ansible_variables(variables))
    assert (done := play("verdict.yaml", tmp_path, job)).returncode == 0, done.stdout
    left = Path(variables["th_job_dir"]) / "job.yaml"
    assert documents.read_mapping(left) == {key: variables[key] for key in ("th_job", "th_datasets")}
    again = tmp_path / "again.yaml"
    again.write_text(f"th_job_dir: {tmp_path}/again\n" + left.read_text())
    assert (done := play("verdict.yaml", tmp_path, again)).returncode == 0, done.stdout
    assert not witness.exists()

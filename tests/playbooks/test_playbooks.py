# SPDX-License-Identifier: Apache-2.0
"""Every test playbook, run as an operator would run it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from . import arrange

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent


@pytest.mark.parametrize("name", sorted(path.name for path in HERE.glob("*.yaml")))
def test_playbook(name: str, tmp_path: Path) -> None:
    arrange.main(tmp_path)
    program = Path(sys.executable).parent / "ansible-playbook"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    done = subprocess.run(
        [str(program), str(HERE / name), "-e", f"@{tmp_path}/job.yaml", "-e", f"test_dir={tmp_path}"],
        cwd=ROOT,
        env=environment | {"HOME": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout

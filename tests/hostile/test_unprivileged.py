# SPDX-License-Identifier: Apache-2.0
"""All of it again as a user who may do nothing: the box needs no root, neither to hold nor to be made."""

import os
import re
import subprocess
import sys
from pathlib import Path

from . import machine

CHOSEN = ("test_walk.py", "test_build.py", "test_packages.py", "test_limits.py", "test_database.py")
"""What is about boxes: the other files' subjects do the same whoever runs them."""

if os.geteuid() == 0:  # else all tests here run as such a user anyway

    def test_the_same_as_a_user_without_any_right(tmp_path: Path) -> None:
        folder = tmp_path / "home"
        folder.mkdir()
        pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
        chosen = [f"--basetemp={folder}/tests", *(f"tests/hostile/{name}" for name in CHOSEN)]
        done = subprocess.run(
            machine.command(folder, *pytest, *chosen), cwd=machine.ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-10_000:] + done.stderr
        passed = re.search(r"^(\d+) passed in", done.stdout, re.MULTILINE)  # and nothing skipped or failed
        assert passed and int(passed[1]) > 150, done.stdout[-2000:]

# SPDX-License-Identifier: Apache-2.0
"""Workers that are killed while jobs run, and their gearmand with them: a short form of `python -m benchmarks.load`."""

import subprocess
import sys

from tests.kit import ROOT
from tests.kit.installation import PATIENCE


def test_nothing_is_lost_and_nothing_is_left_when_workers_and_their_server_are_killed() -> None:
    words = ["--jobs", "6", "--workers", "2", "--kills", "2", "--restarts", "1", "--hits", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.load", *words],
        cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    rows = (line.strip().rsplit(maxsplit=1) for line in done.stdout.splitlines() if line.startswith("    "))
    table = {name: count for name, count in rows if count.isdigit()}
    assert table["workers killed"] == "2" and table["gearmand restarted"] == "1"
    assert table["builds without a result"] == table["processes left"] == table["wrong verdicts"] == "0"

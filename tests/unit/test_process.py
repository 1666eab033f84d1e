# SPDX-License-Identifier: Apache-2.0
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit import ROOT
from worker import process
from worker.errors import UsageError


def test_a_pid_file_that_was_removed_while_it_was_being_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "pid"
    real = process.PidFile._is_still_there
    answers = []

    def removed_the_first_time(pid_file: process.PidFile) -> bool:
        if not answers:
            path.unlink()
        answers.append(real(pid_file))
        return answers[-1]

    monkeypatch.setattr(process.PidFile, "_is_still_there", removed_the_first_time)
    pid_file = process.PidFile(path)
    pid_file.write()
    assert answers == [False, True]
    assert path.read_text() == f"{os.getpid()}\n"
    pid_file.remove()
    assert not path.exists()


def test_a_pid_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        process.PidFile(tmp_path)


def test_orphans_come_to_us_and_are_reaped() -> None:
    code = """
import os, subprocess, sys, time
from worker import process
process.adopt_orphans()
orphan = int(subprocess.run(["sh", "-c", "sleep 0.2 >/dev/null & echo $!"], capture_output=True).stdout)
with open(f"/proc/{orphan}/stat") as stat:
    assert int(stat.read().split()[3]) == os.getpid()
def state():
    with open(f"/proc/{orphan}/stat") as stat:
        return stat.read().split()[2]
while state() != "Z":
    time.sleep(0.02)
own = subprocess.Popen(["false"])
orphans = process.OrphanReaper()
orphans.reap()
assert os.path.exists(f"/proc/{orphan}"), "somebody may be about to wait for it"
assert own.wait() == 1
orphans.reap()
assert not os.path.exists(f"/proc/{orphan}")
orphans.reap()
"""
    root = ROOT
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_signal_ends_the_waiting() -> None:
    code = """
import os, signal, threading
from worker.process import Signals
signals = Signals()
signals.wait(0.01)
assert not signals.stop
threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
signals.wait(3600)
assert signals.stop
"""
    root = ROOT
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr

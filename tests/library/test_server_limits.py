# SPDX-License-Identifier: Apache-2.0
"""What a private server may take of the disk, as far as no server is needed to see it."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.th_sandbox.limits import DatabaseLimits
from ansible.module_utils.th_server import mariadb
from ansible.module_utils.th_walk.server_limits import ServerLimits
from ansible.module_utils.th_walk.walkers import WalkError

from tests.kit.waiting import wait_until

LIMIT = 10 << 20
PROGRAM = """
import os, sys
kept = open(sys.argv[1] + '/unnamed', 'wb')
os.unlink(kept.name)
for line in sys.stdin:
    kept.write(bytes(int(line)))
    kept.flush()
    print('done', flush=True)
"""


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """In the place of a server, what writes to a file without a name as much as it is told."""
    words = [sys.executable, "-c", PROGRAM, str(tmp_path), f"--datadir={tmp_path / 'data'}"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as started:
        tell(started, 0)
        yield started
        started.kill()


def tell(process: subprocess.Popen[str], size: int) -> None:
    """Have it write so many bytes."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(f"{size}\n")
    process.stdin.flush()
    assert process.stdout.readline() == "done\n"


def limits(folder: Path, pid: int = 0) -> ServerLimits:
    return ServerLimits(mariadb.Server(str(folder), "", {"": "toy"}, "toy", pid), DatabaseLimits(disk=LIMIT))


def test_what_has_no_name_counts_and_what_was_too_much_stays(tmp_path: Path, process: Any) -> None:
    tell(process, 5 << 20)
    held = limits(tmp_path, process.pid)
    tell(process, 8 << 20)
    assert held.exceeded() is None, "what was there before does not count"
    (tmp_path / "named").write_bytes(bytes(4 << 20))
    error = held.exceeded()
    assert error is not None and error.code == "over_limit" and "10 MiB (sandbox_database_disk)" in error.detail
    (tmp_path / "named").unlink()
    assert held.exceeded() is not None
    found = held.cause_of(WalkError("migration_raised", "Lost connection", "a.py", 3))
    assert found is not None and found.code == "over_limit" and found.detail.endswith(": Lost connection")
    assert (found.file, found.line) == ("a.py", 3)


def test_a_server_that_goes_on_is_ended(tmp_path: Path, process: Any) -> None:
    held, ends = limits(tmp_path, process.pid), []

    def end() -> None:
        ends.append(1)
        if len(ends) < 10:
            tell(process, 4 << 20)

    with held.enforced(end):
        assert resource.prlimit(process.pid, resource.RLIMIT_FSIZE)[0] == LIMIT
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        tell(process, 11 << 20)
        assert process.wait(300) == -signal.SIGKILL
    assert 1 < len(ends) < 10


def test_a_server_that_heeds_it_is_not(tmp_path: Path, process: Any) -> None:
    held, ends = limits(tmp_path, process.pid), []
    with held.enforced(lambda: ends.append(1)):
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        tell(process, 11 << 20)
        wait_until(lambda: len(ends) > 5)
        assert process.poll() is None


@pytest.mark.parametrize(
    ("line", "over"),
    [
        ("[ERROR] InnoDB: preallocating 79691776 bytes for file ./ibtmp1 failed with error 27", True),
        ("[ERROR] InnoDB: Error number 27 means 'File too large'", True),
        ("[ERROR] mariadbd: Error writing file '/x' (Errcode: 27 \"File too large\")", True),
        ("[ERROR] [MY-012640] [InnoDB] Error number 27 means 'File too large'", True),
        ("[ERROR] [MY-010907] [Server] Error writing file '/x' (OS errno 27 - File too large)", True),
        ("[ERROR] InnoDB: Error number 28 means 'No space left on device'", False),
        ("[Note] error 27", False),
        ("[ERROR] error 270", False),
    ],
)
def test_what_a_server_says_of_a_file_that_is_too_large(tmp_path: Path, line: str, over: bool) -> None:
    log = tmp_path / "server.log"
    log.write_text("2026-11-30 19:42:17 9 [ERROR] before: error 27\n")
    held = limits(tmp_path)
    assert held.cause_of(WalkError("migration_raised", "(1114, \"The table 'x' is full\")")) is None
    with log.open("a") as stream:
        stream.write(f"2026-11-30 19:42:17 9 {line}\n")
    found = held.cause_of(WalkError("migration_raised", "(1114, \"The table 'x' is full\")"))
    assert (found is not None and found.code == "over_limit") == over


def test_a_server_that_can_hold_what_it_sorts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []
    answers = [[], [("max_tmp_total_space_usage", "0")], []]
    monkeypatch.setattr(mariadb, "query", lambda _, *words: asked.append(words) or answers[len(asked) - 1])
    for _ in range(2):
        limits(tmp_path).limit_temporary_space(None)
    assert [words[0].split()[0] for words in asked] == ["SHOW", "SHOW", "SET"] and asked[-1][1] == LIMIT
    found = limits(tmp_path).cause_of(WalkError("migration_raised", "(200, 'Global temporary space limit reached')"))
    assert found is not None and "sandbox_database_disk" in found.detail


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    held = limits(tmp_path / "none", os.getpid())
    assert held.exceeded() is None
    with held.enforced(lambda: None):
        pass

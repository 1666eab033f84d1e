# SPDX-License-Identifier: Apache-2.0
"""The claim of a run of Ansible on a folder that it fills in several steps, each of which is a process of its own.

``claim.json`` in the folder names the run. A claim ends with the run, however that ends, and when its time is up, so
nobody waits for a run that was killed.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ansible.module_utils.th_core.artifacts import read_json, write_json
from ansible.module_utils.th_core.processes import parent, start_time

FILE = "claim.json"
_ANCESTORS = 30


def claim(folder: Path, time_limit: float) -> None:
    """Claim a folder for the run that this process belongs to, for `time_limit` seconds at most."""
    pid = _run()
    write_json(folder / FILE, {"pid": pid, "started": start_time(pid), "until": time.time() + time_limit})


def is_claimed(folder: Path) -> bool:
    """Whether a run that still lives has claimed the folder."""
    try:
        found = read_json(folder / FILE)
    except ValueError:
        return False
    if not found or time.time() > found["until"]:
        return False
    started = start_time(found["pid"])
    return started != "" and started == found["started"]


def release(folder: Path) -> None:
    """End the claim on a folder, if there is one."""
    (folder / FILE).unlink(missing_ok=True)


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Hold the lock on a folder, under which folders in it are looked for, claimed and removed."""
    handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _run() -> int:
    """The process that lives as long as the run: Ansible's main process, which has forked the one of this task; without
    Ansible, this process."""
    found, pid = 0, os.getpid()
    for _ in range(_ANCESTORS):
        pid = parent(pid)
        words = _command(pid) if pid > 1 else b""
        is_ansible = b"ansible" in words and b"playbook" in words
        if is_ansible:
            found = pid
        if not words or (found and not is_ansible):
            break
    return found or os.getpid()


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""

# SPDX-License-Identifier: Apache-2.0
"""The descendants of this process, however they have detached themselves: they come back to it, and it ends them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Iterable

import psutil

PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
KILL_PATIENCE = 5.0

_libc = ctypes.CDLL(None, use_errno=True)


def become_subreaper() -> None:
    """Have orphaned descendants reparented to this process instead of to init."""
    if _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def kill_descendants(spared: Iterable[psutil.Process] = (), patience: float = KILL_PATIENCE) -> list[int]:
    """Kill all descendants of this process but the `spared`; returns the ids of those left after `patience` s."""
    kept = set(spared)
    deadline = time.monotonic() + patience
    while left := _living(set(psutil.Process().children(recursive=True)) - kept):
        for number in (signal.SIGSTOP, signal.SIGKILL):  # stopped first, so that none can fork away
            for process in left:
                try:
                    process.send_signal(number)
                except psutil.NoSuchProcess:
                    pass
        if time.monotonic() > deadline:
            break
        time.sleep(0.01)
    return [process.pid for process in left]


def reap(spared: Iterable[psutil.Process]) -> None:
    """Forget the dead that came to this process as the reaper of their parents."""
    for process in set(psutil.Process().children()) - set(spared):
        with contextlib.suppress(ChildProcessError):
            os.waitpid(process.pid, os.WNOHANG)


def _living(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    found = []
    for process in processes:
        try:
            if process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
                found.append(process)
        except psutil.NoSuchProcess:
            pass
    return found

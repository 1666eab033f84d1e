# SPDX-License-Identifier: Apache-2.0
"""Killing the descendants of this process, which are reparented to it however they have detached themselves."""

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


def kill_descendants(exempt: Iterable[psutil.Process] = (), patience: float = KILL_PATIENCE) -> list[int]:
    """Kill all descendants of this process except `exempt`; returns the ids of those left after `patience` seconds."""
    kept = set(exempt)
    deadline = time.monotonic() + patience
    while left := _living(set(psutil.Process().children(recursive=True)) - kept):
        for number in (signal.SIGSTOP, signal.SIGKILL):  # stopped first, so that none can escape by forking
            for process in left:
                try:
                    process.send_signal(number)
                except psutil.NoSuchProcess:
                    pass
        if time.monotonic() > deadline:
            break
        time.sleep(0.01)
    return [process.pid for process in left]


def reap(exempt: Iterable[psutil.Process]) -> None:
    """Reap the dead processes that were reparented to this one."""
    for process in set(psutil.Process().children()) - set(exempt):
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

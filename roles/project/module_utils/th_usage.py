# SPDX-License-Identifier: Apache-2.0
"""What a tree of processes uses, as /proc tells it: the measure where no control group counts for us."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")
_BLOCK = 512  # stat(2), st_blocks


@dataclass(frozen=True)
class Process:
    """One process: how many threads it has, its resident memory (bytes) with that of files, and the processor time
    (seconds) of it and of its children that have ended."""

    pid: int
    parent: int
    threads: int
    resident: int
    cpu: float


def tree(root: int, spared: AbstractSet[int] = frozenset()) -> list[Process]:
    """The descendants of a process, without the `spared` ones and theirs; parents come before their children."""
    children: dict[int, list[Process]] = {}
    for process in _all():
        children.setdefault(process.parent, []).append(process)
    found, waiting = [], [root]
    while waiting:
        for process in children.get(waiting.pop(), ()):
            if process.pid not in spared:
                found.append(process)
                waiting.append(process.pid)
    return found


def memory(processes: Sequence[Process], folders: Iterable[Path], limit: int) -> int:
    """The bytes that processes use of memory: their own pages, files that are only in memory, and `folders`.

    What several share is counted once, which takes longer and is therefore only looked at above `limit`.
    """
    places = _in_memory(processes, folders) + sum(unlinked(processes, {_memfd_device()}).values())
    if sum(process.resident for process in processes) + places <= limit:
        return places
    anonymous = shared = 0
    for process in processes:
        rollup = _rollup(process.pid)
        anonymous += rollup.get("Pss_Anon", rollup.get("Pss", 0)) + rollup.get("SwapPss", 0)
        shared += rollup.get("Pss_Shmem", 0)
    return anonymous + max(shared, places)  # files in memory that are mapped are both


def unlinked(processes: Iterable[Process], devices: AbstractSet[int]) -> dict[tuple[int, int], int]:
    """The bytes of open files on some devices that have no name, where nobody who looks through folders finds them."""
    found = {}
    for process in processes:
        folder = f"/proc/{process.pid}/fd"
        with contextlib.suppress(OSError):
            for name in os.listdir(folder):
                with contextlib.suppress(OSError):
                    status = os.stat(f"{folder}/{name}")
                    if not status.st_nlink and status.st_dev in devices and stat.S_ISREG(status.st_mode):
                        found[status.st_dev, status.st_ino] = status.st_blocks * _BLOCK
    return found


def _all() -> Iterator[Process]:
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                words = file.read().rpartition(b")")[2].split()
        except OSError:
            continue
        if len(words) > 21:  # proc_pid_stat(5); the state is its third field, here the first
            cpu = sum(map(int, words[11:15])) / _TICKS
            yield Process(int(name), int(words[1]), int(words[17]), int(words[21]) * _PAGE, cpu)


def _in_memory(processes: Sequence[Process], folders: Iterable[Path]) -> int:
    """What is in folders of the processes' own, seen as one of them sees it."""
    used = 0
    for folder in folders:
        for process in processes:
            with contextlib.suppress(OSError):
                place = f"/proc/{process.pid}/root{folder}"
                here = os.stat(folder).st_dev if folder.exists() else -1
                if os.stat(place).st_dev != here:  # else it has not been given them, or not yet
                    status = os.statvfs(place)
                    used += (status.f_blocks - status.f_bfree) * status.f_frsize
                    break
    return used


def _rollup(pid: int) -> dict[str, int]:
    found = {}
    with contextlib.suppress(OSError), open(f"/proc/{pid}/smaps_rollup") as file:
        for line in file:
            name, _, value = line.partition(":")
            if value.endswith(" kB\n"):
                found[name] = int(value[:-4]) * 1024
    return found


def _memfd_device() -> int:
    """The file system of memfd_create(2)."""
    handle = os.memfd_create("device")
    try:
        return os.fstat(handle).st_dev
    finally:
        os.close(handle)

# SPDX-License-Identifier: Apache-2.0
"""What a tree of processes uses, as /proc tells it: the measure where no control group counts for us."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")
PIPE = 64 << 10
"""Bytes that a pipe can hold: in a box it stays as large as it is made (th_sandbox.seccomp)."""
_DATAGRAM, _QUEUE = b"0002", 11  # messages that wait for one socket: net.unix.max_dgram_qlen of a new network
_VMPTE = re.compile(rb"^VmPTE:[ \t]{1,9}(\d{1,15}) kB$", re.MULTILINE)
_TICKS = os.sysconf("SC_CLK_TCK")
_INODE = 1024  # what a file in memory takes of it without any content
BLOCK = 512
"""Bytes of what stat(2) calls a block (`st_blocks`)."""


@dataclass(frozen=True)
class Process:
    """One process: how many threads it has, its resident memory (bytes) with that of files, and the processor time
    (seconds) of it and, `waited`, of its children that have ended. `begun` tells it from another with the same id."""

    pid: int
    parent: int
    threads: int
    resident: int
    cpu: float
    waited: float = 0.0
    begun: int = 0


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


def memory(processes: Sequence[Process], folders: Iterable[Path], limit: int, nameless: int, kernels: int) -> int:
    """The bytes that processes use of memory: their own pages, what is in `folders`, files in memory that are
    `nameless`, and what the kernel keeps for them.

    What several share is counted once, which takes longer and is therefore only looked at above `limit`.
    """
    places = _in_memory(processes, folders) + nameless
    if sum(process.resident for process in processes) + places + kernels <= limit:
        return places
    anonymous, shared = kernels, 0
    for process in processes:
        rollup = _rollup(process.pid)
        anonymous += rollup.get("Pss_Anon", rollup.get("Pss", 0)) + rollup.get("SwapPss", 0)
        shared += rollup.get("Pss_Shmem", 0)
    return anonymous + max(shared, places)  # files in memory that are mapped are both


def memory_devices(processes: Sequence[Process], folders: Iterable[Path]) -> set[int]:
    """The file systems that are only in memory: those of `folders`, as the processes see them, and of memfd_create(2),
    which shared mappings are in as well."""
    return {memory_device(), *(status.st_dev for status, _ in _places(processes, folders))}


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
            cpu, waited = (sum(map(int, words[first : first + 2])) / _TICKS for first in (11, 13))
            threads, resident = int(words[17]), int(words[21]) * _PAGE
            if words[0] == b"Z" and threads > 1:  # its first thread has ended, which says nothing of the others
                resident = _of_threads(name)
            yield Process(int(name), int(words[1]), threads, resident, cpu, waited, int(words[19]))


def _of_threads(name: str) -> int:
    """The resident memory of a process (bytes), which all of its threads tell."""
    most = 0
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{name}/task"):
            with contextlib.suppress(OSError), open(f"/proc/{name}/task/{task}/stat", "rb") as file:
                most = max(most, int(file.read().rpartition(b")")[2].split()[21]) * _PAGE)
    return most


def _in_memory(processes: Sequence[Process], folders: Iterable[Path]) -> int:
    """What is in folders of the processes' own, seen as one of them sees it."""
    used = 0
    for _, place in _places(processes, folders):
        with contextlib.suppress(OSError):
            status = os.statvfs(place)
            used += (status.f_blocks - status.f_bfree) * status.f_frsize
            used += (status.f_files - status.f_ffree) * _INODE
    return used


def _places(processes: Sequence[Process], folders: Iterable[Path]) -> Iterator[tuple[os.stat_result, str]]:
    """The folders that the processes have in the place of ours, each as one of them sees it."""
    for folder in folders:
        here = os.stat(folder).st_dev if folder.exists() else -1
        for process in processes:
            place = f"/proc/{process.pid}/root{folder}"
            with contextlib.suppress(OSError):
                if (status := os.stat(place)).st_dev != here:  # else it has not been given them, or not yet
                    yield status, place
                    break


def buffers(processes: Sequence[Process]) -> int:
    """The bytes that the kernel keeps, or could keep, for sockets of the processes' own network: nobody tells how much
    is in a unix socket, so each counts for what it can hold."""
    used, ours = 0, os.stat("/proc/self/ns/net").st_ino
    for process in reversed(processes):
        folder = f"/proc/{process.pid}"
        with contextlib.suppress(OSError):
            if os.stat(f"{folder}/ns/net").st_ino == ours:
                continue
            for name in ("tcp", "tcp6", "udp", "udp6"):
                for words in _rows(f"{folder}/net/{name}"):
                    sent, received = words[4].split(b":")
                    used += int(sent, 16) + int(received, 16)
            for words in _rows(f"{folder}/net/unix"):
                used += _send_buffer() * (_QUEUE if words[4] == _DATAGRAM else 1)
            break
    return used


def page_tables(processes: Sequence[Process]) -> int:
    """The bytes of the tables that say where the processes' pages are: even of pages that take no memory, as those that
    were only read, they take some."""
    used = 0
    for process in processes:
        for place in (f"/proc/{process.pid}", *_threads(process.pid)):
            found = None
            with contextlib.suppress(OSError), open(f"{place}/status", "rb") as file:
                found = _VMPTE.search(file.read())
            if found:
                used += int(found[1]) * 1024
                break
    return used


def shared_memory() -> int:
    """The bytes of all files of this machine that are only in memory."""
    with open("/proc/meminfo") as file:
        return next((int(line.split()[1]) * 1024 for line in file if line.startswith("Shmem:")), 0)


def memory_device() -> int:
    """The file system of memfd_create(2), which shared mappings are in as well."""
    handle = os.memfd_create("device")
    try:
        return os.fstat(handle).st_dev
    finally:
        os.close(handle)


def _rows(file: str) -> Iterator[list[bytes]]:
    """The words of each line but the first."""
    with open(file, "rb") as lines:
        next(lines, None)
        for line in lines:
            if len(words := line.split()) > 5:
                yield words


@cache
def _send_buffer() -> int:
    return int(Path("/proc/sys/net/core/wmem_default").read_text())


def _rollup(pid: int) -> dict[str, int]:
    for place in (f"/proc/{pid}", *_threads(pid)):
        found = {}
        with contextlib.suppress(OSError), open(f"{place}/smaps_rollup") as file:
            for line in file:
                name, _, value = line.partition(":")
                if value.endswith(" kB\n"):
                    found[name] = int(value[:-4]) * 1024
        if found:
            return found
    return {}


def _threads(pid: int) -> Iterator[str]:
    """The places of a process's threads, to be asked where its first one has ended."""
    with contextlib.suppress(OSError):
        yield from (f"/proc/{pid}/task/{name}" for name in os.listdir(f"/proc/{pid}/task"))


class Ledger:
    """The processor time (seconds) of a tree of processes, with that of those that have ended.

    The kernel adds a process's time to its parent's only where that waits for it; one that ignores how its children
    end is not told. So what was seen last of a process that is gone, and no other one has got, stays counted.
    """

    def __init__(self) -> None:
        self._last: dict[tuple[int, int], Process] = {}
        self._counted = 0.0

    def seconds(self, processes: Iterable[Process]) -> float:
        """The time until now, which never falls."""
        now = {(process.pid, process.begun): process for process in processes}
        gone = sum(process.cpu + process.waited for key, process in self._last.items() if key not in now)
        inherited = 0.0
        for key, process in now.items():
            if last := self._last.get(key):
                self._counted += process.cpu - last.cpu
                inherited += process.waited - last.waited
            else:
                self._counted += process.cpu + process.waited
        self._counted += max(inherited - gone, 0.0)
        self._last = now
        return self._counted

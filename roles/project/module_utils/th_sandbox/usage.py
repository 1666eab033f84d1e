# SPDX-License-Identifier: Apache-2.0
"""The resource usage of a process tree according to /proc, which is used when no control group measures it."""

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
"""Bytes that a pipe can hold: in a box it cannot be enlarged (th_sandbox.seccomp)."""
_DATAGRAM, _QUEUE = b"0002", 11  # messages in one socket's queue: net.unix.max_dgram_qlen of a new network
_VMPTE = re.compile(rb"^VmPTE:[ \t]{1,9}(\d{1,15}) kB$", re.MULTILINE)
_TICKS = os.sysconf("SC_CLK_TCK")
_INODE = 1024  # bytes of memory for an empty file on tmpfs
BLOCK = 512
"""Bytes of a block in the sense of stat(2) (`st_blocks`)."""


@dataclass(frozen=True)
class Process:
    """One process: its number of threads, its resident memory (bytes, including files), its processor time (seconds)
    and that of its children that it has `waited` for. `start_time` distinguishes it from others with the same id."""

    pid: int
    parent: int
    threads: int
    resident: int
    cpu: float
    waited: float = 0.0
    start_time: int = 0


def tree(root: int, exempt: AbstractSet[int] = frozenset()) -> list[Process]:
    """The descendants of a process, except the `exempt` ones and theirs; parents come before their children."""
    children: dict[int, list[Process]] = {}
    for process in _all():
        children.setdefault(process.parent, []).append(process)
    found, waiting = [], [root]
    while waiting:
        for process in children.get(waiting.pop(), ()):
            if process.pid not in exempt:
                found.append(process)
                waiting.append(process.pid)
    return found


def memory(processes: Sequence[Process], folders: Iterable[Path], limit: int, unnamed: int, kernel_bytes: int) -> int:
    """The bytes of memory that processes use: their own pages, the contents of `folders`, `unnamed` files in memory,
    and `kernel_bytes` that the kernel uses for them.

    Shared pages are counted once. That takes longer, and is therefore done only when the simple sum exceeds `limit`.
    """
    places = _in_memory(processes, folders) + unnamed
    if sum(process.resident for process in processes) + places + kernel_bytes <= limit:
        return places
    anonymous, shared = kernel_bytes, 0
    for process in processes:
        rollup = _rollup(process.pid)
        anonymous += rollup.get("Pss_Anon", rollup.get("Pss", 0)) + rollup.get("SwapPss", 0)
        shared += rollup.get("Pss_Shmem", 0)
    return anonymous + max(shared, places)  # mapped files in memory are in both


def memory_devices(processes: Sequence[Process], folders: Iterable[Path]) -> set[int]:
    """The file systems that are only in memory: those of `folders`, as the processes see them, and that of
    memfd_create(2) and shared mappings."""
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
            if words[0] == b"Z" and threads > 1:  # its first thread has ended, but not all of them
                resident = _of_threads(name)
            yield Process(int(name), int(words[1]), threads, resident, cpu, waited, int(words[19]))


def _of_threads(name: str) -> int:
    """The resident memory (bytes) of a process, read from its live threads, which all report that of the process."""
    most = 0
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{name}/task"):
            with contextlib.suppress(OSError), open(f"/proc/{name}/task/{task}/stat", "rb") as file:
                most = max(most, int(file.read().rpartition(b")")[2].split()[21]) * _PAGE)
    return most


def _in_memory(processes: Sequence[Process], folders: Iterable[Path]) -> int:
    """The bytes in the processes' own folders."""
    used = 0
    for _, place in _places(processes, folders):
        with contextlib.suppress(OSError):
            status = os.statvfs(place)
            used += (status.f_blocks - status.f_bfree) * status.f_frsize
            used += (status.f_files - status.f_ffree) * _INODE
    return used


def _places(processes: Sequence[Process], folders: Iterable[Path]) -> Iterator[tuple[os.stat_result, str]]:
    """The processes' own folders at the paths `folders`, as one of the processes sees them."""
    for folder in folders:
        here = os.stat(folder).st_dev if folder.exists() else -1
        for process in processes:
            place = f"/proc/{process.pid}/root{folder}"
            with contextlib.suppress(OSError):
                if (status := os.stat(place)).st_dev != here:  # otherwise it does not have its own, or not yet
                    yield status, place
                    break


def buffers(processes: Sequence[Process]) -> int:
    """The bytes that the kernel may use for sockets of the processes' own network namespace. How much a Unix socket
    contains cannot be read, so each counts for its capacity."""
    used, own_network = 0, os.stat("/proc/self/ns/net").st_ino
    for process in reversed(processes):
        folder = f"/proc/{process.pid}"
        with contextlib.suppress(OSError):
            if os.stat(f"{folder}/ns/net").st_ino == own_network:
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
    """The bytes of the processes' page tables, which need memory even for pages that do not, such as those that were
    only read."""
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
    """The bytes of all files on this machine that are only in memory."""
    with open("/proc/meminfo") as file:
        return next((int(line.split()[1]) * 1024 for line in file if line.startswith("Shmem:")), 0)


def memory_device() -> int:
    """The file system of memfd_create(2) and of shared mappings."""
    handle = os.memfd_create("device")
    try:
        return os.fstat(handle).st_dev
    finally:
        os.close(handle)


def _rows(file: str) -> Iterator[list[bytes]]:
    """The words of each line except the first."""
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
    """The /proc folders of a process's threads, for when the first thread has ended."""
    with contextlib.suppress(OSError):
        yield from (f"/proc/{pid}/task/{name}" for name in os.listdir(f"/proc/{pid}/task"))


class ProcessorTime:
    """The processor time (seconds) of a process tree, including processes that have ended.

    The kernel adds a process's time to its parent's only if the parent waits for it, which one that ignores SIGCHLD
    does not do. So the last known time of a vanished process that no other one has inherited stays in the sum.
    """

    def __init__(self) -> None:
        self._last: dict[tuple[int, int], Process] = {}
        self._counted = 0.0

    def seconds(self, processes: Iterable[Process]) -> float:
        """The time until now, which never decreases."""
        now = {(process.pid, process.start_time): process for process in processes}
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

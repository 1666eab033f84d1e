# SPDX-License-Identifier: Apache-2.0
"""The unnamed (deleted but still open) files of processes, and whether there are places that cannot be inspected.

An unlinked file takes its space for as long as anything holds it: a descriptor of a process, or of a thread with a
table of its own, a mapping, a message in a socket's queue, a system call in progress. Descriptors can be inspected
unless the process is not dumpable; the size of a mapped file is visible to root only; of a queue, only the number of
descriptors in it (Linux 5.8 and later); of a system call, nothing. So a box with something `hidden` is charged with
all the space that is missing (`th_sandbox.disk`), and so is one that has `written` more than its limit.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path

import pyseccomp
from ansible.module_utils.th_sandbox.usage import BLOCK, Process, memory_devices

_LOOKS = 50_000
"""Maximum number of open files that are inspected, so that one inspection does not take too long."""
_MAPS_LIMIT = 4 << 20
_DEAD = (b"Z", b"X")
_KCMP, _KCMP_FILES = pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, "kcmp"), 2  # kcmp(2)
_syscall = ctypes.CDLL(None).syscall


@dataclass
class UnnamedFiles:
    """The bytes of unnamed files by device and inode, whether there can be others, the bytes that the processes have
    written to any disk, and the pipes that they have open."""

    used: dict[tuple[int, int], int] = field(default_factory=dict)
    hidden: bool = False
    written: int = 0
    pipes: set[int] = field(default_factory=set)
    looks: int = 0

    @property
    def bytes(self) -> int:
        """The total of the files that were found."""
        return sum(self.used.values())


def unnamed_files(
    processes: Sequence[Process], devices: AbstractSet[int], folders: Iterable[Path] = (), mapped: bool = True
) -> UnnamedFiles:
    """The unnamed files of processes on some devices; with `mapped`, including those that are mapped but not open.
    `folders` are those of the processes' folders that are in memory."""
    found = UnnamedFiles()
    in_memory = memory_devices(processes, folders) if mapped else set()
    for process in processes:
        seen, listed = not mapped, ""
        for task in _tasks(process.pid):
            if not (listed and _same_table(listed, task)) and _open_files(task, devices, found):
                listed = listed or task
            seen = seen or _mappings(task, process.pid, devices, in_memory, found)
        found.written += _written(process.pid)
    return found


def _tasks(pid: int) -> list[str]:
    """The /proc folders of the live threads, each of which can have its own table of descriptors."""
    living = []
    with contextlib.suppress(OSError):
        for tid in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{tid}/stat", "rb") as file:
                if file.read().rpartition(b") ")[2][:1] not in _DEAD:
                    living.append(f"/proc/{pid}/task/{tid}")
    return living


def _same_table(one: str, other: str) -> bool:
    """Whether two threads share their table of descriptors, which then has to be inspected only once."""
    numbers = (int(task.rpartition("/")[2]) for task in (one, other))
    return bool(_syscall(_KCMP, *numbers, _KCMP_FILES, 0, 0) == 0)


def _open_files(task: str, devices: AbstractSet[int], found: UnnamedFiles) -> bool:
    """Add the unnamed files that a thread has open; returns whether its table could be read."""
    try:
        names = os.listdir(f"{task}/fd")
    except (FileNotFoundError, ProcessLookupError):
        return False
    except OSError:
        found.hidden = True
        return False
    found.looks += len(names)
    if found.looks > _LOOKS:
        found.hidden = True
        return False
    for name in names:
        with contextlib.suppress(OSError):
            status = os.stat(f"{task}/fd/{name}")
            if stat.S_ISSOCK(status.st_mode):
                found.hidden = found.hidden or _in_flight(f"{task}/fdinfo/{name}")
            elif stat.S_ISFIFO(status.st_mode):
                found.pipes.add(status.st_ino)
            elif not status.st_nlink and status.st_dev in devices and stat.S_ISREG(status.st_mode):
                found.used[status.st_dev, status.st_ino] = status.st_blocks * BLOCK
    return True


def _in_flight(info: str) -> bool:
    """Whether there are descriptors in a socket's queue."""
    with open(info) as file:
        return any(line.startswith("scm_fds:") and line.split()[1] != "0" for line in file)


def _mappings(task: str, pid: int, devices: AbstractSet[int], in_memory: AbstractSet[int], found: UnnamedFiles) -> bool:
    """Add the unnamed files that are mapped; False for a thread that has ended and shows no mappings."""
    try:
        with open(f"{task}/maps", "rb") as file:
            text = file.read(_MAPS_LIMIT + 1)
    except (FileNotFoundError, ProcessLookupError):
        return False
    except OSError:
        found.hidden = True
        return True
    if len(text) > _MAPS_LIMIT:
        found.hidden = True
    for line in text.split(b"\n"):
        if line.endswith(b" (deleted)"):
            place, _, _, device, _, path = line.split(maxsplit=5)
            major, minor = (int(part, 16) for part in device.split(b":"))
            if os.makedev(major, minor) not in in_memory and not path.startswith(b"/[aio]"):
                _mapped(f"/proc/{pid}/map_files/{place.decode()}", devices, found)
    return bool(text)


def _mapped(place: str, devices: AbstractSet[int], found: UnnamedFiles) -> None:
    try:
        status = os.stat(place)
    except FileNotFoundError:
        return  # no longer mapped
    except OSError:
        found.hidden = True
        return
    if status.st_dev in devices:
        found.used[status.st_dev, status.st_ino] = status.st_blocks * BLOCK


def _written(pid: int) -> int:
    """The bytes that a process and its dead children have written."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/io") as file:
        for line in file:
            if line.startswith("write_bytes: "):
                return int(line.split()[1])
    return 0

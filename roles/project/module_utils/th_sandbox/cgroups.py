# SPDX-License-Identifier: Apache-2.0
"""Limits that the kernel holds for all processes of a box together: control groups, version 1 and 2 (cgroups(7)).

With version 2 the processes that are in our group are moved to a leaf, because a group with processes cannot give
controllers to others.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Self

from ansible.module_utils.th_core.processes import start_time
from ansible.module_utils.th_sandbox.cgroup_tree import LEAF, Places, folders_of
from ansible.module_utils.th_sandbox.limits import Exceeded, Limits

CONTROLLERS = ("memory", "pids", "cpu")
"""What is limited; of processor time, version 1 has only the account, and version 2 has that in every group."""

PREFIX = "th-box-"
REMOVAL_PATIENCE = 2.0

_numbers = itertools.count()


class Group:
    """A control group for one box. A context manager: afterwards nothing is left in it, and it is gone.

    `held` are the controllers that hold its limits. Raises OSError where a group cannot be made after all.
    """

    def __init__(self, places: Places, limits: Limits) -> None:
        self._places, self._limits = places, limits
        self._folders: list[Path] = []
        self._handles: list[int] = []
        self.held = {name for name in CONTROLLERS if name in places.folders}

    def __enter__(self) -> Self:
        name = f"{PREFIX}{os.getpid()}-{start_time(os.getpid())}-{next(_numbers)}"
        try:
            for folder in dict.fromkeys(self._places.folders.values()):
                if self._places.version == 2:
                    _make_leaf(folder, self.held)
                remove_left(folder)
                (folder / name).mkdir()
                self._folders.append(folder / name)
                self._handles.append(os.open(folder / name / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC))
            for file, value in self._values():
                file.write_text(str(value))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        while self._handles:
            os.close(self._handles.pop())
        while self._folders:
            _remove(self._folders.pop(), REMOVAL_PATIENCE)

    def join(self) -> None:
        """Put this process into it; to be called after fork, before anything else runs."""
        for handle in self._handles:
            os.write(handle, b"0")

    def exceeded(self) -> Exceeded | None:
        """The limit that was met."""
        limits = self._limits
        if self._path("memory") and limits.memory and self._count("memory", "oom_kill"):
            return limits.exceeded("memory")
        if self._path("pids") and limits.processes and self._count("pids", "max"):
            return limits.exceeded("processes")
        if limits.cpu_seconds and (self.cpu_seconds() or 0.0) > limits.cpu_seconds:
            return limits.exceeded("cpu_seconds")
        return None

    def cpu_seconds(self) -> float | None:
        """The processor time of all that was ever in it."""
        folder = self._path("cpu")
        if folder is None:
            return None
        if self._places.version == 2:
            return _keyed(folder / "cpu.stat").get("usage_usec", 0) / 1e6
        return int((folder / "cpuacct.usage").read_text()) / 1e9

    def _path(self, controller: str) -> Path | None:
        parent = self._places.folders.get(controller)
        return next((folder for folder in self._folders if folder.parent == parent), None)

    def _count(self, controller: str, event: str) -> int:
        folder = self._path(controller)
        assert folder is not None
        names = {("memory", 1): "memory.oom_control", ("memory", 2): "memory.events"}
        return _keyed(folder / names.get((controller, self._places.version), "pids.events")).get(event, 0)

    def _values(self) -> Iterator[tuple[Path, int]]:
        """The files to write, in this order: memory with swap cannot be less than without."""
        memory, pids = self._path("memory"), self._path("pids")
        if pids and self._limits.processes:
            yield pids / "pids.max", self._limits.processes
        if not memory or not self._limits.memory:
            return
        named = {
            1: (("memory.limit_in_bytes", self._limits.memory), ("memory.memsw.limit_in_bytes", self._limits.memory)),
            2: (("memory.max", self._limits.memory), ("memory.swap.max", 0), ("memory.oom.group", 1)),
        }
        for name, value in named[self._places.version]:
            if (memory / name).exists():  # without swap there are fewer
                yield memory / name, value


def join_for_life(limits: Limits) -> None:
    """Put this process, before it becomes another program, into a group of its own, which outlives who has made it.

    It stays out of one where none can be made. The group is removed with `remove_around`, or, unless it is held, by who
    makes the next one.
    """
    places = Places.find()
    if places.version:
        with contextlib.suppress(OSError):
            Group(places, limits).__enter__().join()


def around(pid: int) -> list[Path]:
    """The folders of the group that was made for a process, also of one that has ended and is waited for."""
    return [folder for folder in folders_of(pid) if folder.name.startswith(PREFIX)]


def hold(folders: Iterable[Path]) -> None:
    """Keep a group after its last process has ended, with what it has counted, for as long as this process lives.

    A group that has one below it cannot be removed (cgroups(7)): each gets one, named after this process.
    """
    name = f"{PREFIX}{os.getpid()}-{start_time(os.getpid())}-{next(_numbers)}"
    for folder in folders:
        with contextlib.suppress(OSError):
            (folder / name).mkdir()


def out_of_memory(folders: Iterable[Path]) -> bool:
    """Whether the kernel has ended a process of a group because all its memory was used."""
    for folder, name in itertools.product(folders, ("memory.oom_control", "memory.events")):
        with contextlib.suppress(OSError):
            if _keyed(folder / name).get("oom_kill"):
                return True
    return False


def remove_around(folders: Iterable[Path]) -> None:
    """Remove a group, with all that is in it, held or not."""
    for folder in folders:
        for hold in folder.glob(f"{PREFIX}*"):
            _remove(hold, REMOVAL_PATIENCE)
        _remove(folder, REMOVAL_PATIENCE)


def remove_left(folder: Path) -> None:
    """Remove the groups of processes that have died without doing it, with what is in them, but for those held."""
    for path in folder.glob(f"{PREFIX}*"):
        pid, _, rest = path.name.removeprefix(PREFIX).partition("-")
        if pid.isdecimal() and start_time(int(pid)) != rest.partition("-")[0]:
            remove_left(path)
            _remove(path, 0.0)


def _remove(folder: Path, patience: float) -> None:
    """Kill what is in a group and remove it; a group whose processes are about to be gone is still busy."""
    deadline = time.monotonic() + patience
    while True:
        try:
            folder.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                return  # the next box removes it
        with contextlib.suppress(OSError):
            for pid in _processes(folder):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)


def _make_leaf(folder: Path, controllers: set[str]) -> None:
    """Have a group of version 2 give its controllers to those below it."""
    control = folder / "cgroup.subtree_control"
    missing = controllers - {"cpu"} - set(control.read_text().split())
    if not missing:
        return
    (folder / LEAF).mkdir(exist_ok=True)
    deadline = time.monotonic() + REMOVAL_PATIENCE
    while (folder / "cgroup.type").exists() and (there := _processes(folder)):
        for pid in there:
            with contextlib.suppress(ProcessLookupError):
                (folder / LEAF / "cgroup.procs").write_text(str(pid))
        if time.monotonic() > deadline:
            break  # and what is written next is refused
    control.write_text(" ".join(f"+{name}" for name in sorted(missing)))


def _processes(folder: Path) -> list[int]:
    return [int(word) for word in (folder / "cgroup.procs").read_text().split()]


def _keyed(file: Path) -> dict[str, int]:
    """A file of names and numbers."""
    pairs = (line.split() for line in file.read_text().splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}

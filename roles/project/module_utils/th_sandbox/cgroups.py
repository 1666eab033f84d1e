# SPDX-License-Identifier: Apache-2.0
"""BoxLimits that the kernel enforces for all processes of a box together: control groups 1 and 2 (cgroups(7)).

With version 2, the processes of this process's group are moved to a leaf, because a group that contains processes
cannot enable controllers for its subgroups.
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
from ansible.module_utils.th_sandbox.cgroup_tree import LEAF, ControlGroups, folders_of
from ansible.module_utils.th_sandbox.limits import BoxLimits, Exceeded

CONTROLLERS = ("memory", "pids", "cpu")
"""The controllers that are used; "cpu" only accounts for processor time, which every group does with version 2."""

PREFIX = "th-box-"
REMOVAL_PATIENCE = 2.0

_numbers = itertools.count()


class Group:
    """A control group for one box. A context manager: on leaving it, its processes are killed and it is removed.

    `held` are the controllers that enforce its limits. Raises OSError if a group cannot be created after all.
    """

    def __init__(self, places: ControlGroups, limits: BoxLimits) -> None:
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
        """Move this process into the group; to be called after fork, before anything else runs."""
        for handle in self._handles:
            os.write(handle, b"0")

    def exceeded(self) -> Exceeded | None:
        """The limit that was exceeded, if any."""
        limits = self._limits
        if self._path("memory") and limits.memory and self._count("memory", "oom_kill"):
            return limits.exceeded("memory")
        if self._path("pids") and limits.processes and self._count("pids", "max"):
            return limits.exceeded("processes")
        if limits.cpu_seconds and (self.cpu_seconds() or 0.0) > limits.cpu_seconds:
            return limits.exceeded("cpu_seconds")
        return None

    def cpu_seconds(self) -> float | None:
        """The processor time (seconds) of all processes that were ever in the group."""
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
        """The files to write, in this order: the limit of memory plus swap must not be below that of memory."""
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
            if (memory / name).exists():  # some exist only with swap
                yield memory / name, value


def join_for_life(limits: BoxLimits) -> None:
    """Move this process, before it executes another program, into a group of its own that outlives its creator.

    Nothing happens if none can be created. The group is removed by `remove_around` or, unless it is held, by the
    process that creates the next one.
    """
    places = ControlGroups.find()
    if places.version:
        with contextlib.suppress(OSError):
            Group(places, limits).__enter__().join()


def around(pid: int) -> list[Path]:
    """The folders of the group that was created for a process, even if that has ended and has not been reaped yet."""
    return [folder for folder in folders_of(pid) if folder.name.startswith(PREFIX)]


def hold(folders: Iterable[Path]) -> None:
    """Keep a group and its counters after its last process has ended, for as long as this process lives.

    A group with a subgroup cannot be removed (cgroups(7)), so each gets one that is named after this process.
    """
    name = f"{PREFIX}{os.getpid()}-{start_time(os.getpid())}-{next(_numbers)}"
    for folder in folders:
        with contextlib.suppress(OSError):
            (folder / name).mkdir()


def out_of_memory(folders: Iterable[Path]) -> bool:
    """Whether the kernel has killed a process of a group because the group was out of memory."""
    for folder, name in itertools.product(folders, ("memory.oom_control", "memory.events")):
        with contextlib.suppress(OSError):
            if _keyed(folder / name).get("oom_kill"):
                return True
    return False


def remove_around(folders: Iterable[Path]) -> None:
    """Remove a group with its processes, whether it is held or not."""
    for folder in folders:
        for hold in folder.glob(f"{PREFIX}*"):
            _remove(hold, REMOVAL_PATIENCE)
        _remove(folder, REMOVAL_PATIENCE)


def remove_left(folder: Path) -> None:
    """Remove the groups, with their processes, that dead processes have left, except those that are held."""
    for path in folder.glob(f"{PREFIX}*"):
        pid, _, rest = path.name.removeprefix(PREFIX).partition("-")
        if pid.isdecimal() and start_time(int(pid)) != rest.partition("-")[0]:
            remove_left(path)
            _remove(path, 0.0)


def _remove(folder: Path, patience: float) -> None:
    """Kill the processes of a group and remove it; it stays busy until they are gone."""
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
    """Enable the controllers for the subgroups of a version 2 group."""
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
            break  # the following write then fails
    control.write_text(" ".join(f"+{name}" for name in sorted(missing)))


def _processes(folder: Path) -> list[int]:
    return [int(word) for word in (folder / "cgroup.procs").read_text().split()]


def _keyed(file: Path) -> dict[str, int]:
    """The contents of a file with lines of a name and a number."""
    pairs = (line.split() for line in file.read_text().splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}

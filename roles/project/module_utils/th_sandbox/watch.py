# SPDX-License-Identifier: Apache-2.0
"""Holding a box to its limits: by a control group where one can be made, else by looking at its processes every moment;
at the disk in any case. What goes over a limit is ended as a whole."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Self

from ansible.module_utils.th_sandbox import usage
from ansible.module_utils.th_sandbox.box import Box
from ansible.module_utils.th_sandbox.cgroup_tree import Places
from ansible.module_utils.th_sandbox.cgroups import Group
from ansible.module_utils.th_sandbox.disk import disk
from ansible.module_utils.th_sandbox.limits import Exceeded, Limits, limit_self
from ansible.module_utils.th_sandbox.unnamed_files import Nameless, nameless

INTERVAL = 0.25
"""Seconds between two looks; more where a look takes long."""
_SHARE = 20


class Watch:
    """What holds one box to its limits. A context manager, around the command's whole life.

    `spared` are the children of this process that are not the command's. `end` ends the command, from another thread.
    """

    def __init__(self, box: Box, spared: AbstractSet[int], end: Callable[[], object]) -> None:
        self._box, self._spared, self._end = box, spared, end
        self._limits = box.settings.limits
        self._rlimits = self._limits.rlimits()
        self._disk = disk(box.writable, box.shared, self._limits.disk)
        self._group = _group(box, self._limits)
        self._ledger, self._shared_memory = usage.Ledger(), usage.shared_memory()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._exceeded: Exceeded | None = None
        self._held: frozenset[str] = frozenset()

    def __enter__(self) -> Self:
        if self._group is not None:
            try:
                self._group.__enter__()
            except OSError:
                self._group = None  # somebody else decides what is there; the looking holds the limits then
            else:
                self._held = frozenset(self._group.held)
        return self

    def start(self) -> None:
        """Look from now on: the command has been started."""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        try:
            self.exceeded()
        finally:
            if self._group is not None:
                self._group.__exit__()
            self._group = None

    def in_child(self) -> None:
        """Put the new process under its limits; after fork, before anything else runs."""
        if self._group is not None:
            self._group.join()
        limit_self(self._rlimits)

    def exceeded(self) -> Exceeded | None:
        """The limit that was met, until now."""
        with self._lock:
            if self._exceeded is None:
                self._exceeded = self._kernels() or self._disks(final=True)
            return self._exceeded

    def counts(self, limit: str) -> bool:
        """Whether the kernel has counted how often this limit was met, so that nobody has to guess."""
        return limit == "processes" and "pids" in self._held

    def _run(self) -> None:
        pause = INTERVAL / 2
        while not self._over.wait(pause):
            begun = time.monotonic()
            with self._lock:
                if self._exceeded is None:
                    self._exceeded = self._kernels() or self._looked() or self._disks()
                if self._exceeded is not None:
                    break
            pause = max(INTERVAL, _SHARE * (time.monotonic() - begun))
        if self._exceeded is not None:
            self._end()

    def _kernels(self) -> Exceeded | None:
        if self._group is None:
            return None
        with contextlib.suppress(OSError):
            return self._group.exceeded()
        return None

    def _looked(self) -> Exceeded | None:
        """What the group does not hold."""
        held, limits = self._held, self._limits
        memory = limits.memory if "memory" not in held else 0
        number = limits.processes if "pids" not in held else 0
        seconds = limits.cpu_seconds if "cpu" not in held else 0
        if not (memory or number or seconds):
            return None
        processes = self._tree()
        if number and sum(process.threads for process in processes) > number:
            return limits.exceeded("processes")
        if seconds and self._ledger.seconds(processes) > seconds:
            return limits.exceeded("cpu_seconds")
        if memory and self._memory(processes, memory) > memory:
            return limits.exceeded("memory")
        return None

    def _memory(self, processes: list[usage.Process], limit: int) -> int:
        found = nameless(self._projects(processes), {usage.memory_device()}, mapped=False)
        used = sum(found.used.values())
        if found.hidden:
            used = max(used, usage.shared_memory() - self._shared_memory)
        kernels = usage.buffers(processes) + len(found.pipes) * usage.PIPE + usage.page_tables(processes)
        return usage.memory(processes, self._box.memory_folders, limit, used, kernels)

    def _disks(self, final: bool = False) -> Exceeded | None:
        def look(devices: AbstractSet[int]) -> Nameless:
            return nameless(self._projects(self._tree()), devices, self._box.memory_folders)

        over = self._disk is not None and self._disk.exceeded(look, final)
        return self._limits.exceeded("disk") if over else None

    def _projects(self, processes: list[usage.Process]) -> list[usage.Process]:
        """Without bubblewrap's own two, which nobody outside can look into: ours, and the first one in the box."""
        if self._box.settings.kind == "none":
            return processes
        outer = {process.pid for process in processes if process.parent == os.getpid()}
        return [process for process in processes if process.pid not in outer and process.parent not in outer]

    def _tree(self) -> list[usage.Process]:
        return usage.tree(os.getpid(), self._spared)


def _group(box: Box, limits: Limits) -> Group | None:
    if not box.settings.cgroups or not (limits.memory or limits.processes or limits.cpu_seconds):
        return None
    places = Places.find()
    return Group(places, limits) if places.version else None

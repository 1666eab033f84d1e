# SPDX-License-Identifier: Apache-2.0
"""Enforcing the limits of a box: by a control group if one can be created, otherwise by polling its processes; disk
usage is polled in any case. A box that exceeds a limit is killed as a whole."""

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
from ansible.module_utils.th_sandbox.cgroup_tree import ControlGroups
from ansible.module_utils.th_sandbox.cgroups import Group
from ansible.module_utils.th_sandbox.disk import disk
from ansible.module_utils.th_sandbox.limits import BoxLimits, Exceeded, limit_self
from ansible.module_utils.th_sandbox.unnamed_files import UnnamedFiles, unnamed_files

INTERVAL = 0.25
"""Seconds between two polls; more if a poll takes long."""
_SHARE = 20


class LimitWatch:
    """Enforces the limits of one box. A context manager around the whole life of the command.

    `exempt` are the ids of this process's children that do not belong to the command. `end` is called from another
    thread to kill the command.
    """

    def __init__(self, box: Box, exempt: AbstractSet[int], end: Callable[[], object]) -> None:
        self._box, self._exempt, self._end = box, exempt, end
        self._limits = box.settings.limits
        self._rlimits = self._limits.rlimits()
        self._disk = disk(box.writable, box.shared, self._limits.disk)
        self._group = _group(box, self._limits)
        self._processor_time, self._shared_memory = usage.ProcessorTime(), usage.shared_memory()
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
                self._group = None  # it cannot be created after all, and the limits are enforced by polling
            else:
                self._held = frozenset(self._group.held)
        return self

    def start(self) -> None:
        """Start polling, once the command has been started."""
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
        """Set the limits of the new process; to be called after fork, before anything else runs."""
        if self._group is not None:
            self._group.join()
        limit_self(self._rlimits)

    def exceeded(self) -> Exceeded | None:
        """The limit that has been exceeded so far, if any."""
        with self._lock:
            if self._exceeded is None:
                self._exceeded = self._exceeded_in_group() or self._exceeded_on_disk(final=True)
            return self._exceeded

    def counts(self, limit: str) -> bool:
        """Whether the kernel counts how often this limit is hit, so that there is no need to guess."""
        return limit == "processes" and "pids" in self._held

    def _run(self) -> None:
        pause = INTERVAL / 2
        while not self._over.wait(pause):
            begun = time.monotonic()
            with self._lock:
                if self._exceeded is None:
                    self._exceeded = self._exceeded_in_group() or self._exceeded_by_processes()
                    self._exceeded = self._exceeded or self._exceeded_on_disk()
                if self._exceeded is not None:
                    break
            pause = max(INTERVAL, _SHARE * (time.monotonic() - begun))
        if self._exceeded is not None:
            self._end()

    def _exceeded_in_group(self) -> Exceeded | None:
        if self._group is None:
            return None
        with contextlib.suppress(OSError):
            return self._group.exceeded()
        return None

    def _exceeded_by_processes(self) -> Exceeded | None:
        """The limit that is exceeded, of those that the control group does not enforce."""
        held, limits = self._held, self._limits
        memory = limits.memory if "memory" not in held else 0
        number = limits.processes if "pids" not in held else 0
        seconds = limits.cpu_seconds if "cpu" not in held else 0
        if not (memory or number or seconds):
            return None
        processes = self._tree()
        if number and sum(process.threads for process in processes) > number:
            return limits.exceeded("processes")
        if seconds and self._processor_time.seconds(processes) > seconds:
            return limits.exceeded("cpu_seconds")
        if memory and self._memory(processes, memory) > memory:
            return limits.exceeded("memory")
        return None

    def _memory(self, processes: list[usage.Process], limit: int) -> int:
        found = unnamed_files(self._inner(processes), {usage.memory_device()}, mapped=False)
        used = sum(found.used.values())
        if found.hidden:
            used = max(used, usage.shared_memory() - self._shared_memory)
        kernel_bytes = usage.buffers(processes) + len(found.pipes) * usage.PIPE + usage.page_tables(processes)
        return usage.memory(processes, self._box.memory_folders, limit, used, kernel_bytes)

    def _exceeded_on_disk(self, final: bool = False) -> Exceeded | None:
        def look(devices: AbstractSet[int]) -> UnnamedFiles:
            return unnamed_files(self._inner(self._tree()), devices, self._box.memory_folders)

        over = self._disk is not None and self._disk.exceeded(look, final)
        return self._limits.exceeded("disk") if over else None

    def _inner(self, processes: list[usage.Process]) -> list[usage.Process]:
        """The processes without bubblewrap's own two, outside and first in the box, which cannot be inspected."""
        if self._box.settings.kind == "none":
            return processes
        outer = {process.pid for process in processes if process.parent == os.getpid()}
        return [process for process in processes if process.pid not in outer and process.parent not in outer]

    def _tree(self) -> list[usage.Process]:
        return usage.tree(os.getpid(), self._exempt)


def _group(box: Box, limits: BoxLimits) -> Group | None:
    if not box.settings.cgroups or not (limits.memory or limits.processes or limits.cpu_seconds):
        return None
    places = ControlGroups.find()
    return Group(places, limits) if places.version else None

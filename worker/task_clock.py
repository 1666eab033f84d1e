# SPDX-License-Identifier: Apache-2.0
"""Measures how long the tasks of a playbook take, as they begin."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from worker.verdict.run_times import MOST_TASKS, RunTimes, TaskTime

_CONTROL_BEGINS = ("plan_control", "begin_build_control")
_CONTROL_ENDS = ("record_control", "end_build_control")
"""The modules of the first and the last task of what is done once more without the change."""


class TaskClock:
    """The time of one run of a playbook, which begins when this is made. `now` is a clock, in seconds."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._begun = self._since = now()
        self._start: float | None = None  # until the first task
        self._tasks: dict[tuple[str, str, str, bool], TaskTime] = {}
        self._current: tuple[str, str, str, bool] | None = None
        self._control = False

    def begin(self, play: str, role: str, task: str, action: str) -> None:
        """Note that a task begins, and the one before it ends; `action` is the module that it runs."""
        self._close()
        action = action.rpartition(".")[2]
        self._control = self._control or action in _CONTROL_BEGINS
        key = (play, role, task, self._control)
        self._control = self._control and action not in _CONTROL_ENDS
        if key not in self._tasks and len(self._tasks) < MOST_TASKS:
            self._tasks[key] = TaskTime(*key, seconds=0.0, count=0)
        self._current = key

    def end(self) -> RunTimes:
        """The run is over: what it took."""
        self._close()
        self._current = None
        seconds = self._since - self._begun
        return RunTimes(seconds, self._start or 0.0, tuple(self._tasks.values()))

    def _close(self) -> None:
        now = self._now()
        if self._start is None:
            self._start = now - self._begun
        elif known := self._tasks.get(self._current) if self._current else None:
            took = known.seconds + now - self._since
            self._tasks[known.play, known.role, known.task, known.control] = replace(
                known, seconds=took, count=known.count + 1
            )
        self._since = now

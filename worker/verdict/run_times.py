# SPDX-License-Identifier: Apache-2.0
"""How long each task of a job's playbook took: `times.json`, which the worker writes after it has run the playbook."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.inputs import untrusted as safe

FILE = "times.json"
MOST_TASKS = 1_000
"""How many tasks are written and read; what the others took is in no task."""


@dataclass(frozen=True)
class TaskTime:
    """The tasks of one name in a role and a play: how often they ran, and their `seconds` in total.

    A task lasts until the next one begins, or Ansible ends, so that what Ansible does in between is in it. `control` is
    whether they ran to see whether what has failed fails without the change as well.
    """

    play: str
    role: str
    task: str
    control: bool
    seconds: float
    count: int


@dataclass(frozen=True)
class RunTimes:
    """One run of a job's playbook: its `seconds`, those until its first task (`start`), and its tasks in order."""

    seconds: float
    start: float
    tasks: tuple[TaskTime, ...]


def as_document(times: RunTimes) -> dict[str, Any]:
    """The content of `times.json`."""
    return {
        "schema": 1,
        "seconds": round(times.seconds, 3),
        "start": round(times.start, 3),
        "tasks": [of_task(task) for task in times.tasks],
    }


def of_task(task: TaskTime) -> dict[str, Any]:
    """A task, as it is in `times.json` and in `result.json`."""
    return {
        "play": task.play,
        "role": task.role,
        "task": task.task,
        "control": task.control,
        "seconds": round(task.seconds, 3),
        "count": task.count,
    }


def read(folder: Path) -> RunTimes | None:
    """Read `times.json` in a folder of artifacts; None when it is not there, or does not say how long the run took."""
    document = safe.document(folder / FILE)
    seconds = safe.number(document.get("seconds"))
    if seconds is None or seconds < 0:
        return None
    tasks = safe.mappings(document.get("tasks"))[:MOST_TASKS]
    return RunTimes(seconds, _within(document.get("start"), seconds), tuple(_task(item, seconds) for item in tasks))


def _task(item: Mapping[str, Any], most: float) -> TaskTime:
    return TaskTime(
        play=safe.name(item.get("play")),
        role=safe.name(item.get("role")),
        task=safe.name(item.get("task")),
        control=item.get("control") is True,
        seconds=_within(item.get("seconds"), most),
        count=max(safe.integer(item.get("count")) or 0, 0),
    )


def _within(value: object, most: float) -> float:
    return min(max(safe.number(value) or 0.0, 0.0), most)

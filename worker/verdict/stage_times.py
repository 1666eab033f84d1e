# SPDX-License-Identifier: Apache-2.0
"""What a walk spent its time on, stage by stage: from the instants of its events."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worker.config.limits import AROUND
from worker.inputs import untrusted as safe

_MOST_STAGES = 1_000
_LONGEST_INSTANT = 40


@dataclass
class StageTime:
    """A stage of a walk, up or `down`, in seconds.

    `start_up` is from starting its process (the interpreter, the tool, the project) to its first migration, and that of
    processes that ran a single migration; `migrations` are the migrations themselves, `count` of them; `between` is
    what is measured and checked between them; `after` is what came after the last one, up to the next stage's process.
    """

    name: str
    down: bool = False
    start_up: float = 0.0
    migrations: float = 0.0
    between: float = 0.0
    after: float = 0.0
    count: int = 0


class StageClock:
    """Adds up the events of one walk. What comes before its first stage is not counted, nor events without a time."""

    def __init__(self) -> None:
        self._stages: dict[tuple[str, bool], StageTime] = {}
        self._stage: StageTime | None = None
        self._last: datetime.datetime | None = None
        self._begun = self._open = False

    @property
    def stages(self) -> tuple[StageTime, ...]:
        """The stages in the order in which they were begun; one that was walked twice is there once."""
        return tuple(self._stages.values())

    def take(self, event: Mapping[str, Any] | None) -> None:
        """Take one event; None for one that could not be parsed."""
        at = _instant(event.get("at")) if event else None
        if event is None or at is None:
            return
        gap = max((at - self._last).total_seconds(), 0.0) if self._last else 0.0
        self._last = at
        if event.get("event") == "stage":
            self._begin_stage(event, gap)
        elif self._stage:
            self._add(self._stage, event, gap)

    def _begin_stage(self, event: Mapping[str, Any], gap: float) -> None:
        start_up = _seconds(event, "seconds", gap)  # the event is written when the process is ready
        if self._stage:
            self._stage.after += gap - start_up
        name, down = safe.name(event.get("name")), event.get("direction") == "down"
        stage = self._stages.get((name, down))
        if stage is None:
            stage = StageTime(name, down)
            if len(self._stages) < _MOST_STAGES:
                self._stages[name, down] = stage
        stage.start_up += start_up
        self._stage, self._begun, self._open = stage, False, False

    def _add(self, stage: StageTime, event: Mapping[str, Any], gap: float) -> None:
        kind, around = event.get("event"), event.get("kind") == AROUND
        if kind == "begin" and not around:
            if self._begun:
                stage.between += gap
            else:
                stage.start_up += gap
            self._begun = self._open = True
        elif self._open and not around and kind in ("end", "error"):
            # of a migration whose end was not recorded, the error is the end
            seconds = _seconds(event, "seconds", gap) if kind == "end" else gap
            start_up = _seconds(event, "start_up", gap - seconds)
            stage.migrations += seconds
            stage.start_up += start_up
            stage.between += gap - seconds - start_up
            stage.count += 1
            self._open = False
        elif kind == "packages" and not self._begun:
            stage.start_up += gap
        else:
            stage.after += gap
        if kind in ("final", "error"):
            self._stage = None  # what comes later, such as the control, is not of this walk


def _seconds(event: Mapping[str, Any], key: str, most: float) -> float:
    return min(max(safe.number(event.get(key)) or 0.0, 0.0), most)


def _instant(value: object) -> datetime.datetime | None:
    if not isinstance(value, str) or len(value) > _LONGEST_INSTANT or not value.endswith("Z"):
        return None
    try:
        return datetime.datetime.fromisoformat(value)
    except ValueError:
        return None

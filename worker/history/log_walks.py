# SPDX-License-Identifier: Apache-2.0
"""Reconstructs the walks in a text log from its parsed lines, and emits events, in order, as soon as they are certain.

A log can contain several concurrent walks, if two workers wrote to it. A `done` line does not say which walk it belongs
to, so while several migrations run, it is kept until that is known. A duration that cannot be known is None.
"""

from __future__ import annotations

import json
from typing import Any

from worker.history.log_steps import NAMES, NOT_OF_THE_TREE, Stage, Step, Walk, delta, is_down, seconds

MAX_WALKS = 8
"""The maximum number of walks distinguished in one log."""

MAX_EVENTS = 80_000
MAX_BYTES = 40 << 20
"""The maximum number and total size (bytes) of the events from one log, well within what `worker.inputs.untrusted`
reads. Further events are left out, and an error event says so."""

Event = dict[str, Any]

_MAX_STAGES = 100
_UNTOLD = "log"  # the stage's name, if the log does not name any


class Walks:
    """All walks in a log. Before each call, set `line`, `at` and `now`: the line's number, its time in the format of
    events, and its time in steadily increasing seconds.

    `events` are (number of the walk, event); the caller takes them and empties the list. `full` is whether events were
    left out.
    """

    def __init__(self) -> None:
        self.all = [Walk(0)]
        self.recent = self.all[0]
        self.stage = Stage(_UNTOLD)
        self.events: list[tuple[int, Event]] = []
        self.full = False
        self.line = 0
        self.at = ""
        self.now: float | None = None
        self._given = self._bytes = 0
        self._period = 0  # counts starts and ends of migrations: counters read in the same period belong together
        self._readings: dict[str, tuple[int, int]] = {}
        self._ends: list[float | None] = []  # times of ends that are not assigned to a walk yet

    @property
    def running(self) -> list[Walk]:
        """The walks in which a migration is running."""
        return [walk for walk in self.all if walk.runs]

    def begin(self, from_: str, to: str, alone: bool = False) -> None:
        """A migration begins; `alone` means that the log has only one walk."""
        walk = self.recent = self.recent if alone else self._walk_of(from_)
        self.settle(walk)
        self.tell_stage(walk)
        before = {name: value for name, (period, value) in self._readings.items() if period == self._period}
        self._period += 1
        down = is_down(from_, to) or (self.stage.down and alone)
        kind = from_ if from_ in NOT_OF_THE_TREE else "downgrade" if down else ""
        walk.open = Step(from_, to, kind, self.now, before, self._period)
        walk.migrations += 1
        self.stage.begun += 1
        if kind not in NOT_OF_THE_TREE:
            walk.first = walk.first or from_
        self.emit(walk, "begin", self.place(walk, kind=True))

    def done(self) -> None:
        """A migration has succeeded: the one that is running, or one of several."""
        running = self.running
        if not running:
            return
        self._period += 1
        self._ends.append(self.now)
        if len(running) == 1 or len(self._ends) >= len(running):
            for walk in running:
                self._end(walk)

    def measured(self, from_: str, to: str, took: float, counters: dict[str, int | None]) -> None:
        """A migration has succeeded, with the worker's measurements. Only one worker writes such a log: one walk."""
        walk = self.recent
        if not walk.open or (walk.open.from_, walk.open.to) != (from_, to):
            self.begin(from_, to, alone=True)
        assert walk.open
        if walk.runs:
            self._period += 1
            self._end(walk)
        walk.open.seconds, walk.open.counters = took, counters
        self.settle(walk)

    def reading(self, name: str, value: int) -> None:
        """One of the server's counters was read."""
        self._readings[name] = (self._period, value)
        for walk in self.all:
            if walk.open and walk.open.ended and walk.open.period == self._period:
                walk.open.after.setdefault(name, value)

    def gap(self) -> None:
        """Counters read from here on are not comparable with earlier ones: the server restarted, or lines are lost."""
        self._period += 1

    def pause(self, stage: Stage | None = None) -> None:
        """A stage is over: its migrations that have not ended never will. `stage` is the one that begins, if any."""
        running = self.running
        for walk in self.all:
            if not walk.runs or len(running) == 1:
                self.settle(walk)
        if stage:
            self.stage = stage

    def cut(self) -> None:
        """A part of the log is missing: later ends cannot be assigned to migrations that began before it."""
        self.gap()
        self._ends = []
        for walk in self.all:
            self.settle(walk)

    def left_behind(self, walk: Walk) -> bool:
        """Whether a walk has no lines since another one, which may continue it, began."""
        return any(other.follows == walk.number and walk.touched <= other.since for other in self.all)

    def at_version(self, version: str) -> Walk:
        """The walk whose database is at this version, which the log reports."""
        if self._ends:
            for walk in self.running:
                if walk.open and walk.open.to == version:
                    self._end(walk)
                    return walk
        at = [walk for walk in self.all if walk.last == version and not walk.final]
        return self.recent if self.recent in at or not at else at[-1]

    def fail(
        self,
        walk: Walk,
        exit_status: int | None,
        code: str,
        detail: str,
        source: tuple[str, int] = ("", 0),
        stage_known: bool = True,
    ) -> None:
        """Something has failed: the running migration, or something outside of one. `source` is (file, line)."""
        place = self.place(walk)
        if walk.open and walk.runs:
            passed = seconds(walk.open.begun, self.now)
            none = dict.fromkeys(NAMES)
            place_of_end = self.place(walk, kind=True)
            self.emit(
                walk, "end", {**place_of_end, "seconds": passed, "exit": exit_status, "version": "", "counters": none}
            )
            walk.seconds += passed or 0.0
            walk.unfinished += 1
            walk.open = None
            place |= {"file": source[0], "line": source[1]} if source[0] else {}
        else:
            self.settle(walk)
            place = {"stage": self.stage.name} if stage_known and self.stage.name != _UNTOLD else {}
            if code.startswith("version_") and walk.ended:  # found after a migration that had succeeded
                place = {"stage": self.stage.name, "from": walk.ended[0], "to": walk.ended[1]}
        self.emit(walk, "error", {"code": code, "detail": detail, **place})

    def settle(self, walk: Walk) -> None:
        """Nothing more will be known of a walk's migration: emit its end, if it has ended."""
        step = walk.open
        if step is None:
            return
        if step.ended:
            facts = {**self.place(walk, kind=True), "seconds": step.seconds, "exit": 0}
            facts["version"] = step.version or walk.last or step.to
            facts["counters"] = {name: step.counters.get(name, delta(step, name)) for name in NAMES}
            self.emit(walk, "end", facts, step.at)
            walk.ended = (step.from_, step.to)
            walk.seconds += step.seconds or 0.0
            walk.untimed += step.seconds is None
        else:
            walk.unfinished += 1
        walk.open = None

    def place(self, walk: Walk, kind: bool = False) -> Event:
        """Where a walk is, as fields of an event: stage, from and to; with `kind`, the kind of its migration, too."""
        place: Event = {"stage": walk.stage.name if walk.stage else self.stage.name}
        if walk.open:
            place |= {"kind": walk.open.kind} if kind and walk.open.kind else {}
            place |= {"from": walk.open.from_, "to": walk.open.to}
        return place

    def tell_stage(self, walk: Walk) -> None:
        """Emit the current stage for a walk, unless that was done already."""
        stage = self.stage
        if walk.stage is stage:
            return
        walk.stage = stage
        entry = (stage.name, stage.kind, stage.commit)
        if entry not in walk.stages and len(walk.stages) < _MAX_STAGES:
            walk.stages.append(entry)
        facts = {"commit": stage.commit, "target": stage.target, "steps": stage.steps}
        facts["direction"] = "down" if stage.down else ""
        known = {key: value for key, value in facts.items() if value}
        self.emit(walk, "stage", {"name": stage.name, "kind": stage.kind, **known})

    def close(self) -> None:
        """The log is at its end."""
        for walk in self.all:
            self.settle(walk)
        if not any(walk.stages for walk in self.all):
            self.tell_stage(self.recent)
        for walk in self.all:
            # the other walk has gone on, so the two ran concurrently
            if walk.follows is not None and not self.left_behind(self.all[walk.follows]):
                walk.follows = None

    def emit(self, walk: Walk, event: str, facts: Event, at: str = "") -> None:
        """Emit an event, unless the limits are reached; `at` is its time, by default the current line's."""
        walk.touched = self.line
        if self.full:
            return
        instant = {"at": at or self.at} if at or self.at else {}
        whole: Event = {"event": event, **instant, **facts}
        self._given += 1
        self._bytes += len(json.dumps(whole, ensure_ascii=False).encode("utf-8", "replace"))
        if self._given > MAX_EVENTS or self._bytes > MAX_BYTES:
            self.full = True
            whole = {"event": "error", "code": "log_too_long", "detail": f"left out from line {self.line} on"}
        self.events.append((walk.number, whole))

    def _walk_of(self, from_: str) -> Walk:
        """The walk that a migration from this version belongs to."""
        by_age = sorted(self.all, key=lambda walk: walk.touched, reverse=True)
        running = [walk for walk in by_age if walk.runs]
        before = [walk.open for walk in running if walk.open and walk.open.to == from_]
        for step in before:
            step.alike |= len(before) > 1
        for walk in running:
            if walk.open in before:
                if self._ends:
                    self._end(walk)
                return walk
        for walk in by_age:
            if not walk.runs and walk.last == from_:
                return walk
        if not running:
            return self.recent
        if len(self.all) == MAX_WALKS:
            return running[0]
        self.all.append(Walk(len(self.all), follows=running[0].number, since=self.line))
        return self.all[-1]

    def _end(self, walk: Walk) -> None:
        """End a walk's migration, at one of the ends that are not assigned yet."""
        step, running = walk.open, len(self.running)
        assert step
        moment = self._ends[0] if len(self._ends) == 1 and not step.alike else None
        self._ends = self._ends[1:] if len(self._ends) < running else []
        step.ended, step.seconds, step.at = True, seconds(step.begun, moment), self.at
        if step.kind not in NOT_OF_THE_TREE:
            walk.last = step.to
        # the counters are this migration's alone if nothing else has begun or ended since it began
        step.period = self._period if self._period == step.period + 1 else -1

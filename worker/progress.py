# SPDX-License-Identifier: Apache-2.0
"""The progress of a job, computed from the tasks that have begun and from growing artifacts."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from worker.inputs import untrusted

# The percentage of a job at which each role begins; measured with warm caches, and only a rough estimate.
_BEGIN = {"project": 1, "checkout": 2, "build_environment": 8, "restore_datasets": 30, "run_migrations": 40}
_WALK_BEGIN, _WALK_END = 42, 95
_LINE_LIMIT = untrusted.MAX_LINE


@dataclass(frozen=True)
class Progress:
    """The state of a job: the stage (a role's name), percent of the whole, and the current activity."""

    stage: str
    percent: int
    text: str


class ProgressReader:
    """Converts tasks and walk events to progress. `report` is called with each change; the percentage never decreases.

    `tasks` counts the tasks that have begun.
    """

    def __init__(
        self, artifacts: Path, datasets: Sequence[str], report: Callable[[Progress], None]
    ) -> None:
        self._artifacts, self._datasets, self._report = artifacts, list(datasets), report
        self.tasks = 0
        self._percent = 0
        self._last: Progress | None = None
        self._streams: dict[str, IO[str]] = {}
        self._stages = 0
        self._passed: dict[str, int] = dict.fromkeys(datasets, -1)
        self._stage: dict[str, str] = {}
        self._steps: dict[str, tuple[int, int]] = {}

    def task(self, role: str, name: str) -> None:
        """Note that an Ansible task begins; one without a name is counted but not reported."""
        self.tasks += 1
        if name:
            self._update(role, _BEGIN.get(role, 0), name)

    def poll(self) -> None:
        """Read the events that walks have written since the last call."""
        for dataset in self._datasets:
            for line in self._new_lines(dataset):
                self._take(dataset, line)

    def _new_lines(self, dataset: str) -> list[str]:
        stream = self._streams.get(dataset)
        if stream is None:
            try:
                stream = open(  # noqa: SIM115 - read repeatedly, closed at the end of the job
                    self._artifacts / f"walk-{dataset}.jsonl", encoding="utf-8", errors="replace"
                )
            except OSError:
                return []
            self._streams[dataset] = stream
        lines: list[str] = []
        while True:
            position = stream.tell()
            line = stream.readline(_LINE_LIMIT)
            if not line.endswith("\n") and len(line) < _LINE_LIMIT:
                stream.seek(position)
                return lines
            lines.append(line)

    def _take(self, dataset: str, line: str) -> None:
        try:
            event = json.loads(line)
            kind = event["event"]
            if kind in ("stage", "skipped"):
                down = event.get("direction") == "down"
                self._passed[dataset] += 1
                self._stage[dataset] = f"{event['name']}{', down' if down else ''}"
                self._steps[dataset] = (0, int(event.get("steps", 0)))
            elif kind in ("begin", "end") and event.get("kind") != "around":  # "around" is reported when it is over
                self._step(dataset, kind, event)
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            return  # the events are validated at the end of the job

    def _step(self, dataset: str, kind: str, event: dict[str, Any]) -> None:
        done, steps = self._steps[dataset]
        to = untrusted.brief(str(event["to"]))
        if event.get("kind") == "data":
            text = f"{dataset}: data migration {to} (of {self._stage[dataset]})"
        else:
            done += kind == "end"
            self._steps[dataset] = (done, steps)
            number = min(done + (kind == "begin"), steps)
            from_ = untrusted.brief(str(event["from"]))
            text = f"{dataset}: {from_} -> {to} ({number}/{steps} of {self._stage[dataset]})"
        self._update("run_migrations", self._walk_percent(), untrusted.name(text))

    def _walk_percent(self) -> int:
        total = max(self._count_stages() * len(self._datasets), 1)
        passed = 0.0
        for dataset, stages in self._passed.items():
            done, steps = self._steps.get(dataset, (0, 1))
            passed += max(stages, 0) + min(done / max(steps, 1), 1.0)
        return int(_WALK_BEGIN + (_WALK_END - _WALK_BEGIN) * min(passed / total, 1.0))

    def _count_stages(self) -> int:
        if not self._stages:
            try:
                text = (self._artifacts / "checkout.json").read_text("utf-8")
                self._stages = len(json.loads(text)["stages"])
            except (OSError, ValueError, KeyError, TypeError):
                return 1
        return self._stages

    def _update(self, stage: str, percent: int, text: str) -> None:
        self._percent = max(self._percent, percent)
        progress = Progress(stage or "run", self._percent, text)
        if progress != self._last:
            self._last = progress
            self._report(progress)

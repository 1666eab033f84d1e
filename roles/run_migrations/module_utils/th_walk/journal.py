# SPDX-License-Identifier: Apache-2.0
"""What a walk records: its events, its log, and each migration with what it did to the server."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.th_core.artifacts import append_event
from ansible.module_utils.th_measure import meter
from ansible.module_utils.th_server.counters import MEASURED, SECONDS
from ansible.module_utils.th_walk.allowed_steps import AllowedSteps
from ansible.module_utils.th_walk.diagnosis import diagnosed, refuse_another_database, truncated
from ansible.module_utils.th_walk.logs import WalkLog
from ansible.module_utils.th_walk.server_probe import ServerProbe
from ansible.module_utils.th_walk.stages import WalkStage, WalkTree
from ansible.module_utils.th_walk.walkers import MigrationStep, StepResult, WalkError


class Journal:
    """The record of one walk, in the file `events` and in the `log`; `stage` is the current one, "" before and after.

    `time_limit` is how many seconds a migration may take; `limits` are those of the dataset.
    """

    def __init__(
        self,
        events: Path,
        log: WalkLog,
        probe: ServerProbe,
        tree: WalkTree,
        time_limit: float,
        limits: object = None,
    ) -> None:
        self._events, self._log, self._probe, self._tree = events, log, probe, tree
        self._time_limit = time_limit
        self._place: dict[str, str] = {}
        self._least = _least(limits)

    @property
    def stage(self) -> str:
        """The name of the stage that the walk is in."""
        return self._place.get("stage", "")

    @stage.setter
    def stage(self, name: str) -> None:
        self._place = {"stage": name} if name else {}

    def event(self, event: str, **facts: Any) -> None:
        """Append an event, with the current stage and migration."""
        place = {} if event in ("stage", "skipped", "final") else self._place
        append_event(self._events, {"event": event, **place, **facts})

    def log(self, text: str, tag: str = "") -> None:
        """Write a line to the log."""
        self._log.line(text, tag)

    def run_step(
        self,
        step: MigrationStep,
        kind: str,
        run: Callable[[float], StepResult],
        allowed: AllowedSteps | None = None,
    ) -> None:
        """Run one migration and record what it did. Raises WalkError when it is none of the `allowed` steps, fails, or
        does not take the database to its version.

        `kind` is schema, downgrade or data. After a failure, later events still name this migration.
        """
        more: dict[str, Any] = {} if kind == "schema" else {"kind": kind}
        was = self._probe.before()
        if allowed is not None:
            if kind == "schema" and not self._probe.of_packages:
                refuse_another_database(allowed.subject(step), was.rows, self._tree)
            step = allowed.take(step, {*was.rows, *was.heads})
        before, after = step.before, step.after
        self._place = {**self._place, "from": before, "to": after, **more}
        self.event("begin")
        self.log(f"{before} -> {after}...", "[output]")
        begun = time.monotonic()
        try:
            ended = run(self._time_limit)
        except WalkError as error:
            ended = StepResult(None, error)
        seconds = time.monotonic() - begun
        ended = diagnosed(ended, after, self._probe)
        counters, version = meter.unmeasured(), ""
        facts: dict[str, Any] = {}
        try:
            counters, state = self._probe.after()
            version = state.after(after)
        except WalkError:
            if ended.error is None:
                raise
        if ended.start_up is not None:
            facts["start_up"] = round(ended.start_up, 3)
            seconds -= ended.start_up
        if ended.rounds:
            facts["rounds"] = ended.rounds
        self.event("end", **facts, seconds=round(seconds, 3), exit=ended.exit, version=version, counters=counters)
        if ended.error:
            raise ended.error
        self._probe.check()
        self.log("done", "[output]")
        self._log_measured(step, seconds, counters)
        if kind != "data":
            self._check_version(before, after, kind, was.rows, state.rows)
        self.stage = self.stage

    def record_around(self, stage: WalkStage) -> None:
        """Record what a stage's code did outside of its migrations as a step of its own, unless it is negligible."""
        version, counters, busy = self._probe.between()
        if not self._worth_recording(counters, busy):
            return
        step, place = MigrationStep("around", stage.kind), self._place
        seconds = None if busy is None else round(busy, 3)
        self._place = {"stage": stage.name, "from": step.before, "to": step.after, "kind": "around"}
        self.event("begin")
        self.event("end", seconds=seconds, exit=0, version=version, counters=counters)
        self.log(f"{step.before} -> {step.after}...", "[output]")
        self.log("done", "[output]")
        self._log_measured(step, busy or 0.0, counters)
        self._place = place

    def _worth_recording(self, counters: Mapping[str, int | None], busy: float | None) -> bool:
        """Whether the counters deserve a row of their own: where one of them could be over a limit."""
        measured = {**counters, SECONDS.name: busy}
        if all(value is None for value in measured.values()):
            return False  # the steps show already that nothing is measured
        for counter in MEASURED:
            value, little = measured[counter.name], counter.little
            if little is None:
                if value != 0:
                    return True
            elif (value or 0) > min(little, self._least.get(counter.limit, little)):
                return True
        return False

    def _log_measured(self, step: MigrationStep, seconds: float, counters: Mapping[str, int | None]) -> None:
        known = ", ".join(f"{name} {value}" for name, value in counters.items() if value is not None)
        self.log(f"{step.before} -> {step.after}: {seconds:.3f} s, {known}")

    def _check_version(
        self, before: str, after: str, kind: str, was: tuple[str, ...], rows: tuple[str, ...]
    ) -> None:
        """Check that the database is at the version that the step leads to. Raises WalkError."""
        if after == "base":
            arrived = before not in rows
        elif kind == "downgrade":
            arrived = set(after.split(",")) <= self._tree.with_ancestors(rows) and before not in rows
        else:
            # a revision that it had before was migrated in another database
            arrived = bool(set(after.split(",")) & self._tree.with_ancestors(rows) - self._tree.with_ancestors(was))
        if arrived:
            return
        at = ", ".join(rows[:10]) or "no version"
        if rows == was:
            raise WalkError("version_unchanged", f"it ended well, but the database is at {at} as before")
        if foreign := sorted(set(rows) - set(was) - self._tree.revisions.keys()):
            detail = f"the database is at {', '.join(foreign[:10])} now, which no migration has"
            if explanation := truncated(foreign, after):
                detail += f"; {explanation}"
            raise WalkError("version_not_in_tree", detail)
        raise WalkError("version_mismatch", f"after {before}->{after} the database is at {at}")


def _least(limits: object) -> dict[str, float]:
    """The lowest limit that a dataset sets, by its key."""
    found = {}
    for key, table in limits.items() if isinstance(limits, Mapping) else ():
        numbers = [one for one in table.values() if type(one) in (int, float)] if isinstance(table, Mapping) else []
        if numbers:
            found[key] = min(numbers)
    return found

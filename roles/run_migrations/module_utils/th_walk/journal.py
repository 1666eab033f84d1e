# SPDX-License-Identifier: Apache-2.0
"""What a walk writes down: its events, its log, and each migration with what it did to the server."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.th_core.artifacts import append_event
from ansible.module_utils.th_measure import meter
from ansible.module_utils.th_server.counters import MEASURED, SECONDS
from ansible.module_utils.th_walk.allowed_steps import Way
from ansible.module_utils.th_walk.diagnosis import diagnosed, refuse_another_database, truncated
from ansible.module_utils.th_walk.logs import WalkLog
from ansible.module_utils.th_walk.server_probe import Evidence
from ansible.module_utils.th_walk.stages import Stage, Tree
from ansible.module_utils.th_walk.walkers import Step, StepEnd, WalkError


class Diary:
    """The diary of one walk, in the file `events` and in the `log`; `stage` is where the walk is, "" before and after.

    `time_limit` are the seconds that a migration may take, `limits` the dataset's.
    """

    def __init__(
        self,
        events: Path,
        log: WalkLog,
        evidence: Evidence,
        tree: Tree,
        time_limit: float,
        limits: object = None,
    ) -> None:
        self._events, self._log, self._evidence, self._tree = events, log, evidence, tree
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
        """Append an event, with the place that the walk is at."""
        place = {} if event in ("stage", "skipped", "final") else self._place
        append_event(self._events, {"event": event, **place, **facts})

    def say(self, text: str, tag: str = "") -> None:
        """Write a line of the log."""
        self._log.line(text, tag)

    def step(self, step: Step, kind: str, run: Callable[[float], StepEnd], way: Way | None = None) -> None:
        """Run one migration and write down what it did. Raises WalkError when it did not end where it leads to, or is
        none that may come next on its `way`.

        `kind` is schema, downgrade or data; the walk stays at the migration when that has failed.
        """
        more: dict[str, Any] = {} if kind == "schema" else {"kind": kind}
        was = self._evidence.before()
        if way is not None:
            if kind == "schema" and not self._evidence.of_packages:
                refuse_another_database(way.subject(step), was.rows, self._tree)
            step = way.take(step, {*was.rows, *was.heads})
        before, after = step.before, step.after
        self._place = {**self._place, "from": before, "to": after, **more}
        self.event("begin")
        self.say(f"{before} -> {after}...", "[output]")
        begun = time.monotonic()
        try:
            ended = run(self._time_limit)
        except WalkError as error:
            ended = StepEnd(None, error)
        seconds = time.monotonic() - begun
        ended = diagnosed(ended, after, self._evidence)
        counters, version = meter.unmeasured(), ""
        facts: dict[str, Any] = {}
        try:
            counters, standing = self._evidence.after()
            version = standing.after(after)
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
        self._evidence.check()
        self.say("done", "[output]")
        self._say_measured(step, seconds, counters)
        if kind != "data":
            self._check_version(before, after, kind, was.rows, standing.rows)
        self.stage = self.stage

    def around(self, stage: Stage) -> None:
        """Write down what a stage's code did outside of its migrations, as one more of them, unless it is next to
        nothing."""
        version, counters, busy = self._evidence.between()
        if not self._weighs(counters, busy):
            return
        step, place, seconds = Step("around", stage.kind), self._place, None if busy is None else round(busy, 3)
        self._place = {"stage": stage.name, "from": step.before, "to": step.after, "kind": "around"}
        self.event("begin")
        self.event("end", seconds=seconds, exit=0, version=version, counters=counters)
        self.say(f"{step.before} -> {step.after}...", "[output]")
        self.say("done", "[output]")
        self._say_measured(step, busy or 0.0, counters)
        self._place = place

    def _weighs(self, counters: Mapping[str, int | None], busy: float | None) -> bool:
        """Whether what was measured is worth a row of its own: it is when it could be over a limit."""
        measured = {**counters, SECONDS.name: busy}
        if all(value is None for value in measured.values()):
            return False  # the steps say it already
        for counter in MEASURED:
            value, little = measured[counter.name], counter.little
            if little is None:
                if value != 0:
                    return True
            elif (value or 0) > min(little, self._least.get(counter.limit, little)):
                return True
        return False

    def _say_measured(self, step: Step, seconds: float, counters: Mapping[str, int | None]) -> None:
        known = ", ".join(f"{name} {value}" for name, value in counters.items() if value is not None)
        self.say(f"{step.before} -> {step.after}: {seconds:.3f} s, {known}")

    def _check_version(
        self, before: str, after: str, kind: str, was: tuple[str, ...], rows: tuple[str, ...]
    ) -> None:
        """Stop where going on would measure something else: the database must be where the step leads to."""
        if after == "base":
            arrived = before not in rows
        elif kind == "downgrade":
            arrived = set(after.split(",")) <= self._tree.behind(rows) and before not in rows
        else:
            # one that was there before was migrated in another database
            arrived = bool(set(after.split(",")) & self._tree.behind(rows) - self._tree.behind(was))
        if arrived:
            return
        at = ", ".join(rows[:10]) or "no version"
        if rows == was:
            raise WalkError("version_unchanged", f"it ended well, but the database is at {at} as before")
        if foreign := sorted(set(rows) - set(was) - self._tree.revisions.keys()):
            detail = f"the database is at {', '.join(foreign[:10])} now, which no migration has"
            if told := truncated(foreign, after):
                detail += f"; {told}"
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

# SPDX-License-Identifier: Apache-2.0
"""One dataset on several engines: what became of each migration on each of them, and where they differ."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from worker.counters import MEASURED, Counter
from worker.inputs import brief
from worker.verdict.judge import DatasetResult, MigrationResult
from worker.verdict.outcome import Message, Outcome, worst

DISAGREE = "engines_disagree"
"""The code of the message that a migration passes on one engine and fails on another."""

FACTOR = 3
"""A value differs if it is more than so many times as large on one engine as on another, and above its floor."""

FLOORS: Mapping[str, float] = {"s": 1, "rows": 1000, "bytes": 1_000_000}
"""By unit, the values that are too small to differ: what a server does for any migration dominates them."""

_PASSES = ("ok", "warning")
_Step = tuple[str, str, str, str]


@dataclass(frozen=True)
class ComparedMigration:
    """A migration on the engines of a dataset, in their order; None on one where it has not begun."""

    rows: tuple[MigrationResult | None, ...]

    @property
    def any(self) -> MigrationResult:
        """The migration on the first engine that has it."""
        return next(row for row in self.rows if row)

    @property
    def result_differs(self) -> bool:
        """Whether it came out differently on the engines; one on which the job ended it says nothing."""
        return len({row.result for row in self.rows if row and row.result != "unfinished"}) > 1

    @functools.cached_property
    def differs(self) -> tuple[str, ...]:
        """What differs: ``result``, and the names of counters."""
        counters = [counter.name for counter in MEASURED if any(self.marks(counter))]
        return (*(["result"] if self.result_differs else []), *counters)

    def marks(self, counter: Counter) -> list[str]:
        """By engine, how much larger the value is than the smallest: ``×12``, ``≠`` where that is no factor, or ""."""
        values = [row.migration.measured(counter) if row and row.migration.succeeded else None for row in self.rows]
        least = min((value for value in values if value is not None), default=0)
        return [_mark(value, least, FLOORS[counter.unit]) for value in values]


@dataclass(frozen=True)
class Comparison:
    """A dataset on several engines. `results` are those of the engines, `migrations` all that ran on any of them."""

    dataset: str
    results: tuple[DatasetResult, ...]
    migrations: tuple[ComparedMigration, ...]

    @property
    def outcome(self) -> Outcome:
        """The worst outcome on an engine."""
        return worst(result.outcome for result in self.results)

    @property
    def notable(self) -> list[ComparedMigration]:
        """The migrations that differ, or that the change's author should look at on an engine."""
        return [one for one in self.migrations if _notable(one)]

    @property
    def alike(self) -> list[ComparedMigration]:
        """All others."""
        return [one for one in self.migrations if not _notable(one)]


def compare(results: Iterable[DatasetResult]) -> tuple[Comparison, ...]:
    """The comparisons of those datasets that were walked on several engines."""
    groups: dict[str, list[DatasetResult]] = {}
    for result in results:
        if result.on_engine:
            groups.setdefault(result.dataset, []).append(result)
    return tuple(
        Comparison(dataset, tuple(group), _migrations(group)) for dataset, group in groups.items() if len(group) > 1
    )


def disagreements(comparisons: Iterable[Comparison], messages: Sequence[Message]) -> list[Message]:
    """A message for each migration that passes on an engine of its dataset and fails on another.

    One that an infrastructure failure has ended does not fail. `messages` are those about the single engines; that of
    the failure says whose fault it is.
    """
    found = []
    about: dict[tuple[str, _Step], list[Message]] = {}
    for message in messages:
        about.setdefault((message.dataset, _step(message)), []).append(message)
    for comparison in comparisons:
        for migration in comparison.migrations:
            pairs = list(zip(comparison.results, migration.rows, strict=True))
            causes = {
                result.name: _cause(about.get((result.name, _step_of(row)), ()), row) for result, row in pairs if row
            }
            failing = [cause for cause in causes.values() if cause]
            passing = [result for result, row in pairs if row and row.result in _PASSES]
            if failing and passing:
                failed = max(failing, key=lambda message: message.outcome.value)
                found.append(_disagreement(comparison, failed, passing, [name for name in causes if causes[name]]))
    return found


def passing(comparisons: Iterable[Comparison], messages: Sequence[Message], about: Message) -> tuple[str, ...]:
    """The other engines of a message's dataset on which there is no such message, and what it is about passes."""
    alike = {one.dataset for one in messages if one.counts and one.code == about.code and _step(one) == _step(about)}
    for comparison in comparisons:
        if about.dataset in {result.name for result in comparison.results}:
            return tuple(
                result.engine
                for number, result in enumerate(comparison.results)
                if result.name not in alike and _passes(comparison, number, about)
            )
    return ()


def _passes(comparison: Comparison, number: int, about: Message) -> bool:
    if not about.to:
        return comparison.results[number].outcome is Outcome.SUCCESS
    found = [migration.rows[number] for migration in comparison.migrations]
    own = [row.result for row in found if row and _step_of(row) == _step(about)]
    return bool(own) and all(result in _PASSES for result in own)


def _migrations(results: Sequence[DatasetResult]) -> tuple[ComparedMigration, ...]:
    """All migrations in the order of the longest walk; those that it lacks are at the end."""
    numbered = [_numbered(result.migrations) for result in results]
    longest = max(numbered, key=len)
    steps = dict.fromkeys([*longest, *(step for walk in numbered for step in walk)])
    return tuple(ComparedMigration(tuple(walk.get(step) for walk in numbered)) for step in steps)


def _numbered(rows: Iterable[MigrationResult]) -> dict[tuple[_Step, int], MigrationResult]:
    """The migrations by what they are, and by how often that has run before: a walk may go down and up again."""
    found: dict[tuple[_Step, int], MigrationResult] = {}
    times: dict[_Step, int] = {}
    for row in rows:
        step = _step_of(row)
        times[step] = times.get(step, 0) + 1
        found[step, times[step]] = row
    return found


def _step_of(row: MigrationResult) -> _Step:
    return row.migration.stage, row.migration.kind, row.migration.from_, row.migration.to


def _step(message: Message) -> _Step:
    return message.stage, message.step, message.from_, message.to


def _cause(about: Iterable[Message], row: MigrationResult) -> Message | None:
    """The message with the cause of a migration's failure, of those `about` it; None if it has not failed."""
    if row.result != "failure":
        return None
    limits = {counter.code for counter in MEASURED}
    found = [one for one in about if one.counts and one.code not in limits]
    found = [one for one in found if one.kind.outcome is not Outcome.INFRASTRUCTURE]
    return next((one for one in found if one.code != "migration_unfinished"), next(iter(found), None))


def _disagreement(
    comparison: Comparison, failed: Message, passing: Sequence[DatasetResult], failing: Sequence[str]
) -> Message:
    passed = {result.name for result in passing}
    others = [one for one in comparison.results if one.name not in passed and one.name not in failing]
    lists = {
        "passes on": passing,
        "fails on": [one for one in comparison.results if one.name in failing],
        "has no result on": others,
    }
    said = ", ".join(f"{verb} {_listed(some)}" for verb, some in lists.items() if some)
    made = Message.of(DISAGREE, brief(failed.from_), brief(failed.to), detail=f"{said[0].upper()}{said[1:]}.")
    return replace(
        made,
        dataset=comparison.dataset,
        stage=failed.stage,
        from_=failed.from_,
        to=failed.to,
        step=failed.step,
        file=failed.file,
        blame=failed.blame,
        alone=failed.alone,
    )


def _listed(results: Sequence[DatasetResult]) -> str:
    return " and ".join(result.label for result in results)


def _notable(migration: ComparedMigration) -> bool:
    return bool(migration.differs) or any(row.notable for row in migration.rows if row)


def _mark(value: float | None, least: float, floor: float) -> str:
    if value is None or value < floor or value <= FACTOR * max(least, 0):
        return ""
    return f"×{value / least:,.0f}" if least > 0 and value / least < 1e6 else "≠"

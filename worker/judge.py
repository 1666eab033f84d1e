# SPDX-License-Identifier: Apache-2.0
"""What to make of one dataset's walk: every migration against how it ended and against the dataset's limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worker.artifacts import Migration, Problem, Walk
from worker.checkout import Checkout
from worker.outcome import CODES, Message, Outcome

# What the signals with which we end a job can look like.
BY_THE_END = (
    "migration_killed", "migration_ended", "walk_failed", "server_died", "server_failed", "environment_failed",
    "checkout_failed", "git_unreachable", "index_unreachable", "seed_broken", "playbook_failed",
)  # fmt: skip
# What ended a migration, by the walk's error code; the message that names the migration carries the detail.
_ENDED_BADLY = ("migration_raised", "migration_ended", "migration_killed", "migration_timed_out")


@dataclass(frozen=True)
class Limit:
    """What a migration may do at most: a dataset's key, the measured value, and the message when it is over."""

    key: str
    value: str
    code: str
    unit: str


LIMITS = (
    Limit("maximum_migration_times", "seconds", "migration_too_long", "s"),
    Limit("XInnodb_rows_changed", "rows_changed", "migration_changed_rows", "rows"),
    Limit("Innodb_rows_read", "rows_read", "migration_read_rows", "rows"),
)


@dataclass(frozen=True)
class MigrationResult:
    """A migration with what was made of it: ``ok``, ``warning`` or ``failure``, and its limits by value's name."""

    migration: Migration
    result: str
    by_change: bool
    file: str
    limits: Mapping[str, float | None]
    over: frozenset[str]


def walk(found: Walk, checkout: Checkout, ended_by_us: bool) -> tuple[list[Message], list[MigrationResult]]:
    """All messages about the migrations of a walk, and what became of each.

    `ended_by_us` is whether the job was ended before its time: what may have come of that is left out.
    """
    messages: list[Message] = []
    rows: list[MigrationResult] = []
    problems = [problem for problem in found.problems if not (ended_by_us and problem.code in BY_THE_END)]
    for migration in found.migrations:
        problem = _take_problem(problems, migration)
        about, row = _migration(migration, found, problem, checkout, ended_by_us)
        messages += about
        rows.append(row)
    messages += [message_of(problem) for problem in problems]
    return messages + _not_measurable(found, rows), rows


def not_run(found: Walk, rows: Sequence[MigrationResult], checkout: Checkout) -> list[str]:
    """The migrations that the change adds or alters, and that the dataset was not past, but that were not run well."""
    version = set(found.version.split(","))
    # no dataset is past what is new, unless it was taken with the change in it: a migration that the change puts
    # below the dataset's version is never run, neither here nor on any database of that version
    past = checkout.behind(version) - checkout.added | checkout.behind(version & checkout.added)
    run = {row.migration.to for row in rows if row.by_change and row.migration.well}
    return sorted(checkout.by_change - past - run)


def message_of(problem: Problem) -> Message:
    """The message for what a stage or a walk could not do."""
    fields: dict[str, Any] = {
        "dataset": problem.dataset,
        "detail": problem.detail,
        "stage": problem.stage,
        "from_": problem.from_,
        "to": problem.to,
        "file": problem.file,
        "line": problem.line,
    }
    if problem.code in CODES and "%" not in CODES[problem.code].text:
        return Message.of(problem.code, **fields)
    if problem.code in _ENDED_BADLY:
        return Message.of("migration_failed", problem.from_, problem.to, **fields)
    fields["detail"] = f"{problem.code}: {problem.detail}"
    return Message.of("playbook_failed", **fields)


def _take_problem(problems: list[Problem], migration: Migration) -> Problem | None:
    """Take from `problems` the one that ended a migration; trouble of ours stays there, and speaks for itself."""
    step = (migration.stage, migration.from_, migration.to)
    for problem in problems:
        if not migration.well and (problem.stage, problem.from_, problem.to) == step:
            if not _ours(problem):
                problems.remove(problem)
            return problem
    return None


def _ours(problem: Problem) -> bool:
    return problem.code in CODES and CODES[problem.code].outcome is Outcome.INFRASTRUCTURE


def _migration(
    migration: Migration, walk: Walk, problem: Problem | None, checkout: Checkout, ended_by_us: bool
) -> tuple[list[Message], MigrationResult]:
    file = checkout.files.get(migration.to, "")
    place: dict[str, Any] = {"stage": migration.stage, "from_": migration.from_, "to": migration.to, "file": file}
    step = (migration.from_, migration.to)
    messages: list[Message] = []
    result = "ok"
    if ended_by_us and problem is None and not migration.well and (migration.exit or 0) <= 0:
        result = "unfinished"
    elif not migration.well:
        messages += _ended_badly(step, problem, place)
        result = "failure"
    elif not set(migration.to.split(",")) <= set(migration.version.split(",")):
        detail = f"after {step[0]}->{step[1]} the database was at {migration.version or 'no version'}"
        messages.append(Message.of("version_mismatch", detail=detail, **place))
        result = "failure"
    over = set()
    limits = {limit.value: limit_of(walk, limit.key, *step) for limit in LIMITS}
    for limit in LIMITS:
        allowed, measured = limits[limit.value], getattr(migration, limit.value)
        if not migration.ended or allowed is None or measured is None or measured <= allowed:
            continue
        over.add(limit.value)
        if any(message.code == limit.code for message in messages):
            continue
        detail = f"{plain(measured)} {limit.unit}, the limit is {plain(allowed)} {limit.unit}"
        counted = () if limit.value == "seconds" else (measured,)
        messages.append(Message.of(limit.code, *step, *counted, detail=detail, **place))
        result = "warning" if result == "ok" else result
    own = {stage.name for stage in checkout.stages if stage.kind == "change"}
    by_change = migration.stage in own and migration.to in checkout.by_change
    row = MigrationResult(migration, result, by_change, file, limits, frozenset(over))
    return messages, row


def _ended_badly(step: tuple[str, str], problem: Problem | None, place: Mapping[str, Any]) -> list[Message]:
    """The messages for a migration that did not come to its end, as the classic logs had them."""
    unfinished = Message.of("migration_unfinished", **place)
    if problem is None:
        return [unfinished, Message.of("migration_failed", *step, **place)]
    if _ours(problem):
        return []
    told = {**place, "file": problem.file or place["file"], "line": problem.line, "detail": problem.detail}
    if problem.code == "migration_timed_out":
        return [unfinished, Message.of("migration_too_long", *step, **told)]
    if problem.code == "import_failed":
        return [Message.of("import_failed", **told), unfinished, Message.of("migration_failed", *step, **place)]
    return [unfinished, Message.of("migration_failed", *step, **told)]


def _not_measurable(walk: Walk, rows: Sequence[MigrationResult]) -> list[Message]:
    """A limit that nothing was measured for must not pass in silence: one message a limit."""
    messages = []
    for limit in LIMITS:
        blind = [
            row.migration
            for row in rows
            if row.migration.well
            and row.limits[limit.value] is not None
            and getattr(row.migration, limit.value) is None
        ]
        if blind:
            first = f"{blind[0].from_}->{blind[0].to}"
            detail = f"{limit.key}: not measured for {len(blind)} of {len(rows)} migrations, first for {first}"
            messages.append(Message.of("limit_not_measurable", detail=detail))
    return messages


def limit_of(walk: Walk, key: str, from_: str, to: str) -> float | None:
    """What a dataset allows a migration; None when it sets no limit."""
    table = walk.limits.get(key, {})
    return table.get(f"{from_}->{to}", table.get("default"))


def plain(value: float) -> str:
    """A number as people write it: ``1,234,567``, ``61.25``."""
    return f"{value:,.3f}".rstrip("0").rstrip(".")

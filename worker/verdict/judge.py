# SPDX-License-Identifier: Apache-2.0
"""What to make of one dataset's walk: every migration against how it ended and against the dataset's limits."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from worker.config import engines
from worker.config.limits import AROUND, DATA, DOWNGRADE, SCHEMA, Waiver
from worker.counters import MEASURED
from worker.inputs import brief
from worker.verdict import excess
from worker.verdict.artifacts import Migration, WalkRecord
from worker.verdict.checkout import CheckoutRecord
from worker.verdict.outcome import CODES, Fault, Message, Outcome
from worker.verdict.problems import Problem

# What may be a consequence of the signals with which the worker ends a job.
TERMINATION_CODES = (
    "migration_killed", "migration_ended", "walk_failed", "server_died", "server_out_of_memory", "server_failed",
    "server_unreachable", "environment_failed", "checkout_failed", "git_unreachable", "git_refused",
    "index_unreachable", "seed_broken", "playbook_failed", "script_failed",
)  # fmt: skip
# Error codes of a walk for a migration that failed; the message that names the migration carries the detail.
_MIGRATION_FAILURES = ("migration_raised", "migration_ended", "migration_killed", "migration_timed_out")
# What may be wrong with the version after a migration that reported success.
_VERSION = ("version_unchanged", "version_not_in_tree", "version_mismatch")
_OUT_OF_MEMORY = re.compile(r"out of memory|cannot allocate|oom[- ]kill", re.IGNORECASE)
_MOST_NAMES = 10


@dataclass(frozen=True)
class MigrationResult:
    """A migration with its result (``ok``, ``warning``, ``failure`` or ``unfinished``), and its limits by counter.

    `over` names the counters above their limit; `excused` has the reasons why some of them do not count. `remarks` are
    the dataset's remarks on this migration.
    """

    migration: Migration
    result: str
    by_change: bool
    file: str
    limits: Mapping[str, float | None]
    over: frozenset[str]
    excused: Mapping[str, str]
    waivers: tuple[Waiver, ...]
    remarks: Mapping[str, str]

    @property
    def notable(self) -> bool:
        """Whether the change's author should look at it."""
        return self.by_change or self.result != "ok" or bool(self.over)


@dataclass(frozen=True)
class DatasetResult:
    """The result for one dataset, on one engine; `name` is that of its artifacts."""

    name: str
    outcome: Outcome
    walk: WalkRecord | None
    migrations: tuple[MigrationResult, ...]

    @property
    def dataset(self) -> str:
        """The dataset's own name, without an engine."""
        return engines.split(self.name)[0]

    @property
    def on_engine(self) -> bool:
        """Whether the dataset is walked on several engines, and this is one of them."""
        return bool(engines.split(self.name)[1])

    @property
    def engine(self) -> str:
        """The name of its engine; "" if it is not known, or on an external server."""
        return engines.split(self.name)[1] or (self.walk.engine if self.walk else "")

    @property
    def label(self) -> str:
        """Its engine with the server's version, for people: ``mysql-9.7 (MySQL 9.7.4)``; "" without an engine."""
        server = f"{self.walk.flavour} {self.walk.server.partition('-')[0]}".strip() if self.walk else ""
        return f"{self.engine} ({server})" if self.engine and server else self.engine


def walk(found: WalkRecord, checkout: CheckoutRecord, cut_short: bool) -> tuple[list[Message], list[MigrationResult]]:
    """All messages about the migrations of a walk, and the result of each.

    `cut_short` is whether the job was ended early: messages that may be a consequence of that are left out.
    """
    messages: list[Message] = []
    rows: list[MigrationResult] = []
    hide_termination = cut_short and not found.controls  # a control is only run after the walk itself has ended
    problems = [problem for problem in found.problems if not (hide_termination and problem.code in TERMINATION_CODES)]
    before = found.version
    for migration in found.migrations:
        problem = _take_problem(problems, migration)
        about, row = _migration(migration, before, found, problem, checkout, cut_short)
        messages += about
        rows.append(row)
        before = migration.version or before
    messages += [message_of(problem) for problem in problems]
    return messages + excess.not_measurable(found, checkout), rows


def not_run(found: WalkRecord, rows: Sequence[MigrationResult], checkout: CheckoutRecord) -> list[str]:
    """The migrations that the change adds or alters and that the dataset lacked, but that did not run successfully."""
    version = set(found.version.split(","))
    # a dataset cannot have new migrations, unless it was taken with the change applied: a migration that the change
    # inserts below the dataset's version never runs, neither here nor on any other database at that version
    past = checkout.with_ancestors(version) - checkout.added | checkout.with_ancestors(version & checkout.added)
    succeeded = [row for row in rows if row.migration.kind == SCHEMA and row.migration.succeeded]
    run = {row.migration.to for row in succeeded if row.by_change}
    squashed = checkout.squashed_done(past | {row.migration.to for row in succeeded})
    return sorted(checkout.by_change - past - run - squashed)


def message_of(problem: Problem) -> Message:
    """The message for a problem of a stage or a walk."""
    fields: dict[str, Any] = {
        "dataset": problem.dataset,
        "detail": problem.detail,
        "stage": problem.stage,
        "from_": problem.from_,
        "to": problem.to,
        "file": problem.file,
        "line": problem.line,
        "rows": problem.rows,
        "step": problem.kind,
    }
    code = problem.code
    if code == "server_died" and _OUT_OF_MEMORY.search(problem.detail):
        code = "server_out_of_memory"
    if code in (*_MIGRATION_FAILURES, *_VERSION):
        return _of_step(code, problem, fields)
    if code in CODES and "%" not in CODES[code].text:
        return Message.of(code, **fields)
    fields["detail"] = f"{code}: {problem.detail}"
    return Message.of("playbook_failed", **fields)


def _of_step(code: str, step: Migration | Problem, fields: Mapping[str, Any]) -> Message:
    """The message for a migration, which is named in the text if that has placeholders for it."""
    named = (brief(step.from_), brief(step.to)) if "%s->%s" in CODES[code].text else ()
    return Message.of(code, *named, **fields)


def _take_problem(problems: list[Problem], migration: Migration) -> Problem | None:
    """Take from `problems` the one that ended a migration; infrastructure failures stay, for their own messages."""
    step = (migration.stage, migration.from_, migration.to)
    for problem in problems:
        about = not migration.succeeded or problem.code in _VERSION
        about = about and problem.kind in ("", migration.kind)
        if about and (problem.stage, problem.from_, problem.to) == step:
            if not _is_infrastructure(problem):
                problems.remove(problem)
            return problem
    return None


def _is_infrastructure(problem: Problem) -> bool:
    return problem.code in CODES and CODES[problem.code].outcome is Outcome.INFRASTRUCTURE


def _migration(
    migration: Migration,
    before: str,
    walk: WalkRecord,
    problem: Problem | None,
    checkout: CheckoutRecord,
    cut_short: bool,
) -> tuple[list[Message], MigrationResult]:
    subject = migration.subject
    file = checkout.files.get(subject, "")
    by_change = excess.by_change(migration, checkout)
    place: dict[str, Any] = {
        "stage": migration.stage,
        "from_": migration.from_,
        "to": migration.to,
        "step": migration.kind,
        "file": file,
    }
    if migration.kind == DOWNGRADE and not by_change and not checkout.helpers:
        place["blame"] = Fault.OPERATOR  # the operator asks for downgrades; the change has no part in it
        place["alone"] = not checkout.tests_a_change
    elif migration.kind == SCHEMA and subject in checkout.merged_packages:
        # a new release of a package brings it, with or without the change
        place |= {"blame": Fault.DATASET, "alone": not checkout.tests_a_change}
    messages: list[Message] = []
    result = "ok"
    if cut_short and problem is None and not migration.succeeded and (migration.exit or 0) <= 0:
        result = "unfinished"
    elif not migration.succeeded:
        messages += _failure_messages(migration, problem, place)
        result = "failure"
    elif wrong := _wrong_version(migration, before, checkout, problem, place):
        messages.append(wrong)
        result = "failure"
    row = MigrationResult(
        migration,
        result,
        by_change,
        file,
        limits={counter.name: excess.allowed(walk, counter, migration) for counter in MEASURED},
        over=frozenset(),
        excused={},
        waivers=walk.limits.waivers_of(migration.from_, migration.to, migration.kind),
        remarks=remarks_of(walk.remarks, subject or migration.to),
    )
    timed_out = any(message.code == "migration_timed_out" for message in messages)
    exceeded, over, excused = excess.messages(migration, walk, place, timed_out, checkout)
    if result == "ok" and any(message.counts for message in exceeded):
        result = "warning"
    return messages + exceeded, replace(row, result=result, over=over, excused=excused)


def _wrong_version(
    migration: Migration, before: str, checkout: CheckoutRecord, problem: Problem | None, place: Mapping[str, Any]
) -> Message | None:
    """The message for a wrong version after a migration that reported success; None if it is right."""
    version = set(migration.version.split(","))
    step = f"{brief(migration.from_)}->{brief(migration.to)}"
    detail = f"after {step} the database was at {brief(migration.version) or 'no version'}"
    if problem and problem.code in _VERSION:
        fields = {**place, "file": problem.file or place["file"], "line": problem.line}
        return _of_step(problem.code, migration, {**fields, "detail": problem.detail or detail})
    if _at_its_version(migration, before, checkout):
        return None
    code = "version_mismatch"
    if strangers := sorted(version - {"base", ""} - set(checkout.down)) if checkout.down else []:
        code = "version_not_in_tree"
        detail += "" if some(strangers) in detail else f", of which no migration is {some(strangers)}"
    elif version == set(before.split(",")):
        code = "version_unchanged"
    return _of_step(code, migration, {**place, "detail": detail})


def _at_its_version(migration: Migration, before: str, checkout: CheckoutRecord) -> bool:
    """Whether the database is at the version that the migration leads to; always true for what has no revision."""
    version, was = set(migration.version.split(",")), set(before.split(","))
    wanted, gone = set(migration.to.split(",")), set(migration.from_.split(","))
    if migration.kind in (DATA, AROUND):
        return True
    if migration.kind == SCHEMA:
        return wanted <= version and not wanted <= was
    if wanted == {"base"}:  # of this database, or this branch: only the revisions below may appear
        below = {revision for one in gone for revision in checkout.down.get(one, ())}
        return bool(migration.version) and version - {"base"} <= (was | below) - gone
    return wanted <= version and version.isdisjoint(gone)


def _failure_messages(migration: Migration, problem: Problem | None, place: Mapping[str, Any]) -> list[Message]:
    """The messages for a migration that failed, as in the classic logs."""
    step = (brief(migration.from_), brief(migration.to))
    unfinished = Message.of("migration_unfinished", **place)
    if problem is None:
        killed = migration.ended and (migration.exit or 0) < 0
        return [unfinished, Message.of("migration_killed" if killed else "migration_ended", *step, **place)]
    if _is_infrastructure(problem):
        return []
    fields = {**place, "file": problem.file or place["file"], "line": problem.line, "detail": problem.detail}
    fields["rows"] = problem.rows
    if problem.code == "import_failed":
        return [Message.of("import_failed", **fields), unfinished, Message.of("migration_raised", *step, **place)]
    if problem.code == "over_limit":
        return [Message.of("over_limit", **fields), unfinished]
    if problem.code in _VERSION:
        return [_of_step(problem.code, migration, fields)]
    code = problem.code if problem.code in _MIGRATION_FAILURES else "migration_raised"
    return [unfinished, Message.of(code, *step, **fields)]


def remarks_of(remarks: Mapping[str, str], revisions: str) -> dict[str, str]:
    """The remarks on a migration: ``_138_bugs`` is about revision 138, in any database."""
    found = {}
    for revision in revisions.split(","):
        for name in (revision, revision.partition(":")[2]):
            for key, remark in remarks.items():
                if name and (key == f"_{name}" or key.startswith(f"_{name}_")):
                    found[key] = remark
    return found


def some(names: Sequence[str], most: int = _MOST_NAMES) -> str:
    """The first of some revisions, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(brief, names[:most])) + more

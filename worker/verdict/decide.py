# SPDX-License-Identifier: Apache-2.0
"""From artifacts to a verdict: a pure function, so the same files always give the same verdict.

Missing evidence never becomes a SUCCESS: a dataset to test that left nothing, a walk without an end, a job without any
walk.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from worker.inputs import untrusted
from worker.inputs.git_url import mask
from worker.verdict import comparison, excess, first_line, judge, result_text
from worker.verdict.artifacts import Artifacts, WalkRecord
from worker.verdict.checkout import CheckoutRecord
from worker.verdict.comparison import Comparison
from worker.verdict.judge import DatasetResult
from worker.verdict.merged import MergedFindings
from worker.verdict.outcome import Fault, Message, Outcome, worst

# Messages that the worker has ended the job.
_ENDING = ("canceled", "worker_stopped", "job_timed_out", "retry_timed_out")
_ORDER = (Outcome.FAILURE, Outcome.WARNING, Outcome.INFRASTRUCTURE, Outcome.CANCELED, Outcome.SUCCESS)


@dataclass(frozen=True)
class Verdict:
    """The verdict on a job, computed from `artifacts`. In `messages` those for the change's author come first, then the
    worst."""

    outcome: Outcome
    messages: tuple[Message, ...]
    datasets: tuple[DatasetResult, ...] = ()
    artifacts: Artifacts | None = None

    @property
    def fault(self) -> Fault:
        """Who can fix it: the change's author if any decisive message is for them, else whom the first one is for."""
        faults = [message.fault for message in self.weighty]
        return Fault.CHANGE if Fault.CHANGE in faults else next(iter(faults), Fault.NONE)

    @property
    def weighty(self) -> list[Message]:
        """The messages that determine the outcome."""
        return [message for message in self.messages if message.counts and message.outcome is self.outcome]

    @property
    def may_retry(self) -> bool:
        """Whether the same job may succeed when it is run again: all decisive messages are of that kind."""
        return self.outcome is Outcome.INFRASTRUCTURE and all(message.kind.retry for message in self.weighty)

    def gearman_result(self) -> str | None:
        """The result for Zuul; None for an infrastructure failure, so that it launches the build again."""
        if self.outcome is Outcome.INFRASTRUCTURE:
            return None
        if self.outcome in (Outcome.SUCCESS, Outcome.CANCELED):
            return self.outcome.name
        return result_text.result(f"{self.outcome.name} - {self.first_line}")

    @property
    def first_line(self) -> str:
        """The result in one line: the cause, where it is, and on which datasets and engines."""
        return first_line.of(self.messages, self.outcome, self.fault, self._passing)

    @functools.cached_property
    def comparisons(self) -> tuple[Comparison, ...]:
        """The datasets that were walked on several engines, compared."""
        return comparison.compare(self.datasets)

    def _passing(self, message: Message) -> tuple[str, ...]:
        return comparison.passing(self.comparisons, self.messages, message)


def decide(artifacts: Artifacts, datasets: Sequence[str] | None) -> Verdict:
    """The verdict on a job that had to test `datasets`; None is for other kinds of jobs, which test none.

    What a job was doing when the worker ended it early is not held against the change.
    """
    merged = MergedFindings.of(artifacts)
    messages = [merged.attributed(judge.message_of(problem)) for problem in artifacts.problems]
    cut_short = any(message.code in _ENDING for message in messages)
    if cut_short and not artifacts.controls:
        messages = [message for message in messages if message.code not in judge.TERMINATION_CODES]
    explained = any(not message.dataset for message in messages)
    results = []
    for name in dict.fromkeys(datasets or ()):
        own = [message for message in messages if message.dataset == name]
        # on a full disk even the end of a migration may not have been recorded
        full = [message for message in messages if message.code == "disk_full" and message.dataset in ("", name)]
        cut_off = cut_short or bool(full)
        found, result = _dataset(name, artifacts.walks.get(name), own, merged, explained, cut_off)
        messages += found
        results.append(result)
    if datasets is not None and not datasets and not messages:
        messages.append(Message.of("no_dataset", detail="the job has no datasets"))
    messages += comparison.disagreements(comparison.compare(results), messages)
    messages = [_where(message, results, merged.checkout) for message in messages]
    return _verdict(messages, results, artifacts)


def of_messages(messages: Iterable[Message]) -> Verdict:
    """The verdict on a job that left no artifacts to judge."""
    return _verdict(list(messages), [], None)


def with_message(verdict: Verdict, message: Message) -> Verdict:
    """The same verdict with one more message."""
    return _verdict([*verdict.messages, message], list(verdict.datasets), verdict.artifacts)


def _verdict(messages: list[Message], results: list[DatasetResult], artifacts: Artifacts | None) -> Verdict:
    outcome = worst(message.outcome for message in messages)
    harmless = [
        replace(
            message,
            text=untrusted.name(mask(message.text)),
            detail=untrusted.text(mask(message.detail)),
            rows=untrusted.name(mask(message.rows)),
        )
        for message in messages
    ]
    return Verdict(outcome, tuple(_in_order(harmless)), tuple(results), artifacts)


def _in_order(messages: Sequence[Message]) -> list[Message]:
    """Those for the change's author first; then the worst, grouped by dataset; those that do not count last."""
    names = list(dict.fromkeys(message.dataset for message in messages))
    weight = {
        name: min(_ORDER.index(message.outcome) for message in messages if message.dataset == name) for name in names
    }

    def key(message: Message) -> tuple[bool, bool, int, int, int]:
        group = message.dataset
        other = message.fault is not Fault.CHANGE
        return not message.counts, other, weight[group], names.index(group), _ORDER.index(message.outcome)

    return sorted(messages, key=key)


def _where(message: Message, results: Iterable[DatasetResult], checkout: CheckoutRecord) -> Message:
    """Add the interrupted migration to a job's timeout; if that is merged already, it is not the change's fault."""
    if message.code != "job_timed_out":
        return message
    rows = [row.migration for result in results for row in result.migrations if row.result == "unfinished"]
    if not rows:
        return message
    step = f"{untrusted.brief(rows[-1].from_)}->{untrusted.brief(rows[-1].to)}"
    detail = f"{message.detail}, in the middle of {step}".strip(", ")
    if not excess.merged(rows[-1], checkout):
        return replace(message, detail=detail)
    detail += f", which is merged already ({untrusted.brief(rows[-1].stage)})"
    return replace(message, detail=detail, blame=Fault.OPERATOR, alone=not checkout.tests_a_change)


def _dataset(
    name: str,
    walk: WalkRecord | None,
    known: Sequence[Message],
    merged: MergedFindings,
    explained: bool,
    cut_short: bool,
) -> tuple[list[Message], DatasetResult]:
    """The messages and the result for one dataset; `known` are the messages it has already, `explained` is whether the
    job as a whole failed."""
    checkout = merged.checkout
    checkout = checkout.with_packages(walk.packaged) if walk and walk.packaged else checkout
    messages, rows = judge.walk(walk, checkout, cut_short) if walk else ([], [])
    if not _blocked([*known, *messages]):
        messages += _ending(walk, checkout, explained)
    blocked = _blocked([*known, *messages])
    if walk and walk.final is not None and not blocked and (left := judge.not_run(walk, rows, checkout)):
        messages.append(Message.of("change_not_run", detail=judge.some(left)))
    messages = [merged.attributed(replace(message, dataset=name)) for message in messages]
    outcome = worst(message.outcome for message in [*known, *messages])
    if outcome is Outcome.SUCCESS and (walk is None or walk.final is None):
        outcome = Outcome.INFRASTRUCTURE
    return messages, DatasetResult(name, outcome, walk, tuple(rows))


def _blocked(messages: Iterable[Message]) -> bool:
    """Whether later messages would be pointless: consequences of these, or about something that was not reached."""
    return any(message.outcome in (Outcome.FAILURE, Outcome.INFRASTRUCTURE) for message in messages)


def _difference(found: str, expected: str) -> str:
    if untrusted.brief(found) == found and untrusted.brief(expected) == expected:
        return f"the database is at {found}, the migrations lead to {expected}"
    there, wanted = set(found.split(",")), set(expected.split(","))
    lacks, more = (judge.some(sorted(names)) or "nothing" for names in (wanted - there, there - wanted))
    return f"of the version that the migrations lead to, the database lacks {lacks}; it has besides: {more}"


def _ending(walk: WalkRecord | None, checkout: CheckoutRecord, explained: bool) -> list[Message]:
    """The messages about the end of a walk in which nothing failed."""
    if walk and walk.beyond:  # the worker's own code writes it, with a limit per line: there are too many migrations
        blame = None if checkout.tests_a_change else Fault.OPERATOR
        detail = f"walk-{walk.name}.jsonl: not all of it is read, as {walk.beyond}: bring fewer migrations"
        return [replace(Message.of("over_limit", detail=detail), blame=blame, alone=not checkout.tests_a_change)]
    if walk is None or walk.final is None:
        return [] if explained else [Message.of("not_tested")]
    if walk.final != walk.expected:
        return [Message.of("version_mismatch", detail=_difference(walk.final, walk.expected or ""))]
    if walk.damaged or not walk.restored:
        damage = f"{walk.damaged} damaged lines, limits or waivers"
        detail = damage if walk.damaged else "the facts of the dataset are missing"
        return [Message.of("artifacts_damaged", detail=detail)]
    if not any(stage.kind == "change" for stage in checkout.stages):
        return [Message.of("artifacts_damaged", detail="checkout.json does not say what the change is")]
    if not walk.migrations:
        return [Message.of("no_migrations_run", detail=f"the dataset is at {untrusted.brief(walk.final)} already")]
    return []

# SPDX-License-Identifier: Apache-2.0
"""From artifacts to a verdict: a pure function, so the same files always mean the same.

What no file says never becomes a SUCCESS: a dataset that had to be tested and left nothing, a walk without its end,
a job without any walk.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from worker import judge, untrusted
from worker.artifacts import Artifacts, Walk
from worker.checkout import Checkout
from worker.judge import MigrationResult
from worker.outcome import Fault, Message, Outcome, worst

RESULT_LENGTH = 250  # Zuul's SQL reporter keeps 255 characters
_LEAST_DETAIL = 30

# Messages that say that we have ended the job.
_ENDING = ("canceled", "worker_stopped", "job_timed_out")
_ORDER = (Outcome.FAILURE, Outcome.WARNING, Outcome.INFRASTRUCTURE, Outcome.CANCELED)


@dataclass(frozen=True)
class DatasetResult:
    """What became of one dataset."""

    name: str
    outcome: Outcome
    walk: Walk | None
    migrations: tuple[MigrationResult, ...]


@dataclass(frozen=True)
class Verdict:
    """The verdict on a job. `messages` come worst first; `artifacts` are what it was computed from."""

    outcome: Outcome
    messages: tuple[Message, ...]
    datasets: tuple[DatasetResult, ...] = ()
    artifacts: Artifacts | None = None

    @property
    def fault(self) -> Fault:
        """Who can mend it: the fault of the message that weighs most."""
        return next((message.fault for message in self.messages if message.kind.outcome is self.outcome), Fault.NONE)

    def gearman_result(self) -> str | None:
        """What Zuul is told: None, so that it tries again, when the trouble is ours."""
        if self.outcome is Outcome.INFRASTRUCTURE:
            return None
        if self.outcome in (Outcome.SUCCESS, Outcome.CANCELED):
            return self.outcome.name
        lines: list[str] = []
        for message in self.messages:
            if message.kind.outcome is not Outcome.INFRASTRUCTURE and message.text not in lines:
                lines.append(message.text)
        for message in self.messages:
            # of the detail what fits: with an error of the database, its number comes first
            room = RESULT_LENGTH - len("\n".join(lines)) - 1
            detail = " ".join(message.detail.split())
            if detail and room >= _LEAST_DETAIL and message.kind.outcome is not Outcome.INFRASTRUCTURE:
                lines.append(detail if len(detail) <= room else detail[: room - 1] + "…")
        whole = "\n".join(lines)
        return whole if len(whole) <= RESULT_LENGTH else whole[: RESULT_LENGTH - 1] + "…"


def decide(artifacts: Artifacts, datasets: Sequence[str] | None) -> Verdict:
    """The verdict on a job that had to test `datasets`; None is a job of another kind, which tests none.

    What a job was doing when we ended it before its time is not held against the change.
    """
    messages = [judge.message_of(problem) for problem in artifacts.problems]
    ended_by_us = any(message.code in _ENDING for message in messages)
    if ended_by_us:
        messages = [message for message in messages if message.code not in judge.BY_THE_END]
    checkout = artifacts.checkout or Checkout()
    explained = any(not message.dataset for message in messages)
    results = []
    for name in dict.fromkeys(datasets or ()):
        own = [message for message in messages if message.dataset == name]
        found, result = _dataset(name, artifacts.walks.get(name), own, checkout, explained, ended_by_us)
        messages += found
        results.append(result)
    if datasets is not None and not datasets and not messages:
        messages.append(Message.of("no_dataset", detail="the job has no datasets"))
    messages = [_where(_whose(message, checkout), results) for message in messages]
    return _verdict(messages, results, artifacts)


def of_messages(messages: Iterable[Message]) -> Verdict:
    """The verdict on a job that came to nothing that could be looked at."""
    return _verdict(list(messages), [], None)


def with_message(verdict: Verdict, message: Message) -> Verdict:
    """The same verdict with one more message."""
    return _verdict([*verdict.messages, message], list(verdict.datasets), verdict.artifacts)


def _verdict(messages: list[Message], results: list[DatasetResult], artifacts: Artifacts | None) -> Verdict:
    outcome = worst(message.kind.outcome for message in messages)
    harmless = [
        replace(message, text=untrusted.name(message.text), detail=untrusted.text(message.detail))
        for message in messages
    ]
    # stable: within an outcome they stay in the order of the datasets
    harmless.sort(key=lambda message: _ORDER.index(message.kind.outcome))
    return Verdict(outcome, tuple(harmless), tuple(results), artifacts)


def _whose(message: Message, checkout: Checkout) -> Message:
    """What happens in a release or at the branch's tip happens without the change, too: then it is not its fault."""
    before = {label for stage in checkout.stages if stage.kind != "change" for label in (stage.name, stage.slug)}
    if message.fault is not Fault.CHANGE or message.stage not in before:
        return message
    return replace(message, blame=Fault.DATASET if message.dataset else Fault.OPERATOR)


def _where(message: Message, results: Iterable[DatasetResult]) -> Message:
    """A job's time limit with the migration that it has hit."""
    rows = [row.migration for result in results for row in result.migrations if row.result == "unfinished"]
    if message.code != "job_timed_out" or not rows:
        return message
    return replace(message, detail=f"{message.detail}, in the middle of {rows[-1].from_}->{rows[-1].to}".strip(", "))


def _dataset(
    name: str,
    walk: Walk | None,
    known: Sequence[Message],
    checkout: Checkout,
    explained: bool,
    ended_by_us: bool,
) -> tuple[list[Message], DatasetResult]:
    """What became of one dataset; `known` is said of it already, `explained` is that the job as a whole failed."""
    messages, rows = judge.walk(walk, checkout, ended_by_us) if walk else ([], [])
    if not any(message.kind.outcome in (Outcome.FAILURE, Outcome.INFRASTRUCTURE) for message in [*known, *messages]):
        messages += _ending(walk, checkout, explained)
    if walk and walk.final is not None and not messages and (left := judge.not_run(walk, rows, checkout)):
        messages.append(Message.of("change_not_run", detail=", ".join(left[:10])))
    messages = [replace(message, dataset=name) for message in messages]
    outcome = worst(message.kind.outcome for message in [*known, *messages])
    if outcome is Outcome.SUCCESS and (walk is None or walk.final is None):
        outcome = Outcome.INFRASTRUCTURE
    return messages, DatasetResult(name, outcome, walk, tuple(rows))


def _ending(walk: Walk | None, checkout: Checkout, explained: bool) -> list[Message]:
    """What is to say of the end of a walk in which nothing has failed."""
    if walk is None or walk.final is None:
        return [] if explained else [Message.of("not_tested")]
    if walk.final != walk.expected:
        detail = f"the database is at {walk.final}, the migrations lead to {walk.expected}"
        return [Message.of("version_mismatch", detail=detail)]
    if walk.damaged or not walk.restored:
        detail = f"{walk.damaged} damaged lines or limits" if walk.damaged else "the facts of the dataset are missing"
        return [Message.of("artifacts_damaged", detail=detail)]
    if not any(stage.kind == "change" for stage in checkout.stages):
        return [Message.of("artifacts_damaged", detail="checkout.json does not say what the change is")]
    if not walk.migrations:
        return [Message.of("no_migrations_run", detail=f"the dataset is at {walk.final} already")]
    return []

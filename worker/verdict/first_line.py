# SPDX-License-Identifier: Apache-2.0
"""The result of a job in one line: what failed, where, why, on which datasets.

It names the cause, not the consequence: for an error in a migration the error itself, not the missing end. Zuul's
result, the report, `result.json` and the terminal output begin with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from worker.config import engines
from worker.inputs import brief
from worker.verdict import result_text, sql_detail
from worker.verdict.outcome import Fault, Message, Outcome

ROOM = 238
"""Characters of the line: with the word and a dash before it, it fits into what Zuul keeps."""

# The messages that the end of a migration may cause, the most informative first.
_OF_AN_END = (
    "import_failed", "over_limit", "migration_raised", "migration_killed", "migration_timed_out", "migration_ended",
    "migration_unfinished",
)  # fmt: skip
_SEQUELS = ("engines_disagree",)  # of a failure on an engine, which has a message of its own
_CAUSE_LAST = ("migration_raised", "import_failed", "walk_failed")  # a traceback ends with its exception
_PREFIX = re.compile(r"(?:FAILURE|WARNING|CANCELED) - ")
_MEASURED = re.compile(r" \(\d{1,20}(?: bytes)?\)\Z")
_NUMBERS = re.compile(r"\d[\d.,]*")
# What uv prints before the reason.
_UNSOLVED = re.compile(r"(?:error: |\u00d7 )?No solution found when resolving dependencies:? (?:cause: |\W{1,5} )")
_HASH = re.compile(r"[0-9a-f]{13,64}")
_MOST_DATASETS, _MOST_ENGINES = 3, 2
_LONGEST_DATASET, _LEAST_CAUSE, _GOOD_CAUSE = 32, 60, 100
# Limits on the folders of a path and the characters of a revision, from none (0) to the tightest.
_SHORTER = ((0, 0), (2, 0), (2, 24), (1, 12))


@dataclass
class _Failure:
    """One thing that went wrong, on one or several datasets: `primary` describes it."""

    primary: Message
    datasets: list[str] = field(default_factory=list)
    outcome: Outcome = Outcome.SUCCESS


def of(
    messages: Sequence[Message],
    outcome: Outcome,
    fault: Fault,
    passing: Callable[[Message], Sequence[str]] = lambda message: (),
) -> str:
    """The line for a verdict with this `outcome` and `fault`; "" where no message has that outcome.

    `passing` returns the other engines of a message's dataset, on which there is no such message.
    """
    outcomes = (Outcome.FAILURE, Outcome.WARNING) if outcome in (Outcome.FAILURE, Outcome.WARNING) else (outcome,)
    weighty = [one for one in messages if one.counts and one.outcome in outcomes and one.code not in _SEQUELS]
    failures = _failures(weighty)
    if not failures:
        return ""
    first = min(failures, key=lambda failure: _weight(failure, outcome, fault))
    return _line(first, len(failures) - 1, passing(first.primary))


def _weight(failure: _Failure, outcome: Outcome, fault: Fault) -> tuple[bool, bool, bool]:
    whose = failure.primary.fault
    return failure.outcome is not outcome, whose is not fault, whose is not Fault.CHANGE


def _failures(messages: Iterable[Message]) -> list[_Failure]:
    """The failures that messages report, in their order; the same failure on several datasets is one."""
    ends: dict[tuple[str, ...], list[Message]] = {}
    for number, message in enumerate(messages):
        step = (message.stage, message.from_, message.to, message.step)
        own = ("end", *step) if message.code in _OF_AN_END and message.to else (str(number),)
        ends.setdefault((message.dataset, *own), []).append(message)
    found: dict[tuple[str, ...], _Failure] = {}
    for group in ends.values():
        primary = min(group, key=_priority)
        failure = found.setdefault(_kind(primary), _Failure(primary))
        failure.datasets += [primary.dataset] if primary.dataset and primary.dataset not in failure.datasets else []
        failure.outcome = max(failure.outcome, *(one.outcome for one in group), key=lambda one: one.value)
    return list(found.values())


def _priority(message: Message) -> int:
    return _OF_AN_END.index(message.code) if message.code in _OF_AN_END else 0


def _kind(message: Message) -> tuple[str, ...]:
    """A key that is equal for the same failure on several datasets: numbers and values in the detail may differ."""
    server_error = sql_detail.find(message.detail)
    cause = str(server_error.number) if server_error else _NUMBERS.sub("#", _cause(message))
    text = _MEASURED.sub("", message.text)
    return (message.code, text, message.fault.value, message.from_, message.to, message.file, str(message.line), cause)


def _cause(message: Message) -> str:
    cause = sql_detail.cause(message.detail, message.code in _CAUSE_LAST)
    if place := _place(message, 0):  # the line has it already
        cause = cause.removeprefix(f"{place}: ")
    if message.code == "environment_failed":
        cause = _UNSOLVED.sub("", cause, count=1)
        if refusal := sql_detail.index_refuses(message.detail):
            cause = f"{refusal}: {cause}"
    server_error = sql_detail.find(message.detail)
    if server_error and server_error.number == 1265:  # also for a NULL in a column that becomes NOT NULL
        if sql_detail.null_found(message.rows):
            return f"{cause}, {message.rows}"
        if not message.rows and sql_detail.makes_not_null(message.detail):
            return f"{cause}, or NULL in it: the column becomes NOT NULL"
    return cause


def _line(failure: _Failure, others: int, passing: Sequence[str]) -> str:
    """The line, with its parts shortened as far as necessary to fit all of them."""
    message = failure.primary
    end = _datasets(failure.datasets, passing) + (f" and {others} more" if others else "")
    cause = result_text.plain(_cause(message))
    heads = [_head(message, *lengths) for lengths in _SHORTER]
    for head in heads:
        if len(line := _joined(head, cause) + end) <= ROOM:
            return line
    for least in (_GOOD_CAUSE, _LEAST_CAUSE):
        for head in heads:
            if (room := ROOM - len(head) - len(end) - 2) >= least:
                return _joined(head, result_text.cut(cause, room)) + end
    head = result_text.cut(heads[-1], ROOM - len(end) - 2 - _LEAST_CAUSE)
    return result_text.cut(_joined(head, result_text.cut(cause, _LEAST_CAUSE)) + end, ROOM)


def _head(message: Message, folders: int, revision: int) -> str:
    return _joined(result_text.plain(_text(message, revision)), result_text.plain(_place(message, folders)))


def _joined(first: str, second: str) -> str:
    if not first or not second:
        return first or second
    return f"{first} {second}" if first.endswith(".") and not first.endswith("..") else f"{first}: {second}"


def _text(message: Message, longest: int) -> str:
    """The message's text without its level; a migration's revisions are shortened to `longest` characters, 0: not."""
    text = _PREFIX.sub("", message.text, count=1)
    if longest and message.to:
        step = f"{brief(message.from_)}->{brief(message.to)}"
        text = text.replace(step, f"{_short(message.from_, longest)}->{_short(message.to, longest)}", 1)
    return text


def _short(revision: str, longest: int) -> str:
    shown = brief(revision)
    if len(shown) <= longest:
        return shown
    return shown[:12] if _HASH.fullmatch(revision) else shown[: longest - 2] + ".."


def _place(message: Message, folders: int) -> str:
    """The file and line, with the last `folders` parts of the path, 0: all."""
    path = "/".join(message.file.split("/")[-folders:])
    return f"{path}:{message.line}" if path and message.line else path


def _datasets(names: Sequence[str], passing: Sequence[str]) -> str:
    """The datasets of a failure, each with its engines; of a single one, also the engines that it passes on."""
    if not names:
        return ""
    on: dict[str, list[str]] = {}
    for name in names:
        dataset, engine = engines.split(name)
        on.setdefault(dataset, []).extend([engine] if engine else [])
    shown = ", ".join(f"{_shown(name)}{_engines(' on', on[name])}" for name in list(on)[:_MOST_DATASETS])
    more = f" and {len(on) - _MOST_DATASETS} more" if len(on) > _MOST_DATASETS else ""
    passes = _engines("; passes on", passing) if len(on) == 1 else ""
    return f" (dataset{'s' if len(on) > 1 else ''} {shown}{more}{passes})"


def _engines(words: str, names: Sequence[str]) -> str:
    more = [f"{len(names) - _MOST_ENGINES} more"] if len(names) > _MOST_ENGINES else []
    return f"{words} {' and '.join([*map(_shown, names[:_MOST_ENGINES]), *more])}" if names else ""


def _shown(name: str) -> str:
    return result_text.cut(result_text.plain(name), _LONGEST_DATASET)

# SPDX-License-Identifier: Apache-2.0
"""What went wrong, and the controls, which repeat it without the change.

When the change's environment cannot be built, or its code fails around the migrations, the playbooks do the same with
the merge base, and record the outcome (docs/artifacts.md). Whether both failed in the same way is decided here, from
the files alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worker.inputs import untrusted as safe
from worker.verdict import sql_detail

FAILED = "failed"
_MOST_MISSING = 100

# What differs between two runs of the same code: addresses in memory, names, build numbers, times and line numbers.
_WORDS = re.compile(r"[\s'\"`()\[\]<>,;]+")
_VARYING = (
    (re.compile(r"0x[0-9a-fA-F]{1,16}"), "0x"),
    (re.compile(r"\bth_[0-9a-f]{12}"), "th_"),
    (re.compile(r"\.dev\d{1,9}\b|\+g[0-9a-f]{7,40}(?:\.d\d{8})?"), ""),
    (re.compile(r"\b\d{1,9}(?:\.\d{1,9})?(?:ms|s)\b"), ""),
    (re.compile(r"\bline \d{1,9}\b"), "line"),
    (re.compile(r":\d{1,9}(?=[:\s]|$)"), ""),
)


@dataclass(frozen=True)
class Problem:
    """An `error` event of a stage or a walk. `kind` is that of the migration, "" where there is none. `rows` describes
    the rows in the database that caused it, `missing` are packages that are in no index."""

    code: str
    detail: str = ""
    dataset: str = ""
    stage: str = ""
    from_: str = ""
    to: str = ""
    file: str = ""
    line: int = 0
    rows: str = ""
    missing: tuple[str, ...] = ()
    kind: str = ""


@dataclass(frozen=True)
class Control:
    """The result of repeating something with the merge base.

    `outcome` is ``failed``, ``passed`` or, where the worker could not find out, ``unknown``. For a failure, the other
    fields are those of an `error` event.
    """

    outcome: str = ""
    commit: str = ""
    code: str = ""
    detail: str = ""
    from_: str = ""
    to: str = ""
    file: str = ""
    missing: tuple[str, ...] = ()

    def explains(self, failure: Problem) -> bool:
        """Whether it failed in the same way without the change."""
        if self.outcome != FAILED or (self.code, self.from_, self.to) != (failure.code, failure.from_, failure.to):
            return False
        if failure.missing or self.missing:  # the rest of an installer's output depends on what else the change has
            return bool(failure.missing) and set(failure.missing) <= set(self.missing)
        return self.file == failure.file and cause(self.detail) == cause(failure.detail)


@dataclass(frozen=True)
class FirstTry:
    """The first try, which an infrastructure failure ended: its problems, and how many seconds it took."""

    problems: tuple[Problem, ...]
    seconds: float


def problem_of(event: Mapping[str, Any]) -> Problem:
    """Read an `error` event."""
    return Problem(
        code=safe.name(event.get("code")),
        detail=sql_detail.tidy(safe.text(event.get("detail"))),
        dataset=safe.name(event.get("dataset")),
        stage=safe.name(event.get("stage")),
        from_=safe.version(event.get("from")),
        to=safe.version(event.get("to")),
        file=safe.name(event.get("file")),
        line=safe.integer(event.get("line")) or 0,
        rows=safe.name(event.get("rows")),
        missing=_missing(event),
        kind=safe.name(event.get("kind")),
    )


def control_of(event: Mapping[str, Any]) -> Control:
    """Read a `control` event."""
    failed = problem_of(event)
    return Control(
        outcome=safe.name(event.get("outcome")),
        commit=safe.name(event.get("commit")),
        code=failed.code,
        detail=failed.detail,
        from_=failed.from_,
        to=failed.to,
        file=failed.file,
        missing=failed.missing,
    )


def first_try_of(document: Mapping[str, Any]) -> FirstTry | None:
    """Read `first-try.json`; None where there was no first try."""
    problems = tuple(problem_of(item) for item in safe.mappings(document.get("messages")))
    return FirstTry(problems, safe.number(document.get("seconds")) or 0.0) if problems else None


def _missing(event: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(map(safe.name, safe.sequence(event.get("missing"))[:_MOST_MISSING]))


def cause(detail: str) -> tuple[str, ...]:
    """The words of a detail, without those that differ between two runs of the same code."""
    for pattern, instead in _VARYING:
        detail = pattern.sub(instead, detail)
    return tuple(filter(None, map(_without_folder, _WORDS.split(detail))))


def _without_folder(word: str) -> str:
    """A path's last part; the address of a server stays whole."""
    if "://" in word and not word.startswith("file:"):
        return word
    return word.rstrip("/").rpartition("/")[2]

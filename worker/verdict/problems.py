# SPDX-License-Identifier: Apache-2.0
"""What went wrong, and the controls: what became of the same thing without the change.

When the change's environment cannot be built, or its code fails around the migrations, the playbooks run the same with
the commit that the change is based on, and write down what became of it (docs/artifacts.md). Whether the two failures
are the same is decided here, from the files alone.
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

# What differs between two runs of the same code: where it lies, where in memory, in which line, and when it was made.
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
    """An `error` event: what a stage or a walk could not do. `kind` is that of the migration, "" where it is not said.
    `rows` is what the database said about the rows that were in the way, `missing` are the packages that no index
    had."""

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
    """What became of the same thing with the code that the change is based on.

    `outcome` is ``failed``, ``passed`` or, where our side could not find out, ``unknown``. Of a failure the rest is as
    in an `error` event. `missing` are the packages that no index had.
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
        """Whether the code without the change has failed in the same way."""
        if self.outcome != FAILED or (self.code, self.from_, self.to) != (failure.code, failure.from_, failure.to):
            return False
        if failure.missing or self.missing:  # what else an installer says of it depends on the rest of the change
            return bool(failure.missing) and set(failure.missing) <= set(self.missing)
        return self.file == failure.file and cause(self.detail) == cause(failure.detail)


def problem_of(event: Mapping[str, Any]) -> Problem:
    """An `error` event."""
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
    """A `control` event."""
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


def _missing(event: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(map(safe.name, safe.sequence(event.get("missing"))[:_MOST_MISSING]))


def cause(detail: str) -> tuple[str, ...]:
    """The words of a detail, without what differs between two runs of the same code."""
    for pattern, instead in _VARYING:
        detail = pattern.sub(instead, detail)
    return tuple(filter(None, map(_without_folder, _WORDS.split(detail))))


def _without_folder(word: str) -> str:
    """A path's last part; the address of a server stays whole."""
    if "://" in word and not word.startswith("file:"):
        return word
    return word.rstrip("/").rpartition("/")[2]

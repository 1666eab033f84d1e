# SPDX-License-Identifier: Apache-2.0
"""Where a job's time went, for the page, for `result.json` and for a terminal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from worker.report import formatting
from worker.verdict.run_times import of_task
from worker.verdict.times import Part, Piece, Times

LARGEST = 10
"""How many pieces are shown to people; `result.json` has them all."""

TITLES = {
    "first_try": "First try", "checkout": "Checkout", "environment": "Environments", "restore": "Restore",
    "walk": "Walk", "control": "Without the change", "upload": "Upload", "other": "Other",
}  # fmt: skip
_WHAT = {
    "build": "building the environment",
    "kept": "an environment from the cache",
    "import": "importing the dump",
    "clone": "cloning the snapshot",
    "start": "starting the server",
    "proof": "proving that it is the seed",
    "start_up": "starting the migration tool, up to the first migration",
    "between": "between the migrations",
    "after": "after the last migration",
    "ansible": "starting Ansible",
}
_REST = {
    "first_try": "all of it",
    "upload": "writing the report and publishing the results",
    "other": "the worker: before and after the playbook",
}
_OF_STEPS = "steps around it"
_BAR = 30


@dataclass(frozen=True)
class Row:
    """A piece for people: the title of its part, what it is, the dataset and the stage that it is of, its seconds and
    its share of the whole (0 to 1)."""

    part: str
    title: str
    what: str
    where: str
    seconds: float
    share: float


def as_document(times: Times | None) -> dict[str, Any] | None:
    """`times` in `result.json`; None where nothing was measured."""
    if times is None:
        return None
    return {
        "seconds": round(times.seconds, 3),
        "parts": [
            {
                "part": part.name,
                "seconds": round(part.seconds, 3),
                "pieces": [_piece(piece) for piece in part.pieces],
            }
            for part in times.parts
        ],
        "tasks": [of_task(task) for task in times.tasks],
    }


def _piece(piece: Piece) -> dict[str, Any]:
    return {
        "what": piece.what,
        "dataset": piece.dataset,
        "stage": piece.stage,
        "name": piece.name,
        "seconds": round(piece.seconds, 3),
        "count": piece.count,
    }


def parts(times: Times) -> list[Row]:
    """The parts, in their order."""
    return [
        Row(part.name, TITLES[part.name], "", "", part.seconds, _share(part.seconds, times)) for part in times.parts
    ]


def largest(times: Times) -> list[Row]:
    """The largest pieces, the largest first."""
    return [_row(part, piece, times) for part, piece in times.largest(LARGEST)]


def lines(times: Times | None) -> list[str]:
    """The parts and the largest pieces as lines of text."""
    if times is None:
        return ["Where the time went was not measured: the job has run no playbook."]
    found = [f"Where the time went: {formatting.seconds(times.seconds)}"]
    for row in parts(times):
        bar = "#" * round(_BAR * row.share)
        found.append(f"  {row.title:<20}{formatting.seconds(row.seconds):>13}{row.share:>7.1%}  {bar}".rstrip())
    found.append("The largest pieces:")
    for row in largest(times):
        where = f" ({row.where})" if row.where else ""
        found.append(f"  {row.title:<20}{formatting.seconds(row.seconds):>13}{row.share:>7.1%}  {row.what}{where}")
    return found


def _row(part: Part, piece: Piece, times: Times) -> Row:
    where = ", ".join(filter(None, (piece.dataset, piece.stage)))
    return Row(part.name, TITLES[part.name], _what(part, piece), where, piece.seconds, _share(piece.seconds, times))


def _what(part: Part, piece: Piece) -> str:
    if piece.what == "migrations":
        return f"{formatting.count(piece.count)} migration{'s' if piece.count != 1 else ''}"
    if piece.what == "rest":
        return _REST.get(part.name, _OF_STEPS)
    if piece.what == "role":
        return f"the role {piece.name}"
    return _WHAT.get(piece.what, piece.what) if piece.what != "task" else piece.name


def _share(seconds: float, times: Times) -> float:
    return seconds / times.seconds if times.seconds > 0 else 0.0

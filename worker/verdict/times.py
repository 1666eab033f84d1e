# SPDX-License-Identifier: Apache-2.0
"""Where a job's time went: its parts, which add up to the seconds of the job, and what each is made of.

Computed from the artifacts alone. Their numbers come from several clocks and are not trusted: what does not fit into
the whole is cut, and what is left over is a piece of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from worker.verdict.artifacts import Artifacts
from worker.verdict.run_times import RunTimes, TaskTime

FIRST_TRY, CONTROL, UPLOAD, OTHER = "first_try", "control", "upload", "other"
_OF_ROLES = {
    "checkout": "checkout", "build_environment": "environment", "restore_datasets": "restore", "run_migrations": "walk",
}  # fmt: skip
PARTS = (FIRST_TRY, *_OF_ROLES.values(), CONTROL, UPLOAD, OTHER)
"""All parts that a job can have, in the order in which they are shown."""

REST = "rest"
"""The piece of a part that none of its other pieces accounts for."""

_LEAST = 0.0005
"""What is shorter is not shown: it is 0 in milliseconds."""
_MOST_PIECES = 1_000


@dataclass(frozen=True)
class Piece:
    """What a part's time was spent on. `what` is one of the words in docs/artifacts.md; `name` is a task's or a role's.

    `dataset` and `stage` are "" where it is of none; `count` is how many migrations there were, or how often a task
    ran.
    """

    what: str
    seconds: float
    dataset: str = ""
    stage: str = ""
    name: str = ""
    count: int = 1


@dataclass(frozen=True)
class Part:
    """A part of a job, one of PARTS; its pieces add up to its seconds."""

    name: str
    seconds: float
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class Times:
    """The `seconds` of a job, the parts that they add up to, and the tasks of its playbook."""

    seconds: float
    parts: tuple[Part, ...]
    tasks: tuple[TaskTime, ...]

    def largest(self, number: int) -> list[tuple[Part, Piece]]:
        """The largest pieces of all parts, each with its part."""
        pieces = [(part, piece) for part in self.parts for piece in part.pieces]
        return sorted(pieces, key=lambda one: -one[1].seconds)[:number]


def of(found: Artifacts | None, seconds: float, upload: float = 0.0) -> Times | None:
    """Where the time of a job went; None where no worker has measured it.

    `seconds` are those of the whole job so far, 0 where they are not known; `upload` is how many of them went into
    publishing its results, 0 where they are not published yet.
    """
    if found is None or found.times is None:
        return None
    run = found.times
    first = found.first_try.seconds if found.first_try else 0.0
    total = seconds if seconds > 0 else run.seconds
    measured = {
        FIRST_TRY: (first, ()),
        **{part: _of_role(found, role, part) for role, part in _OF_ROLES.items()},
        CONTROL: _sum(_pieces(task for task in run.tasks if task.control)),
        UPLOAD: (upload, ()),
    }
    parts, left = [], total
    for name, (wanted, pieces) in measured.items():
        taken = min(max(wanted, 0.0), left)
        left -= taken
        parts.append(_part(name, taken, pieces))
    parts.append(_part(OTHER, left, _others(run)))
    return Times(total, tuple(part for part in parts if part.seconds >= _LEAST), run.tasks)


def _of_role(found: Artifacts, role: str, part: str) -> tuple[float, Iterable[Piece]]:
    """The seconds of a role's tasks, and what is known of them."""
    tasks = [task for task in found.times.tasks if task.role == role and not task.control] if found.times else []
    seconds = sum(task.seconds for task in tasks)
    known = {"environment": _environments, "restore": _restores, "walk": _walks}.get(part)
    return seconds, known(found) if known else _pieces(tasks)


def _environments(found: Artifacts) -> Iterator[Piece]:
    stages = {stage.slug: stage.name for stage in found.checkout.stages} if found.checkout else {}
    for built in found.environments:
        stage = stages.get(built.stage, built.stage)
        yield Piece("kept" if built.cached else "build", built.seconds, stage=stage)


def _restores(found: Artifacts) -> Iterator[Piece]:
    for name, walk in found.walks.items():
        for step, seconds in walk.seconds.items():
            yield Piece(step, seconds, dataset=name)


def _walks(found: Artifacts) -> Iterator[Piece]:
    for name, walk in found.walks.items():
        for one in walk.stages:
            stage = f"{one.name}, down" if one.down else one.name
            yield Piece("start_up", one.start_up, name, stage)
            yield Piece("migrations", one.migrations, name, stage, count=one.count)
            yield Piece("between", one.between, name, stage)
            yield Piece("after", one.after, name, stage)


def _others(run: RunTimes) -> list[Piece]:
    """What no part has: the start of Ansible, and other roles; tasks without a role by their names."""
    tasks = [task for task in run.tasks if task.role not in _OF_ROLES and not task.control]
    roles: dict[str, float] = {}
    for task in tasks:
        if task.role:
            roles[task.role] = roles.get(task.role, 0.0) + task.seconds
    pieces = [Piece("role", seconds, name=role) for role, seconds in roles.items()]
    return [Piece("ansible", run.start), *pieces, *_pieces(task for task in tasks if not task.role)]


def _pieces(tasks: Iterable[TaskTime]) -> list[Piece]:
    """The tasks, those of one name together."""
    found: dict[str, Piece] = {}
    for task in tasks:
        piece = found.get(task.task, Piece("task", 0.0, name=task.task, count=0))
        found[task.task] = replace(piece, seconds=piece.seconds + task.seconds, count=piece.count + task.count)
    return list(found.values())


def _sum(pieces: list[Piece]) -> tuple[float, list[Piece]]:
    return sum(piece.seconds for piece in pieces), pieces


def _part(name: str, seconds: float, pieces: Iterable[Piece]) -> Part:
    """A part whose pieces add up to its seconds: the first ones that fit, and the rest."""
    kept, left = list[Piece](), seconds
    for piece in pieces:
        taken = min(max(piece.seconds, 0.0), left)
        if taken >= _LEAST and len(kept) < _MOST_PIECES:
            kept.append(replace(piece, seconds=taken))
            left -= taken
    if left >= _LEAST:
        kept.append(Piece(REST, left))
    return Part(name, seconds, tuple(kept))

# SPDX-License-Identifier: Apache-2.0
"""What a text log's walk is made of: stages, migrations, and the counters that were read around them."""

from __future__ import annotations

from dataclasses import dataclass, field

from worker.counters import COUNTERS

_DIGITS = 18  # of a version that is a number
NOT_OF_THE_TREE = ("data", "around")
"""Where steps come from that are no migrations of a tree: commands that move data, and what is outside of all steps."""
NAMES = tuple(counter.name for counter in COUNTERS)

READINGS = {
    "rows_changed": ("Innodb_rows_inserted", "Innodb_rows_updated", "Innodb_rows_deleted"),
    "rows_read": ("Innodb_rows_read",),
    "redo_bytes": ("Innodb_os_log_written",),
}
"""Which of the server's counters, that go up since its start, a counter of a migration is the difference of, in logs of
the first turbo-hipster. Our own logs name each counter as it is."""


@dataclass
class Stage:
    """A stage as the log has it. `kind` is release, tip or change; the rest is empty where the log does not tell.
    `begun` counts its migrations.
    """

    name: str
    kind: str = "change"
    commit: str = ""
    target: str = ""
    steps: int | None = None
    down: bool = False
    begun: int = 0

    @property
    def over(self) -> bool:
        """Whether all of its migrations have begun, as far as it is known how many there are."""
        return self.steps is not None and self.begun >= self.steps


@dataclass
class Step:
    """A migration that has begun. `period` is that of its begin, then that of its end; -1 is one that says nothing.
    `at` is the instant of its end as an event has it; `alike` is whether it cannot be told from another's.
    """

    from_: str
    to: str
    kind: str
    begun: float | None
    before: dict[str, int]
    period: int
    ended: bool = False
    alike: bool = False
    at: str = ""
    seconds: float | None = None
    version: str = ""
    after: dict[str, int] = field(default_factory=dict)
    counters: dict[str, int | None] = field(default_factory=dict)


@dataclass
class Walk:
    """What is known of one walk of a log.

    `first` and `last` are versions, "" before anything is known; `final` is "" where the log does not come to an end.
    `seconds` is the sum over those migrations whose time is known, `untimed` counts those that ended without one.
    `stages` are (name, kind, commit). `follows` is the number of the walk that this one turned out to go on with: a
    piece of the log is missing between them. `since` and `touched` are numbers of lines. `ended` is the
    last migration that has ended well.
    """

    number: int
    first: str = ""
    last: str = ""
    final: str = ""
    migrations: int = 0
    unfinished: int = 0
    untimed: int = 0
    seconds: float = 0.0
    stages: list[tuple[str, str, str]] = field(default_factory=list)
    follows: int | None = None
    since: int = 0
    touched: int = 0
    stage: Stage | None = None
    open: Step | None = None
    ended: tuple[str, str] | None = None

    @property
    def runs(self) -> bool:
        """Whether a migration has begun that has not ended yet."""
        return self.open is not None and not self.open.ended


def delta(step: Step, name: str) -> int | None:
    """What a migration has added to a counter; None when it was not read right before and right after it."""
    deltas = []
    for reading in READINGS.get(name, ()):
        if reading not in step.before or reading not in step.after:
            return None
        deltas.append(step.after[reading] - step.before[reading])
    # a counter that goes down is another server's, or that of one that was restarted
    return sum(deltas) if deltas and min(deltas) >= 0 else None


def seconds(begun: float | None, ended: float | None) -> float | None:
    """What lies between two instants; None when one is not known, or they are the wrong way round."""
    return None if begun is None or ended is None or ended < begun else round(ended - begun, 3)


def is_down(from_: str, to: str) -> bool:
    """Whether a migration goes back, as far as its versions show."""
    (before, _, start), (after, _, end) = from_.rpartition(":"), to.rpartition(":")
    numbers = all(number.isdecimal() and len(number) <= _DIGITS for number in (start, end))
    return to == "base" or (before == after and numbers and int(end) < int(start))

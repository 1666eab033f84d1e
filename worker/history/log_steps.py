# SPDX-License-Identifier: Apache-2.0
"""The parts of a walk in a text log: stages, migrations, and the counters that were read before and after them."""

from __future__ import annotations

from dataclasses import dataclass, field

from worker.counters import COUNTERS

_DIGITS = 18  # at most, of a numeric version
NOT_OF_THE_TREE = ("data", "around")
"""The `from` of steps that are not migrations of a tree: commands that move data, and code outside of all steps."""
NAMES = tuple(counter.name for counter in COUNTERS)

READINGS = {
    "rows_changed": ("Innodb_rows_inserted", "Innodb_rows_updated", "Innodb_rows_deleted"),
    "rows_read": ("Innodb_rows_read",),
    "redo_bytes": ("Innodb_os_log_written",),
}
"""For logs of the first turbo-hipster: the server's cumulative counters whose increases make up a migration's counter.
Logs of this version have a migration's counters by name."""


@dataclass
class Stage:
    """A stage in the log. `kind` is release, tip or change; other fields are empty if the log does not have them.
    `begun` counts the migrations that have begun.
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
        """Whether all of its migrations have begun; False if their number is unknown."""
        return self.steps is not None and self.begun >= self.steps


@dataclass
class Step:
    """A migration that has begun.

    `period` (see `Walks`) is the one after its beginning, then the one after its end; -1 if the counters read then may
    include another migration. `at` is the time of its end, in the format of events. `alike` is whether another running
    migration leads to the same version, so that their ends cannot be distinguished.
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
    """What is known of one walk in a log.

    `first` and `last` are versions, "" while unknown; `final` is "" if the walk's end is not in the log.
    `seconds` is the total of all migrations whose duration is known; `untimed` counts those that ended without one.
    `stages` are (name, kind, commit). `follows` is the number of the walk that this one continues, with a part of the
    log missing in between. `since` and `touched` are line numbers, of its beginning and of its last event. `ended` is
    the last migration (from, to) that succeeded.
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
    """How much a migration has increased a counter; None unless it was read directly before and after the migration."""
    deltas = []
    for reading in READINGS.get(name, ()):
        if reading not in step.before or reading not in step.after:
            return None
        deltas.append(step.after[reading] - step.before[reading])
    # a counter that decreases is from another server, or from one that was restarted
    return sum(deltas) if deltas and min(deltas) >= 0 else None


def seconds(begun: float | None, ended: float | None) -> float | None:
    """The seconds between two times, to the millisecond; None if one is unknown, or the end is before the beginning."""
    return None if begun is None or ended is None or ended < begun else round(ended - begun, 3)


def is_down(from_: str, to: str) -> bool:
    """Whether a migration is a downgrade, judging by its versions."""
    (before, _, start), (after, _, end) = from_.rpartition(":"), to.rpartition(":")
    numbers = all(number.isdecimal() and len(number) <= _DIGITS for number in (start, end))
    return to == "base" or (before == after and numbers and int(end) < int(start))

# SPDX-License-Identifier: Apache-2.0
"""What a worker is doing at one moment: what `th status` shows (docs/operations.md has the document's keys).

All instants are seconds since 1970, UTC.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

RUNNING, DRAINING, STOPPING = "running", "draining", "stopping"
"""The states of a worker: taking jobs; ending once what runs has ended; ending now."""


@dataclass(frozen=True)
class GearmanState:
    """The Gearman server. `trouble` is why it does not serve us although it is there, "" otherwise.

    `since` is when it began to be as it is: connected, or not.
    """

    host: str
    port: int
    tls: bool
    connected: bool
    trouble: str
    since: float


@dataclass(frozen=True)
class SlotState:
    """One of the places where jobs run. `ending`: it takes no more, as the configuration wants fewer."""

    number: int
    busy: bool
    connected: bool
    ending: bool


@dataclass(frozen=True)
class JobState:
    """A build that runs. `change` is `<number>,<patchset>`, else the ref; `canceled` "", "stop" or "shutdown".

    `build` is Zuul's id of it, `number` ours, by which Zuul stops it; `stage` is a role, and `text` what that is doing.
    """

    build: str
    number: str
    name: str
    project: str
    change: str
    stage: str
    text: str
    percent: int
    since: float
    slot: int
    canceled: str


@dataclass(frozen=True)
class SensorState:
    """What a sensor says: `reason` is why no job is taken, "" when it is ok."""

    name: str
    ok: bool
    reason: str


@dataclass(frozen=True)
class Total:
    """How many builds of a job have ended so since the worker started.

    `outcome` is an outcome's name; REFUSED for wrong arguments, LOST when its server went away before it began.
    """

    name: str
    outcome: str
    count: int


@dataclass(frozen=True)
class Snapshot:
    """A worker at one moment. `taking` is whether it takes jobs: it runs, and all sensors are ok."""

    version: str
    pid: int
    manager: str
    config: str
    since: float
    state: str
    taking: bool
    gearman: GearmanState
    functions: tuple[str, ...]
    slots: tuple[SlotState, ...]
    jobs: tuple[JobState, ...]
    sensors: tuple[SensorState, ...]
    totals: tuple[Total, ...]

    @property
    def summary(self) -> str:
        """The same in a few words, with what keeps it from more."""
        words = [self.state] if self.state != RUNNING else []
        words.append(f"{sum(slot.busy for slot in self.slots)} of {len(self.slots)} slots busy")
        if not self.gearman.connected:
            words.append(f"no Gearman server at {self.gearman.host}:{self.gearman.port}")
        return "; ".join([*words, *(sensor.reason for sensor in self.sensors if not sensor.ok)])

    def document(self) -> dict[str, Any]:
        """The same, as it is written as JSON."""
        return asdict(self)

# SPDX-License-Identifier: Apache-2.0
"""The state of a worker, as `th status` shows it (docs/operations.md has the document's keys).

All times are seconds since the epoch.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

RUNNING, DRAINING, STOPPING = "running", "draining", "stopping"
"""The states of a worker: taking jobs; ending after its running jobs; ending now."""


@dataclass(frozen=True)
class GearmanState:
    """The Gearman server. `trouble` is why it does not serve the worker although it is reachable, "" otherwise.

    `since` is when the connection state last changed.
    """

    host: str
    port: int
    tls: bool
    connected: bool
    trouble: str
    since: float


@dataclass(frozen=True)
class SlotState:
    """One of the slots. `ending` says that it takes no more jobs, because the configuration now has fewer slots."""

    number: int
    busy: bool
    connected: bool
    ending: bool


@dataclass(frozen=True)
class JobState:
    """A running build. `change` is `<number>,<patchset>`, or the ref; `canceled` is "", "stop" or "shutdown".

    `build` is Zuul's id, `number` the worker's, by which Zuul stops it; `stage` is a role, `text` its current activity.
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
    """The state of a sensor: `reason` is why no job is taken, "" if it is ok."""

    name: str
    ok: bool
    reason: str


@dataclass(frozen=True)
class Total:
    """How many builds of a job have ended with an outcome since the worker started.

    `outcome` is the name of one, REFUSED for wrong arguments, or LOST if the server went away before the build began.
    """

    name: str
    outcome: str
    count: int


@dataclass(frozen=True)
class WorkerStatus:
    """The state of a worker. `taking` is whether it takes jobs: it is running, and all sensors are ok."""

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
        """The state in a few words, with the reasons why it does not take more jobs."""
        words = [self.state] if self.state != RUNNING else []
        words.append(f"{sum(slot.busy for slot in self.slots)} of {len(self.slots)} slots busy")
        if not self.gearman.connected:
            words.append(f"no Gearman server at {self.gearman.host}:{self.gearman.port}")
        return "; ".join([*words, *(sensor.reason for sensor in self.sensors if not sensor.ok)])

    def document(self) -> dict[str, Any]:
        """The state as a JSON document."""
        return asdict(self)

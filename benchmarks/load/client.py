# SPDX-License-Identifier: Apache-2.0
"""A client that behaves as Zuul 2.x does: launches builds, stops some, and launches again what was lost."""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import gear

from demo.tools import DemoError

MOST_LAUNCHES = 30
"""So often a build may be lost or given back; Zuul's own limit is three, and nobody restarts a server so often."""

logging.getLogger("gear").setLevel(logging.CRITICAL)


@dataclass
class Build:
    """One build that Zuul wants: `wanted` is how its result begins, `stop` after how many seconds it is stopped."""

    function: str
    arguments: Mapping[str, str]
    wanted: str
    stop: float | None = None
    launches: int = 0
    result: str | None = None


@dataclass
class Launch:
    """One launch of a build: what the server has said of it."""

    build: Build
    finals: int = 0
    lost: bool = False
    data: dict[str, Any] = field(default_factory=dict)
    stopped: set[str] = field(default_factory=set)
    begun: float = 0.0


class Client(gear.Client):  # type: ignore[misc]
    """The connection, and the account of all launches. Thread-safe."""

    def __init__(self, host: str, port: int) -> None:
        self._lock = threading.RLock()
        self._launches: dict[str, Launch] = {}
        self._again: list[Build] = []
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        super().__init__("load")
        self.addServer(host, port)
        self.waitForServer(300)

    def launch(self, build: Build) -> None:
        """Hand a build in; later, when there is no server."""
        build.launches += 1
        if build.launches > MOST_LAUNCHES:
            raise DemoError(f"{build.function} was launched {MOST_LAUNCHES} times and has no result")
        unique = uuid.uuid4().hex
        with self._lock:
            self._launches[unique] = Launch(build)
        arguments = json.dumps({**build.arguments, "ZUUL_UUID": unique}).encode()
        try:
            self.submitJob(gear.Job(build.function, arguments, unique=unique), timeout=60)
        except (gear.GearmanError, gear.TimeoutError, gear.NoConnectedServersError, OSError, AttributeError):
            self._lose(unique)

    def tend(self) -> None:
        """Stop the builds that are to be stopped, and launch again those that were lost."""
        with self._lock:
            again, self._again = self._again, []
            running = [launch for launch in self._launches.values() if not launch.finals and not launch.lost]
        if again and not self.active_connections:
            with self._lock:
                self._again += again
            again = []
        for build in again:
            self.launch(build)
        for launch in running:
            number = str(launch.data.get("number", ""))
            after = launch.build.stop
            if after is None or not number or number in launch.stopped or time.monotonic() - launch.begun < after:
                continue
            launch.stopped.add(number)
            self.counts["stops"] += 1
            payload = json.dumps({"name": launch.data["name"], "number": number}).encode()
            job = gear.Job(f"stop:{launch.data['manager']}", payload, unique=uuid.uuid4().hex)
            try:
                self.submitJob(job, precedence=gear.PRECEDENCE_HIGH, timeout=60)
            except (gear.GearmanError, gear.TimeoutError, gear.NoConnectedServersError, OSError, AttributeError):
                pass  # its server has gone, and the build is lost with it

    def twice(self) -> int:
        """How many launches have ended more than once."""
        with self._lock:
            return sum(launch.finals > 1 for launch in self._launches.values())

    def handleWorkData(self, packet: Any) -> None:  # noqa: N802
        """gear's: a build tells of itself."""
        job = super().handleWorkData(packet)
        with self._lock:
            launch = self._launches.get(job.unique.decode())
            if launch:
                told = json.loads(packet.getArgument(1, True))
                if told.get("number") != launch.data.get("number"):
                    launch.begun = time.monotonic()
                launch.data |= told

    def handleWorkComplete(self, packet: Any) -> None:  # noqa: N802
        """gear's: the end of a build."""
        self._end(super().handleWorkComplete(packet))

    def handleWorkFail(self, packet: Any) -> None:  # noqa: N802
        """gear's: the end of a build that did not succeed."""
        self._end(super().handleWorkFail(packet))

    def handleDisconnect(self, job: Any) -> None:  # noqa: N802
        """gear's: the server has gone, and the build with it."""
        self._lose(job.unique.decode())

    def _lose(self, unique: str) -> None:
        with self._lock:
            launch = self._launches.get(unique)
            if launch and not launch.finals and not launch.lost:
                launch.lost = True
                self.counts["lost"] += 1
                self._again.append(launch.build)

    def _end(self, job: Any) -> None:
        with self._lock:
            launch = self._launches.get(job.unique.decode())
            if launch is None:
                return
            launch.finals += 1
            build, result = launch.build, launch.data.get("result")
            if launch.finals > 1 or launch.lost:
                self.counts["ended after all"] += launch.lost
                return
            if result is None:  # not the change's fault: Zuul launches it again
                self.counts["given back"] += 1
                self._again.append(build)
                return
            if build.result is not None:
                self.wrong.append(f"{build.function} has a second result: {result}")
            build.result = str(result)
            canceled = build.stop is not None and launch.stopped and build.result == "CANCELED"
            self.counts["canceled"] += bool(canceled)
            if not canceled and not build.result.startswith(build.wanted):
                self.wrong.append(f"{build.function}: {build.result!r} instead of {build.wanted!r}")

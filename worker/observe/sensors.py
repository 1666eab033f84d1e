# SPDX-License-Identifier: Apache-2.0
"""Sensors, which may find reasons to take no job at the moment, and the thread that polls them.

After a sensor has objected, it agrees again only with a margin of 10 % over its limit, so that it does not flap.
"""

from __future__ import annotations

import logging
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from worker import sandbox
from worker.config import Config
from worker.status import SensorState

log = logging.getLogger(__name__)

SECONDS = 10.0
"""Seconds between two polls of the sensors."""

_NO_RESULTS = ("status_socket", "debug_log")  # folders that jobs do not write large files to
_ROOM = 1.1


class Sensor(ABC):
    """Checks for one reason to take no job. `name` says what is checked."""

    name: str

    def __init__(self) -> None:
        self._no = False

    def check(self) -> str:
        """The reason to take no job, with figures and the key of the limit; "" if there is none. Raises OSError."""
        reason = self.look(_ROOM if self._no else 1.0)
        self._no = bool(reason)
        return reason

    @abstractmethod
    def look(self, room: float) -> str:
        """The reason as in `check`, with the limit made stricter by the factor `room`."""


class DiskFree(Sensor):
    """Free space, for this user, in the file system with one of the worker's folders."""

    def __init__(self, key: str, folder: Path, least: int) -> None:
        super().__init__()
        self.name, self._key, self._folder, self._least = f"disk {key}", key, folder, least

    @property
    def missing(self) -> bool:
        """Whether the folder does not exist, as far as this user can see."""
        return not os.path.isdir(self._folder)

    def look(self, room: float) -> str:
        """See `Sensor`."""
        found = os.statvfs(self._folder)
        free = found.f_bavail * found.f_frsize
        if free >= self._least * room:
            return ""
        return f"{_size(free)} free in {self._folder} ({self._key}), sensors.disk_free is {_size(self._least)}"


class MemoryFree(Sensor):
    """Memory that programs can use without swapping (MemAvailable)."""

    name = "memory"

    def __init__(self, least: int) -> None:
        super().__init__()
        self._least = least

    def look(self, room: float) -> str:
        """See `Sensor`."""
        free = psutil.virtual_memory().available
        if free >= self._least * room:
            return ""
        return f"{_size(free)} of memory available, sensors.memory_free is {_size(self._least)}"


class Load(Sensor):
    """The load average of the last minute, per core: under high load, measurements say little about a migration."""

    name = "load"

    def __init__(self, most: float) -> None:
        super().__init__()
        self._most = most

    def look(self, room: float) -> str:
        """See `Sensor`."""
        load = os.getloadavg()[0] / (os.cpu_count() or 1)
        if load * room <= self._most:
            return ""
        return f"the load average is {load:.2f} for each core, sensors.load is {self._most:g}"


class Sandbox(Sensor):
    """Whether the sandbox for the code of changes can be set up."""

    name = "sandbox"

    def look(self, room: float) -> str:
        """See `Sensor`."""
        why = sandbox.problem()
        return f"sandbox: {why}" if why else ""


def of(config: Config) -> list[Sensor]:
    """The sensors enabled by a configuration; there is one disk sensor for each file system."""
    wanted: list[Sensor] = []
    limits = config.sensors
    systems: set[int] = set()
    for key, (folder, _) in config.writable_dirs().items():
        if limits.disk_free and key not in _NO_RESULTS and _device(folder) not in systems:
            systems.add(_device(folder))
            wanted.append(DiskFree(key, folder, limits.disk_free))
    if limits.memory_free:
        wanted.append(MemoryFree(limits.memory_free))
    if limits.load:
        wanted.append(Load(limits.load))
    if config.confined:
        wanted.append(Sandbox())
    return wanted


def ask(sensor: Sensor) -> SensorState:
    """The current state of a sensor."""
    try:
        reason = sensor.check()
    except OSError as error:
        reason = f"{sensor.name} cannot be checked: {error}"
    return SensorState(sensor.name, not reason, reason)


class SensorWatch:
    """Polls the sensors in a separate thread, so that a hanging disk blocks nothing else.

    `on_result` is called after each poll with the reasons to take no job, if any.
    """

    def __init__(self, sensors: Sequence[Sensor], on_result: Callable[[list[str]], None]) -> None:
        self._sensors, self._on_result = sensors, on_result
        self._again = threading.Event()
        self._ended = False
        self.states: tuple[SensorState, ...] = ()

    def start(self) -> None:
        """Poll for the first time, and start the thread."""
        self._ask()
        threading.Thread(target=self._poll, name="sensors", daemon=True).start()

    def replace(self, sensors: Sequence[Sensor]) -> None:
        """Poll these sensors instead, starting at once."""
        self._sensors = sensors
        self._again.set()

    def stop(self) -> None:
        """Stop polling."""
        self._ended = True
        self._again.set()

    def _poll(self) -> None:
        while True:
            self._again.wait(SECONDS)
            self._again.clear()
            if self._ended:
                return
            self._ask()

    def _ask(self) -> None:
        try:
            self.states = tuple(ask(sensor) for sensor in self._sensors)
            self._on_result([state.reason for state in self.states if not state.ok])
        except Exception:
            log.exception("the sensors could not be asked")


def _device(folder: Path) -> int:
    try:
        return os.stat(folder).st_dev
    except OSError:
        return -1


def _size(size: int) -> str:
    return f"{size / 1024**3:.1f} GiB" if size >= 1024**3 else f"{size / 1024**2:.0f} MiB"

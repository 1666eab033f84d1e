# SPDX-License-Identifier: Apache-2.0
"""The load that a worker accepts: the keys `slots` and `sensors` of the configuration."""

import math
import os
import re
from dataclasses import dataclass

from worker.inputs.documents import Section

MOST_SLOTS = 64
"""The maximum number of slots, and so of concurrent jobs."""

_CORES_EACH, _BYTES_EACH = 2, 4 * 1024**3
_SIZE = re.compile(r"(\d{1,9})([KMGT]?)")
_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}


@dataclass(frozen=True)
class SensorLimits:
    """No job is taken below these free bytes (disk, memory) or above this load per core. 0 turns a limit off."""

    disk_free: int
    memory_free: int
    load: float


def default_slots() -> int:
    """One slot for every two cores or 4 GiB of memory, whichever gives fewer: one job's limits allow it that much."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    fitting = min(len(os.sched_getaffinity(0)) // _CORES_EACH, memory // _BYTES_EACH)
    return max(1, min(fitting, MOST_SLOTS))


def read_sensors(section: Section) -> SensorLimits:
    """Read the section `sensors`. Raises ConfigError."""
    limits = SensorLimits(_size(section, "disk_free", "2G"), _size(section, "memory_free", "512M"), _load(section))
    section.done()
    return limits


def _size(section: Section, name: str, default: str) -> int:
    value = section.value(name, default)
    found = None if isinstance(value, bool) else _SIZE.fullmatch(str(value))
    if not found:
        raise section.error(name, f"{value!r} is not a size", "write bytes, or a size such as 500M or 2G; 0 is off")
    return int(found[1]) * _UNITS[found[2]]


def _load(section: Section) -> float:
    value = section.value("load", 5.0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise section.error("load", "must be a number", "write the load of one core, such as 2.5; 0 is off")
    return float(value)

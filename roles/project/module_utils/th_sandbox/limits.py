# SPDX-License-Identifier: Apache-2.0
"""The resource limits of untrusted code, those that the kernel enforces for one process (setrlimit(2)), and finding out
which limit a command has exceeded."""

from __future__ import annotations

import contextlib
import re
import resource
import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from ansible.module_utils.common.text.formatters import human_to_bytes

CPU_GRACE = 2
"""Seconds of processor time between the signal that a process can catch and the one that kills it."""

_BYTES = ("memory", "disk", "file_size", "tmp")
_SECONDS = ("cpu_seconds",)
_OF_DATABASES = "database_"
QUOTA = "disk_quota"
"""The name of the limit where the operator has set a disk quota (``sandbox_disk_quota``)."""
_WORDS = {
    QUOTA: "quota of the disk", "cpu_seconds": "processor time", "open_files": "open files",
    "file_size": "size of one file",
}  # fmt: skip


@dataclass(frozen=True)
class BoxLimits:
    """What all processes of one box may use together, in bytes, counts and seconds; 0 for no limit.

    `open_files` and `file_size` apply to each process, `tmp` to each folder that is only in memory.
    """

    memory: int = 0
    processes: int = 0
    open_files: int = 0
    cpu_seconds: int = 0
    disk: int = 0
    file_size: int = 0
    tmp: int = 1 << 30

    @classmethod
    def of(cls, variables: Mapping[str, Any]) -> Self:
        """The limits from variables: numbers, or sizes such as ``4G``. Raises ValueError that names the variable, and
        TypeError for an unknown name."""
        return cls(**{name: _number(name, value) for name, value in variables.items()})

    def rlimits(self) -> list[tuple[int, tuple[int, int]]]:
        """The limits of each process, as arguments of setrlimit(2); none is above the hard limit of this process.

        Memory is limited to what a process can write to (RLIMIT_DATA), not its address space (RLIMIT_AS), of which
        many programs reserve far more than they use.
        """
        wanted = [
            (resource.RLIMIT_DATA, self.memory, 0),
            (resource.RLIMIT_NOFILE, self.open_files, 0),
            (resource.RLIMIT_FSIZE, self.file_size, 0),
            (resource.RLIMIT_CPU, self.cpu_seconds, CPU_GRACE),
        ]
        found = [(resource.RLIMIT_CORE, (0, 0))]
        for number, limit, grace in wanted:
            if limit:
                most = resource.getrlimit(number)[1]
                hard = limit + grace if most == resource.RLIM_INFINITY else min(limit + grace, most)
                found.append((number, (min(limit, hard), hard)))
        return found

    def exceeded(self, name: str) -> Exceeded:
        """The limit of this name, as one that was exceeded."""
        return Exceeded(name, getattr(self, name))


@dataclass(frozen=True)
class DatabaseLimits:
    """What a private database server may use, in bytes and counts; 0 for no limit.

    `disk` is what a walk may add to the dataset, `connections` the number of concurrent ones of the job's user.
    """

    memory: int = 0
    processes: int = 0
    open_files: int = 0
    disk: int = 0
    connections: int = 0

    @classmethod
    def of(cls, variables: Mapping[str, Any]) -> Self:
        """Like `BoxLimits.of`."""
        return cls(**{name: _number(name, value, _OF_DATABASES) for name, value in variables.items()})

    def exceeded(self, name: str) -> Exceeded:
        """The limit of this name, as one that was exceeded."""
        return Exceeded(_OF_DATABASES + name, getattr(self, name))


@dataclass(frozen=True)
class Exceeded:
    """A limit that a command has exceeded: its variable's name without ``sandbox_``, and its value."""

    limit: str
    allowed: int

    @property
    def variable(self) -> str:
        """The variable that sets it."""
        return f"sandbox_{self.limit}"

    def __str__(self) -> str:
        name, value = self.limit.removeprefix(_OF_DATABASES), str(self.allowed)
        if name in (*_BYTES, QUOTA):
            value = _size(self.allowed)
        elif name in _SECONDS:
            value += " s"
        whose = "the database's " if self.limit.startswith(_OF_DATABASES) else ""
        return f"{whose}{_WORDS.get(name, name)}, {value} ({self.variable})"


ENDED_FIRST, ENDED_NEXT = 1000, 900
"""What the kernel kills first when memory is short: boxes with a project's code, then private database servers, whose
memory that code fills (proc_pid_oom_score_adj(5))."""


def limit_self(rlimits: Iterable[tuple[int, tuple[int, int]]]) -> None:
    """Limit this process and its descendants, and have the kernel kill them first when memory is short."""
    for number, values in rlimits:
        resource.setrlimit(number, values)
    end_early(ENDED_FIRST)


def end_early(score: int) -> None:
    """Have the kernel kill this process and its descendants before others; the score is never lowered."""
    with contextlib.suppress(OSError, ValueError), open("/proc/self/oom_score_adj", "r+") as file:
        if int(file.read()) < score:
            file.seek(0)
            file.write(str(score))


def limit_of_signal(limits: BoxLimits, status: int | None) -> Exceeded | None:
    """The limit whose signal has killed a process with this exit status."""
    name = {-signal.SIGXCPU: "cpu_seconds", -signal.SIGXFSZ: "file_size"}.get(status or 0)
    return limits.exceeded(name) if name and getattr(limits, name) else None


def limit_in_output(limits: BoxLimits, lines: Iterable[str]) -> Exceeded | None:
    """The limit that the last lines of a failed command mention, because the kernel reported it as an error.

    This is only a diagnosis of a failure: the output of a command is never a reason to fail it.
    """
    text = _OF_A_SERVER.sub("", "\n".join(lines))
    for name, pattern in _MESSAGES.items():
        if getattr(limits, name) and pattern.search(text):
            return limits.exceeded(name)
    return None


_OF_A_SERVER = re.compile(r"\(errno: \d{1,5} [^)\n]{0,300}\)|Got error \d{1,5} \"[^\"\n]{0,300}\" from storage engine")
"""How a database server reports an error of its own, which has nothing to do with the command's box."""

_MESSAGES = {
    "open_files": re.compile(r"Too many open files|\bEMFILE\b"),
    "file_size": re.compile(r"\[Errno 27\]|: File too large|\bEFBIG\b|File size limit exceeded|\bSIGXFSZ\b"),
    "processes": re.compile(
        r"can't start new thread|failed to spawn thread|Cannot fork|^BlockingIOError: \[Errno 11\]"
        r"|\bfork: (?:retry: )?Resource temporarily unavailable",
        re.MULTILINE,
    ),
    "memory": re.compile(r"\bMemoryError\b|Cannot allocate memory|\bENOMEM\b|memory allocation of \d{1,20} bytes"),
    "cpu_seconds": re.compile(r"CPU time limit exceeded|\bSIGXCPU\b"),
    "tmp": re.compile(r"No space left on device|Disk quota exceeded|\bEDQUOT\b"),
}


def _size(value: int) -> str:
    """A number of bytes in the largest unit that needs at most one decimal place."""
    for power, unit in ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")):
        if value >= 1 << power and (value * 10) % (1 << power) == 0:
            return f"{value / (1 << power):g} {unit}"
    return f"{value} bytes"


def _number(name: str, value: object, prefix: str = "") -> int:
    """The number that a variable stands for."""
    try:
        number = human_to_bytes(value) if name in _BYTES else int(str(value))
    except ValueError:
        kind = "a size, such as 4G" if name in _BYTES else "a whole number"
        raise ValueError(f"sandbox_{prefix}{name}: {value!r} is not {kind}") from None
    if number < 0:
        raise ValueError(f"sandbox_{prefix}{name}: {value!r} is less than 0, which is no limit")
    return int(number)

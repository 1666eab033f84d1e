# SPDX-License-Identifier: Apache-2.0
"""Processes of this machine, as proc_pid_stat(5) describes them."""

from __future__ import annotations

from pathlib import Path


def status(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; none when the process does not exist or has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []
    return [] if fields[0] in "ZX" else fields


def parent(pid: int) -> int:
    """The parent of a process, or the process that has adopted it; 0 for none."""
    fields = status(pid)
    return int(fields[1]) if fields else 0


def start_time(pid: int) -> str:
    """When a process was started, in clock ticks since boot, which tells it from a later process with the same number;
    "" when it does not exist or has ended."""
    fields = status(pid)
    return fields[19] if fields else ""

# SPDX-License-Identifier: Apache-2.0
"""Other processes of this machine, as proc_pid_stat(5) describes them."""

from __future__ import annotations

from pathlib import Path


def status(pid: int) -> list[str]:
    """What the kernel says of a process, from its state on; nothing where there is none, or it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []
    return [] if fields[0] in "ZX" else fields


def parent(pid: int) -> int:
    """The process that a process was started by, or was given to; 0 for none."""
    fields = status(pid)
    return int(fields[1]) if fields else 0


def begun(pid: int) -> str:
    """When a process began, in ticks since the machine's start, which no later process of this number shares; "" where
    there is none, or it has ended."""
    fields = status(pid)
    return fields[19] if fields else ""

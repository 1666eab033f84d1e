# SPDX-License-Identifier: Apache-2.0
"""Which limit a private database server has met; and the one that no kernel holds, how much a walk makes it write."""

from __future__ import annotations

import os
from pathlib import Path

from ansible.module_utils import th_cgroups
from ansible.module_utils.th_limits import DatabaseLimits
from ansible.module_utils.th_mariadb import Server
from ansible.module_utils.th_walkers import WalkError

_SAID = {
    "connections": ("max_user_connections", "Too many connections"),
    "memory": ("Out of memory",),
    "open_files": ("Too many open files",),
    "processes": ("create a new thread",),
}
"""How a server tells its client that it has met a limit, or that the kernel holds it to one."""


class ServerLimits:
    """What a server had when this was made, and whether what it has got since then is too much."""

    def __init__(self, server: Server, limits: DatabaseLimits) -> None:
        self._folder, self._limits = Path(server.folder), limits
        self._counts = server.private and limits.disk > 0
        self._at_first = occupied(self._folder) if self._counts else 0
        self._groups = th_cgroups.around(server.pid) if server.private else []
        th_cgroups.hold(self._groups)  # another job's box would remove them as soon as the server has died

    def exceeded(self) -> WalkError | None:
        """The error ``over_limit`` when the server occupies more than it may."""
        if not self._counts:
            return None
        grown = occupied(self._folder) - self._at_first
        if grown <= self._limits.disk:
            return None
        return WalkError("over_limit", f"{self._limits.exceeded('disk')}: it has grown by {grown} bytes")

    def ended(self, last_words: str) -> WalkError | None:
        """The error ``over_limit`` when the kernel has ended the server for its memory."""
        if not (self._limits.memory and th_cgroups.out_of_memory(self._groups)):
            return None
        return WalkError("over_limit", f"{self._limits.exceeded('memory')}: {last_words}")

    def behind(self, error: WalkError) -> WalkError | None:
        """The error ``over_limit`` when another one speaks of a limit that the server has met.

        Only a diagnosis: what a change says is no reason to fail it.
        """
        for name, words in _SAID.items():
            if getattr(self._limits, name) and any(word in error.detail for word in words):
                detail = f"{self._limits.exceeded(name)}: {error.detail}"
                return WalkError("over_limit", detail, error.file, error.line)
        return None


def occupied(folder: Path) -> int:
    """Bytes of the disk that the files below a folder occupy, those without a name not among them."""
    total, folders = 0, [str(folder)]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_blocks * 512
        except FileNotFoundError:
            pass  # a temporary table's, or a table's that was dropped in between
    return total

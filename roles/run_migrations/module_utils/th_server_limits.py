# SPDX-License-Identifier: Apache-2.0
"""The limits of a private database server that its kernel does not hold: how much a walk makes it write."""

from __future__ import annotations

import os
from pathlib import Path

from ansible.module_utils.th_box import DatabaseLimits
from ansible.module_utils.th_mariadb import Server
from ansible.module_utils.th_walkers import WalkError

_TOO_MANY_CONNECTIONS = ("max_user_connections", "Too many connections")


class ServerLimits:
    """What a server had when this was made, and whether what it has got since then is too much."""

    def __init__(self, server: Server, limits: DatabaseLimits) -> None:
        self._folder, self._limits = Path(server.folder), limits
        self._counts = server.private and limits.disk > 0
        self._at_first = occupied(self._folder) if self._counts else 0

    def exceeded(self) -> WalkError | None:
        """The error ``over_limit`` when the server occupies more than it may."""
        if not self._counts:
            return None
        grown, most = occupied(self._folder) - self._at_first, self._limits.disk
        if grown <= most:
            return None
        return WalkError(
            "over_limit", f"the database has grown by {grown} bytes, {most} are allowed (sandbox_database_disk)"
        )

    def behind(self, error: WalkError) -> WalkError | None:
        """The error ``over_limit`` when another one speaks of a limit that the server has held."""
        most = self._limits.connections
        if most and any(words in error.detail for words in _TOO_MANY_CONNECTIONS):
            return WalkError(
                "over_limit",
                f"more than {most} connections to the database at one time (sandbox_database_connections):"
                f" {error.detail}",
                error.file,
                error.line,
            )
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

# SPDX-License-Identifier: Apache-2.0
"""Which limit a private database server has hit."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from ansible.module_utils.th_measure.server_disk import ServerDisk
from ansible.module_utils.th_sandbox import cgroups
from ansible.module_utils.th_sandbox.limits import DatabaseLimits
from ansible.module_utils.th_server import mariadb
from ansible.module_utils.th_server.family_mysql import MYSQL
from ansible.module_utils.th_server.mariadb import Server
from ansible.module_utils.th_walk.walkers import WalkError

_LIMIT_MESSAGES = {
    "disk": ("Got error 27 ", "(errno: 27 ", "(Errcode: 27 ", "(OS errno 27 ", "temporary space limit reached"),
    "connections": ("max_user_connections", "Too many connections"),
    "memory": ("Out of memory",),
    "open_files": ("Too many open files",),
    "processes": ("create a new thread",),
}
"""Error messages of a server that has hit a limit, its own or the kernel's."""

_WRITE_ERRORS = ("Got error ", "' is full", "is corrupted", "Error writing file ", "Incorrect key file for table ")
"""Error messages of a server that could not write a file, without the reason: taken for the limit of disk only if the
server was seen to come near it."""
_TEMPORARY_SPACE = "max_tmp_total_space_usage"


class ServerLimits:
    """What a server occupied when this was created, and whether it has grown too much since."""

    def __init__(self, server: Server, limits: DatabaseLimits) -> None:
        self._server, self._limits = server, limits
        self._disk = ServerDisk(server, limits.disk) if server.private and limits.disk else None
        self._groups = cgroups.around(server.pid) if server.private else []
        cgroups.hold(self._groups)  # another job's box would remove them as soon as the server died

    def exceeded(self) -> WalkError | None:
        """The error ``over_limit`` when the server occupies more disk than it may."""
        if self._disk is None:
            return None
        self._disk.look()
        return self._of_the_disk()

    def limit_temporary_space(self, connection: Any) -> None:
        """Have a server that supports it (MariaDB 11.5 and later) limit its temporary files itself."""
        if self._disk and mariadb.query(connection, "SHOW GLOBAL VARIABLES LIKE %s", _TEMPORARY_SPACE):
            mariadb.query(connection, f"SET GLOBAL {_TEMPORARY_SPACE} = %s", self._limits.disk)

    def enforced(self, end: Callable[[], object]) -> contextlib.AbstractContextManager[None]:
        """Enforce the limit on the disk from another thread; `end` ends the server's statements."""
        return self._disk.enforced(end) if self._disk else contextlib.nullcontext()

    def _of_the_disk(self) -> WalkError | None:
        if self._disk is None or not self._disk.exceeded:
            return None
        return WalkError("over_limit", f"{self._limits.exceeded('disk')}: it has grown by {self._disk.most} bytes")

    def ended(self, last_words: str) -> WalkError | None:
        """The error ``over_limit`` when a limit ended the server: the kernel's of memory, or the worker's of disk.

        MySQL may end itself when the kernel gives it no more memory.
        """
        if error := self._of_the_disk():
            return error
        by_itself = self._server.family == MYSQL.name and self._server.ran_out_of_memory()
        if not (self._limits.memory and (cgroups.out_of_memory(self._groups) or by_itself)):
            return None
        return WalkError("over_limit", f"{self._limits.exceeded('memory')}: {last_words}")

    def cause_of(self, error: WalkError) -> WalkError | None:
        """The error ``over_limit`` when another error points to a limit that the server has hit.

        This only explains a failure: the words of a change are never a reason to fail it.
        """
        if over := self._of_the_disk():
            return WalkError(over.code, f"{over.detail}: {error.detail}", error.file, error.line)
        grown = self._disk is not None and self._disk.most > self._limits.disk / 2
        if self._disk and (self._disk.refused() or (grown and any(word in error.detail for word in _WRITE_ERRORS))):
            detail = f"{self._limits.exceeded('disk')}: {error.detail}"
            return WalkError("over_limit", detail, error.file, error.line)
        for name, words in _LIMIT_MESSAGES.items():
            if getattr(self._limits, name) and any(word in error.detail for word in words):
                detail = f"{self._limits.exceeded(name)}: {error.detail}"
                return WalkError("over_limit", detail, error.file, error.line)
        return None


# SPDX-License-Identifier: Apache-2.0
"""What a private server refuses by design, and whether that ended a migration."""

from __future__ import annotations

import re
from typing import Any

from ansible.module_utils.th_server.mariadb import Server, query
from ansible.module_utils.th_walk.walkers import WalkError

# the errors of servers that take no LOAD DATA LOCAL: older ones, MariaDB, MySQL 8
_REFUSED = re.compile(r"\b(?:1148|4166|3948)\b")
RULE = (
    "the worker's private server takes no LOAD DATA LOCAL, which could read files of the worker's machine"
    " (docs/security.md)"
)


class ForbiddenStatements:
    """Counts the LOAD DATA statements of a private server, so that the server itself shows that one was refused.

    The error number comes from the side under test: a change that raises such an error without such a statement is at
    fault itself.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._count = 0

    def begin(self, connection: Any) -> None:
        """Called before each step."""
        if self._server.private:
            self._count = _statements(connection)

    def cause_of(self, error: WalkError, connection: Any) -> WalkError | None:
        """The error ``forbidden_here`` when a statement that the server refused has ended the step."""
        if error.code != "migration_raised" or not self._server.private or not _REFUSED.search(error.detail):
            return None
        if _statements(connection) <= self._count or query(connection, "SELECT @@GLOBAL.local_infile") != [(0,)]:
            return None
        return WalkError("forbidden_here", f"{RULE}: {error.detail}", error.file, error.line)


def _statements(connection: Any) -> int:
    """How many LOAD DATA statements the server was sent, refused ones included."""
    rows = query(connection, "SHOW GLOBAL STATUS LIKE 'Com\\_load'")
    return int(rows[0][1]) if rows else 0

# SPDX-License-Identifier: Apache-2.0
"""Which server a dump comes from, by the comments at its beginning.

Most programs write the version of the server into them, mysqldump and mariadb-dump that of the program as well.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_LINES = 60
_COMMENT = re.compile(r"\s{0,8}(?:--|#|/\*)(.{0,400})")
_NUMBER = r"(\d{1,2})\.(\d{1,2})(?:\.\d{1,3})?([\w.~+-]{0,100})"
# the prefix 5.5.5- is MariaDB's, for clients that know no version 10
_SERVER = re.compile(
    rf"\s*(?:Server version|Host:.{{0,200}}\((?:MySQL|MariaDB))\s*:?\s*(?:5\.5\.5-)?{_NUMBER}(.{{0,100}})"
)
_PROGRAM = re.compile(rf"\s*(MySQL|MariaDB) dump\b.{{0,40}}?(?:Distrib|from)\s+(?:5\.5\.5-)?{_NUMBER}")
_ADMINER = re.compile(rf"\s*Adminer\b.{{0,40}}\s(MySQL|MariaDB) {_NUMBER} dump")
_SANDBOX = re.compile(r"/\*M?!999999\\- enable the sandbox mode")


@dataclass(frozen=True)
class Origin:
    """The server that a dump comes from: its `family`, ``mariadb`` or ``mysql``, and its version."""

    family: str
    version: tuple[int, int] = (0, 0)

    def __str__(self) -> str:
        name = {"mariadb": "MariaDB", "mysql": "MySQL"}[self.family]
        return f"{name} {'.'.join(map(str, self.version))}" if any(self.version) else name


def origin_of(head: bytes) -> Origin | None:
    """The origin of a dump with these first bytes; None where they do not tell."""
    lines = head[: 64 << 10].decode("utf-8", "replace").splitlines()[:_LINES]
    comments = [found[1] for line in lines if (found := _COMMENT.match(line))]
    for comment in comments:
        if found := _SERVER.match(comment):
            return _origin("", *found.groups())
    for comment in comments:
        if found := _PROGRAM.match(comment) or _ADMINER.match(comment):
            return _origin(*found.groups())
    return Origin("mariadb") if any(_SANDBOX.match(line) for line in lines) else None


def _origin(program: str, major: str, minor: str, *rest: str) -> Origin:
    is_mariadb = program == "MariaDB" or "mariadb" in "".join(rest).lower()
    return Origin("mariadb" if is_mariadb else "mysql", (int(major), int(minor)))

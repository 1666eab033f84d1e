# SPDX-License-Identifier: Apache-2.0
"""Which server a dump comes from, by the comments at its beginning.

Most programs write the version of the server into them; mysqldump and mariadb-dump also write their own, which is used
where the server's is missing (``--skip-comments`` leaves out both).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_LINES = 60
_LONGEST = 400
_COMMENT = re.compile(r"\s{0,8}(?:--|#|/\*M?!?)?")
# the prefix 5.5.5- is MariaDB's, for clients that know no version 10
_NUMBER = r"(?:5\.5\.5-)?([0-9]{1,2})\.([0-9]{1,2})(?![0-9])([\w.~+-]{0,100}.{0,100})"
_KIND = r"(MySQL|MariaDB|)"
_SERVER = (
    # mysqldump, mariadb-dump, mysqlpump, dumpling, phpMyAdmin, HeidiSQL, dbForge
    re.compile(rf"\s{{0,8}}(?:Server version|Версия сервера)\b:?\s{{0,40}}(){_NUMBER}", re.I),
    # Sequel Pro and Ace: Host: 127.0.0.1 (MySQL 8.0.32); Antares: (mariadb.org binary distribution 10.4.21)
    re.compile(rf"\s{{0,8}}Host:.{{0,200}}\(([^()0-9]{{0,60}}){_NUMBER}", re.I),
    # Navicat: Source Server Version : 80030 (8.0.30)
    re.compile(rf"\s{{0,8}}Source Server Version\s{{0,8}}:\s{{0,8}}[0-9]{{5,6}} \((){_NUMBER}", re.I),
)
_DIGITS = re.compile(r"\s{0,8}Source Server Version\s{0,8}:\s{0,8}([0-9]{1,2})([0-9]{2})[0-9]{2}\s{0,8}$", re.I)
_NAVICAT = re.compile(r"\s{0,8}(?:Navicat MariaDB|Source Server Type\s{0,8}:\s{0,8}MariaDB)", re.I)
_PROGRAM = (
    # MySQL dump 10.13  Distrib 8.0.36, MariaDB dump 10.19  Distrib 10.11.6-MariaDB, MariaDB dump 10.19-11.8.3-MariaDB
    re.compile(rf"\s{{0,8}}{_KIND} dump [0-9.]{{1,9}}(?:\s{{1,8}}Distrib\s{{1,8}}|-){_NUMBER}"),
    re.compile(rf"\s{{0,8}}Dump created by (MySQL) pump utility, version: {_NUMBER}"),
    re.compile(rf"\s{{0,8}}Adminer\b.{{0,40}}?\s{_KIND} {_NUMBER}"),
)
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
    lines = [line[:_LONGEST] for line in head[: 64 << 10].decode("utf-8", "replace").splitlines()[:_LINES]]
    comments = _comments(lines)
    for patterns in (_SERVER, _PROGRAM):
        for comment in comments:
            for pattern in patterns:
                if found := pattern.match(comment):
                    return _origin(found[1], int(found[2]), int(found[3]), found[4])
    for comment in comments:
        if found := _DIGITS.match(comment):
            number = int(found[1]), int(found[2])
            if found[0].split()[-1] == "50505":  # the prefix alone
                return Origin("mariadb")
            return Origin("mariadb" if any(map(_NAVICAT.match, comments)) else "mysql", number)
    return Origin("mariadb") if any(map(_SANDBOX.match, lines)) else None


def _comments(lines: list[str]) -> list[str]:
    """The comments, without the signs that begin them."""
    found, inside = [], False
    for line in lines:
        sign = _COMMENT.match(line)
        assert sign is not None
        opens = sign[0].lstrip()
        if inside or opens:
            found.append(line[sign.end() :])
        inside = "*/" not in line and (inside or opens.startswith("/*"))
    return found


def _origin(kind: str, major: int, minor: int, rest: str) -> Origin:
    return Origin("mariadb" if "mariadb" in f"{kind} {rest}".lower() else "mysql", (major, minor))

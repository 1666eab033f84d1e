# SPDX-License-Identifier: Apache-2.0
"""What of a dump is rewritten on its way into a server, line by line: the line numbers in errors stay right."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from ansible.module_utils.th_dump.source import CHUNK

Change = Callable[[bytes], bytes]
"""From a line of the dump to the one that is loaded."""

_NAME = rb"(?:`(?:[^`]|``)*`|'(?:[^']|'')*'|[\w$%.]+)"
# as the dumping programs write it: /*!50013 DEFINER=…, /*!50003 CREATE*/ /*!50017 DEFINER=…, CREATE DEFINER=…
_DEFINER = re.compile(
    rb"((?:/\*!\d+ )?(?:CREATE (?:OR REPLACE )?(?:ALGORITHM=\w+ )?(?:AGGREGATE )?)?(?:CREATE\*/ /\*!\d+ )?)"
    rb"DEFINER=" + _NAME + rb"@" + _NAME
)
# before a trigger or routine: /*!50003 SET sql_mode = '…' */ ;, SET @OLDTMP_SQL_MODE=@@SQL_MODE, SQL_MODE='…';
_SQL_MODE = re.compile(
    rb"(?:/\*!\d+ )?SET (?:@\w{1,40}=@@SQL_MODE, ?)?SQL_MODE\s{0,20}=\s{0,20}'[A-Z0-9_,]{0,800}'", re.IGNORECASE
)
_GONE = re.compile(rb",NO_AUTO_CREATE_USER\b|\bNO_AUTO_CREATE_USER,?", re.IGNORECASE)


def without_definer(line: bytes) -> bytes:
    """Leave out the account that a view, trigger, routine or event runs as: it becomes that of the one who loads it."""
    return _DEFINER.sub(rb"\1", line, count=1) if _DEFINER.match(line) else line


def without_gone_mode(line: bytes) -> bytes:
    """Leave out of sql_mode what MySQL 8 has no longer and does anyway: it is about accounts alone, and MySQL 5.7 and
    MariaDB have it by default, and thus before every trigger and routine."""
    if not (found := _SQL_MODE.match(line)):
        return line
    return _GONE.sub(b"", found[0]) + line[found.end() :]


def rewritten(pieces: Iterable[bytes], change: Change) -> Iterator[bytes]:
    """The pieces of a dump with each of its lines changed, except for those that are longer than a piece: rows."""
    begins, rest = True, b""
    for piece in filter(None, pieces):
        *lines, rest = (rest + piece).splitlines(keepends=True)
        if rest.endswith(b"\n"):
            lines.append(rest)
            rest = b""
        changed = []
        for line in lines:
            changed.append(change(line) if begins else line)
            begins = line.endswith(b"\n")
        if len(rest) > CHUNK:
            changed.append(rest)
            begins, rest = False, b""
        yield b"".join(changed)
    yield change(rest) if begins else rest

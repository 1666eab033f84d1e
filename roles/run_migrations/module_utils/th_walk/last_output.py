# SPDX-License-Identifier: Apache-2.0
"""The error in a command's last output, where nothing else tells why it failed."""

from __future__ import annotations

from collections.abc import Sequence

TEXT_LIMIT, SQL_LIMIT = 4000, 1000
_TRACEBACK = "Traceback (most recent call last):"
# What SQLAlchemy appends to an error's message, each on a line of its own.
_SQL, _OTHERS = "[SQL:", ("[parameters: ", "[generated in ", "[cached since ", "(Background on this error at: ")


def last_error(lines: Sequence[str]) -> str:
    """The error of a traceback at the end, with its SQL statement on the same line; else the last meaningful line;
    "" for none."""
    kept = [line.rstrip() for line in lines if line.strip()]
    starts = [number for number, line in enumerate(kept) if line == _TRACEBACK]
    if starts and (error := _of_traceback(kept[starts[-1] + 1 :])):
        return error
    return next((line.strip() for line in reversed(kept) if not line.startswith(_OTHERS)), "")[:TEXT_LIMIT]


def _of_traceback(lines: Sequence[str]) -> str:
    """The error that a traceback ends with; "" where other output follows it."""
    first = next((number for number, line in enumerate(lines) if not line.startswith(" ")), None)
    if first is None:
        return ""
    error, statement, within = lines[first], list[str](), False
    for line in lines[first + 1 :]:
        if line.startswith(_SQL):
            statement, within = [line.removeprefix(_SQL)], not line.endswith("]")
        elif line.startswith(_OTHERS):
            within = False
        elif within:
            statement.append(line)
            within = not line.endswith("]")
        else:
            return ""
    sql = " ".join(" ".join(statement).removesuffix("]").split())[:SQL_LIMIT]
    return error[:TEXT_LIMIT] + (f" [SQL: {sql}]" if sql else "")

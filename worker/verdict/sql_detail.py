# SPDX-License-Identifier: Apache-2.0
"""What the detail of a failed migration says: the server's error in it, and the cause in one line, without the SQL.

Details come from the side under test. They are text to show, so what is read out of them only chooses words.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_READ = 4000
_VALUE, _NAME, _NEAR = 16, 64, 40
_SQL = re.compile(r"\s?\[SQL: ?|; it was executing: ")
_BACKGROUND = re.compile(r"\s?\(Background on this error at: [^\s()]{0,200}\)")
_BARE_SQL = re.compile(r"\s?\[SQL: ?\Z")
# How drivers and clients write an error of the server: PyMySQL, mysqlclient, asyncmy, aiomysql and Django;
# mysql-connector, the command-line client and Go; PHP; ODBC.
_TUPLE = re.compile(r"\((\d{4}), ?b?(?:\"((?:[^\"\\]|\\.){0,2000})(?:\"|\Z)|'((?:[^'\\]|\\.){0,2000})(?:'|\Z))")
_STATE = re.compile(r"\b(\d{4}) \([0-9A-Z]{5}\)(?: at line \d{1,9})?: ?([^\n]{0,2000})")
_GO = re.compile(r"\bError (\d{4}): ([^\n]{0,2000})")
_PDO = re.compile(r"\bSQLSTATE\[[0-9A-Z]{5}\](?: \[(\d{4})\]|: [A-Za-z ]{1,80}: (\d{4})) ([^\n]{0,2000})")
_ODBC = re.compile(r"\]([^\[\]\n]{1,2000}) \((\d{4})\) \(SQL\w{1,40}\)")
# Drivers that omit the number: MariaDB's own for Python, and Ruby's.
_WITHOUT = re.compile(r"(?:\bmariadb\.\w{1,60}Error|\bMysql2::Error(?:::\w{1,60})?)\)?:? ([^\n]{0,2000})")
_WORDS = {
    "Duplicate entry ": 1062, "Data truncated for column ": 1265, "Data too long for column ": 1406,
    "Out of range value for column ": 1264, "Invalid use of NULL value": 1138, "Incorrect string value": 1366,
    "Cannot add or update a child row": 1452, "Cannot delete or update a parent row": 1451, "Unknown column ": 1054,
    "Deadlock found": 1213, "Lock wait timeout exceeded": 1205, "Server has gone away": 2006,
    "Lost connection to ": 2013, "You have an error in your SQL syntax": 1064,
}  # fmt: skip
_NO_NULL = re.compile(r"Column '[^'\n]{1,200}' cannot be null")
_HOLD_NULL = re.compile(r" holds? NULL in ")
_NOT_NULL = re.compile(r"\b(?:MODIFY|CHANGE)\b[^\n]{0,1000}?\bNOT\s+NULL\b", re.IGNORECASE)
_INDEX = re.compile(r"An index \([^()\s]{1,300}\) returned an? 40[13] [A-Z][A-Za-z]{1,20}\b")
# The walk's explanation before error 1406 on the version table.
_REVISION_ID = re.compile(r"the revision id [^\s:]{1,256} has \d{1,4} characters, and [^\s:]{1,200} holds \d{1,5}\b")
_WRITES = re.compile(
    r"(?:\s{0,200}(?:--[^\n]{0,200}\n|/\*[^*]{0,500}\*/)){0,20}\s{0,200}(?:INSERT|REPLACE|UPDATE)\b", re.IGNORECASE
)
_CLASS = re.compile(r"(?:(?:[A-Za-z_]\w{0,100}|<locals>)\.){1,10}(?=[A-Za-z_]\w{0,100}(?:: |:?\Z))")
_VALUES = re.compile(
    r"(Duplicate entry|Incorrect [\w ]{1,40} value:?|Truncated incorrect [\w ]{1,40} value:) '(.{0,1500}?)'"
    r"(?= for (?:key|column|function) |\Z)"
)
_SYNTAX = re.compile(r"; check the manual that corresponds to your .{1,80}? to use near '(.{0,1500})'(?= at line )")
_TEMPORARY = re.compile(r"`[^`]{1,64}`\.`#sql[^`]{0,64}`, ")
_THREE = re.compile(r"`[^`]{1,64}`\.(`[^`]{1,64}`\.`[^`]{1,64}`)")
_QUOTED = re.compile(r"'([^'\s]{1,200})'|`([^`]{1,200})`")


class ServerMessage(NamedTuple):
    """An error of the database server: its number, and its message."""

    number: int
    text: str


def find(detail: str) -> ServerMessage | None:
    """The server's error in a detail, if there is one."""
    text = _without_sql(detail[:_READ])
    if match := _TUPLE.search(text):
        message = match[2] if match[2] is not None else match[3]
        return ServerMessage(int(match[1]), re.sub(r"\\(.)", r"\1", message))
    for pattern in (_STATE, _GO, _PDO):
        if match := pattern.search(text):
            number, *message = (part for part in match.groups() if part is not None)
            return ServerMessage(int(number), "".join(message).strip())
    if match := _ODBC.search(text):
        return ServerMessage(int(match[2]), match[1].strip())
    if match := _WITHOUT.search(text):
        number = next((value for words, value in _WORDS.items() if match[1].startswith(words)), 0)
        number = number or (1048 if _NO_NULL.match(match[1]) else 0)
        return ServerMessage(number, match[1]) if number else None
    return None


def index_refuses(detail: str) -> str:
    """The part of an installer's output about an index that refuses access; "" for none."""
    match = _INDEX.search(detail[:_READ])
    return match[0] if match else ""


def revision_id_too_long(detail: str) -> str:
    """The walk's explanation of a revision id that is too long for the version table; "" for none."""
    match = _REVISION_ID.match(detail)
    return match[0] if match else ""


def null_found(rows: str) -> bool:
    """Whether the description of the rows says that a column has NULLs."""
    return bool(_HOLD_NULL.search(rows))


def makes_not_null(detail: str) -> bool:
    """Whether the statement in a detail makes a column NOT NULL."""
    return bool(_NOT_NULL.search(statement(detail)))


def writes_rows(detail: str) -> bool:
    """Whether the statement in a detail writes rows, rather than altering a table."""
    return bool(_WRITES.match(statement(detail)))


def statement(detail: str) -> str:
    """The SQL in a detail; "" for none."""
    _, found, sql = detail[:_READ].partition("[SQL: ")
    return sql if found else ""


def tidy(detail: str) -> str:
    """A detail without noise: SQLAlchemy's link to its documentation, an empty statement."""
    return _BARE_SQL.sub("", _BACKGROUND.sub("", detail))


def cause(detail: str, last: bool = False) -> str:
    """The cause in a detail, in one line, without the statement and with long values shortened.

    An error of the database server takes precedence; else it is the first line, or the `last`, as in a traceback, where
    the exception's class is removed.
    """
    text = tidy(detail[:_READ])
    if cause := revision_id_too_long(text):
        return cause
    if message := find(text):
        return _short(message.text)
    lines = [line.strip() for line in _without_sql(text).splitlines() if line.strip()]
    if not lines:
        return ""
    line = lines[-1 if last else 0]
    if line.startswith("SystemExit"):
        return f"it ended its process ({line})"
    return _CLASS.sub("", line, count=1) if last else line


def _without_sql(text: str) -> str:
    match = _SQL.search(text)
    return text[: match.start()] if match else text


def _short(text: str) -> str:
    """A server's error message without quotes and names of databases, and with long values cut."""
    text = _VALUES.sub(lambda match: f"{match[1]} {_cut(match[2], _VALUE)}", " ".join(text.split()))
    text = _SYNTAX.sub(lambda match: f" near {_cut(match[1], _NEAR)}", text)
    text = _THREE.sub(r"\1", _TEMPORARY.sub("", text))
    return _QUOTED.sub(lambda match: _cut(match[1] or match[2], _NAME), text)


def _cut(value: str, limit: int) -> str:
    return value if len(value) <= limit else value[: limit - 4] + "..."

# SPDX-License-Identifier: Apache-2.0
"""Which rows a migration's error is about, as far as the error and the SQL statement in it show that.

Both come from the side under test. So only a few forms of statements are parsed, completely or not at all, and the
names in them are looked up in the server before they are used in a query (`th_measure.blocking_rows`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ansible.module_utils.th_measure.sql_words import NotUnderstoodError, Table, Words

_READ = 4000
_KEY = re.compile(r" for key '([^'\n]{1,200})'")
_COLUMN = re.compile(r"\b[Cc]olumn [`']([^`'\n]{1,64})[`']")
_CONSTRAINT = re.compile(r"CONSTRAINT `([^`\n]{1,64})` FOREIGN KEY")
# Errors by number and by message, because some drivers omit the number.
_DUPLICATE, _ORPHAN = (1062, "Duplicate entry '"), (1452, "Cannot add or update a child row")
_NULL = ((1048, "cannot be null"), (1138, "Invalid use of NULL value"), (1265, "Data truncated for column"))
_LONG = ((1406, "Data too long for column"), (1265, "Data truncated for column"))
_RANGE = (1264, "Out of range value for column")
_JSON = ((3140, "Invalid JSON text"), (4025, "CONSTRAINT `"))
_LENGTHS = ("CHAR", "VARCHAR")
_BYTES = {"TINYINT": 1, "SMALLINT": 2, "MEDIUMINT": 3, "INT": 4, "INTEGER": 4, "BIGINT": 8}
_ALTERS_ROWS = ("MODIFY", "CHANGE", "DROP", "RENAME", "CONVERT")


@dataclass(frozen=True)
class Duplicates:
    """Rows with the same values in `columns`, each with the length of its prefix that counts, 0 for all of it."""

    table: Table
    columns: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Nulls:
    """Rows with NULL in a column."""

    table: Table
    column: str


@dataclass(frozen=True)
class TooLong:
    """Rows with more than `length` characters in a column."""

    table: Table
    column: str
    length: int


@dataclass(frozen=True)
class Orphans:
    """Rows that refer to a row of `parent` that is not there."""

    table: Table
    columns: tuple[str, ...]
    parent: Table
    parent_columns: tuple[str, ...]


@dataclass(frozen=True)
class OutOfRange:
    """Rows with a number below `least` or above `most` in a column."""

    table: Table
    column: str
    least: int
    most: int


@dataclass(frozen=True)
class NotJson:
    """Rows with a text that is no JSON in a column."""

    table: Table
    column: str


Question = Duplicates | Nulls | TooLong | Orphans | OutOfRange | NotJson


@dataclass
class _Clause:
    """A clause of an ALTER TABLE: its verb, the name of its key or column, and what it requires of the rows."""

    verb: str
    name: str = ""
    unique: tuple[tuple[str, int], ...] = ()
    primary: bool = False
    foreign: tuple[tuple[str, ...], Table, tuple[str, ...]] | None = None
    column: str = ""
    not_null: bool = False
    length: int = 0
    limits: tuple[int, int] | None = None
    json: bool = False


def questions(detail: str) -> list[Question]:
    """What to query about a migration's error; [] where its statement is not understood."""
    message, found, sql = detail[:_READ].partition("[SQL: ")
    if not found:
        return []
    try:
        table, clauses = _parsed(sql.rpartition("]")[0])
    except NotUnderstoodError:
        return []
    result: list[Question] = []
    if _is(message, _DUPLICATE):
        result += _duplicates(message, table, clauses)
    if any(_is(message, one) for one in _NULL):
        result += _nulls(message, table, clauses)
    if any(_is(message, one) for one in _LONG):
        result += [
            TooLong(table, clause.column, clause.length)
            for clause in clauses
            if clause.length and _same(clause.column, _first(_COLUMN, message))
        ]
    if _is(message, _RANGE):
        result += [
            OutOfRange(table, clause.column, *clause.limits)
            for clause in clauses
            if clause.limits and _same(clause.column, _first(_COLUMN, message))
        ]
    if any(_is(message, one) for one in _JSON):
        result += [NotJson(table, clause.column) for clause in clauses if clause.json]
    if _is(message, _ORPHAN):
        result += _orphans(message, table, clauses)
    return result[:3]


def _is(message: str, error: tuple[int, str]) -> bool:
    number, words = error
    return words in message or f"({number}, " in message or bool(re.search(rf"\b{number} \([0-9A-Z]{{5}}\)", message))


def _duplicates(message: str, table: Table, clauses: Sequence[_Clause]) -> Iterator[Question]:
    keys = [clause for clause in clauses if clause.unique]
    if any(clause.verb in _ALTERS_ROWS and not clause.unique for clause in clauses):
        return  # other clauses change the rows before the key is built
    wanted = _first(_KEY, message).rpartition(".")[2]
    named = [clause for clause in keys if _same(clause.name, wanted)] if wanted else []
    chosen = named or keys
    if len(chosen) == 1:
        yield Duplicates(table, chosen[0].unique)


def _nulls(message: str, table: Table, clauses: Sequence[_Clause]) -> Iterator[Question]:
    wanted = _first(_COLUMN, message)
    columns = [clause.column for clause in clauses if clause.not_null]
    columns += [name for clause in clauses if clause.primary for name, _ in clause.unique]
    for column in columns:
        if not wanted or _same(column, wanted):
            yield Nulls(table, column)


def _orphans(message: str, table: Table, clauses: Sequence[_Clause]) -> Iterator[Question]:
    keys = [clause for clause in clauses if clause.foreign]
    wanted = _first(_CONSTRAINT, message)
    named = [clause for clause in keys if clause.name and _same(clause.name, wanted)]
    chosen = named or keys
    if len(chosen) == 1 and chosen[0].foreign:
        columns, parent, parent_columns = chosen[0].foreign
        if len(columns) == len(parent_columns):
            yield Orphans(table, columns, parent, parent_columns)


def _first(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    return match[1] if match else ""


def _same(one: str, other: str) -> bool:
    return bool(one) and one.casefold() == other.casefold()


def _parsed(sql: str) -> tuple[Table, list[_Clause]]:
    words = Words(sql)
    if words.take("CREATE"):
        if words.take("OR"):
            words.need("REPLACE")
        words.need("UNIQUE", "INDEX")
        words.skip("IF", "NOT", "EXISTS")
        name = words.name()
        if words.take("USING"):
            words.next()
        words.need("ON")
        table = words.table()
        return table, [_Clause("ADD", name, words.key_columns())]
    words.need("ALTER")
    while words.take("ONLINE") or words.take("IGNORE"):
        pass
    words.need("TABLE")
    words.skip("IF", "EXISTS")
    table = words.table()
    return table, [_clause(clause) for clause in words.clauses()]


def _clause(words: Words) -> _Clause:
    verb = words.next().upper()
    if verb == "ADD":
        return _added(words)
    if verb not in ("MODIFY", "CHANGE"):
        return _Clause(verb)
    words.skip("COLUMN")
    words.skip("IF", "EXISTS")
    column = words.name()
    if verb == "CHANGE":
        words.name()
    kind = words.next().upper()
    length = words.number_in_brackets() if kind in (*_LENGTHS, *_BYTES) else 0
    rest = words.flat()
    unsigned = "UNSIGNED" in rest or "ZEROFILL" in rest
    return _Clause(
        verb,
        column,
        unique=((column, 0),) if "UNIQUE" in rest else (),
        column=column,
        not_null=("NOT", "NULL") in pairwise(rest),
        length=length if kind in _LENGTHS else 0,
        limits=_limits(_BYTES[kind], unsigned) if kind in _BYTES else None,
        json=kind == "JSON",
    )


def _limits(size: int, unsigned: bool) -> tuple[int, int]:
    bits = 8 * size
    return (0, 2**bits - 1) if unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def _added(words: Words) -> _Clause:
    name = ""
    if words.take("CONSTRAINT") and not words.at("UNIQUE", "PRIMARY", "FOREIGN", "CHECK"):
        name = words.name()
    if words.take("PRIMARY"):
        words.need("KEY")
        return _Clause("ADD", "PRIMARY", words.key_columns(), primary=True)
    if words.take("UNIQUE"):
        if not words.take("KEY"):
            words.take("INDEX")
        words.skip("IF", "NOT", "EXISTS")
        if not words.at("(", "USING"):
            name = words.name()
        if words.take("USING"):
            words.next()
        columns = words.key_columns()
        return _Clause("ADD", name or columns[0][0], columns)
    if words.take("FOREIGN"):
        words.need("KEY")
        words.skip("IF", "NOT", "EXISTS")
        if not words.at("("):
            name = name or words.name()
        key_columns = tuple(column for column, _ in words.key_columns())
        words.need("REFERENCES")
        return _Clause("ADD", name, foreign=(key_columns, words.table(), tuple(one for one, _ in words.key_columns())))
    return _Clause("ADD")

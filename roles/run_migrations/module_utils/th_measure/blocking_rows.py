# SPDX-License-Identifier: Apache-2.0
"""The rows that made a migration fail: how many there are, and up to three examples, masked.

They are queried when the migration's process has gone, with the job's own account, only in tables of the server's own
storage engines, and for a few seconds at most. Where anything is unexpected, there is no answer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pymysql
from ansible.module_utils.th_core.text import printable
from ansible.module_utils.th_measure import sql_statement
from ansible.module_utils.th_measure.sql_statement import (
    Duplicates,
    NotJson,
    Nulls,
    Orphans,
    OutOfRange,
    Question,
    TooLong,
)
from ansible.module_utils.th_measure.sql_words import Table
from ansible.module_utils.th_server import mariadb

PATIENCE = 5
"""Seconds that a statement may take."""
EXAMPLES = 3
_ENGINES = ("InnoDB", "MyISAM", "Aria")
_WHOLE, _KEPT, _READ = 6, 4, 20
_LONGEST = 380


class _Unknown(Exception):  # noqa: N818 - an answer, not an error
    """A table or column does not exist, or its name is ambiguous."""


@dataclass(frozen=True)
class _Found:
    """An existing table and the columns in question, in the server's spelling."""

    schema: str
    table: str
    columns: list[str]

    @property
    def place(self) -> str:
        return f"{_quoted(self.schema)}.{_quoted(self.table)}"


def about(server: mariadb.Server, detail: str) -> str:
    """Describes the rows that the error `detail` is about; "" where that is not known."""
    questions = sql_statement.questions(detail)
    if not questions or not server.private:  # others use an external server: no rows are counted there
        return ""
    try:
        with mariadb.connect(server, server.job_file, time_limit=4 * PATIENCE) as connection:
            _bound(connection)
            for question in questions:
                with contextlib.suppress(_Unknown):
                    if answer := _RowQuery(connection, server).answer(question):
                        return printable(answer)[:_LONGEST]
    except (pymysql.Error, OSError, ValueError, mariadb.ServerError):
        pass  # best effort: the verdict does not depend on it
    return ""


def _bound(connection: Any) -> None:
    """Limit how long statements run and wait, and reset the SQL mode."""
    settings = (
        f"max_statement_time = {PATIENCE}",  # MariaDB
        f"max_execution_time = {PATIENCE * 1000}",  # MySQL
        f"lock_wait_timeout = {PATIENCE}",
        "sql_mode = ''",
    )
    for setting in settings:
        with contextlib.suppress(pymysql.err.OperationalError, pymysql.err.InternalError):
            mariadb.query(connection, f"SET SESSION {setting}")


class _RowQuery:
    """Queries one server for rows of the job's databases."""

    def __init__(self, connection: Any, server: mariadb.Server) -> None:
        self._connection, self._schemas = connection, tuple(server.databases.values())

    def answer(self, question: Question) -> str:
        """The answer; "" where there are no such rows. Raises _Unknown."""
        if isinstance(question, Duplicates):
            return self._duplicates(question)
        if isinstance(question, Nulls):
            return self._nulls(question)
        if isinstance(question, TooLong):
            return self._too_long(question)
        return self._orphans(question) if isinstance(question, Orphans) else self._unfit(question)

    def _duplicates(self, question: Duplicates) -> str:
        found = self._find(question.table, [column for column, _ in question.columns])
        columns = [_quoted(name) for name in found.columns]
        lengths = [length for _, length in question.columns]
        pairs = zip(columns, lengths, strict=True)
        groups = ", ".join(f"LEFT({column}, {length})" if length else column for column, length in pairs)
        there = " AND ".join(f"{column} IS NOT NULL" for column in columns)
        grouped = f"FROM {found.place} WHERE {there} GROUP BY {groups} HAVING COUNT(*) > 1"
        counted = f"SELECT COUNT(*) AS n {grouped}"
        values, rows = self._query(f"SELECT COUNT(*), SUM(n) FROM ({counted}) AS found")[0]  # noqa: S608 - quoted names
        if not values:
            return ""
        shown = ", ".join(_example(f"MIN({column})") for column in columns)
        examples = self._query(f"SELECT {shown}, COUNT(*) AS n {grouped} ORDER BY n DESC LIMIT {EXAMPLES}")
        have = f"{_count(int(rows), 'row')} of {found.table} have a value of {_names(found.columns)} that others have"
        return f"{have}, {_count(values, 'value')}: {_listed(examples)}"

    def _nulls(self, question: Nulls) -> str:
        found = self._find(question.table, [question.column])
        where = f"FROM {found.place} WHERE {_quoted(found.columns[0])} IS NULL"
        count = self._query(f"SELECT COUNT(*) {where}")[0][0]
        if not count:
            return ""
        hold = "holds" if count == 1 else "hold"
        return f"{_count(count, 'row')} of {found.table} {hold} NULL in {found.columns[0]}{self._which(found, where)}"

    def _too_long(self, question: TooLong) -> str:
        found = self._find(question.table, [question.column])
        length = f"CHAR_LENGTH({_quoted(found.columns[0])})"
        where = f"FROM {found.place} WHERE {length} > {int(question.length)}"
        count, longest = self._query(f"SELECT COUNT(*), MAX({length}) {where}")[0]
        if not count:
            return ""
        have = f"{'has' if count == 1 else 'have'} more than {question.length} characters in {found.columns[0]}"
        return f"{_count(count, 'row')} of {found.table} {have}, up to {longest}{self._which(found, where)}"

    def _unfit(self, question: OutOfRange | NotJson) -> str:
        found = self._find(question.table, [question.column])
        name = found.columns[0]
        column = _quoted(name)
        if isinstance(question, OutOfRange):
            where = f"{column} < {int(question.least)} OR {column} > {int(question.most)}"
            what = f"a number in {name} that is not from {question.least} to {question.most}"
        else:
            where, what = f"{column} IS NOT NULL AND NOT JSON_VALID({column})", f"a text in {name} that is no JSON"
        where = f"FROM {found.place} WHERE {where}"
        count = self._query(f"SELECT COUNT(*) {where}")[0][0]
        have = "has" if count == 1 else "have"
        return f"{_count(count, 'row')} of {found.table} {have} {what}{self._which(found, where)}" if count else ""

    def _orphans(self, question: Orphans) -> str:
        child = self._find(question.table, question.columns)
        parent = self._find(question.parent, question.parent_columns)
        pairs = zip(parent.columns, child.columns, strict=True)
        joined = " AND ".join(f"parent.{_quoted(one)} = child.{_quoted(other)}" for one, other in pairs)
        columns = [f"child.{_quoted(name)}" for name in child.columns]
        there = " AND ".join(f"{column} IS NOT NULL" for column in columns)
        missing = f"NOT EXISTS (SELECT 1 FROM {parent.place} AS parent WHERE {joined})"  # noqa: S608 - quoted names
        where = f"FROM {child.place} AS child WHERE {there} AND {missing}"
        count = self._query(f"SELECT COUNT(*) {where}")[0][0]
        if not count:
            return ""
        shown = ", ".join(map(_example, columns))
        order = f"GROUP BY {', '.join(columns)} ORDER BY n DESC LIMIT {EXAMPLES}"
        examples = self._query(f"SELECT {shown}, COUNT(*) AS n {where} {order}")
        have = f"{'has' if count == 1 else 'have'} a value of {_names(child.columns)}"
        lacks = f"that {_names(parent.columns)} of {parent.table} does not have"
        return f"{_count(count, 'row')} of {child.table} {have} {lacks}: {_listed(examples)}"

    def _which(self, found: _Found, where: str) -> str:
        """The primary keys of some of those rows, where the key is a single column."""
        keys = self._query(
            "SELECT COLUMN_NAME FROM information_schema.COLUMNS"
            " WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s AND COLUMN_KEY = 'PRI' LIMIT 2",
            found.schema,
            found.table,
        )
        if len(keys) != 1:
            return ""
        key = str(keys[0][0])
        rows = self._query(f"SELECT {_example(_quoted(key))} {where} ORDER BY {_quoted(key)} LIMIT {EXAMPLES}")
        return f", with {key} {', '.join(_values(row) for row in rows)}"

    def _find(self, table: Table, columns: Sequence[str]) -> _Found:
        """A table of the job's databases. Raises _Unknown."""
        schemas = [table.schema] if table.schema else list(self._schemas)
        if not set(schemas) <= set(self._schemas):
            raise _Unknown
        engines, places = (", ".join(["%s"] * len(values)) for values in (_ENGINES, schemas))
        rows = self._query(
            "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES WHERE TABLE_TYPE = 'BASE TABLE'"  # noqa: S608
            f" AND ENGINE IN ({engines}) AND TABLE_SCHEMA IN ({places}) AND TABLE_NAME = %s",
            *_ENGINES,
            *schemas,
            table.name,
        )
        rows = [row for row in rows if row[1] == table.name] or rows
        if len(rows) != 1:
            raise _Unknown
        schema, name = map(str, rows[0])
        there = self._query(
            "SELECT COLUMN_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s",
            schema,
            name,
        )
        written = {str(row[0]).casefold(): str(row[0]) for row in there}
        try:
            return _Found(schema, name, [written[column.casefold()] for column in columns])
        except KeyError:
            raise _Unknown from None

    def _query(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        return mariadb.query(self._connection, sql, *values)


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _example(column: str) -> str:
    """SQL for a value as text, cut so that only its beginning leaves the server."""
    return f"LEFT(CAST({column} AS CHAR), {_READ})"


def _values(values: Iterable[Any]) -> str:
    shown = [_masked(value) for value in values]
    return shown[0] if len(shown) == 1 else f"({', '.join(shown)})"


def _listed(examples: Iterable[Sequence[Any]]) -> str:
    """Values, each with its number of rows."""
    return ", ".join(f"{_values(values)} ({_count(number, 'row')})" for *values, number in examples)


def _masked(value: Any) -> str:
    """A value: whole if it is short, else its first characters."""
    if value is None:  # not a text in any character set
        return "?"
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text if len(text) <= _WHOLE else f"{text[:_KEPT]}…"


def _names(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"({', '.join(names)})"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"

# SPDX-License-Identifier: Apache-2.0
"""Check a loaded dump: whether everything expected is there, and what a production database would not contain."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pymysql
from ansible.module_utils.th_core.text import printable
from ansible.module_utils.th_dump.completeness import UNKNOWN, Finding
from ansible.module_utils.th_dump.seed_errors import SeedError
from ansible.module_utils.th_server import mariadb
from ansible.module_utils.th_server.accounts import identifier

ORPHAN_SECONDS, ORPHAN_SECONDS_IN_ALL = 10, 60
"""Time limits, in seconds, of the search for rows without a parent: for one foreign key, and for all of them. A foreign
key that is not searched in time is not reported."""
_LOCKED_OUT = (1044, 1045, 1142, 1143, 1227, 1698, 1524)
_MOST = 10


@dataclass(frozen=True)
class Arrived:
    """A loaded dump: the server's estimate of its rows, and notes on it for the report."""

    rows: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Expected:
    """What the dataset's file expects of the dump (key ``expect``); -1 and "" where it does not say."""

    tables: int = -1
    rows: Mapping[str, int] = field(default_factory=dict)
    size: int = -1
    sha256: str = ""

    @classmethod
    def of(cls, given: object) -> Expected:
        """From the key ``expect`` of a dataset's file."""
        if not isinstance(given, Mapping):
            return cls()
        return cls(
            int(given.get("tables", -1)),
            {str(name): int(number) for name, number in dict(given.get("rows") or {}).items()},
            int(given.get("size", -1)),
            str(given.get("sha256", "")).lower(),
        )

    @property
    def says_something(self) -> bool:
        """Whether anything is expected, so that a dump without an end mark can be checked."""
        return self != Expected()


@dataclass(frozen=True)
class _Key:
    """A foreign key: its table and columns, and the ones that it references."""

    name: str
    table: str
    columns: tuple[str, ...]
    to: tuple[str, str]
    to_columns: tuple[str, ...]


def arrived(
    server: mariadb.Server, option_file: Path, dump: Path, database: str, finding: Finding, expected: Expected
) -> Arrived:
    """Check what a dump has brought, once all dumps of the dataset are loaded. Raises SeedError for what is missing."""
    try:
        with mariadb.connect(server, option_file, time_limit=3600) as connection:
            return _look(connection, server.private, dump, database, finding, expected)
    except pymysql.err.OperationalError as error:
        if error.args[0] not in _LOCKED_OUT:
            raise
        raise SeedError(
            "seed_broken",
            f"{dump} has changed the server's accounts: nobody gets in any more (error {error.args[0]}). Dump the one"
            " database, without the database mysql and without accounts",
        ) from error


def _look(connection: Any, private: bool, dump: Path, database: str, finding: Finding, expected: Expected) -> Arrived:
    tables = mariadb.query(
        connection,
        "SELECT table_name, COALESCE(table_rows, 0) FROM information_schema.tables"
        " WHERE table_schema = %s AND table_type = 'BASE TABLE'",
        database,
    )
    if not tables:
        raise SeedError(
            "seed_broken",
            f"{dump} leaves the database {database!r} without a table (does it name another database with USE?)",
        )
    keys = _foreign_keys(connection, database)
    _all_parents(connection, dump, [key for key in keys if private or key.to[0] == database])
    _as_expected(connection, dump, database, [str(name) for name, _ in tables], finding, expected)
    notes = []
    if finding.state == UNKNOWN and not expected.says_something:
        notes.append(f"{dump.name}: {finding.reason}.")
    if private and (orphans := _orphans(connection, database, keys)):
        notes.append(
            f"{dump.name} has rows whose foreign key points to no row: {_listed(orphans)}. No production server lets"
            " them in; they were loaded with foreign key checks turned off, and a migration may stumble over them."
        )
    return Arrived(sum(int(estimate) for _, estimate in tables), tuple(notes))


def _foreign_keys(connection: Any, database: str) -> list[_Key]:
    rows = mariadb.query(
        connection,
        "SELECT constraint_name, table_name, column_name, referenced_table_schema, referenced_table_name,"
        " referenced_column_name FROM information_schema.key_column_usage"
        " WHERE constraint_schema = %s AND table_schema = %s AND referenced_table_name IS NOT NULL"
        " ORDER BY table_name, constraint_name, ordinal_position",
        database,
        database,
    )
    found: dict[tuple[str, str], list[tuple[Any, ...]]] = {}
    for row in rows:
        found.setdefault((row[1], row[0]), []).append(row)
    return [
        _Key(name, table, tuple(row[2] for row in own), (own[0][3], own[0][4]), tuple(row[5] for row in own))
        for (table, name), own in found.items()
    ]


def _all_parents(connection: Any, dump: Path, keys: Iterable[_Key]) -> None:
    wanted = {key.to for key in keys}
    there: set[tuple[str, str]] = set()
    for schema in {schema for schema, _ in wanted}:
        rows = mariadb.query(
            connection, "SELECT table_name FROM information_schema.tables WHERE table_schema = %s", schema
        )
        there |= {(schema.lower(), str(row[0]).lower()) for row in rows}
    missing = [key for key in keys if (key.to[0].lower(), key.to[1].lower()) not in there]
    if missing:
        said = [f"{key.table}.{key.name} points to {key.to[1]}" for key in missing]
        gone = " ".join(sorted({key.to[1] for key in missing})[:_MOST])
        raise SeedError(
            "seed_broken",
            f"{dump}: foreign keys point to tables that the dump does not have: {_listed(said)}. Dump them, too"
            f" (without --ignore-table), at least without their rows: mysqldump --no-data NAME {printable(gone)}",
        )


def _as_expected(
    connection: Any, dump: Path, database: str, tables: list[str], finding: Finding, expected: Expected
) -> None:
    if expected.tables not in (-1, len(tables)):
        raise SeedError(
            "seed_broken",
            f"{dump} brings {len(tables)} tables, and the key expect.tables of the dataset says {expected.tables}: it"
            " is not whole, or the key is of another dump",
        )
    wanted = [(table, number, "its metadata") for table, number in finding.rows.items()]
    wanted += [(table, number, "the key expect.rows of the dataset") for table, number in expected.rows.items()]
    wrong = []
    for table, number, who in wanted:
        if table not in tables:
            if number or who != "its metadata":  # metadata lists views, too
                wrong.append(f"the table {table} is missing, {who} says that it has {number} rows")
            continue
        place = f"{identifier(database)}.{identifier(table)}"
        ((found,),) = mariadb.query(connection, f"SELECT COUNT(*) FROM {place}")  # noqa: S608 - a quoted identifier
        if found != number:
            wrong.append(f"{table} has {found} rows, {who} says {number}")
    if wrong:
        raise SeedError("seed_broken", f"{dump} is not whole: {_listed(wrong)}. Make it again, or correct the key")


def _orphans(connection: Any, database: str, keys: list[_Key]) -> list[str]:
    """The foreign keys that have rows without a parent, as far as they are found in time."""
    select = f"SET STATEMENT max_statement_time = {ORPHAN_SECONDS} FOR SELECT"
    if mariadb.flavour(connection)[0] != "MariaDB":
        select = f"SELECT /*+ MAX_EXECUTION_TIME({ORPHAN_SECONDS * 1000}) */"
    found, ends = [], time.monotonic() + ORPHAN_SECONDS_IN_ALL
    for key in keys:
        if time.monotonic() > ends:
            break
        child = f"{identifier(database)}.{identifier(key.table)}"
        parent = f"{identifier(key.to[0])}.{identifier(key.to[1])}"
        pairs = list(zip(key.columns, key.to_columns, strict=True))
        on = " AND ".join(f"p.{identifier(there)} = c.{identifier(here)}" for here, there in pairs)
        given = " AND ".join(f"c.{identifier(here)} IS NOT NULL" for here, _ in pairs)
        statement = (
            f"{select} 1 FROM {child} c WHERE {given}"  # noqa: S608 - quoted identifiers
            f" AND NOT EXISTS (SELECT 1 FROM {parent} p WHERE {on}) LIMIT 1"
        )
        with contextlib.suppress(pymysql.Error):  # it takes too long, or an index is missing: unknown
            if mariadb.query(connection, statement):
                found.append(f"{key.table}.{key.name} (to {key.to[1]})")
    return found


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return "; ".join(printable(name) for name in names[:_MOST]) + more

# SPDX-License-Identifier: Apache-2.0
"""Checks whether the version in a restored database can be right, before a walk begins at it.

A walk from a wrong version fails in a migration, which looks like the change's fault. So tables without a version, and
versions that the migration tool refuses, are reported here, with what to correct: the dump or the profile.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pymysql
from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_core.text import printable
from ansible.module_utils.th_dump.seed_errors import SeedError
from ansible.module_utils.th_server import mariadb
from ansible.module_utils.th_server.accounts import identifier
from ansible.module_utils.th_server.plain_table import not_plain
from ansible.module_utils.th_tools.tool import Versions
from ansible.module_utils.th_tools.tools import VERSIONS, tool_of, versions_of
from ansible.module_utils.th_tools.versions import MOST, Revisions, listed, prefixed

_DENIED = (1044, 1142, 1143, 1049, 1370)

_OTHERS = ("schema_migrations", "flyway_schema_history", "databasechangelog", "south_migrationhistory", "aerich",
           "doctrine_migration_versions", "phinxlog", "_yoyo_migration", "goose_db_version", "migrations")  # fmt: skip
"""Version tables of tools that profiles do not support."""


@dataclass(frozen=True)
class _Found:
    """The tables and columns of the job's databases, by schema."""

    tables: Mapping[tuple[str, str], frozenset[str]]
    own: str

    def like(self, versions: Versions, but: tuple[str, str]) -> list[str]:
        """The tables that have the columns of a tool's version table, named as in a profile."""
        return [
            table if schema == self.own else f"{schema}.{table}"
            for (schema, table), columns in sorted(self.tables.items())
            if versions.columns <= columns
            and (schema, table) != but
            and (columns <= versions.columns or not versions.only_columns)
        ]


def read(
    connection: Any, server: mariadb.Server, database: Mapping[str, Any], revisions: Revisions | None
) -> list[str]:
    """The rows of a database's version table. `database` is the profile's entry; `revisions` are those of the checkout,
    None without one.

    Raises SeedError ``seed_broken`` or StepError ``profile_wrong`` if no walk can begin there.
    """
    where = f"databases.{database['name']}" if database["name"] else "migrations"
    try:
        if problem := not_plain(connection, server.databases[database["name"]], database["version_query"]):
            raise SeedError(
                "seed_broken",
                f"the version table {problem}. Drop what the dump or the database adds to it, or read another table"
                f" ({where}.version_table, or version_query)",
            )
        rows = mariadb.read_version(connection, database["version_query"])
    except pymysql.err.ProgrammingError as error:
        raise StepError("profile_wrong", f"{where}.version_query cannot be asked: {error}") from error
    except pymysql.err.OperationalError as error:
        if error.args[0] not in _DENIED:
            raise
        raise StepError(
            "profile_wrong",
            f"{where}.version_table: what it names is in none of the dataset's databases"
            f" ({', '.join(server.databases.values())}): a schema for the version table alone must be one of them",
        ) from error
    if rows:
        _check_rows(rows, database, revisions or {}, where)
        if revisions and any(prefixed(row, database["name"]) not in revisions for row in rows):
            _check_known(connection, server, database, revisions, where)
    else:
        _check_empty(connection, server, database, where)
    return rows


def also(connection: Any, server: mariadb.Server, database: Mapping[str, Any]) -> list[str]:
    """Other tables of a database that look like the tool's version table."""
    found, own = _look(connection, server, database), _own(server, database)
    return found.like(versions_of(database), own)[:MOST]


def _check_rows(rows: list[str], database: Mapping[str, Any], revisions: Revisions, where: str) -> None:
    table = _name(database)
    if versions_of(database).numbered and len(set(rows)) > 1:
        raise SeedError(
            "seed_broken",
            f"the table {table} has the versions {listed(sorted(set(rows)))}: it must have a row for one repository"
            f" alone. Take the others out of the dump, or name another table in the profile ({where}.version_table)",
        )
    if problem := tool_of(database).wrong_rows(rows, database, revisions, f"{where}.version_table"):
        raise SeedError("seed_broken", f"the table {table} has {problem}")


def _check_known(
    connection: Any, server: mariadb.Server, database: Mapping[str, Any], revisions: Revisions, where: str
) -> None:
    """Refuse a version that no stage knows if another table has a known one: the profile names the wrong table."""
    versions = versions_of(database)
    if not versions.distinctive:
        return
    for table in also(connection, server, database):
        place = ".".join(identifier(part) for part in table.split("."))
        rows = mariadb.read_version(connection, f"SELECT {versions.expression} FROM {place}")  # noqa: S608 - quoted
        if rows and all(prefixed(row, database["name"]) in revisions for row in rows):
            raise StepError(
                "profile_wrong",
                f"{where}.version_table: the project has no migration of the version in {_name(database)}, but that in"
                f" {printable(table)} ({listed(rows)}): set {where}.version_table: {printable(table)}",
            )


def _check_empty(connection: Any, server: mariadb.Server, database: Mapping[str, Any], where: str) -> None:
    """Refuse a database that has tables but no version."""
    own, found = _own(server, database), _look(connection, server, database)
    others = [table for schema, table in found.tables if schema == found.own and (schema, table) != own]
    if not others:
        return
    table, versions = _name(database), versions_of(database)
    key = f"{where}.version_table"
    if table.rpartition(".")[2] not in database["version_query"]:  # the profile has its own statement
        raise SeedError(
            "seed_broken",
            f"the version_query of the profile finds no version, and the dump has {_some(others)}: nobody knows which"
            f" migrations have run. Dump what it reads, too, or correct {where}.version_query",
        )
    expression = ", ".join(sorted(versions.columns))
    candidates = found.like(versions, own)
    if own in found.tables and not (found.tables[own] & versions.columns):
        raise StepError(
            "profile_wrong",
            f"{key}: the dump's table {table} has the columns {listed(sorted(found.tables[own]))} and not"
            f" {expression}{_named(candidates, key)}",
        )
    is_empty = own in found.tables
    problem = f"the table {table} is empty" if is_empty else f"there is no table {table}"
    facts = f"{problem}, and the dump has {_some(others)}"
    if candidates:
        raise StepError("profile_wrong", f"{key}: {facts}{_named(candidates, key)}")
    for other in VERSIONS.values():
        if other != versions and (theirs := found.like(other, own)):
            raise StepError(
                "profile_wrong",
                f"{key}: {facts}, but {theirs[0]}, which is kept by {other.kept_by}: set {where}.tool: {other.kept_by},"
                f" or dump the table {table}, too",
            )
    unknown = [name for name in others if name.lower() in _OTHERS]
    hint = f" ({unknown[0]} is another tool's, which a profile reads with tool: command)" if unknown else ""
    remedy = (
        "dump its rows, too (without --no-data and --ignore-table-data)" if is_empty else
        "dump it, too (without --ignore-table, and not by naming other tables)"
    )  # fmt: skip
    raise SeedError(
        "seed_broken",
        f"{facts}: nobody knows which migrations have run{hint}. {remedy[0].upper()}{remedy[1:]}; where the project"
        f" keeps its version in a table of another name, name that in the profile ({key})",
    )


def _own(server: mariadb.Server, database: Mapping[str, Any]) -> tuple[str, str]:
    schema, _, table = _name(database).rpartition(".")
    return schema or server.databases[database["name"]], table


def _name(database: Mapping[str, Any]) -> str:
    return str(database.get("version_table") or versions_of(database).table)


def _look(connection: Any, server: mariadb.Server, database: Mapping[str, Any]) -> _Found:
    schemas: Collection[str] = set(server.databases.values())
    rows = mariadb.query(
        connection,
        "SELECT c.table_schema, c.table_name, c.column_name FROM information_schema.columns c"  # noqa: S608
        " JOIN information_schema.tables t ON t.table_schema = c.table_schema AND t.table_name = c.table_name"
        f" WHERE t.table_type = 'BASE TABLE' AND c.table_schema IN ({', '.join(['%s'] * len(schemas))})",
        *schemas,
    )
    # a server that ignores case shows all names in lower case
    known = {name.lower(): name for name in schemas}
    own_table = _own(server, database)[1]
    caseless = mariadb.query(connection, "SELECT @@GLOBAL.lower_case_table_names")[0][0] != 0
    tables: dict[tuple[str, str], set[str]] = {}
    for schema, table, column in rows:
        if caseless:
            schema = known.get(str(schema).lower(), schema)
            table = own_table if str(table).lower() == own_table.lower() else table
        tables.setdefault((str(schema), str(table)), set()).add(str(column).lower())
    own = server.databases[database["name"]]
    return _Found({key: frozenset(columns) for key, columns in tables.items()}, own)


def _some(others: Sequence[str]) -> str:
    number = "one other table" if len(others) == 1 else f"{len(others)} other tables"
    return f"{number} ({listed(sorted(others))})"


def _named(candidates: Sequence[str], key: str) -> str:
    if not candidates:
        return f": set {key}, or version_query"
    have = "has" if len(candidates) == 1 else "have"
    return f"; {listed(candidates)} {have} the columns of such a table: set {key}: {printable(candidates[0])}"

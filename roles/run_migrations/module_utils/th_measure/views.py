# SPDX-License-Identifier: Apache-2.0
"""Reading a server's own views, which not every server has, and tables' names as in them: those of the server's files,
without the partition.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import pymysql
from ansible.module_utils.th_server import mariadb

PART = re.compile(r"#p#([^#]*)", re.IGNORECASE)
"""A partition, in the name of its file."""
_ENCODED = re.compile(r"@([0-9a-f]{4})")


def query_or_none(connection: Any, sql: str, *values: object) -> list[tuple[Any, ...]] | None:
    """The rows; None where the server does not support the query, or the account may not run it."""
    try:
        return mariadb.query(connection, sql, *values)
    except (pymysql.err.ProgrammingError, pymysql.err.InternalError, pymysql.err.OperationalError) as error:
        if error.args[0] in mariadb.CONNECTION_LOST:
            raise
        return None


def query_in(connection: Any, sql: str, names: Iterable[str], *values: object) -> list[tuple[Any, ...]] | None:
    """The rows of a query with the names in place of NAMES, which come after the other values."""
    every = list(names)
    return query_or_none(connection, sql.replace("NAMES", ", ".join(["%s"] * len(every))), *values, *every)


def metrics(connection: Any, names: Iterable[str]) -> dict[str, int]:
    """Those of InnoDB's metrics that the server counts."""
    wanted = list(names)
    for enabled in ("enabled", "status = 'enabled'"):  # MariaDB, MySQL
        sql = f"SELECT name, count FROM information_schema.innodb_metrics WHERE {enabled} AND name IN (NAMES)"  # noqa: S608
        if (rows := query_in(connection, sql, wanted)) is not None:
            return {str(name): int(count) for name, count in rows}
    return {}


def file_name(schema: str, table: str) -> str:
    """A table's name as in the name of its file."""
    return f"{encoded(schema)}/{encoded(table)}"


def table_of(part: str) -> str:
    """The table that a partition belongs to, or the table itself."""
    found = PART.search(part)
    return part[: found.start()] if found else part


def encoded(name: str) -> str:
    """A name as the server encodes it in file names."""
    return "".join(char if char.isascii() and (char.isalnum() or char == "_") else f"@{ord(char):04x}" for char in name)


def plain(name: str) -> str:
    """The SQL name for an encoded one."""
    return _ENCODED.sub(lambda found: chr(int(found[1], 16)), name)

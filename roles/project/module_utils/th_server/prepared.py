# SPDX-License-Identifier: Apache-2.0
"""Prepared transactions (XA PREPARE) that belong to no connection any more: their names and their locks.

A server keeps such a transaction, and its locks, until somebody ends it, and does not say whose it is. On a private
server all are the job's; on an external one, those that lock a table of the job.

This module imports nothing of Ansible, because the program that holds a job's locks on an external server loads it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable
from typing import Any

import pymysql

_LOCKED = (1205, 3572)  # timeout while waiting for a lock; lock not available without waiting
_LOST = (0, 2006, 2013, 2014, 2055)
_WITHOUT_WAITING = (
    "autocommit = 0", "innodb_table_locks = 1", "innodb_lock_wait_timeout = 1", "lock_wait_timeout = 1",
)  # fmt: skip


def prepared(connection: Any) -> list[str] | None:
    """The names of all prepared transactions, in the form of XA ROLLBACK; None if the server does not list them."""
    errors = (pymysql.err.ProgrammingError, pymysql.err.OperationalError, pymysql.err.InternalError)
    with contextlib.suppress(*errors):  # MariaDB
        return [str(row[3]) for row in _query(connection, "XA RECOVER FORMAT='SQL'")]
    with contextlib.suppress(*errors):  # MySQL: both parts of the name in one, in hexadecimal digits
        found = []
        for number, first, _, name in _query(connection, "XA RECOVER CONVERT XID"):
            digits = str(name).removeprefix("0x")
            found.append(f"X'{digits[: 2 * int(first)]}',X'{digits[2 * int(first) :]}',{int(number)}")
        return found
    return None


def locked_table(connection: Any, schemas: Iterable[str]) -> str:
    """A table of the databases that another transaction has locked; "" for none.

    To be called when no other connection is active there. Afterwards, this connection does not wait for locks.
    """
    for setting in _WITHOUT_WAITING:
        _query(connection, f"SET SESSION {setting}")
    try:
        for schema, table in _tables(connection, schemas):
            try:
                _query(connection, f"LOCK TABLES {_quoted(schema)}.{_quoted(table)} READ")
            except pymysql.err.OperationalError as error:
                if error.args[0] in _LOCKED:
                    return f"{schema}.{table}"
                if error.args[0] in _LOST:
                    raise
    finally:
        with contextlib.suppress(pymysql.Error):
            _query(connection, "UNLOCK TABLES")
            _query(connection, "SET SESSION autocommit = 1")  # within a transaction, another one cannot be ended
    return ""


def roll_back(connection: Any, schemas: Collection[str], before: Collection[str]) -> None:
    """Roll back what a job has prepared on a shared server; the locked tables could not be dropped otherwise.

    `before` are transactions that existed before the job. The others that belong to no connection are rolled back one
    by one for as long as a table of the job's databases is locked.
    """
    for name in prepared(connection) or ():
        if name in before:
            continue
        if not locked_table(connection, schemas):
            return
        with contextlib.suppress(pymysql.err.MySQLError):  # it belongs to a connection, or has ended
            _query(connection, f"XA ROLLBACK {name}")


def _tables(connection: Any, schemas: Iterable[str]) -> list[tuple[str, str]]:
    """The tables of the databases that transactions can lock."""
    found = []
    for schema in schemas:
        rows = _query(
            connection,
            "SELECT table_name FROM information_schema.tables WHERE table_schema = %s AND engine = 'InnoDB'"
            " AND table_type <> 'SEQUENCE'",
            schema,
        )
        found += [(schema, str(name)) for (name,) in rows]
    return found


def _query(connection: Any, sql: str, *values: object) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values or None)
        return list(cursor.fetchall())


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"

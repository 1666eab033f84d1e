# SPDX-License-Identifier: Apache-2.0
"""Transactions that are prepared (XA PREPARE) and that no connection has any more: what names and what locks they have.

A server keeps such a transaction, and its locks, until somebody ends it. It does not say whose it is. On a private
server all are the job's; on another one those are that lock a table of the job's.

Nothing of Ansible's is used here: the program that holds a job's locks on an external server loads this module, too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable
from typing import Any

import pymysql

_LOCKED = (1205, 3572)  # a time limit for a lock; no wait for one
_LOST = (0, 2006, 2013, 2014, 2055)
_WITHOUT_WAITING = (
    "autocommit = 0", "innodb_table_locks = 1", "innodb_lock_wait_timeout = 1", "lock_wait_timeout = 1",
)  # fmt: skip


def prepared(connection: Any) -> list[str] | None:
    """The names of all prepared transactions, as XA ROLLBACK takes them; None where the server does not say."""
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
    """A table of the databases that somebody else's transaction has changed; "" for none.

    To be called when no other connection works there. The connection waits for no lock from then on.
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
            _query(connection, "SET SESSION autocommit = 1")  # within a transaction, nobody can end another one
    return ""


def roll_back(connection: Any, schemas: Collection[str], before: Collection[str]) -> None:
    """Roll back what a job has prepared on a server that others use, too: nobody could drop what it locks.

    `before` were there when the job began. Of the others, which no connection has, one after the other is rolled back
    for as long as a table of the job's databases is locked.
    """
    for name in prepared(connection) or ():
        if name in before:
            continue
        if not locked_table(connection, schemas):
            return
        with contextlib.suppress(pymysql.err.MySQLError):  # it is a connection's, or its own is gone
            _query(connection, f"XA ROLLBACK {name}")


def _tables(connection: Any, schemas: Iterable[str]) -> list[tuple[str, str]]:
    """The tables that transactions can lock."""
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

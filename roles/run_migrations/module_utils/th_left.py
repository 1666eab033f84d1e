# SPDX-License-Identifier: Apache-2.0
"""What the project's code leaves in the database server when its process is gone: it is ended, or it is an error.

A transaction that is prepared, or still being rolled back, is neither done nor undone. What its migration has written,
the version among it, is not what a database would hold.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from typing import Any

import pymysql
from ansible.module_utils import th_mariadb
from ansible.module_utils.th_accounts import identifier
from ansible.module_utils.th_external import RIGHTS
from ansible.module_utils.th_text import printable
from ansible.module_utils.th_walkers import WalkError

_GONE = 1094
_LOOK = 0.02
_MOST = 5
_LOCKED = (1205, 3572)  # a time limit for a lock; no wait for one
_WITHOUT_WAITING = (
    "autocommit = 0", "innodb_table_locks = 1", "innodb_lock_wait_timeout = 1", "lock_wait_timeout = 1",
)  # fmt: skip
_SHOWN = ("XA RECOVER FORMAT='SQL'", "XA RECOVER CONVERT XID")
"""MariaDB's and MySQL's ways to name transactions without the bytes that somebody has chosen."""


def end_connections(connection: Any, server: th_mariadb.Server, patience: float) -> None:
    """End the connections of the job's account, and wait until all that they had not committed is rolled back.

    Raises WalkError after `patience` seconds, and where the server does not let us.
    """
    deadline = time.monotonic() + patience
    listed = "SELECT id, COALESCE(state, '') FROM information_schema.processlist WHERE user = %s"
    while rows := th_mariadb.query(connection, listed, server.user):
        for number, _ in rows:
            try:
                th_mariadb.query(connection, f"KILL {int(number)}")
            except pymysql.err.OperationalError as error:
                if error.args[0] in th_mariadb.CONNECTION_LOST:
                    raise
                if error.args[0] != _GONE:
                    problem = f"the server does not let connections be ended: {error.args[-1]}; {RIGHTS}"
                    raise WalkError("server_unreachable", problem) from error
        if time.monotonic() > deadline:
            what = ", ".join(printable(f"connection {number} {state}".strip()) for number, state in rows[:_MOST])
            raise WalkError(
                "walk_failed",
                f"what the project's code had not committed when it ended is still being rolled back after {patience:g}"
                f" s ({what}): nobody knows at which version the database will be. Commit what a migration does, in"
                " parts, before its process ends",
            )
        time.sleep(_LOOK)


def nothing_prepared(connection: Any, server: th_mariadb.Server) -> None:
    """Raises WalkError when a transaction on the job's databases is neither committed nor rolled back.

    To be called when no connection of the job's account is left: what is still open then belongs to no connection.
    On a private server that is any that is prepared. An external one may have other people's, too; there it is one
    that holds a lock on a table of the job's.
    """
    prepared = _prepared(connection)
    if prepared == []:
        return
    held = "" if prepared and server.private else _held(server)
    if held or (prepared and server.private):
        names = f" ({', '.join(map(printable, prepared[:_MOST]))})" if prepared else ""
        where = f", which locks the table {printable(held)}" if held else ""
        raise WalkError(
            "walk_failed",
            f"the project's code has left a transaction that is neither committed nor rolled back{names}{where}: what"
            " it wrote is in no database that migrates. End XA PREPARE with XA COMMIT",
        )


def delayed(connection: Any, server: th_mariadb.Server) -> None:
    """Raises WalkError when a thread of an external server writes rows for the job that nobody has counted.

    Private servers have no such threads.
    """
    if server.private:
        return
    names = list(server.databases.values())
    rows = th_mariadb.query(
        connection,
        "SELECT COUNT(*) FROM information_schema.processlist"  # noqa: S608
        f" WHERE user = 'DELAYED' AND db IN ({', '.join(['%s'] * len(names))})",
        *names,
    )
    if int(rows[0][0]):
        raise WalkError(
            "walk_failed",
            "INSERT DELAYED lets the server write rows after the migration that brings them has ended, where they"
            " cannot be measured: write INSERT",
        )


def _prepared(connection: Any) -> list[str] | None:
    """The names of all prepared transactions of the server; None where it does not say."""
    for statement in _SHOWN:
        with contextlib.suppress(pymysql.err.ProgrammingError, pymysql.err.OperationalError, pymysql.err.InternalError):
            return [str(row[3]) for row in th_mariadb.query(connection, statement)]
    return None


def _held(server: th_mariadb.Server) -> str:
    """A table of the job's databases that somebody else has a lock on; "" for none."""
    with th_mariadb.connect(server, server.job_file) as connection:
        for setting in _WITHOUT_WAITING:
            th_mariadb.query(connection, f"SET SESSION {setting}")
        for schema, table in _tables(connection, server.databases.values()):
            try:
                th_mariadb.query(connection, f"LOCK TABLES {identifier(schema)}.{identifier(table)} READ")
            except pymysql.err.OperationalError as error:
                if error.args[0] in _LOCKED:
                    return f"{schema}.{table}"
                if error.args[0] in th_mariadb.CONNECTION_LOST:
                    raise
    return ""


def _tables(connection: Any, schemas: Iterable[str]) -> list[tuple[str, str]]:
    """The tables that transactions can lock."""
    found = []
    for schema in schemas:
        rows = th_mariadb.query(
            connection,
            "SELECT table_name FROM information_schema.tables WHERE table_schema = %s AND engine = 'InnoDB'"
            " AND table_type <> 'SEQUENCE'",
            schema,
        )
        found += [(schema, str(name)) for (name,) in rows]
    return found

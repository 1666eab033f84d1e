# SPDX-License-Identifier: Apache-2.0
"""What the project's code leaves behind in the database server when its process has gone: it is ended, or an error.

A transaction that is prepared, or still being rolled back, is neither done nor undone. What its migration wrote, the
version included, is not what a production database would end up with.
"""

from __future__ import annotations

import time
from typing import Any

import pymysql
from ansible.module_utils.th_core.text import printable
from ansible.module_utils.th_measure.locks import process_list
from ansible.module_utils.th_server import mariadb
from ansible.module_utils.th_server.external_server import RIGHTS
from ansible.module_utils.th_server.prepared import locked_table, prepared
from ansible.module_utils.th_walk.walkers import WalkError

_GONE = 1094
_LOOK = 0.02
_MOST = 5


def end_connections(connection: Any, server: mariadb.Server, patience: float) -> None:
    """End the connections of the job's account, and wait until everything they had not committed is rolled back.

    Raises WalkError after `patience` seconds, and where the server does not permit it.
    """
    deadline = time.monotonic() + patience
    while sessions := [one for one in process_list(connection) if one.user == server.user]:
        for one in sessions:
            try:
                mariadb.query(connection, f"KILL {one.number}")
            except pymysql.err.OperationalError as error:
                if error.args[0] in mariadb.CONNECTION_LOST:
                    raise
                if error.args[0] != _GONE:
                    problem = f"the server does not let connections be ended: {error.args[-1]}; {RIGHTS}"
                    raise WalkError("server_unreachable", problem) from error
        if time.monotonic() > deadline:
            each = (f"connection {one.number} {one.state}".strip() for one in sessions[:_MOST])
            what = ", ".join(map(printable, each))
            raise WalkError(
                "walk_failed",
                f"what the project's code had not committed when it ended is still being rolled back after {patience:g}"
                f" s ({what}): nobody knows at which version the database will be. Commit what a migration does, in"
                " parts, before its process ends",
            )
        time.sleep(_LOOK)


def nothing_prepared(connection: Any, server: mariadb.Server) -> None:
    """Raises WalkError when a transaction on the job's databases is neither committed nor rolled back.

    To be called when the job's account has no connection left: what is still open then belongs to no connection. On a
    private server that is any prepared transaction. An external one may have those of others, too; there it is one
    that holds a lock on a table of the job.
    """
    names = prepared(connection)
    if names == []:
        return
    locked = "" if names and server.private else _locked_table(server)
    if locked or (names and server.private):
        named = f" ({', '.join(map(printable, names[:_MOST]))})" if names and server.private else ""
        where = f", which locks the table {printable(locked)}" if locked else ""
        raise WalkError(
            "walk_failed",
            f"the project's code has left a transaction that is neither committed nor rolled back{named}{where}: what"
            " it wrote is in no database that migrates. End XA PREPARE with XA COMMIT",
        )


def delayed(connection: Any, server: mariadb.Server) -> None:
    """Raises WalkError when a thread of an external server is still writing rows for the job, which nobody counts.

    Private servers have no such threads.
    """
    if server.private:
        return
    names = list(server.databases.values())
    rows = mariadb.query(
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


def _locked_table(server: mariadb.Server) -> str:
    """A table of the job's databases that another transaction has locked; "" for none."""
    with mariadb.connect(server, server.job_file) as connection:
        return locked_table(connection, server.databases.values())

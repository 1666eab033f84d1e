# SPDX-License-Identifier: Apache-2.0
"""What a migration made the server do: counters read over the measuring side's own connection.

What can be measured depends on the server. A private one counts for this job alone: MySQL and Percona in InnoDB,
MariaDB 10.11 in the handlers. On an external one only what is counted for the job's own account is told.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible.module_utils.th_measure.innodb_rows import asked, encoded
from ansible.module_utils.th_server import mariadb

_INNODB_CHANGED = ("Innodb_rows_inserted", "Innodb_rows_updated", "Innodb_rows_deleted")
_HANDLER_CHANGED = ("Handler_write", "Handler_update", "Handler_delete")
_HANDLER_READ = tuple(f"Handler_read_{how}" for how in ("first", "key", "last", "next", "prev", "rnd", "rnd_next"))
_NOT_DATA = ("ib_logfile", "ibtmp", "aria_log", "ib_buffer_pool", "#ib_redo")
# MariaDB and MySQL 5.7; MySQL 8
_TABLESPACES = ("INNODB_SYS_TABLESPACES", "INNODB_TABLESPACES")
NAMES = ("rows_changed", "rows_read", "redo_bytes", "data_bytes")
_COUNTED_SECONDS = 10.0
"""How long the last statements of an account may take to be counted after they were answered."""


@dataclass(frozen=True)
class Reading:
    """The server's counters at one moment, and the size of the job's data in bytes (None: cannot be told).

    With `account`, they are those of the job's account on a server that others use, too. `busy` are the seconds that
    statements of that account have taken; None where nobody counts them.
    """

    status: Mapping[str, int]
    data_bytes: int | None
    account: bool = False
    busy: float | None = field(default=None, compare=False)

    @property
    def handlers(self) -> bool:
        """Whether rows are counted by handlers, which do not see what InnoDB changes by itself."""
        return self.account or not all(name in self.status for name in (*_INNODB_CHANGED, "Innodb_rows_read"))

    @property
    def statements(self) -> int:
        """The rows that statements have updated and deleted so far."""
        return sum(self.status.get(name, 0) for name in ("Handler_update", "Handler_delete"))

    def busy_since(self, before: Reading) -> float | None:
        """The seconds that the server was busy with statements of the account between two readings."""
        return None if self.busy is None or before.busy is None else max(0.0, self.busy - before.busy)

    def since(self, before: Reading) -> dict[str, int | None]:
        """What happened between two readings: the `counters` of an `end` event; None is "cannot be measured"."""

        def delta(*names: str) -> int | None:
            if not all(name in self.status and name in before.status for name in names):
                return None
            grown = sum(self.status[name] - before.status[name] for name in names)
            return grown if grown >= 0 else None  # somebody has set the counters back

        if self.handlers:
            changed, read = delta(*_HANDLER_CHANGED), delta("Rows_read")
        else:
            changed, read = delta(*_INNODB_CHANGED), delta("Innodb_rows_read")
        sizes = (self.data_bytes, before.data_bytes)
        return {
            "rows_changed": changed,
            "rows_read": read,
            # one log holds what everybody writes
            "redo_bytes": None if self.account else delta("Innodb_os_log_written"),
            "data_bytes": None if sizes[0] is None or sizes[1] is None else sizes[0] - sizes[1],
        }


def unmeasured() -> dict[str, int | None]:
    """The counters of a migration after which the server could not be asked any more."""
    return dict.fromkeys(NAMES)


def read(connection: Any, server: mariadb.Server) -> Reading:
    """Read the counters of a server: of a private one all of them, of an external one those of the job's account.

    On a private server the statement itself moves none of them (on MariaDB, not `Rows_read` either). Raises
    FileNotFoundError for a private one whose data directory is not there.
    """
    if not server.private:
        busy = _busy(connection, server.user)
        return Reading(_of_account(connection, server.user), _files(connection, server), account=True, busy=busy)
    if not server.datadir.is_dir():
        raise FileNotFoundError(f"{server.datadir} is no data directory of a private server")
    return Reading(_of_server(connection), _size(server.datadir), busy=_busy(connection, server.user))


def read_status(connection: Any, server: mariadb.Server) -> Mapping[str, int]:
    """The counters alone, without those of statements that are answered and not counted yet."""
    return _of_server(connection) if server.private else _of_account(connection, server.user, patience=0)


def rows_read(connection: Any, server: mariadb.Server) -> int | None:
    """How many rows were read so far."""
    return read_status(connection, server).get("Rows_read")


def _of_server(connection: Any) -> dict[str, int]:
    wanted = (*_INNODB_CHANGED, "Innodb_rows_read", *_HANDLER_CHANGED, "Rows_read", "Innodb_os_log_written")
    rows = mariadb.query(
        connection,
        f"SHOW GLOBAL STATUS WHERE Variable_name IN ({', '.join(['%s'] * len(wanted))})",
        *wanted,
    )
    return {str(name): int(value) for name, value in rows}


def _busy(connection: Any, user: str) -> float | None:
    rows = asked(connection, "SELECT busy_time FROM information_schema.user_statistics WHERE user = %s", user)
    return float(rows[0][0]) if rows else None


def connections(connection: Any, server: mariadb.Server) -> int:
    """How often anybody has connected to a private server; how often the job's account has to an external one."""
    if server.private:
        return int(mariadb.query(connection, "SHOW GLOBAL STATUS LIKE 'Connections'")[0][1])
    counted = asked(connection, "SELECT @@userstat")
    views = ("information_schema.user_statistics", "performance_schema.users")
    for view in views if counted and int(counted[0][0]) else views[1:]:
        rows = asked(connection, f"SELECT total_connections FROM {view} WHERE user = %s", server.user)  # noqa: S608
        if rows:
            return int(rows[0][0])
    rows = mariadb.query(
        connection, "SELECT COUNT(*) FROM information_schema.processlist WHERE user = %s", server.user
    )
    return int(rows[0][0])  # those that are there now: a short one can be missed


def _of_account(connection: Any, user: str, patience: float = _COUNTED_SECONDS) -> dict[str, int]:
    """What is counted for one account: MariaDB's user statistics, else the performance schema; {} without either."""
    rows = asked(connection, "SELECT @@userstat")
    if rows and int(rows[0][0]):
        if patience and not _counted(connection, user, patience):
            return {}
        rows = asked(
            connection,
            "SELECT rows_read, rows_inserted, rows_updated, rows_deleted FROM information_schema.user_statistics"
            " WHERE user = %s",
            user,
        )
        if rows:  # without the right to see it, there is no row; the account itself has been here before
            return dict(zip(("Rows_read", *_HANDLER_CHANGED), (int(value) for value in rows[0]), strict=True))
    rows = asked(
        connection,
        "SELECT variable_name, variable_value FROM performance_schema.status_by_user"
        " WHERE user = %s AND variable_name LIKE 'Handler\\_%%'",
        user,
    )
    found = {str(name): int(value) for name, value in rows or ()}
    if not all(name in found for name in (*_HANDLER_CHANGED, *_HANDLER_READ)):
        return {}
    changed = {name: found[name] for name in _HANDLER_CHANGED}
    return {**changed, "Rows_read": sum(found[name] for name in _HANDLER_READ)}


def _counted(connection: Any, user: str, patience: float) -> bool:
    """Wait until no statement of the account runs: MariaDB counts one for its account after it has answered it, but
    before its connection sleeps again. False where one goes on running: what it does cannot be measured."""
    deadline = time.monotonic() + patience
    running = (
        "SELECT COUNT(*) FROM information_schema.processlist"
        " WHERE user = %s AND id <> CONNECTION_ID() AND command <> 'Sleep'"
    )
    while (rows := asked(connection, running, user)) and int(rows[0][0]):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _files(connection: Any, server: mariadb.Server) -> int | None:
    """Bytes of the files of the job's tables."""
    folders = [encoded(database) for database in server.databases.values()]
    for view in _TABLESPACES:
        rows = asked(
            connection,
            f"SELECT COALESCE(SUM(file_size), 0) FROM information_schema.{view}"  # noqa: S608 - names of our own
            f" WHERE SUBSTRING_INDEX(name, '/', 1) IN ({', '.join(['%s'] * len(folders))})",
            *folders,
        )
        if rows is not None:
            return int(rows[0][0])
    return None


def _size(folder: Path) -> int:
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            if not name.startswith(_NOT_DATA):
                try:
                    total += os.lstat(os.path.join(path, name)).st_size
                except FileNotFoundError:
                    pass  # a temporary table's, gone in between
    return total

# SPDX-License-Identifier: Apache-2.0
"""What a migration made the server do: counters read over the measuring side's own connection.

What can be measured depends on the server: `th_server.counters` lists what is read from which.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ansible.module_utils.th_measure import other_engines
from ansible.module_utils.th_measure.other_engines import OtherRows
from ansible.module_utils.th_measure.views import encoded, metrics, query_or_none
from ansible.module_utils.th_server import mariadb
from ansible.module_utils.th_server.counters import (
    ALTERED,
    COUNTERS,
    DATA,
    LOG_POSITION,
    PRIVATE,
    REDO_BYTES,
    ROWS_CHANGED,
    ROWS_READ,
    Counter,
    Source,
)

_NOT_DATA = (
    "ib_logfile", "ibtmp", "aria_log", "ib_buffer_pool", "#innodb_redo", "#innodb_temp", "#ib_", "undo_", "binlog."
)  # fmt: skip
"""How the names of files and folders begin that grow and shrink without the data: they are in the data directory
itself, where no table has its file."""
# MariaDB and MySQL 5.7; MySQL 8
_TABLESPACES = ("INNODB_SYS_TABLESPACES", "INNODB_TABLESPACES")
_BUSY = (
    "SELECT busy_time FROM information_schema.user_statistics WHERE user = %s",
    # MySQL: statements within a routine (statement/sp) are in the time of the one that calls it
    "SELECT SUM(sum_timer_wait) / 1e12 FROM performance_schema.events_statements_summary_by_user_by_event_name"
    " WHERE user = %s AND SUBSTRING_INDEX(event_name, '/', 2) IN ('statement/sql', 'statement/com')",
)
NAMES = tuple(counter.name for counter in COUNTERS)
_COUNTED_SECONDS = 10.0
"""Seconds that the server may take to count an account's last statements after they have returned."""


@dataclass(frozen=True)
class Reading:
    """A server's counters at one moment, by the server's names, and DATA where that is known.

    `busy` is how many seconds statements of the job's account have taken; None where that is not counted. `others` are
    the rows of other engines where `status` does not have them.
    """

    status: Mapping[str, int]
    source: Source
    busy: float | None = field(default=None, compare=False)
    others: OtherRows | None = field(default=None, compare=False)

    @property
    def handlers(self) -> bool:
        """Whether rows are counted by handlers, which do not see what InnoDB changes by itself."""
        return self.source is not Source.INNODB

    @property
    def statements(self) -> int:
        """The rows that statements have updated and deleted so far."""
        names = ("rows_updated", "rows_deleted") if self.source is Source.USER_STATISTICS else ALTERED
        return sum(self.status.get(name, 0) for name in names)

    @property
    def handled(self) -> int | None:
        """The rows that have been read so far; None where they are not counted."""
        return self._sum(ROWS_READ.read.get(self.source, ()))

    def busy_since(self, before: Reading) -> float | None:
        """The seconds that the server was busy with statements of the account between two readings."""
        return None if self.busy is None or before.busy is None else max(0.0, self.busy - before.busy)

    def since(self, before: Reading) -> dict[str, int | None]:
        """What happened between two readings: the `counters` of an `end` event; None means "cannot be measured"."""
        found = {counter.name: self._grown(counter, before) for counter in COUNTERS}
        if self.others and before.others:
            for counter, rows in zip((ROWS_CHANGED, ROWS_READ), self.others.since(before.others), strict=True):
                if (known := found[counter.name]) is not None:
                    found[counter.name] = known + rows
        return found

    def with_log_of(self, later: Reading) -> Reading:
        """The same reading, but with the redo log counters of a later one."""
        log = {name: later.status[name] for name in REDO_BYTES.read.get(self.source, ()) if name in later.status}
        return replace(self, status={**self.status, **log})

    def _grown(self, counter: Counter, before: Reading) -> int | None:
        names = counter.read.get(self.source, ())
        now, then = self._sum(names), before._sum(names)
        if now is None or then is None or (now < then and not counter.shrinks):
            return None
        return now - then

    def _sum(self, names: Sequence[str]) -> int | None:
        return sum(self.status[name] for name in names) if names and self.status.keys() >= set(names) else None


def unmeasured() -> dict[str, int | None]:
    """The counters of a migration after which the server could not be read any more."""
    return dict.fromkeys(NAMES)


def read(connection: Any, server: mariadb.Server) -> Reading:
    """Read a server's counters: all of them of a private one, those of the job's account of an external one.

    On a private server the query itself changes none of them (on MariaDB not even `Rows_read`). Raises
    FileNotFoundError for a private one without its data directory.
    """
    if not server.private:
        busy = _busy(connection, server.user)
        status, source = _of_account(connection, server.user)
        size = _files(connection, server)
        others = None
    else:
        if not server.datadir.is_dir():
            raise FileNotFoundError(f"{server.datadir} is no data directory of a private server")
        status, source = _of_server(connection)
        others = other_engines.read(connection, server, status) if source is Source.INNODB else None
        size, busy = _size(server.datadir), _busy(connection, server.user)
    return Reading(status if size is None else {**status, DATA: size}, source, busy, others)


def read_status(connection: Any, server: mariadb.Server) -> Reading:
    """The counters alone, without waiting for statements that have returned but are not counted yet."""
    return Reading(*(_of_server(connection) if server.private else _of_account(connection, server.user, patience=0)))


def source_of(status: Mapping[str, int]) -> Source:
    """The source of the counters of a private server with this status."""
    rows = (*ROWS_CHANGED.read[Source.INNODB], *ROWS_READ.read[Source.INNODB])
    return Source.INNODB if status.keys() >= set(rows) else Source.HANDLERS


def _names(*sources: Source) -> list[str]:
    """The names of all counters that are read from these sources."""
    found = (name for source in sources for counter in COUNTERS for name in counter.read.get(source, ()))
    return [name for name in dict.fromkeys(found) if name != DATA]


def _of_server(connection: Any) -> tuple[dict[str, int], Source]:
    wanted = [*_names(*PRIVATE), *other_engines.SYSTEM_ROWS]
    rows = mariadb.query(
        connection,
        f"SHOW GLOBAL STATUS WHERE Variable_name IN ({', '.join(['%s'] * len(wanted))})",
        *wanted,
    )
    status = {str(name): int(value) for name, value in rows}
    source = source_of(status)
    return (status | metrics(connection, (LOG_POSITION,)) if source is Source.INNODB else status), source


def _busy(connection: Any, user: str) -> float | None:
    for sql in _BUSY:
        if (rows := query_or_none(connection, sql, user)) and rows[0][0] is not None:
            return float(rows[0][0])
    return None


def connections(connection: Any, server: mariadb.Server) -> int:
    """The number of connections so far: to a private server all, to an external one those of the job's account."""
    if server.private:
        return int(mariadb.query(connection, "SHOW GLOBAL STATUS LIKE 'Connections'")[0][1])
    counted = query_or_none(connection, "SELECT @@userstat")
    views = ("information_schema.user_statistics", "performance_schema.users")
    for view in views if counted and int(counted[0][0]) else views[1:]:
        rows = query_or_none(connection, f"SELECT total_connections FROM {view} WHERE user = %s", server.user)  # noqa: S608
        if rows:
            return int(rows[0][0])
    rows = mariadb.query(
        connection, "SELECT COUNT(*) FROM information_schema.processlist WHERE user = %s", server.user
    )
    return int(rows[0][0])  # the current ones: a short connection may be missed


def _of_account(connection: Any, user: str, patience: float = _COUNTED_SECONDS) -> tuple[dict[str, int], Source]:
    """The counters of one account: from MariaDB's user statistics, else the performance schema; {} without either."""
    rows = query_or_none(connection, "SELECT @@userstat")
    if rows and int(rows[0][0]):
        if patience and not _wait_until_counted(connection, user, patience):
            return {}, Source.USER_STATISTICS
        wanted = _names(Source.USER_STATISTICS)
        rows = query_or_none(
            connection,
            f"SELECT {', '.join(wanted)} FROM information_schema.user_statistics"  # noqa: S608 - names of our own
            " WHERE user = %s",
            user,
        )
        if rows:  # without the right to see it, there is no row; the account itself has been here before
            return dict(zip(wanted, (int(value) for value in rows[0]), strict=True)), Source.USER_STATISTICS
    wanted = _names(Source.STATUS_BY_USER)
    rows = query_or_none(
        connection,
        "SELECT variable_name, variable_value FROM performance_schema.status_by_user"  # noqa: S608 - placeholders
        f" WHERE user = %s AND variable_name IN ({', '.join(['%s'] * len(wanted))})",
        user,
        *wanted,
    )
    return {str(name): int(value) for name, value in rows or ()}, Source.STATUS_BY_USER


def _wait_until_counted(connection: Any, user: str, patience: float) -> bool:
    """Wait until no statement of the account runs: MariaDB adds one to the account's counters after returning its
    result and before the connection sleeps. False where one keeps running: then nothing can be measured."""
    deadline = time.monotonic() + patience
    running = (
        "SELECT COUNT(*) FROM information_schema.processlist"
        " WHERE user = %s AND id <> CONNECTION_ID() AND command <> 'Sleep'"
    )
    while (rows := query_or_none(connection, running, user)) and int(rows[0][0]):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _files(connection: Any, server: mariadb.Server) -> int | None:
    """The size in bytes of the job's table files; None where the server does not show it."""
    folders = [encoded(database) for database in server.databases.values()]
    for view in _TABLESPACES:
        rows = query_or_none(
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
    for path, folders, names in os.walk(folder):
        if path == str(folder):
            folders[:] = [name for name in folders if not name.startswith(_NOT_DATA)]
            names = [name for name in names if not name.startswith(_NOT_DATA)]
        for name in names:
            try:
                total += os.lstat(os.path.join(path, name)).st_size
            except FileNotFoundError:
                pass  # a temporary table's, gone in between
    return total

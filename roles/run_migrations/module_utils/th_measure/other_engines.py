# SPDX-License-Identifier: Apache-2.0
"""Rows in tables of storage engines other than InnoDB, on a private MySQL, whose counters of rows are InnoDB's alone.

For each table that is there the performance schema counts exactly what statements read and changed. It forgets tables
that are dropped or altered, and has no temporary ones. So where a table of another engine was opened meanwhile, or by a
session that goes on, what handlers count for the job's account counts as well, less the rows of InnoDB. That includes
rows of the server's own temporary tables (GROUP BY, UNION), and some of its dictionary: the rows changed there are
subtracted as far as they are known, those read are not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.th_measure.views import query_in, query_or_none
from ansible.module_utils.th_server import mariadb
from ansible.module_utils.th_server.counters import ROWS_CHANGED, ROWS_READ, Source

SYSTEM_ROWS = tuple(f"Innodb_system_rows_{what}" for what in ("inserted", "updated", "deleted"))
"""The rows of the server's own dictionary: handlers count them, `Innodb_rows_…` does not."""
_CHANGED, _READ = ROWS_CHANGED.read[Source.STATUS_BY_USER], ROWS_READ.read[Source.STATUS_BY_USER]
_OPENED = (
    "memory/myisam/MI_INFO", "memory/memory/HP_INFO", "memory/csv/Transparent_file", "memory/archive/record_buffer",
)  # fmt: skip
"""What a session allocates when it opens a table of an engine, and not when it uses one that is open."""
_TABLES = (
    "SELECT table_schema, table_name FROM information_schema.tables"
    " WHERE table_type = 'BASE TABLE' AND engine <> 'InnoDB' AND table_schema IN (NAMES)"
)
_COUNTED = (
    "SELECT object_schema, object_name, count_insert + count_update + count_delete, count_read"
    " FROM performance_schema.table_io_waits_summary_by_table WHERE object_schema IN (NAMES)"
)
_HANDLED = (
    "SELECT variable_name, variable_value FROM performance_schema.status_by_user"
    " WHERE user = %s AND variable_name IN (NAMES)"
)
_OPENINGS = (
    "SELECT COALESCE(SUM(count_alloc), 0) FROM performance_schema.memory_summary_global_by_event_name"
    " WHERE event_name IN (NAMES)"
)
_OF_SESSIONS = (
    "SELECT COALESCE(SUM(count_alloc), 0) FROM performance_schema.memory_summary_by_user_by_event_name"
    " WHERE user = %s AND event_name IN (NAMES)"
)
_UNCOUNTED = (
    "DELETE FROM performance_schema.setup_actors WHERE user = SUBSTRING_INDEX(CURRENT_USER(), '@', 1)",
    "INSERT INTO performance_schema.setup_actors (host, user, role, enabled, history)"
    " VALUES ('%', SUBSTRING_INDEX(CURRENT_USER(), '@', 1), '%', 'NO', 'NO')",
    "UPDATE performance_schema.threads SET instrumented = 'NO' WHERE processlist_id = CONNECTION_ID()",
)


@dataclass(frozen=True)
class OtherRows:
    """What there is at one moment.

    `tables` are the tables of other engines, each with the rows changed and read there. `openings` is how often a table
    of another engine has been opened, `held` whether a session that goes on has done so: it may have temporary ones.
    `changed` and `read` are the rows that handlers have changed and read for the job's account, less those of InnoDB.
    """

    tables: Mapping[tuple[str, str], tuple[int, int]]
    openings: int
    held: bool
    changed: int
    read: int

    def since(self, before: OtherRows) -> tuple[int, int]:
        """The rows changed and read since an earlier moment."""
        changed, read = 0, 0
        for table, (changes, reads) in self.tables.items():
            changes_before, reads_before = before.tables.get(table, (0, 0))
            changed += max(0, changes - changes_before)
            read += max(0, reads - reads_before)
        if self.openings != before.openings or self.held or before.held:
            return max(changed, self.changed - before.changed), max(read, self.read - before.read)
        return changed, read


def prepare(connection: Any) -> None:
    """Have a MySQL not count the tables that the measuring side opens: those of its own views are of an engine, too."""
    for sql in _UNCOUNTED:
        query_or_none(connection, sql)


def read(connection: Any, server: mariadb.Server, status: Mapping[str, int]) -> OtherRows | None:
    """The current state, `status` being that of the server; None where the performance schema does not count."""
    names = list(server.databases.values())
    tables = query_in(connection, _TABLES, names)
    counted = query_in(connection, _COUNTED, names) if tables else []
    handled = query_in(connection, _HANDLED, (*_CHANGED, *_READ), server.user)
    openings = query_in(connection, _OPENINGS, _OPENED)
    of_sessions = query_in(connection, _OF_SESSIONS, _OPENED, server.user)
    if tables is None or counted is None or handled is None or not openings or not of_sessions:
        return None
    known = {(str(schema), str(name)): (int(changes), int(reads)) for schema, name, changes, reads in counted}
    handlers = {str(name): int(value) for name, value in handled}  # none until the account has connected
    return OtherRows(
        {table: known.get(table, (0, 0)) for table in ((str(schema), str(name)) for schema, name in tables)},
        int(openings[0][0]),
        bool(of_sessions[0][0]),
        _sum(handlers, _CHANGED) - _sum(status, (*ROWS_CHANGED.read[Source.INNODB], *SYSTEM_ROWS)),
        _sum(handlers, _READ) - _sum(status, ROWS_READ.read[Source.INNODB]),
    )


def _sum(values: Mapping[str, int], names: Iterable[str]) -> int:
    return sum(values.get(name, 0) for name in names)

# SPDX-License-Identifier: Apache-2.0
"""Rows in tables of storage engines other than InnoDB, on a private MySQL, whose counters of rows are InnoDB's alone.

For each table that is there the performance schema counts exactly what statements read and changed. It forgets tables
that are dropped or altered, and has no temporary ones. So from the first time that the job's account opens a table of
another engine, what handlers count for the account counts as well, less the rows of InnoDB. That includes rows of the
server's own temporary tables (GROUP BY, UNION), and is right to within the few rows of its dictionary that DDL changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.th_measure.views import query_in
from ansible.module_utils.th_server import mariadb
from ansible.module_utils.th_server.counters import ROWS_CHANGED, ROWS_READ, Source

_OWN = "Innodb_system_rows_"
SYSTEM_ROWS = tuple(f"{_OWN}{what}" for what in ("inserted", "updated", "deleted", "read"))
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
_ALLOCATED = (
    "SELECT COALESCE(SUM(count_alloc), 0) FROM performance_schema.memory_summary_by_user_by_event_name"
    " WHERE user = %s AND event_name IN (NAMES)"
)


@dataclass(frozen=True)
class OtherRows:
    """What there is at one moment.

    `tables` are the tables of other engines, each with the rows changed and read there. `opened` is whether the job's
    account has opened one since the server was started. `changed` and `read` are the rows that handlers have changed
    and read for the account, less those of InnoDB.
    """

    tables: Mapping[tuple[str, str], tuple[int, int]]
    opened: bool
    changed: int
    read: int

    def since(self, before: OtherRows) -> tuple[int, int]:
        """The rows changed and read since an earlier moment."""
        changed, read = 0, 0
        for table, (changes, reads) in self.tables.items():
            changes_before, reads_before = before.tables.get(table, (0, 0))
            changed += max(0, changes - changes_before)
            read += max(0, reads - reads_before)
        if self.opened:
            return max(changed, self.changed - before.changed), max(read, self.read - before.read)
        return changed, read


def read(connection: Any, server: mariadb.Server, status: Mapping[str, int]) -> OtherRows | None:
    """The current state, `status` being that of the server; None where the performance schema does not count."""
    names = list(server.databases.values())
    tables = query_in(connection, _TABLES, names)
    counted = query_in(connection, _COUNTED, names) if tables else []
    handled = query_in(connection, _HANDLED, (*_CHANGED, *_READ), server.user)
    opened = query_in(connection, _ALLOCATED, _OPENED, server.user)
    if tables is None or counted is None or not opened or handled is None:
        return None
    known = {(str(schema), str(name)): (int(changes), int(reads)) for schema, name, changes, reads in counted}
    handlers = {str(name): int(value) for name, value in handled}  # none until the account has connected
    return OtherRows(
        {table: known.get(table, (0, 0)) for table in ((str(schema), str(name)) for schema, name in tables)},
        bool(opened[0][0]),
        _sum(handlers, _CHANGED) - _sum(status, (*ROWS_CHANGED.read[Source.INNODB], *SYSTEM_ROWS[:3])),
        _sum(handlers, _READ) - _sum(status, (*ROWS_READ.read[Source.INNODB], *SYSTEM_ROWS[3:])),
    )


def _sum(values: Mapping[str, int], names: Iterable[str]) -> int:
    return sum(values.get(name, 0) for name in names)

# SPDX-License-Identifier: Apache-2.0
"""Rows that InnoDB itself changes, which the server's handlers do not count; its tables, and its cleaning up.

A foreign key deletes and updates the rows of other tables within InnoDB. MariaDB does not count those, but it counts
what it has to purge afterwards: every row that was deleted, and every one that was updated in an indexed column, which
a foreign key's always is. In addition InnoDB purges its own records about tables, some dozens per DDL statement. MySQL
counts what foreign keys do like everything else, so there nothing of this is added.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible.module_utils.th_measure.views import (
    encoded,
    file_name,
    metrics,
    plain,
    query_in,
    query_or_none,
    table_of,
)
from ansible.module_utils.th_server import mariadb
from ansible.module_utils.th_server.counters import LOG_POSITION

PURGE_PATIENCE = 60.0
"""Seconds that the server may take to purge after a step whose rows have to be known."""
_METRICS = ("purge_del_mark_records", "purge_upd_exist_or_extern_records")
_TRUNCATE = "SET GLOBAL innodb_purge_rseg_truncate_frequency = 1"
"""Without this, MySQL leaves what it has purged in its list for as long as nothing follows."""
_LOOK = 0.1
_WAIT = "SET STATEMENT max_statement_time = 1 FOR SET GLOBAL innodb_max_purge_lag_wait = 0"
_HELD = "SELECT 1 FROM information_schema.innodb_trx WHERE trx_mysql_thread_id NOT IN (0, CONNECTION_ID()) LIMIT 1"
_DDL = (
    "Com_alter_table", "Com_create_table", "Com_drop_table", "Com_truncate", "Com_create_index", "Com_drop_index",
    "Com_rename_table", "Com_analyze", "Com_optimize", "Com_drop_db",
)  # fmt: skip
_OWN_ROWS = 40
"""How many rows of its own records InnoDB changes, at most, with an ordinary DDL statement."""
_OWN_ROWS_AT_LEAST = 200
_ACTIONS = 15  # ON DELETE and ON UPDATE, CASCADE and SET NULL: bits of the column TYPE
_TABLES = (
    "SELECT table_id, name, num_rows, stats_initialized = 'Initialized' FROM information_schema.INNODB_SYS_TABLESTATS"
    " WHERE SUBSTRING_INDEX(name, '/', 1) IN (NAMES)",
    # MySQL has no statistics of partitions there
    "SELECT table_id, one.name, COALESCE(num_rows, 0), COALESCE(stats_initialized = 'Initialized', FALSE)"
    " FROM information_schema.INNODB_TABLES one LEFT JOIN information_schema.INNODB_TABLESTATS USING (table_id)"
    " WHERE SUBSTRING_INDEX(one.name, '/', 1) IN (NAMES)",
)
_FOREIGN = ("INNODB_SYS_FOREIGN", "INNODB_FOREIGN")
_INTERNAL = re.compile(r"#sql|FTS_[0-9a-f]{16}_", re.IGNORECASE)


@dataclass(frozen=True)
class InnodbState:
    """The tables and counters at one moment. Tables are named like the server's files, without the partition.

    `tables` are those of InnoDB: by table and partition, the server's table number and its estimate of the rows; None
    where this account may not see them. `others` has the rows of other engines' tables, `histories` are the system
    versioned tables. `touched` is how many rows statements have changed in each table, `cascades` are the tables whose
    rows a foreign key may change, by the table that it refers to; each is None where it is not known. `purged` is how
    many rows InnoDB has purged, `unpurged` how many transactions it has yet to purge, `ddl` how many DDL
    statements have run.
    """

    tables: Mapping[str, tuple[int, int]] | None = None
    others: Mapping[str, int] = field(default_factory=dict)
    histories: frozenset[str] = frozenset()
    touched: Mapping[str, int] | None = None
    cascades: Mapping[str, frozenset[str]] | None = None
    purged: int | None = None
    unpurged: int = 0
    ddl: int = 0

    def gone(self, now: InnodbState) -> dict[str, int]:
        """The tables and partitions that were dropped, or replaced under the same name, with the rows they had."""
        if self.tables is None or now.tables is None:
            return {}
        there = {number for number, _ in now.tables.values()}
        return {name: rows for name, (number, rows) in self.tables.items() if number not in there}

    def changed(self, now: InnodbState) -> set[str] | None:
        """The tables whose rows statements have changed; None where that is not known."""
        if self.touched is None or now.touched is None:
            return None
        return {name for name, rows in now.touched.items() if rows != self.touched.get(name, 0)}

    def may_cascade(self, now: InnodbState, statements: int) -> bool:
        """Whether a foreign key may have changed rows: a table that one refers to was changed or replaced."""
        if not statements or self.cascades is None or now.cascades is None:
            return False
        parents = self.cascades.keys() | now.cascades.keys()
        changed = self.changed(now)
        if changed is None:
            return bool(parents)
        gone = {table_of(part) for part in self.gone(now)}
        return not parents.isdisjoint(changed | gone)

    def may_have_cascaded(self, now: InnodbState, statements: int, versions: Collection[str]) -> bool:
        """Whether there may have been such a foreign key in between: tables were altered, and rows of tables other than
        the `versions` were changed."""
        if now.ddl == self.ddl or not statements:
            return False
        changed = self.changed(now)
        return statements > 1 if changed is None else not changed <= set(versions)

    def children(self, now: InnodbState) -> set[str]:
        """The tables whose rows a foreign key may change."""
        return {child for one in (self.cascades, now.cascades) for each in (one or {}).values() for child in each}


def prepare(connection: Any, server: mariadb.Server) -> None:
    """Have a private server count what it purges, clear its list of that at once, and tell how long its log is."""
    if server.private:
        query_or_none(connection, _TRUNCATE)
        for name in (*_METRICS, LOG_POSITION):
            query_or_none(connection, f"SET GLOBAL innodb_monitor_enable = '{name}'")


def read_state(connection: Any, server: mariadb.Server) -> InnodbState:
    """The current state. Reads none of the job's tables, and waits for no lock."""
    query_or_none(connection, "SET SESSION lock_wait_timeout = 1")
    databases = list(server.databases.values())
    status = _status(connection) if server.private else {}
    others, histories = _others(connection, databases)
    return InnodbState(
        tables=_tables(connection, databases),
        others=others,
        histories=histories,
        touched=_touched(connection, databases),
        cascades=_cascades(connection, databases),
        purged=_purged(connection) if server.private else None,
        unpurged=_unpurged(connection, status),
        ddl=sum(status.get(name, 0) for name in _DDL),
    )


def wait_for_purge(connection: Any, patience: float) -> bool:
    """Wait until InnoDB has purged everything; False when an open transaction may still need the old rows."""
    deadline = time.monotonic() + patience
    before = (-1, -1)
    while (unpurged := _purge_progress(connection))[0]:
        if time.monotonic() > deadline or (unpurged == before and query_or_none(connection, _HELD)):
            return False
        before = unpurged
        if query_or_none(connection, _WAIT) is None:
            time.sleep(_LOOK)
    return True


def _purge_progress(connection: Any) -> tuple[int, int]:
    """How many transactions InnoDB has yet to purge, and how many rows it has purged."""
    return _unpurged(connection, _status(connection)), _purged(connection) or 0


def _unpurged(connection: Any, status: Mapping[str, int]) -> int:
    if (there := status.get("Innodb_history_list_length")) is not None:
        return there
    return sum(metrics(connection, ("trx_rseg_history_len",)).values())


def own_rows(before: InnodbState, after: InnodbState, cascading: bool) -> int:
    """How many rows InnoDB may have purged of its own records about tables and statistics."""
    ddl = after.ddl - before.ddl
    if cascading:
        return _OWN_ROWS * ddl
    return _OWN_ROWS_AT_LEAST + _OWN_ROWS * (ddl + len(before.changed(after) or ()) + len(before.gone(after)))


def _tables(connection: Any, databases: list[str]) -> Mapping[str, tuple[int, int]] | None:
    for sql in _TABLES:
        rows = query_in(connection, sql, map(encoded, databases))
        if rows is not None:
            break
    else:
        return None
    kept: dict[tuple[str, str], int] = {}
    if not all(known for *_, known in rows):  # of tables that have not been opened yet
        sql = "SELECT database_name, table_name, n_rows FROM mysql.innodb_table_stats"
        sql += " WHERE database_name IN (NAMES)"
        found = query_in(connection, sql, databases)
        if found is None:  # only the administrator may read that table; this query opens the tables
            sql = "SELECT table_schema, table_name, table_rows FROM information_schema.tables"
            sql += " WHERE engine = 'InnoDB' AND table_schema IN (NAMES)"
            found = query_in(connection, sql, databases) or []
        kept = {(str(schema), str(name)): int(count or 0) for schema, name, count in found}
    tables = {}
    for number, name, count, known in rows:
        schema, _, table = str(name).partition("/")
        if not _INTERNAL.match(table):
            estimate = count if known else kept.get((plain(schema), plain(table)), count)
            tables[str(name)] = (int(number), int(estimate))
    return tables


def _others(connection: Any, databases: list[str]) -> tuple[dict[str, int], frozenset[str]]:
    """The rows of other engines' tables; the system versioned tables."""
    kept = "table_type = 'SYSTEM VERSIONED'"
    sql = f"SELECT table_schema, table_name, table_rows, engine = 'InnoDB', {kept} FROM information_schema.tables"  # noqa: S608
    sql += f" WHERE (table_type = 'BASE TABLE' AND engine <> 'InnoDB' AND table_rows > 0 OR {kept})"
    rows = query_in(connection, f"{sql} AND table_schema IN (NAMES)", databases) or ()
    others = _by_table((schema, name, count) for schema, name, count, is_innodb, _ in rows if not is_innodb and count)
    return others, frozenset(file_name(str(schema), str(name)) for schema, name, *_, history in rows if history)


def _touched(connection: Any, databases: list[str]) -> dict[str, int] | None:
    counted = query_or_none(connection, "SELECT @@userstat")
    if counted and int(counted[0][0]):
        sql = "SELECT table_schema, table_name, rows_changed FROM information_schema.table_statistics"
        rows = query_in(connection, f"{sql} WHERE table_schema IN (NAMES)", databases)
    else:
        sql = "SELECT object_schema, object_name, count_insert + count_update + count_delete"
        sql += " FROM performance_schema.table_io_waits_summary_by_table WHERE object_schema IN (NAMES)"
        rows = query_in(connection, sql, databases) or None  # where nothing is counted, there are no rows
    return None if rows is None else _by_table(rows)


def _cascades(connection: Any, databases: list[str]) -> Mapping[str, frozenset[str]] | None:
    for view in _FOREIGN:
        sql = f"SELECT ref_name, for_name FROM information_schema.{view}"  # noqa: S608 - a name of our own
        sql += f" WHERE type & {_ACTIONS} AND SUBSTRING_INDEX(ref_name, '/', 1) IN (NAMES)"
        rows = query_in(connection, sql, map(encoded, databases))
        if rows is not None:
            return _grouped((str(parent), str(child)) for parent, child in rows)
    sql = "SELECT unique_constraint_schema, referenced_table_name, constraint_schema, table_name"
    sql += " FROM information_schema.referential_constraints"
    sql += " WHERE (delete_rule IN ('CASCADE', 'SET NULL') OR update_rule IN ('CASCADE', 'SET NULL'))"
    rows = query_in(connection, f"{sql} AND constraint_schema IN (NAMES)", databases)
    if rows is None:
        return None
    pairs = [tuple(map(str, row)) for row in rows]
    return _grouped((file_name(one, parent), file_name(two, child)) for one, parent, two, child in pairs)


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for parent, child in pairs:
        found[parent] = found.get(parent, frozenset()) | {child}
    return found


def uncommitted(connection: Any) -> bool:
    """Whether a transaction that has changed rows is still open."""
    sql = "SELECT 1 FROM information_schema.innodb_trx WHERE trx_rows_modified > 0 LIMIT 1"
    return bool(query_or_none(connection, sql))


def _status(connection: Any) -> dict[str, int]:
    sql = "SHOW GLOBAL STATUS WHERE variable_name IN (NAMES)"
    rows = query_in(connection, sql, ("Innodb_history_list_length", *_DDL))
    return {str(name): int(value) for name, value in rows or ()}


def _purged(connection: Any) -> int | None:
    """How many rows InnoDB has purged; None where it does not count them."""
    found = metrics(connection, _METRICS)
    return sum(found.values()) if len(found) == len(_METRICS) else None


def _by_table(rows: Iterable[tuple[Any, ...]]) -> dict[str, int]:
    return {file_name(str(schema), str(name)): int(count or 0) for schema, name, count in rows}

# SPDX-License-Identifier: Apache-2.0
"""Rows lost with a table or partition that is dropped, truncated or replaced: no counter of rows includes them.

Their number is the server's estimate; where that is unreliable, they are counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pymysql
from ansible.module_utils.th_measure.innodb_rows import InnodbState
from ansible.module_utils.th_measure.views import PART, plain, query_or_none, table_of
from ansible.module_utils.th_server import mariadb
from ansible.module_utils.th_server.accounts import identifier

COUNT_PATIENCE = 60.0
"""Seconds that counting the rows of one table may take."""
_FEW_ROWS = 100


def with_counts(
    server: mariadb.Server, before: InnodbState, now: InnodbState, known: dict[int, int]
) -> tuple[InnodbState, int]:
    """The state `now` with the rows counted of tables whose estimate is unreliable, because many rows were changed or
    the table is new; and how many rows were read for that. `known` are the counts so far, by table number."""
    tables, read = dict(now.tables or {}), 0
    gone = before.gone(now)
    for part, (number, rows) in tables.items():
        table, (was, had) = table_of(part), (before.tables or {}).get(part, (0, 0))
        # dropping a table resets the counts for its name
        changed = _statements(table, before, now) if was == number else (now.touched or {}).get(table, 0)
        rows = known.get(number, rows)
        others = sum(count for other, count in gone.items() if table_of(other) == table) if was != number else 0
        less = 2 * rows < max(others, had if was != number else 0) or table in before.histories - now.histories
        if changed >= max(_FEW_ROWS, rows // 10) or less:
            rows = _counted(server, part, rows)
            read += rows
            known[number] = rows
        tables[part] = (number, rows)
    for number in known.keys() - {number for number, _ in tables.values()}:
        del known[number]
    return replace(now, tables=None if now.tables is None else tables), read


def lost(before: InnodbState, after: InnodbState) -> int:
    """How many rows were lost with tables or partitions, less those that statements changed there."""
    gone = before.gone(after)
    tables: dict[str, dict[str, int]] = {}
    for part, rows in gone.items():
        tables.setdefault(table_of(part), {})[part] = rows
    total = 0
    for table, parts in tables.items():
        total += max(0, _lost(table, parts, before, after) - _statements(table, before, after))
    for table, rows in before.others.items():
        still = after.others.get(table, 0)
        still += sum(count for part, (_, count) in (after.tables or {}).items() if table_of(part) == table)
        total += max(0, rows - still - _statements(table, before, after))
    return total


def _lost(table: str, gone: Mapping[str, int], before: InnodbState, after: InnodbState) -> int:
    """How many rows a table lost with its partitions that are `gone`: one that was rebuilt has as many as before."""
    now = {part: rows for part, (_, rows) in (after.tables or {}).items() if table_of(part) == table}
    if not now:
        return max(0, sum(gone.values()) - after.others.get(table, 0))
    groups = [([part], [part]) for part in gone if part in now]
    if others := [part for part in gone if part not in now]:
        groups.append((others, [part for part in now if part not in (before.tables or {})]))
    total = 0
    for old, there in groups:
        had, has = sum(gone[part] for part in old), sum(now[part] for part in there)
        # estimates may differ a little; but a loss of history, which is not estimated, counts in full
        total += had - has if 2 * has < had or (has < had and table in before.histories - after.histories) else 0
    return total


def _counted(server: mariadb.Server, part: str, estimate: int) -> int:
    """The rows of a table or partition, read with the job's own account, as anything may have that name by now.

    The history of a system versioned table counts as well: it is lost with the table, and a plain query omits it.
    """
    schema, _, name = plain(table_of(part)).partition("/")
    partition = PART.search(part)
    chosen = f" PARTITION ({identifier(plain(partition[1]))})" if partition else ""
    sql = f"SELECT COUNT(*) FROM {identifier(schema)}.{identifier(name)}{chosen}"  # noqa: S608 - quoted
    try:
        with mariadb.connect(server, server.job_file, time_limit=COUNT_PATIENCE) as connection:
            # uncommitted rows count, too, and no lock is waited for
            mariadb.query(connection, "SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED")
            mariadb.query(connection, "SET SESSION lock_wait_timeout = 1")
            found = query_or_none(connection, f"{sql} FOR SYSTEM_TIME ALL") or mariadb.query(connection, sql)
            rows = int(found[0][0])
            connection.ping(reconnect=False)
            return rows
    except (pymysql.Error, OSError):
        return estimate


def _statements(table: str, before: InnodbState, after: InnodbState) -> int:
    """How many rows of a table statements have changed."""
    return max(0, (after.touched or {}).get(table, 0) - (before.touched or {}).get(table, 0))

# SPDX-License-Identifier: Apache-2.0
"""Which connection waits for a lock in the database server, and which one holds it, read while a migration runs.

How much can be known depends on the server. The performance schema and MariaDB's plugin metadata_lock_info name the
holder of a metadata lock; without them, any other connection with an open transaction may be it. A check does not
affect the server's counters as long as nobody waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pymysql
from ansible.module_utils.th_core.text import printable
from ansible.module_utils.th_server import mariadb

STATEMENT_LIMIT = 200
HOLDERS_LIMIT = 3

_METADATA = (
    # MariaDB's plugin; it shows granted locks only
    "SELECT DISTINCT thread_id FROM information_schema.metadata_lock_info"
    " WHERE thread_id <> %s AND table_name <> '' AND LOCATE(LOWER(table_name), LOWER(%s)) > 0",
    # the performance schema, where it is on
    "SELECT DISTINCT theirs.processlist_id FROM performance_schema.metadata_locks waits"
    " JOIN performance_schema.threads mine ON mine.thread_id = waits.owner_thread_id"
    " JOIN performance_schema.metadata_locks held ON held.object_type = waits.object_type"
    " AND held.object_schema <=> waits.object_schema AND held.object_name <=> waits.object_name"
    " AND held.lock_status = 'GRANTED' AND held.owner_thread_id <> waits.owner_thread_id"
    " JOIN performance_schema.threads theirs ON theirs.thread_id = held.owner_thread_id"
    " WHERE waits.lock_status = 'PENDING' AND mine.processlist_id = %s AND %s <> ''",
    # any other connection with an open transaction
    "SELECT trx_mysql_thread_id FROM information_schema.innodb_trx"
    " WHERE trx_mysql_thread_id NOT IN (0, %s) AND %s <> ''",
)
_ROWS = (
    "SELECT waits.trx_mysql_thread_id, holds.trx_mysql_thread_id FROM information_schema.innodb_lock_waits pairs"
    " JOIN information_schema.innodb_trx waits ON waits.trx_id = pairs.requesting_trx_id"
    " JOIN information_schema.innodb_trx holds ON holds.trx_id = pairs.blocking_trx_id",
    "SELECT waits.trx_mysql_thread_id, holds.trx_mysql_thread_id FROM performance_schema.data_lock_waits pairs"
    " JOIN information_schema.innodb_trx waits ON waits.trx_id = pairs.requesting_engine_transaction_id"
    " JOIN information_schema.innodb_trx holds ON holds.trx_id = pairs.blocking_engine_transaction_id",
)
_TRANSACTION = (
    "SELECT TIMESTAMPDIFF(SECOND, trx_started, NOW()), trx_rows_modified FROM information_schema.innodb_trx"
    " WHERE trx_mysql_thread_id = %s"
)
_LAST_STATEMENT = (
    "SELECT latest.sql_text FROM performance_schema.events_statements_current latest"
    " JOIN performance_schema.threads one ON one.thread_id = latest.thread_id WHERE one.processlist_id = %s"
)


@dataclass(frozen=True)
class Session:
    """A connection, as in the server's process list; `seconds` is for how long its state has lasted."""

    number: int
    user: str
    command: str
    seconds: int
    state: str
    statement: str

    @property
    def waits(self) -> bool:
        """Whether it waits for a lock other than of rows: on a table's definition, for a backup, by name."""
        return self.state.startswith("Waiting for") and "lock" in self.state


def process_list(connection: Any) -> list[Session]:
    """All connections that the account of this one can see.

    A query of information_schema.processlist would change what it is about: MySQL writes the rows to a table of InnoDB.
    """
    rows = mariadb.query(connection, "SHOW FULL PROCESSLIST")
    return [
        Session(int(number), str(user), str(command), int(seconds or 0), str(state or ""), str(statement or ""))
        for number, user, _, _, command, seconds, state, statement, *_ in rows
    ]


def waiting(connection: Any, user: str) -> str:
    """Describes which connection of the account waits for which lock, and its holder; "" when none waits."""
    sessions = {one.number: one for one in process_list(connection)}
    own = sorted((one for one in sessions.values() if one.user == user), key=lambda one: -one.seconds)
    if waiter := next((one for one in own if one.waits), None):
        numbers = _first(connection, _METADATA, waiter.number, _brief(waiter.statement) or "?")
        holders = [sessions[number] for number in numbers if number in sessions]
        return _description(connection, waiter, waiter.state, holders, user)
    if not int(mariadb.query(connection, "SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_current_waits'")[0][1]):
        return ""
    for sql in _ROWS:
        pairs = [(int(one), int(other)) for one, other in _query(connection, sql)]
        for waiter in own:
            holders = [sessions[other] for one, other in pairs if one == waiter.number and other in sessions]
            if holders:
                return _description(connection, waiter, "Waiting for a lock of rows", holders, user)
    return ""


def _description(connection: Any, waiter: Session, state: str, holders: Sequence[Session], user: str) -> str:
    text = f"connection {waiter.number} waits for {state.removeprefix('Waiting for ')}"
    if statement := _brief(waiter.statement):
        text += f" ({statement})"
    if not holders:
        return f"{text}; who holds it cannot be seen"
    each = "; ".join(_holder(connection, one, user) for one in holders[:HOLDERS_LIMIT])
    more = f" and {len(holders) - HOLDERS_LIMIT} more" if len(holders) > HOLDERS_LIMIT else ""
    return f"{text}; it is held by {each}{more}"


def _holder(connection: Any, one: Session, user: str) -> str:
    whose = "of the project's own" if one.user == user else f"of {one.user}"
    text = f"connection {one.number} {whose}"
    if one.command == "Sleep":
        text += f", idle for {one.seconds} s"
    elif one.statement:
        text += f", executing {_brief(one.statement)}"
    for seconds, changed in _query(connection, _TRANSACTION, one.number)[:1]:
        text += f", in a transaction that was begun {int(seconds)} s ago and not ended"
        text += f" ({int(changed)} rows changed)" if int(changed) else ""
    if one.command == "Sleep":
        for (statement,) in _query(connection, _LAST_STATEMENT, one.number)[:1]:
            text += f"; its last statement: {_brief(statement)}" if statement else ""
    return text


def _first(connection: Any, queries: Iterable[str], *values: object) -> list[int]:
    """The numbers from the first of the queries that gives any."""
    for sql in queries:
        if numbers := [int(row[0]) for row in _query(connection, sql, *values) if row[0]]:
            return numbers
    return []


def _query(connection: Any, sql: str, *values: object) -> list[tuple[Any, ...]]:
    """The rows; none where the server does not support the query, or the account may not run it."""
    try:
        return mariadb.query(connection, sql, *values)
    except pymysql.MySQLError as error:
        if error.args and error.args[0] in mariadb.CONNECTION_LOST:
            raise
        return []


def _brief(statement: object) -> str:
    text = " ".join(printable(str(statement or "")[: 4 * STATEMENT_LIMIT]).split())
    return text if len(text) <= STATEMENT_LIMIT else text[: STATEMENT_LIMIT - 1] + "…"

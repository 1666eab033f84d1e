# SPDX-License-Identifier: Apache-2.0
"""What the server did in a walk, every part of it in one account: that of a step, or that of the time between steps.

Each account ends with the reading that starts the next one, so that nothing is missed. Between the steps the measuring
side reads rows as well, mostly for the versions; those are not counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ansible.module_utils.th_measure import innodb_rows, lost_rows, meter, other_engines
from ansible.module_utils.th_measure.innodb_rows import InnodbState
from ansible.module_utils.th_measure.meter import Reading
from ansible.module_utils.th_measure.views import file_name, table_of
from ansible.module_utils.th_server import mariadb
from ansible.module_utils.th_server.counters import REDO_BYTES, ROWS_CHANGED, ROWS_READ

_MUCH_LOG = 1 << 20
_PURGE_PATIENCE = 5.0
"""Seconds that the server may take to purge after a large step, so that it does not count for what follows."""
_OWN_READS = 500
_OWN_READS_A_ROW = 4
"""How many rows the measuring side itself may have read, besides those of each version and table."""


class CounterLedger:
    """The accounts of one dataset's server. `version_tables` maps databases to the profile's name of that table."""

    def __init__(self, server: mariadb.Server, version_tables: Mapping[str, str]) -> None:
        self._server = server
        self._version_tables = {
            file_name(schema or server.databases[name], table)
            for name, (schema, _, table) in ((name, table.rpartition(".")) for name, table in version_tables.items())
        }
        self._known: dict[int, int] = {}
        self._reading: Reading | None = None
        self._state = InnodbState()
        self._begun: tuple[Reading, InnodbState] | None = None
        self._purged: tuple[Reading, InnodbState] | None = None
        self._between = dict[str, int | None]()
        self._busy: float | None = 0.0
        self._own = 0
        self._paused: int | None = None
        self._hidden = self._cascading = False
        self._expected = 0

    def has_read(self, rows: int) -> None:
        """Note that the measuring side has read a version table with so many rows."""
        if self._paused is None:
            self._own += _OWN_READS_A_ROW * (rows + 1)
        else:
            self._expected += rows

    def open(self, connection: Any) -> None:
        """Start counting; what follows is between steps."""
        innodb_rows.prepare(connection, self._server)
        if self._server.private:
            other_engines.prepare(connection)
        self._state = innodb_rows.read_state(connection, self._server)
        self._reading = meter.read(connection, self._server)
        self._purged = (self._reading, self._state)
        self._forget()

    def pause(self, connection: Any) -> None:
        """Note that the measuring side starts reading."""
        self._paused = meter.read_status(connection, self._server).handled
        self._expected = 0

    def begin(self, connection: Any) -> Reading:
        """Start the account of a step; returns its first reading."""
        if self._reading is None:
            self.open(connection)
        state = self._read_state(connection, self._state)
        reading = meter.read(connection, self._server)
        self._take_between(connection, reading, state)
        self._begun = (reading, state)
        return reading

    def end(self, connection: Any) -> dict[str, int | None]:
        """End the account of a step; returns its counters. What follows is between steps."""
        reading = meter.read(connection, self._server)
        self._paused = reading.handled
        self._expected = 0
        before, state_before = self._begun or (reading, self._state)
        state = self._read_state(connection, state_before)
        counters = reading.since(before)
        self._add_innodb_rows(connection, counters, (before, state_before), (reading, state))
        if self._server.private and (counters[REDO_BYTES.name] or 0) > _MUCH_LOG:
            innodb_rows.wait_for_purge(connection, _PURGE_PATIENCE)
        self._reading, self._state, self._begun = reading, state, None
        return counters

    def resume(self, connection: Any) -> None:
        """Note that the measuring side has finished reading, and the server with what the step left to write."""
        if self._reading is None or self._paused is None:
            return
        now = meter.read_status(connection, self._server)
        self._add_own(now.handled)
        self._reading = self._reading.with_log_of(now)

    def close(self, connection: Any) -> tuple[dict[str, int | None], float | None]:
        """The account between the steps since the start or the last call: counters, and how many seconds the server was
        busy (None where it does not count them)."""
        if self._reading is None:
            self.open(connection)
        if self._server.private:
            innodb_rows.wait_for_purge(connection, innodb_rows.PURGE_PATIENCE if self._hidden else _PURGE_PATIENCE)
        state = self._read_state(connection, self._state)
        reading = meter.read(connection, self._server)
        self._take_between(connection, reading, state)
        found, busy = dict(self._between), self._busy
        self._reading, self._state = reading, state
        self._forget()
        return found, busy

    def _forget(self) -> None:
        self._between = dict.fromkeys(meter.NAMES, 0)
        self._busy, self._own, self._paused = 0.0, 0, None

    def _take_between(self, connection: Any, reading: Reading, state: InnodbState) -> None:
        """Add what happened since the last reading to the account between the steps."""
        if self._reading is None:
            return
        self._add_own(reading.handled)
        counters = reading.since(self._reading)
        if (read := counters[ROWS_READ.name]) is not None:
            counters[ROWS_READ.name] = max(0, read - self._own)
        self._own = 0
        self._add_innodb_rows(connection, counters, (self._reading, self._state), (reading, state))
        for name, value in counters.items():
            so_far = self._between[name]
            self._between[name] = None if value is None or so_far is None else so_far + value
        busy = reading.busy_since(self._reading)
        self._busy = None if busy is None or self._busy is None else self._busy + busy
        # so that it is not added twice
        self._reading, self._state = reading, state

    def _add_own(self, now: int | None) -> None:
        """Add what the measuring side has read since `pause`, but never more than is plausible."""
        if now is not None and self._paused is not None:
            most = _OWN_READS + _OWN_READS_A_ROW * (self._expected + len(self._state.tables or ()))
            self._own += max(0, min(now - self._paused, most))
        self._paused = None

    def _add_innodb_rows(
        self,
        connection: Any,
        counters: dict[str, int | None],
        before: tuple[Reading, InnodbState],
        after: tuple[Reading, InnodbState],
    ) -> None:
        """Add the rows that no handler counts to those that were changed; None where their number is not known."""
        changed = counters[ROWS_CHANGED.name]
        if changed is None:
            return
        lost = lost_rows.lost(before[1], after[1])
        state: int | None = 0
        if after[0].handlers:
            statements = after[0].statements - before[0].statements
            cascading = before[1].may_cascade(after[1], statements)
            if cascading and not self._server.private:
                cascading = not self._only_versions(before, after)
            hidden = cascading or before[1].may_have_cascaded(after[1], statements, self._version_tables)
            state = self._innodb_changes(connection, before, after, cascading, hidden)
        counters[ROWS_CHANGED.name] = None if state is None else changed + state + lost

    def _innodb_changes(
        self,
        connection: Any,
        before: tuple[Reading, InnodbState],
        after: tuple[Reading, InnodbState],
        cascading: bool,
        hidden: bool,
    ) -> int | None:
        """The rows that InnoDB itself has changed since it last purged everything; None where they cannot be known
        although there must be some (`cascading`) or may be (`hidden`). Uncommitted ones are returned later."""
        reading, state = after
        if self._purged is None or state.purged is None or self._purged[1].purged is None:
            return None if cascading else 0
        # rows of a dropped table are never purged; those of one that is dropped now are counted as lost
        gone = {table_of(part) for part in before[1].gone(state)}
        if not self._hidden:
            gone &= {table_of(part) for part in state.tables or ()}
            gone = set() if self._only_versions(before, after) else gone
        self._hidden, self._cascading = self._hidden or hidden, self._cascading or cascading
        children = before[1].children(state) | self._purged[1].children(state)
        lost = self._cascading and bool(gone & children)
        if hidden and state.unpurged and not lost:
            lost = not innodb_rows.wait_for_purge(connection, innodb_rows.PURGE_PATIENCE)
        if lost:  # the caller learns that they are not known
            self._hidden = self._cascading = False
            return None
        if hidden and state.unpurged:
            state = replace(state, purged=innodb_rows.read_state(connection, self._server).purged, unpurged=0)
        if state.unpurged or (self._hidden and innodb_rows.uncommitted(connection)):
            return 0
        was, state_before = self._purged
        any_hidden, any_cascading = self._hidden, self._cascading
        self._purged, self._hidden, self._cascading = (reading, state), False, False
        found = (state.purged or 0) - (state_before.purged or 0) - (reading.statements - was.statements)
        return found if any_hidden and found > innodb_rows.own_rows(state_before, state, any_cascading) else 0

    def _only_versions(self, before: tuple[Reading, InnodbState], after: tuple[Reading, InnodbState]) -> bool:
        """Whether only the version was updated or deleted: then foreign keys did nothing, even where their rows cannot
        be known."""
        if after[0].statements - before[0].statements > 1:
            return False
        changed = before[1].changed(after[1]) or set()
        gone = {table_of(part) for part in before[1].gone(after[1])}
        parents = {*(before[1].cascades or ()), *(after[1].cascades or ())}
        return bool(self._version_tables & changed) and self._version_tables.isdisjoint(gone | parents)

    def _read_state(self, connection: Any, before: InnodbState) -> InnodbState:
        now = innodb_rows.read_state(connection, self._server)
        found, read = lost_rows.with_counts(self._server, before, now, self._known)
        self._expected += read
        return found

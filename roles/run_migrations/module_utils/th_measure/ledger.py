# SPDX-License-Identifier: Apache-2.0
"""What the server did in a walk, each part of it in one account: a step's, or that of what comes between the steps.

Each account ends with the reading with which the next one begins, so that nothing is in none of them. Between the steps
the measuring side reads as well, the versions above all; those rows are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ansible.module_utils.th_measure import innodb_rows, lost_rows, meter
from ansible.module_utils.th_measure.innodb_rows import Beneath
from ansible.module_utils.th_measure.meter import Reading
from ansible.module_utils.th_server import mariadb
from ansible.module_utils.th_server.counters import REDO_BYTES, ROWS_CHANGED, ROWS_READ

_MUCH_LOG = 1 << 20
_CLEAN_UP_PATIENCE = 5.0
"""Seconds that the server may take to clean up after a large step: that is no part of what comes after it."""
_OWN_READS = 500
_OWN_READS_A_ROW = 4
"""How many rows of its own the measuring side may have read, beside those of each version and table."""


class Ledger:
    """The accounts of one dataset's server. `version_tables` are the profile's names of them."""

    def __init__(self, server: mariadb.Server, version_tables: Mapping[str, str]) -> None:
        self._server = server
        self._version_tables = {
            innodb_rows.file_name(schema or server.databases[name], table)
            for name, (schema, _, table) in ((name, table.rpartition(".")) for name, table in version_tables.items())
        }
        self._known: dict[int, int] = {}
        self._reading: Reading | None = None
        self._beneath = Beneath()
        self._begun: tuple[Reading, Beneath] | None = None
        self._cleaned: tuple[Reading, Beneath] | None = None
        self._between = dict[str, int | None]()
        self._busy: float | None = 0.0
        self._own = 0
        self._paused: int | None = None
        self._hidden = self._cascading = False
        self._expected = 0

    def has_read(self, rows: int) -> None:
        """The measuring side has read a version of so many rows."""
        if self._paused is None:
            self._own += _OWN_READS_A_ROW * (rows + 1)
        else:
            self._expected += rows

    def open(self, connection: Any) -> None:
        """The walk begins: what comes next is between steps."""
        innodb_rows.prepare(connection, self._server)
        self._beneath = innodb_rows.look(connection, self._server)
        self._reading = meter.read(connection, self._server)
        self._cleaned = (self._reading, self._beneath)
        self._forget()

    def pause(self, connection: Any) -> None:
        """From now on it is the measuring side that reads."""
        self._paused = meter.read_status(connection, self._server).handled
        self._expected = 0

    def begin(self, connection: Any) -> Reading:
        """A step is next: gives what its counters begin at."""
        if self._reading is None:
            self.open(connection)
        beneath = self._look(connection, self._beneath)
        reading = meter.read(connection, self._server)
        self._take_between(connection, reading, beneath)
        self._begun = (reading, beneath)
        return reading

    def end(self, connection: Any) -> dict[str, int | None]:
        """A step was last: gives what it did. What comes next is between steps."""
        reading = meter.read(connection, self._server)
        self._paused = reading.handled
        self._expected = 0
        before, under = self._begun or (reading, self._beneath)
        beneath = self._look(connection, under)
        counters = reading.since(before)
        self._count_beneath(connection, counters, (before, under), (reading, beneath))
        if self._server.private and (counters[REDO_BYTES.name] or 0) > _MUCH_LOG:
            innodb_rows.clean_up(connection, _CLEAN_UP_PATIENCE)
        self._reading, self._beneath, self._begun = reading, beneath, None
        return counters

    def resume(self, connection: Any) -> None:
        """The measuring side has read what it wanted, and what the step has left to write was written."""
        if self._reading is None or self._paused is None:
            return
        now = meter.read_status(connection, self._server)
        self._add_own(now.handled)
        self._reading = self._reading.with_log_of(now)

    def close(self, connection: Any) -> tuple[dict[str, int | None], float | None]:
        """What was between the steps since the walk began, or was asked for this: counters, and how many seconds the
        server was at it (None where it does not count them)."""
        if self._reading is None:
            self.open(connection)
        if self._server.private:
            innodb_rows.clean_up(connection, innodb_rows.CLEAN_UP_PATIENCE if self._hidden else _CLEAN_UP_PATIENCE)
        beneath = self._look(connection, self._beneath)
        reading = meter.read(connection, self._server)
        self._take_between(connection, reading, beneath)
        found, busy = dict(self._between), self._busy
        self._reading, self._beneath = reading, beneath
        self._forget()
        return found, busy

    def _forget(self) -> None:
        self._between = dict.fromkeys(meter.NAMES, 0)
        self._busy, self._own, self._paused = 0.0, 0, None

    def _take_between(self, connection: Any, reading: Reading, beneath: Beneath) -> None:
        """Add what has happened since the last reading to what is between the steps."""
        if self._reading is None:
            return
        self._add_own(reading.handled)
        counters = reading.since(self._reading)
        if (read := counters[ROWS_READ.name]) is not None:
            counters[ROWS_READ.name] = max(0, read - self._own)
        self._own = 0
        self._count_beneath(connection, counters, (self._reading, self._beneath), (reading, beneath))
        for name, value in counters.items():
            so_far = self._between[name]
            self._between[name] = None if value is None or so_far is None else so_far + value
        busy = reading.busy_since(self._reading)
        self._busy = None if busy is None or self._busy is None else self._busy + busy
        # it is another reading's beginning once, and not twice
        self._reading, self._beneath = reading, beneath

    def _add_own(self, now: int | None) -> None:
        """Take what the measuring side has read since it has begun to; never more than it can have."""
        if now is not None and self._paused is not None:
            most = _OWN_READS + _OWN_READS_A_ROW * (self._expected + len(self._beneath.tables or ()))
            self._own += max(0, min(now - self._paused, most))
        self._paused = None

    def _count_beneath(
        self,
        connection: Any,
        counters: dict[str, int | None],
        before: tuple[Reading, Beneath],
        after: tuple[Reading, Beneath],
    ) -> None:
        """Add to the rows that were changed those that no handler has counted; None where they cannot be told."""
        changed = counters[ROWS_CHANGED.name]
        if changed is None:
            return
        lost = lost_rows.lost(before[1], after[1])
        beneath: int | None = 0
        if after[0].handlers:
            statements = after[0].statements - before[0].statements
            cascading = before[1].may_cascade(after[1], statements)
            if cascading and not self._server.private:
                cascading = not self._only_versions(before, after)
            hidden = cascading or before[1].may_have_cascaded(after[1], statements, self._version_tables)
            beneath = self._cleaned_up(connection, before, after, cascading, hidden)
        counters[ROWS_CHANGED.name] = None if beneath is None else changed + beneath + lost

    def _cleaned_up(
        self,
        connection: Any,
        before: tuple[Reading, Beneath],
        after: tuple[Reading, Beneath],
        cascading: bool,
        hidden: bool,
    ) -> int | None:
        """The rows that InnoDB has changed by itself since it had last cleaned up all; None where they cannot be known
        and there must be some (`cascading`), or may be some (`hidden`). What is not committed is told later."""
        reading, beneath = after
        if self._cleaned is None or beneath.cleaned is None or self._cleaned[1].cleaned is None:
            return None if cascading else 0
        # with a table goes what is to be cleaned up in it; the rows of one that is dropped now are counted as such
        gone = {innodb_rows.table_of(part) for part in before[1].gone(beneath)}
        if not self._hidden:
            gone &= {innodb_rows.table_of(part) for part in beneath.tables or ()}
            gone = set() if self._only_versions(before, after) else gone
        self._hidden, self._cascading = self._hidden or hidden, self._cascading or cascading
        children = before[1].children(beneath) | self._cleaned[1].children(beneath)
        lost = self._cascading and bool(gone & children)
        if hidden and beneath.left and not lost:
            lost = not innodb_rows.clean_up(connection, innodb_rows.CLEAN_UP_PATIENCE)
        if lost:  # and it is told that they are not known
            self._hidden = self._cascading = False
            return None
        if hidden and beneath.left:
            beneath = replace(beneath, cleaned=innodb_rows.look(connection, self._server).cleaned, left=0)
        if beneath.left or (self._hidden and innodb_rows.uncommitted(connection)):
            return 0
        was, under = self._cleaned
        told, sure = self._hidden, self._cascading
        self._cleaned, self._hidden, self._cascading = (reading, beneath), False, False
        found = (beneath.cleaned or 0) - (under.cleaned or 0) - (reading.statements - was.statements)
        return found if told and found > innodb_rows.own_rows(under, beneath, sure) else 0

    def _only_versions(self, before: tuple[Reading, Beneath], after: tuple[Reading, Beneath]) -> bool:
        """Whether nothing was updated or deleted but the version: where it cannot be known what a foreign key does, a
        row that is added to its table is no reason to know nothing."""
        if after[0].statements - before[0].statements > 1:
            return False
        changed = before[1].changed(after[1]) or set()
        gone = {innodb_rows.table_of(part) for part in before[1].gone(after[1])}
        parents = {*(before[1].cascades or ()), *(after[1].cascades or ())}
        return bool(self._version_tables & changed) and self._version_tables.isdisjoint(gone | parents)

    def _look(self, connection: Any, before: Beneath) -> Beneath:
        found, read = lost_rows.surer(self._server, before, innodb_rows.look(connection, self._server), self._known)
        self._expected += read
        return found

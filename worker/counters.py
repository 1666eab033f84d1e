# SPDX-License-Identifier: Apache-2.0
"""What is measured of a migration: one row for each counter, which the rest of the worker uses.

How each is read from a server is in the roles' table (`th_server/counters.py`); a test checks that both tables have the
same names, limit keys and order, and that the tables in the docs match.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Counter:
    """A value that is measured, its limit, and the message for a migration that exceeds it.

    `name` is its key in events and in `result.json`, `limit` its key in a dataset's file. `label` names it for people,
    as a limit and, capitalised, as a column. `unit` is ``s``, ``bytes``, or the plural of what is counted.

    `code` is the message's; `excess` is the part of its text about the migration, with ``%d`` for the value except for
    the time; the rest is for docs/verdicts.md. `note` describes what was done outside of the migrations, with ``{}``
    for the value; "" omits it there.
    """

    name: str
    limit: str
    label: str
    unit: str
    code: str
    excess: str
    explanation: str
    look: str
    remedy: str
    note: str = ""

    @property
    def title(self) -> str:
        """The heading of its column in the report."""
        return self.label[:1].upper() + self.label[1:]


_ROW = "The migration's row in the report's table"
_EXCUSE = "have the limit raised, or the excess waived, with a reason."

SECONDS = Counter(
    name="seconds",
    limit="maximum_migration_times",
    label="time",
    unit="s",
    code="migration_too_long",
    excess="took too long",
    explanation="The migration took longer than the dataset's limit allows; in production it would lock out writers.",
    look=f"{_ROW}: time beside rows and redo log shows what it was doing.",
    remedy=f"Split the work, do it in batches outside of the schema migration, or {_EXCUSE}",
)
"""The wall time, which the worker measures itself; it is not one of the server's counters."""

COUNTERS: tuple[Counter, ...] = (
    Counter(
        name="rows_changed",
        limit="XInnodb_rows_changed",
        label="rows changed",
        unit="rows",
        code="migration_changed_rows",
        excess="changed too many rows (%d)",
        explanation="The migration inserted, updated and deleted more rows than the dataset's limit allows.",
        look=f"{_ROW}, and the migration's UPDATE, INSERT and DELETE statements.",
        remedy=f"Move the data in batches outside of the schema migration, or {_EXCUSE}",
        note="changed {} rows",
    ),
    Counter(
        name="rows_read",
        limit="Innodb_rows_read",
        label="rows read",
        unit="rows",
        code="migration_read_rows",
        excess="read too many rows (%d)",
        explanation="The migration read more rows than the dataset's limit allows.",
        look=f"{_ROW}, and the migration's queries: EXPLAIN shows which of them use no index.",
        remedy=f"Narrow its queries or use an index, or {_EXCUSE}",
        note="read {}",
    ),
    Counter(
        name="redo_bytes",
        limit="maximum_redo_bytes",
        label="redo log",
        unit="bytes",
        code="migration_redo_bytes",
        excess="wrote too much to the redo log (%d bytes)",
        explanation="The server wrote more to its redo log than the dataset's limit allows: a table or an index was "
        "rebuilt.",
        look=f"{_ROW}: much redo log and no rows is an ALTER TABLE that rebuilds the table in place.",
        remedy=f"Choose a form of ALTER TABLE that is instant, or {_EXCUSE}",
        note="wrote {} to the redo log",
    ),
    Counter(
        name="data_bytes",
        limit="maximum_data_growth",
        label="data growth",
        unit="bytes",
        code="migration_data_growth",
        excess="made the data grow too much (%d bytes)",
        explanation="The data directory grew by more than the dataset's limit allows.",
        look=f"{_ROW}, and the indexes, columns and copies of tables that the migration makes.",
        remedy=f"Drop what is no longer needed first, or index less, or {_EXCUSE}",
    ),
)
"""The counters of the server, in the order in which they are shown."""

MEASURED: tuple[Counter, ...] = (SECONDS, *COUNTERS)

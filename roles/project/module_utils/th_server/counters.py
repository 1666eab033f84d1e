# SPDX-License-Identifier: Apache-2.0
"""What is measured of a migration: one row each, with where each kind of server has it.

The worker has a table of its own (`worker/counters.py`) for the verdict and the report; a test holds the names, the
limits' keys and the order of the two equal, and the tables of the documents to both.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field


class Source(enum.Enum):
    """Where a server counts. A private one counts for the job alone; on an external one only what is counted for the
    job's account can be distinguished from the activity of others."""

    INNODB = "SHOW GLOBAL STATUS of a private MySQL or Percona, which count rows in InnoDB"
    HANDLERS = "SHOW GLOBAL STATUS of a private MariaDB, which counts rows in the handlers"
    USER_STATISTICS = "information_schema.user_statistics of an external MariaDB"
    STATUS_BY_USER = "performance_schema.status_by_user of an external server"


PRIVATE = (Source.INNODB, Source.HANDLERS)
LOG_POSITION = "log_lsn_current"
"""The metric of InnoDB that has the position in its redo log at this moment. The status variable
`Innodb_redo_log_current_lsn` has the one of up to a second ago."""
DATA = "(data)"
"""What no server counts, and the meter adds to what each does: the bytes of the job's data."""


@dataclass(frozen=True)
class Counter:
    """One value that is measured.

    `name` is its key in the `counters` of an event, `limit` the key of a dataset's file. What is done outside of the
    migrations is nothing to speak of up to `little`; None: it always is, unless it is known to be none.

    `read` has the names whose sum it grows by, for each source that tells: variables, or columns of
    `user_statistics`. `shrinks` is whether it can become less; of others that means that somebody has set them back.
    """

    name: str
    limit: str
    little: float | None
    read: Mapping[Source, tuple[str, ...]] = field(default_factory=dict)
    shrinks: bool = False


ALTERED = ("Handler_update", "Handler_delete")
"""What statements have updated and deleted, as every source but `user_statistics` has it."""
_WRITTEN = ("Handler_write", *ALTERED)

SECONDS = Counter("seconds", "maximum_migration_times", 1.0)
"""The wall time, which is the walk's own measure and not one of the server's counters."""
ROWS_CHANGED = Counter(
    "rows_changed",
    "XInnodb_rows_changed",
    None,
    {
        Source.INNODB: ("Innodb_rows_inserted", "Innodb_rows_updated", "Innodb_rows_deleted"),
        Source.HANDLERS: _WRITTEN,
        Source.USER_STATISTICS: ("rows_inserted", "rows_updated", "rows_deleted"),
        Source.STATUS_BY_USER: _WRITTEN,
    },
)
"""The ledger adds the rows that change beneath the statements, the meter those of other engines than InnoDB."""
ROWS_READ = Counter(
    "rows_read",
    "Innodb_rows_read",
    1000,
    {
        Source.INNODB: ("Innodb_rows_read",),
        Source.HANDLERS: ("Rows_read",),
        Source.USER_STATISTICS: ("rows_read",),
        Source.STATUS_BY_USER: tuple(
            f"Handler_read_{how}" for how in ("first", "key", "last", "next", "prev", "rnd", "rnd_next")
        ),
    },
)
REDO_BYTES = Counter(
    "redo_bytes",
    "maximum_redo_bytes",
    1 << 20,
    {Source.INNODB: (LOG_POSITION,), Source.HANDLERS: ("Innodb_os_log_written",)},
)
"""Not available on an external server: its one redo log holds everybody's writes.

MySQL writes its log late, and rewrites a block with each commit, so its position in the log is read there. What MySQL
builds in place, an index or a table, is not in its log."""
DATA_BYTES = Counter("data_bytes", "maximum_data_growth", 1 << 20, dict.fromkeys(Source, (DATA,)), shrinks=True)

COUNTERS: tuple[Counter, ...] = (ROWS_CHANGED, ROWS_READ, REDO_BYTES, DATA_BYTES)
"""The counters of the server, in the order in which they are shown."""
MEASURED: tuple[Counter, ...] = (SECONDS, *COUNTERS)

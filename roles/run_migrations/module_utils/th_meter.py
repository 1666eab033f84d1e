# SPDX-License-Identifier: Apache-2.0
"""What a migration made the private server do: counters read over the measuring side's own connection."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible.module_utils import th_mariadb

# MySQL and Percona count in InnoDB; MariaDB 10.11 has none of these and counts in the handlers instead.
_INNODB_CHANGED = ("Innodb_rows_inserted", "Innodb_rows_updated", "Innodb_rows_deleted")
_HANDLER_CHANGED = ("Handler_write", "Handler_update", "Handler_delete")
_NOT_DATA = ("ib_logfile", "ibtmp", "aria_log", "ib_buffer_pool")
NAMES = ("rows_changed", "rows_read", "redo_bytes", "data_bytes")


@dataclass(frozen=True)
class Reading:
    """The server's counters at one moment, and the data directory's size in bytes."""

    status: Mapping[str, int]
    data_bytes: int

    def since(self, before: Reading) -> dict[str, int | None]:
        """What happened between two readings: the `counters` of an `end` event; None is "cannot be measured"."""

        def delta(*names: str) -> int | None:
            if not all(name in self.status and name in before.status for name in names):
                return None
            return sum(self.status[name] - before.status[name] for name in names)

        innodb = all(name in self.status for name in (*_INNODB_CHANGED, "Innodb_rows_read"))
        return {
            "rows_changed": delta(*(_INNODB_CHANGED if innodb else _HANDLER_CHANGED)),
            "rows_read": delta("Innodb_rows_read" if innodb else "Rows_read"),
            "redo_bytes": delta("Innodb_os_log_written"),
            "data_bytes": self.data_bytes - before.data_bytes,
        }


def unmeasured() -> dict[str, int | None]:
    """The counters of a migration after which the server could not be asked any more."""
    return dict.fromkeys(NAMES)


def read(connection: Any, datadir: Path) -> Reading:
    """Read the counters. The statement itself moves none of them (on MariaDB, not `Rows_read` either)."""
    wanted = (*_INNODB_CHANGED, "Innodb_rows_read", *_HANDLER_CHANGED, "Rows_read", "Innodb_os_log_written")
    rows = th_mariadb.query(
        connection,
        f"SHOW GLOBAL STATUS WHERE Variable_name IN ({', '.join(['%s'] * len(wanted))})",
        *wanted,
    )
    return Reading({name: int(value) for name, value in rows}, _size(datadir))


def _size(folder: Path) -> int:
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            if not name.startswith(_NOT_DATA):
                try:
                    total += os.lstat(os.path.join(path, name)).st_size
                except FileNotFoundError:
                    pass  # a temporary table's, gone in between
    return total

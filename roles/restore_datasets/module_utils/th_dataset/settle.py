# SPDX-License-Identifier: Apache-2.0
"""Preparing loaded tables for measurements."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ansible.module_utils.th_dump.seed_errors import SeedError
from ansible.module_utils.th_server.accounts import identifier
from ansible.module_utils.th_server.mariadb import query

ENGINES = ("InnoDB", "Aria", "MyISAM")
"""The storage engines that keep statistics for the optimizer."""


def settle(connection: Any, databases: Iterable[str]) -> None:
    """Recalculate the optimizer's statistics of every table, now that it is loaded.

    While rows are loaded, InnoDB recalculates them in the background, once a tenth of a table has changed and ten
    seconds have gone by. They stay as they were in the middle of the import, and a join may read a thousand times the
    rows that it has to. After this, InnoDB does not recalculate them until a migration changes a tenth of a table.
    Raises SeedError for a table that cannot be analyzed.
    """
    for database in databases:
        rows = query(
            connection,
            "SELECT table_name FROM information_schema.tables WHERE table_schema = %s AND FIND_IN_SET(engine, %s)"
            " AND table_type NOT IN ('VIEW', 'SEQUENCE')",
            database,
            ",".join(ENGINES),
        )
        for (name,) in rows:
            place = f"{identifier(database)}.{identifier(str(name))}"
            for _, _, kind, text in query(connection, f"ANALYZE NO_WRITE_TO_BINLOG TABLE {place}"):
                if str(kind).lower() == "error":
                    raise SeedError("seed_broken", f"the table {place} cannot be analyzed: {text}")

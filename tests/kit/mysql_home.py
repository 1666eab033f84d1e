# SPDX-License-Identifier: Apache-2.0
"""A dataset that is restored on the prepared MySQL."""

from typing import Any

from tests.kit import ROOT

from . import engines

DUMP = ROOT / "tests" / "data" / "dumps" / "mysql-9.7.sql"
"""What MySQL's own mysqldump has written of shop.sql beside it."""


def options(base: dict[str, Any]) -> dict[str, Any]:
    """The options of a restore, with the prepared MySQL and what the role starts it with."""
    engines.mysql_engine()
    return base | {
        "engines": {engines.MYSQL: {"family": "mysql"}},
        "engines_dir": str(engines.PREPARED),
        "mysql_options": engines.mysql_options(),
    }

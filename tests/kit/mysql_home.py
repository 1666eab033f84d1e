# SPDX-License-Identifier: Apache-2.0
"""A dataset that is restored on the prepared MySQL."""

from pathlib import Path
from typing import Any

import pytest

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


def share_empty_data(factory: pytest.TempPathFactory, snapshots: Path) -> None:
    """Let the snapshots in a folder begin with the empty data directory that all tests of a run share: to make one
    takes several seconds."""
    shared = factory.getbasetemp().parent / "empty-mysql"
    shared.mkdir(mode=0o700, exist_ok=True)
    snapshots.mkdir(mode=0o700, exist_ok=True)
    (snapshots / "empty").symlink_to(shared)

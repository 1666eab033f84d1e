# SPDX-License-Identifier: Apache-2.0
"""A dataset that is restored on the prepared MySQL, as `Home` of the restore's tests is on the machine's own server."""

from typing import Any

import yaml

from tests.kit import ROOT

from .engines import MYSQL, PREPARED, mysql_engine

DUMP = ROOT / "tests" / "data" / "dumps" / "mysql-9.7.sql"
"""What MySQL's own mysqldump has written of shop.sql beside it."""


def options(base: dict[str, Any]) -> dict[str, Any]:
    """The options of a restore, with the prepared MySQL and what the role starts it with."""
    mysql_engine()
    defaults = yaml.safe_load((ROOT / "roles" / "restore_datasets" / "defaults" / "main.yaml").read_text())
    return base | {
        "engines": {MYSQL: {"family": "mysql"}},
        "engines_dir": str(PREPARED),
        "mysql_options": defaults["restore_datasets_mysql_options"],
    }

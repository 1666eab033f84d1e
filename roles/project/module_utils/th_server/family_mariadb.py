# SPDX-License-Identifier: Apache-2.0
"""MariaDB as a private server."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from ansible.module_utils.th_server.accounts import literal
from ansible.module_utils.th_server.family import Family

_SYSTEM = "'mariadb.sys'"
"""The locked account that is the definer of the server's own view of all accounts: it may read and delete them."""

_RIGHTS = ("db", "tables_priv", "columns_priv", "procs_priv", "proxies_priv", "roles_mapping")
"""The tables with the rights of other accounts."""

_ELSEWHERE = ("servers", "func")
"""The tables of what connects the server to the outside, which a dump may contain."""


def _create(server: str, find: Callable[[str], str], data: Path, tmp: Path) -> list[str]:
    prefix = Path(server).parent.parent
    return [
        find("mariadb-install-db"),
        "--no-defaults",
        # the script of a vendor's tarball looks where that was built
        *([] if prefix in (Path("/usr"), Path("/")) else [f"--basedir={prefix}"]),
        f"--datadir={data}",
        f"--tmpdir={tmp}",
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
        "--skip-name-resolve",
    ]


def _locked(account: str) -> list[str]:
    return [f"CREATE OR REPLACE USER {account} ACCOUNT LOCK"]


def _identified(password: str) -> str:
    """It has no password, only its hash: the server's process can read the file of the accounts, and may log it."""
    return f"IDENTIFIED BY PASSWORD {literal(_password_hash(password))}"


def _password_hash(password: str) -> str:
    """The hash of a password that a server stores (``mysql_native_password``); "" for none."""
    if not password:
        return ""
    once = hashlib.sha1(password.encode(), usedforsecurity=False).digest()
    return "*" + hashlib.sha1(once, usedforsecurity=False).hexdigest().upper()


MARIADB = Family(
    name="mariadb",
    server="mariadbd",
    data_options=("--innodb-log-file-size", "--innodb-page-size", "--lower-case-table-names"),
    create=_create,
    options=(
        "--skip-symbolic-links",
        # INSERT DELAYED would write rows in a thread of the server after the migration has ended
        "--max-delayed-threads=0",
    ),
    clear=(
        f"DELETE FROM mysql.global_priv WHERE User <> {_SYSTEM} OR Host <> 'localhost'",  # noqa: S608
        *(f"DELETE FROM mysql.{table} WHERE User <> {_SYSTEM}" for table in _RIGHTS),  # noqa: S608
        *(f"DELETE FROM mysql.{table}" for table in _ELSEWHERE),  # noqa: S608
    ),
    identified=_identified,
    locked=_locked,
    time_zones=("mariadb-tzinfo-to-sql", "mysql_tzinfo_to_sql"),
)

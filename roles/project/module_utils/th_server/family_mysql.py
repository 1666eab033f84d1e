# SPDX-License-Identifier: Apache-2.0
"""MySQL 8.0 and later, and Percona Server, as a private server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ansible.module_utils.th_server.accounts import literal
from ansible.module_utils.th_server.family import Family

_SYSTEM = "'mysql.sys', 'mysql.session', 'mysql.infoschema'"
"""The server's own locked accounts, which are the definers of its own views."""

_RIGHTS = ("db", "tables_priv", "columns_priv", "procs_priv", "proxies_priv", "global_grants")
"""The tables with the rights of other accounts."""

_ELSEWHERE = ("role_edges", "default_roles", "password_history", "servers", "func")
"""The tables of roles and old passwords, and of what connects the server to the outside, which a dump may contain."""


def _create(server: str, _find: Callable[[str], str], data: Path, tmp: Path) -> list[str]:
    return [
        server,
        "--no-defaults",
        "--initialize-insecure",
        f"--datadir={data}",
        f"--tmpdir={tmp}",
        f"--secure-file-priv={tmp}",
        "--mysqlx=OFF",
        *_WITHOUT_CERTIFICATES,
        # the data of a run that is interrupted is discarded
        "--innodb-doublewrite=OFF",
        "--innodb-flush-log-at-trx-commit=0",
    ]


def _locked(account: str) -> list[str]:
    return [f"DROP USER IF EXISTS {account}", f"CREATE USER {account} ACCOUNT LOCK"]


def _identified(password: str) -> str:
    """It has the password: the server computes the hash, with a salt."""
    return f"IDENTIFIED BY {literal(password)}"


_WITHOUT_CERTIFICATES = ("--auto-generate-certs=OFF", "--caching-sha2-password-auto-generate-rsa-keys=OFF")
"""The server is reached by its socket alone."""

MYSQL = Family(
    name="mysql",
    server="mysqld",
    data_options=("--innodb-redo-log-capacity", "--innodb-page-size", "--lower-case-table-names"),
    create=_create,
    options=(
        "--mysqlx=OFF",
        *_WITHOUT_CERTIFICATES,
        # the box does not let the server choose where its memory is, which it would log with each allocation
        "--loose-innodb-numa-interleave=OFF",
    ),
    clear=(
        f"DELETE FROM mysql.user WHERE User NOT IN ({_SYSTEM}) OR Host <> 'localhost'",  # noqa: S608
        *(f"DELETE FROM mysql.{table} WHERE User NOT IN ({_SYSTEM})" for table in _RIGHTS),  # noqa: S608
        *(f"DELETE FROM mysql.{table}" for table in _ELSEWHERE),  # noqa: S608
    ),
    identified=_identified,
    locked=_locked,
    time_zones=("mysql_tzinfo_to_sql",),
)

# SPDX-License-Identifier: Apache-2.0
"""The accounts of a private server, and names and texts as SQL writes them."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable

NAME_LIMIT = 64
"""Characters in the name of a database."""

_SYSTEM = "mariadb.sys"
"""The account, locked, in whose name the server's own view of all accounts runs: it may read and delete them."""

_RIGHTS = ("db", "tables_priv", "columns_priv", "procs_priv", "proxies_priv", "roles_mapping")
"""Where the rights of other accounts are."""

_ELSEWHERE = ("servers", "func")
"""What would let the server reach elsewhere, which a dump may have brought."""


def identifier(name: str) -> str:
    """A name quoted as an identifier of SQL."""
    return "`" + name.replace("`", "``") + "`"


def scope(database: str) -> str:
    """All of one database, as GRANT names it: there, ``_`` and ``%`` are wildcards."""
    escaped = _escaped(database)
    # GRANT takes no longer name; the wildcard then stands for itself, as for any one character
    return identifier(escaped if len(escaped) <= NAME_LIMIT else database) + ".*"


def can_be_granted_alone(database: str) -> bool:
    """Whether `scope` is that one database, and not also others with a name like it."""
    return len(_escaped(database)) <= NAME_LIMIT or _escaped(database) == database


def _escaped(database: str) -> str:
    return database.replace("\\", "\\\\").replace("_", "\\_").replace("%", "\\%")


def literal(text: str) -> str:
    """A text as a literal of SQL."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''").replace("\n", "\\n") + "'"


def administrator() -> str:
    """A new name for the administrator of one server. Nobody can name it as the definer of anything beforehand."""
    return f"admin_{secrets.token_hex(12)}"


def locked(definer: str, databases: Iterable[str], user: str) -> list[str]:
    """The statements that make an account (``user@host``) that nobody can log in with, with all rights on `databases`.

    They take all other rights from it, whoever it is. None for `user` itself, which has the same rights.
    """
    name, _, host = definer.rpartition("@")
    if not host or (name, host) == (user, "localhost"):
        return []
    account = f"{literal(name)}@{literal(host)}"
    rights = [f"GRANT ALL ON {scope(database)} TO {account}" for database in databases]
    return [f"CREATE OR REPLACE USER {account} ACCOUNT LOCK", *rights]


def accounts(
    databases: Iterable[str],
    user: str,
    password: str,
    admin: tuple[str, str],
    connections: int = 0,
    definers: Iterable[str] = (),
    settings: Iterable[str] = (),
) -> str:
    """The statements, one a line as --init-file reads them, after which there are only these accounts.

    `admin`, a name and a password, has all rights. `user` has all rights on the `databases`, none elsewhere, and at
    most `connections` at one time (0: no limit). The `definers` (``user@host``) have the same rights and cannot log in,
    ``root@localhost`` and the server's own account among them. `settings` are statements that come last.

    No password is in them, only what it is checked with: the server's process sees the file, and may log what it reads.
    """
    databases = list(databases)
    account = f"{literal(user)}@localhost"
    administrating = f"{literal(admin[0])}@localhost"
    limit = f" WITH MAX_USER_CONNECTIONS {connections}" if connections else ""
    dumb = [f"{one};" for definer in definers for one in locked(definer, databases, user)]
    kept = literal(_SYSTEM)
    return "\n".join(
        [
            "SET SESSION sql_mode = '';",  # else a mode could give the texts below another meaning
            "SET SESSION sql_log_bin = 0;",  # or they would stand in the binary log of a dataset that has one
            f"DELETE FROM mysql.global_priv WHERE User <> {kept} OR Host <> 'localhost';",  # noqa: S608
            *(f"DELETE FROM mysql.{table} WHERE User <> {kept};" for table in _RIGHTS),  # noqa: S608
            *(f"DELETE FROM mysql.{table};" for table in _ELSEWHERE),  # noqa: S608
            "FLUSH PRIVILEGES;",
            f"CREATE USER {administrating} IDENTIFIED BY PASSWORD {literal(_checked_with(admin[1]))};",
            f"GRANT ALL ON *.* TO {administrating} WITH GRANT OPTION;",
            f"CREATE USER {account} IDENTIFIED BY PASSWORD {literal(_checked_with(password))}{limit};",
            *(f"CREATE DATABASE IF NOT EXISTS {identifier(database)};" for database in databases),
            *(f"GRANT ALL ON {scope(database)} TO {account};" for database in databases),
            *dumb,
            *settings,
            "",
        ]
    )


def _checked_with(password: str) -> str:
    """What a server keeps of a password (``mysql_native_password``); "" for none."""
    if not password:
        return ""
    once = hashlib.sha1(password.encode(), usedforsecurity=False).digest()
    return "*" + hashlib.sha1(once, usedforsecurity=False).hexdigest().upper()

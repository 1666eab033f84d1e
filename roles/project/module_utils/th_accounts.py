# SPDX-License-Identifier: Apache-2.0
"""The accounts of a private server, and names and texts as SQL writes them."""

from __future__ import annotations

from collections.abc import Iterable

NAME_LIMIT = 64
"""Characters in the name of a database."""

_OWN = ("root", "mariadb.sys")
"""The accounts that a server cannot be without; ``mariadb.sys`` cannot log in."""

_RIGHTS = ("db", "tables_priv", "columns_priv", "procs_priv", "proxies_priv", "roles_mapping")
"""Where the rights of other accounts are."""

_ELSEWHERE = ("servers", "func")
"""What would let the server reach elsewhere, which a dump may have brought."""


def identifier(name: str) -> str:
    """A name quoted as an identifier of SQL."""
    return "`" + name.replace("`", "``") + "`"


def scope(database: str) -> str:
    """All of one database, as GRANT names it: there, ``_`` and ``%`` are wildcards."""
    escaped = database.replace("\\", "\\\\").replace("_", "\\_").replace("%", "\\%")
    # GRANT takes no longer name; the wildcard then stands for itself, as for any one character
    return identifier(escaped if len(escaped) <= NAME_LIMIT else database) + ".*"


def literal(text: str) -> str:
    """A text as a literal of SQL."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''").replace("\n", "\\n") + "'"


def locked(definer: str, databases: Iterable[str], user: str) -> list[str]:
    """The statements that make an account (``user@host``) that nobody can log in with, with all rights on `databases`.

    None for the administrator, and for `user` itself.
    """
    name, _, host = definer.rpartition("@")
    if not host or (name, host) in (("root", "localhost"), (user, "localhost")):
        return []
    account = f"{literal(name)}@{literal(host)}"
    rights = [f"GRANT ALL ON {scope(database)} TO {account}" for database in databases]
    return [f"CREATE OR REPLACE USER {account} ACCOUNT LOCK", *rights]


def accounts(
    databases: Iterable[str],
    user: str,
    password: str,
    admin_password: str,
    connections: int = 0,
    definers: Iterable[str] = (),
    settings: Iterable[str] = (),
) -> str:
    """The statements, one a line as --init-file reads them, after which there are only these accounts.

    `user` has all rights on the `databases`, none elsewhere, and at most `connections` at one time (0: no limit). The
    `definers` (``user@host``) have the same rights and cannot log in. `settings` are statements that come last.
    """
    databases = list(databases)
    account = f"{literal(user)}@localhost"
    limit = f" WITH MAX_USER_CONNECTIONS {connections}" if connections else ""
    dumb = [f"{one};" for definer in definers for one in locked(definer, databases, user)]
    kept = ", ".join(map(literal, _OWN))
    return "\n".join(
        [
            "SET SESSION sql_mode = '';",  # else a mode could give the texts below another meaning
            f"DELETE FROM mysql.global_priv WHERE User NOT IN ({kept}) OR Host <> 'localhost';",  # noqa: S608
            *(f"DELETE FROM mysql.{table} WHERE User NOT IN ({kept});" for table in _RIGHTS),  # noqa: S608
            *(f"DELETE FROM mysql.{table};" for table in _ELSEWHERE),  # noqa: S608
            "FLUSH PRIVILEGES;",
            f"ALTER USER root@localhost IDENTIFIED BY {literal(admin_password)};",
            f"CREATE USER {account} IDENTIFIED BY {literal(password)}{limit};",
            *(f"CREATE DATABASE IF NOT EXISTS {identifier(database)};" for database in databases),
            *(f"GRANT ALL ON {scope(database)} TO {account};" for database in databases),
            *dumb,
            *settings,
            "",
        ]
    )

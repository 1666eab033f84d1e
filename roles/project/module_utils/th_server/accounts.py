# SPDX-License-Identifier: Apache-2.0
"""The accounts of a private server, and quoting names and strings in SQL."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable

NAME_LIMIT = 64
"""Maximum characters in the name of a database."""

_SYSTEM = "mariadb.sys"
"""The locked account that is the definer of the server's own view of all accounts: it may read and delete them."""

_RIGHTS = ("db", "tables_priv", "columns_priv", "procs_priv", "proxies_priv", "roles_mapping")
"""The tables with the rights of other accounts."""

_ELSEWHERE = ("servers", "func")
"""The tables of what connects the server to the outside, which a dump may contain."""


def identifier(name: str) -> str:
    """A name quoted as an SQL identifier."""
    return "`" + name.replace("`", "``") + "`"


def scope(database: str) -> str:
    """All of one database, in the form of GRANT, where ``_`` and ``%`` are wildcards."""
    escaped = _escaped(database)
    # GRANT takes no longer name; an unescaped wildcard matches itself as well
    return identifier(escaped if len(escaped) <= NAME_LIMIT else database) + ".*"


def can_be_granted_alone(database: str) -> bool:
    """Whether `scope` matches that one database only, and no others with a similar name."""
    return len(_escaped(database)) <= NAME_LIMIT or _escaped(database) == database


def _escaped(database: str) -> str:
    return database.replace("\\", "\\\\").replace("_", "\\_").replace("%", "\\%")


def literal(text: str) -> str:
    """A text as an SQL string literal."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''").replace("\n", "\\n") + "'"


def administrator() -> str:
    """A new, unpredictable name for the administrator of one server, which nobody can name as a definer beforehand."""
    return f"admin_{secrets.token_hex(12)}"


def locked(definer: str, databases: Iterable[str], user: str) -> list[str]:
    """The statements that create an account (``user@host``) that cannot log in, with all rights on `databases`.

    An existing account loses all other rights. There are none for `user` itself, which has the same rights.
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
    """The statements, one per line for --init-file, after which only these accounts exist.

    `admin`, a name and a password, has all rights. `user` has all rights on the `databases`, none elsewhere, and at
    most `connections` at a time (0: no limit). The `definers` (``user@host``), which may include ``root@localhost`` and
    the server's own account, have the same rights and cannot log in. `settings` are statements that come last.

    They contain no password, only its hash: the server's process can read the file, and may log it.
    """
    databases = list(databases)
    account = f"{literal(user)}@localhost"
    administrating = f"{literal(admin[0])}@localhost"
    limit = f" WITH MAX_USER_CONNECTIONS {connections}" if connections else ""
    locked_accounts = [f"{one};" for definer in definers for one in locked(definer, databases, user)]
    kept = literal(_SYSTEM)
    return "\n".join(
        [
            "SET SESSION sql_mode = '';",  # a mode could change the meaning of the literals below
            "SET SESSION sql_log_bin = 0;",  # keeps them out of the binary log of a dataset that has one
            f"DELETE FROM mysql.global_priv WHERE User <> {kept} OR Host <> 'localhost';",  # noqa: S608
            *(f"DELETE FROM mysql.{table} WHERE User <> {kept};" for table in _RIGHTS),  # noqa: S608
            *(f"DELETE FROM mysql.{table};" for table in _ELSEWHERE),  # noqa: S608
            "FLUSH PRIVILEGES;",
            f"CREATE USER {administrating} IDENTIFIED BY PASSWORD {literal(_password_hash(admin[1]))};",
            f"GRANT ALL ON *.* TO {administrating} WITH GRANT OPTION;",
            f"CREATE USER {account} IDENTIFIED BY PASSWORD {literal(_password_hash(password))}{limit};",
            *(f"CREATE DATABASE IF NOT EXISTS {identifier(database)};" for database in databases),
            *(f"GRANT ALL ON {scope(database)} TO {account};" for database in databases),
            *locked_accounts,
            *settings,
            "",
        ]
    )


def _password_hash(password: str) -> str:
    """The hash of a password that a server stores (``mysql_native_password``); "" for none."""
    if not password:
        return ""
    once = hashlib.sha1(password.encode(), usedforsecurity=False).digest()
    return "*" + hashlib.sha1(once, usedforsecurity=False).hexdigest().upper()

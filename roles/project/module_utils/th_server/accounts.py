# SPDX-License-Identifier: Apache-2.0
"""The accounts of a private server, and quoting names and strings in SQL."""

from __future__ import annotations

import secrets
from collections.abc import Iterable

from ansible.module_utils.th_server.family import Accounts, Family

NAME_LIMIT = 64
"""Maximum characters in the name of a database."""


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


def locked(family: Family, definer: str, databases: Iterable[str], user: str) -> list[str]:
    """The statements that create an account (``user@host``) that cannot log in, with all rights on `databases`.

    An existing account loses all other rights. There are none for `user` itself, which has the same rights.
    """
    name, _, host = definer.rpartition("@")
    if not host or (name, host) == (user, "localhost"):
        return []
    account = f"{literal(name)}@{literal(host)}"
    return [*family.locked(account), *_all_rights(databases, account)]


def _all_rights(databases: Iterable[str], account: str) -> list[str]:
    return [f"GRANT ALL ON {scope(database)} TO {account}" for database in databases]


def accounts(family: Family, wanted: Accounts, settings: Iterable[str] = ()) -> str:
    """The statements, one per line for --init-file, after which only the accounts of `wanted` exist.

    `settings` are statements that come last.
    """
    user, admin = (f"{literal(name)}@localhost" for name in (wanted.user, wanted.admin[0]))
    limit = f" WITH MAX_USER_CONNECTIONS {wanted.connections}" if wanted.connections else ""
    statements = [
        "SET SESSION sql_mode = ''",  # a mode could change the meaning of the literals below
        "SET SESSION sql_log_bin = 0",  # keeps them out of the binary log of a dataset that has one
        *family.clear,
        "FLUSH PRIVILEGES",
        f"CREATE USER {admin} {family.identified(wanted.admin[1])}",
        f"GRANT ALL ON *.* TO {admin} WITH GRANT OPTION",
        f"CREATE USER {user} {family.identified(wanted.password)}{limit}",
        *(f"CREATE DATABASE IF NOT EXISTS {identifier(database)}" for database in wanted.databases),
        *_all_rights(wanted.databases, user),
        *(one for each in wanted.definers for one in locked(family, each, wanted.databases, wanted.user)),
    ]
    return "\n".join([*(f"{one};" for one in statements), *settings, ""])

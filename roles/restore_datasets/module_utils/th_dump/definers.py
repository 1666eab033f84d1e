# SPDX-License-Identifier: Apache-2.0
"""The definers of views, triggers, routines and events: accounts that a dump names but does not create."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

import pymysql
from ansible.module_utils.th_dump.seed_errors import SeedError
from ansible.module_utils.th_server import mariadb
from ansible.module_utils.th_server.accounts import locked
from ansible.module_utils.th_server.definers import objects
from ansible.module_utils.th_server.families import FAMILIES
from ansible.module_utils.th_server.family_mysql import MYSQL

_READER = "mysql.infoschema@localhost"
"""As this account MySQL reads information_schema, so that its rights cannot be taken away."""


def make_definers(server: mariadb.Server, databases: Iterable[str], definers: Iterable[str], user: str) -> None:
    """Create the accounts that a dump names, with all rights on the `databases`, before `user` loads it.

    A view on another view, and a trigger that a later INSERT fires, need them while the dump is loaded. Nobody can
    log in with them. Each start of a private server recreates its accounts, so the first clone no longer has these.
    Raises SeedError for a definer whose rights cannot be taken away.
    """
    definers = sorted(definers)
    if server.family == MYSQL.name and _READER in map(str.lower, definers):
        raise SeedError(
            "seed_broken",
            f"what the dump creates runs as {_READER}, an account of the server's own with rights on all databases,"
            " which a change could use: create it again with another definer before the dump is made",
        )
    with mariadb.connect(server, server.admin_file) as connection:
        mariadb.query(connection, "SET SESSION sql_mode = ''")  # other modes could change what the quoted names mean
        for definer in definers:
            # a name that no account can have fails in the statement that uses it, with its line number
            with contextlib.suppress(pymysql.err.MySQLError):
                for statement in locked(FAMILIES[server.family], definer, databases, user):
                    mariadb.query(connection, statement)


def definers_of(server: mariadb.Server, database: str) -> list[str]:
    """The definers (``user@host``) of the objects in a database."""
    with mariadb.connect(server, server.admin_file) as connection:
        return sorted({definer for definer, _, _ in objects(connection, database)})

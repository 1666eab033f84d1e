# SPDX-License-Identifier: Apache-2.0
"""The definers of views, triggers, routines and events: accounts that a dump names but does not create."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

import pymysql
from ansible.module_utils.th_server import mariadb
from ansible.module_utils.th_server.accounts import locked
from ansible.module_utils.th_server.definers import objects
from ansible.module_utils.th_server.families import FAMILIES


def make_definers(server: mariadb.Server, databases: Iterable[str], definers: Iterable[str], user: str) -> None:
    """Create the accounts that a dump names, with all rights on the `databases`, before `user` loads it.

    A view on another view, and a trigger that a later INSERT fires, need them while the dump is loaded. Nobody can
    log in with them. Each start of a private server recreates its accounts, so the first clone no longer has these.
    """
    with mariadb.connect(server, server.admin_file) as connection:
        mariadb.query(connection, "SET SESSION sql_mode = ''")  # other modes could change what the quoted names mean
        for definer in sorted(definers):
            # a name that no account can have fails in the statement that uses it, with its line number
            with contextlib.suppress(pymysql.err.MySQLError):
                for statement in locked(FAMILIES[server.family], definer, databases, user):
                    mariadb.query(connection, statement)


def definers_of(server: mariadb.Server, database: str) -> list[str]:
    """The definers (``user@host``) of the objects in a database."""
    with mariadb.connect(server, server.admin_file) as connection:
        return sorted({definer for definer, _, _ in objects(connection, database)})

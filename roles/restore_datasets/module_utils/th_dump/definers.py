# SPDX-License-Identifier: Apache-2.0
"""The accounts in whose name views, triggers, routines and events run: a dump names them and does not bring them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from typing import Any

import pymysql
from ansible.module_utils.th_server import mariadb
from ansible.module_utils.th_server.accounts import identifier, locked

_OF_A_JOB = re.compile(r"th_[0-9a-f]{12}@%")
_KINDS = ("view", "trigger", "procedure", "function", "package", "package body", "event")
_OBJECTS = (
    "SELECT definer, 'view', table_name FROM information_schema.views WHERE table_schema = %s",
    "SELECT definer, 'trigger', trigger_name FROM information_schema.triggers WHERE trigger_schema = %s",
    "SELECT definer, LOWER(routine_type), routine_name FROM information_schema.routines WHERE routine_schema = %s",
    "SELECT definer, 'event', event_name FROM information_schema.events WHERE event_schema = %s",
)


def make_definers(server: mariadb.Server, databases: Iterable[str], definers: Iterable[str], user: str) -> None:
    """Make the accounts that a dump names, before it is loaded by `user`, with all rights on the `databases`.

    A view of another view, and a trigger that a later INSERT sets off, need them while the dump is loaded. Nobody can
    log in with them. Each start of a private server makes its accounts anew, so they are gone with the first clone.
    """
    with mariadb.connect(server, server.admin_file) as connection:
        mariadb.query(connection, "SET SESSION sql_mode = ''")  # else a mode could give the texts another meaning
        for definer in sorted(definers):
            # a name that no account can have is left to the statement that needs it, which has a line
            with contextlib.suppress(pymysql.err.MySQLError):
                for statement in locked(definer, databases, user):
                    mariadb.query(connection, statement)


def definers_of(server: mariadb.Server, database: str) -> list[str]:
    """The accounts (``user@host``) in whose name what is in a database runs."""
    with mariadb.connect(server, server.admin_file) as connection:
        return sorted({definer for definer, _, _ in objects(connection, database)})


def objects(connection: Any, database: str) -> Iterator[tuple[str, str, str]]:
    """What is in a database and has a definer: that (``user@host``), its kind (``view``) and its name."""
    for statement in _OBJECTS:
        for definer, kind, name in mariadb.query(connection, statement, database):
            yield str(definer), str(kind), str(name)


def drop_former(connection: Any, database: str) -> None:
    """Drop all that could run and that earlier jobs have made in a preloaded database.

    An operator's command that resets it would use what they left in place of a table or on it, with all its own rights.
    """
    for definer, kind, name in objects(connection, database):
        if _OF_A_JOB.fullmatch(definer) and kind in _KINDS:
            mariadb.query(connection, f"DROP {kind.upper()} IF EXISTS {identifier(database)}.{identifier(name)}")

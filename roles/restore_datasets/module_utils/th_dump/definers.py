# SPDX-License-Identifier: Apache-2.0
"""The definers of views, triggers, routines and events: accounts that a dump names but does not create."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from typing import Any

import pymysql
from ansible.module_utils.th_server import mariadb
from ansible.module_utils.th_server.accounts import identifier, locked
from ansible.module_utils.th_server.families import FAMILIES

_OF_A_JOB = re.compile(r"th_[0-9a-f]{12}@%")
_KINDS = ("view", "trigger", "procedure", "function", "package", "package body", "event")
_OBJECTS = (
    "SELECT definer, 'view', table_name FROM information_schema.views WHERE table_schema = %s",
    "SELECT definer, 'trigger', trigger_name FROM information_schema.triggers WHERE trigger_schema = %s",
    "SELECT definer, LOWER(routine_type), routine_name FROM information_schema.routines WHERE routine_schema = %s",
    "SELECT definer, 'event', event_name FROM information_schema.events WHERE event_schema = %s",
)


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


def objects(connection: Any, database: str) -> Iterator[tuple[str, str, str]]:
    """The objects of a database that have a definer: the definer (``user@host``), the kind (``view``) and the name."""
    for statement in _OBJECTS:
        for definer, kind, name in mariadb.query(connection, statement, database):
            yield str(definer), str(kind), str(name)


def drop_former(connection: Any, database: str) -> None:
    """Drop all that earlier jobs have created in a preloaded database and that could run.

    Otherwise the operator's reset command could run a trigger or a view that a job has left there, with its own rights.
    """
    for definer, kind, name in objects(connection, database):
        if _OF_A_JOB.fullmatch(definer) and kind in _KINDS:
            mariadb.query(connection, f"DROP {kind.upper()} IF EXISTS {identifier(database)}.{identifier(name)}")

# SPDX-License-Identifier: Apache-2.0
"""Views, triggers, routines and events, each of which runs in the name of an account, its definer.

This module imports nothing of Ansible, because the program that holds a job's locks on an external server loads it.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import pymysql

_KINDS = ("view", "trigger", "procedure", "function", "package", "package body", "event")
IN_USE = 4006
"""MySQL's error number for an account that is a definer, which it does not drop without the right to leave orphans."""

_OF_A_JOB = re.compile(r"th_[0-9a-f]{12}@%")
_OBJECTS = (
    "SELECT definer, 'view', table_schema, table_name FROM information_schema.views",
    "SELECT definer, 'trigger', trigger_schema, trigger_name FROM information_schema.triggers",
    "SELECT definer, LOWER(routine_type), routine_schema, routine_name FROM information_schema.routines",
    "SELECT definer, 'event', event_schema, event_name FROM information_schema.events",
)
_SCHEMA = ("table_schema", "trigger_schema", "routine_schema", "event_schema")


def objects(connection: Any, database: str) -> Iterator[tuple[str, str, str]]:
    """The objects of a database that have a definer: the definer (``user@host``), the kind (``view``) and the name."""
    for statement, column in zip(_OBJECTS, _SCHEMA, strict=True):
        for definer, kind, _, name in _query(connection, f"{statement} WHERE {column} = %s", database):
            yield str(definer), str(kind), str(name)


def drop_former(connection: Any, database: str) -> None:
    """Drop all that earlier jobs have created in a preloaded database and that could run.

    Otherwise the operator's reset command could run a trigger or a view that a job has left there, with its own rights.
    """
    for definer, kind, name in objects(connection, database):
        if _OF_A_JOB.fullmatch(definer):
            _drop(connection, kind, database, name)


def drop_account(connection: Any, user: str) -> None:
    """Drop the account of a job (``user@%``).

    MySQL does not drop it while objects in preloaded databases run in its name. They are dropped first, as the next job
    there would do.
    """
    statement = f"DROP USER IF EXISTS '{user}'@'%'"
    try:
        _query(connection, statement)
    except pymysql.err.OperationalError as error:
        if error.args[0] != IN_USE:
            raise
        for listed in _OBJECTS:
            for _, kind, database, name in _query(connection, f"{listed} WHERE definer = %s", f"{user}@%"):
                with contextlib.suppress(pymysql.err.MySQLError):  # the account is not dropped then, either
                    _drop(connection, str(kind), str(database), str(name))
        _query(connection, statement)


def _drop(connection: Any, kind: str, database: str, name: str) -> None:
    if kind in _KINDS:
        _query(connection, f"DROP {kind.upper()} IF EXISTS {_quoted(database)}.{_quoted(name)}")


def _query(connection: Any, sql: str, *values: object) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values or None)
        return list(cursor.fetchall())


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"

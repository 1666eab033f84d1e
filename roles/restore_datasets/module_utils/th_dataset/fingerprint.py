# SPDX-License-Identifier: Apache-2.0
"""A fingerprint of a seed, with which a preloaded database is proved to be in the state of the seed again.

Definitions are compared as the server prints them (SHOW CREATE …), rows by the checksum of their table
(CHECKSUM TABLE … EXTENDED, which does not depend on the order of the rows or their place in the file).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ansible.module_utils.th_server.accounts import identifier
from ansible.module_utils.th_server.external_server import RIGHTS
from ansible.module_utils.th_server.mariadb import UnreachableError, query

Seal = dict[str, dict[str, str]]
"""By database and object (``table users``, ``rows of users``, ``trigger audit``): a digest, or the rows' checksum."""

_JOBS_ACCOUNT = re.compile(r"DEFINER=`th_[0-9a-f]{12}`@`%`")
_LISTS = (
    "SELECT LOWER(routine_type), routine_name FROM information_schema.routines WHERE routine_schema = %s",
    "SELECT 'trigger', trigger_name FROM information_schema.triggers WHERE trigger_schema = %s",
    "SELECT 'event', event_name FROM information_schema.events WHERE event_schema = %s",
)
_KINDS = ("procedure", "function", "package", "package body", "trigger", "event")
_VOLATILE = ("Created",)  # when a trigger was created


def seal(connection: Any, databases: Iterable[str]) -> Seal:
    """The seal of the databases as they are now. Reads every row. Raises UnreachableError for what this account may not
    see."""
    query(connection, "SET SESSION sql_mode = ''")  # some modes change how definitions are printed
    return {database: _database(connection, database) for database in databases}


def differences(wanted: Mapping[str, Mapping[str, str]], found: Mapping[str, Mapping[str, str]]) -> list[str]:
    """The differences between two seals, in words."""
    said = []
    for database in sorted(wanted.keys() | found.keys()):
        before, after = wanted.get(database, {}), found.get(database, {})
        for name in sorted(before.keys() | after.keys()):
            kind = name.partition(" ")[0]
            if kind == "rows" and not {name.replace("rows of", "table", 1)} <= before.keys() & after.keys():
                continue  # the table is missing or new, which is reported already
            where = f"{name} ({database})"
            if name not in after:
                said.append(f"{where} is missing")
            elif name not in before:
                said.append(f"{where} is not the seed's")
            elif before[name] != after[name]:
                said.append(f"{where} differ" if kind == "rows" else f"the definition of {where} differs")
    return said


def _database(connection: Any, database: str) -> dict[str, str]:
    found = {"database": _digest(_text(connection, f"SHOW CREATE DATABASE {identifier(database)}"))}
    tables = query(
        connection,
        "SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = %s ORDER BY table_name",
        database,
    )
    for name, kind in tables:
        place = f"{identifier(database)}.{identifier(name)}"
        if kind == "VIEW":
            found[f"view {name}"] = _digest(_text(connection, f"SHOW CREATE VIEW {place}"))
            continue
        found[f"table {name}"] = _digest(_text(connection, f"SHOW CREATE TABLE {place}"))
        found[f"rows of {name}"] = _rows(connection, place, str(kind))
    for statement in _LISTS:
        for kind, name in query(connection, statement, database):
            assert kind in _KINDS
            place = f"{identifier(database)}.{identifier(name)}"
            found[f"{kind} {name}"] = _digest(_text(connection, f"SHOW CREATE {kind.upper()} {place}"))
    return found


def _rows(connection: Any, place: str, kind: str) -> str:
    if kind == "SEQUENCE":  # its only row is its state
        return _digest(query(connection, f"SELECT * FROM {place}"))  # noqa: S608 - a quoted identifier
    ((_, checksum),) = query(connection, f"CHECKSUM TABLE {place} EXTENDED")
    if checksum is None:
        raise UnreachableError(f"the rows of {place} cannot be read by this account; {RIGHTS}")
    return str(checksum)


def _text(connection: Any, statement: str) -> list[tuple[str, str]]:
    """The server's description of an object, without what changes by itself."""
    with connection.cursor() as cursor:
        cursor.execute(statement)
        names = [column[0] for column in cursor.description]
        rows = cursor.fetchall()
    said = []
    for row in rows:
        for name, value in zip(names, row, strict=True):
            if name in _VOLATILE:
                continue
            if value is None and name.startswith(("Create ", "SQL Original")):
                raise UnreachableError(f"{statement} shows nothing to this account; {RIGHTS}")
            said.append((name, _JOBS_ACCOUNT.sub("DEFINER=`the job`@`%`", str(value))))
    return said


def _digest(value: object) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()[:32]

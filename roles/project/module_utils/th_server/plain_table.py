# SPDX-License-Identifier: Apache-2.0
"""Checking that a version is read from a plain table, which holds what was written to it, and not from computed data.

A view or a computed column can show each reader another version, or one that was never written, and a trigger can write
another one than the tool does. Some storage engines do not keep rows, or take them from elsewhere.
"""

from __future__ import annotations

import re
from typing import Any

import pymysql
from ansible.module_utils.th_core.text import printable
from ansible.module_utils.th_server.accounts import identifier
from ansible.module_utils.th_server.mariadb import query

RULE = "a version is read from a base table without triggers and computed columns"
_NAME = r"(?:`(?:[^`]|``)+`|[\w$]+)"
_FROM = re.compile(r"\b(?:FROM|JOIN)\b", re.IGNORECASE)
_END = re.compile(r"\b(?:WHERE|GROUP|ORDER|LIMIT|HAVING|UNION|JOIN|ON|USING|FOR|WINDOW)\b|[()]", re.IGNORECASE)
_TABLE = re.compile(rf"\s*({_NAME})(?:\s*\.\s*({_NAME}))?")
_MISSING = (1146, 1049)
_NO_STORES = "MEMORY", "BLACKHOLE", "MRG_MYISAM", "FEDERATED", "CONNECT", "SPIDER", "OQGRAPH", "SPHINX", "SEQUENCE"
"""Engines whose tables do not keep their rows, or take them from elsewhere."""
_ASKED = (
    "SELECT 'has the trigger', trigger_name FROM information_schema.triggers"  # noqa: S608 - texts of our own
    " WHERE event_object_schema = %s AND event_object_table = %s"
    " UNION ALL SELECT 'computes its column', column_name FROM information_schema.columns"
    " WHERE table_schema = %s AND table_name = %s AND generation_expression IS NOT NULL AND generation_expression <> ''"
    " UNION ALL SELECT 'is kept by the engine', engine FROM information_schema.tables"
    f" WHERE table_schema = %s AND table_name = %s AND UPPER(engine) IN ({', '.join(map(repr, _NO_STORES))})"
)


def not_plain(connection: Any, schema: str, version_query: str) -> str:
    """What is wrong with the tables that a version query reads; "" if nothing is, or if there is no table.

    `schema` is that of tables that the query names without one. To be called with the account that reads the version.
    """
    for own, table in tables_of(version_query):
        if problem := _problem(connection, own or schema, table):
            return f"{printable(table)} {problem}: {RULE}"
    return ""


def tables_of(version_query: str) -> list[tuple[str, str]]:
    """The tables that a query reads, each with its schema ("" if it names none)."""
    found = []
    for start in _FROM.finditer(version_query):
        rest = version_query[start.end() :]
        end = _END.search(rest)
        for item in rest[: end.start() if end else None].split(","):
            if name := _TABLE.match(item):
                first, second = name.groups()
                found.append((_unquoted(first), _unquoted(second)) if second else ("", _unquoted(first)))
    return found


def _problem(connection: Any, schema: str, table: str) -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SHOW CREATE TABLE {identifier(schema)}.{identifier(table)}")
            kind = str(cursor.description[0][0])
    except (pymysql.err.ProgrammingError, pymysql.err.OperationalError) as error:
        if error.args[0] in _MISSING:
            return ""  # the query itself fails then
        raise
    if kind.lower() != "table":
        return f"is a {kind.lower()}"
    for what, name in query(connection, _ASKED, *[schema, table] * 3):
        return f"{what} {printable(str(name))}"
    return ""


def _unquoted(name: str) -> str:
    return name[1:-1].replace("``", "`") if name.startswith("`") else name

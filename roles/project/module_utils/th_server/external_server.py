# SPDX-License-Identifier: Apache-2.0
"""A job's share of an external server: its own databases and account, and locks that show that the job is alive.

Everything that a job creates there is named ``th_<12 hex digits>…``, and the job holds a lock of that name on the
server (`files/hold_locks.py` of the role restore_datasets). What has such a name but no lock was left by a dead job.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import secrets
import select
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pymysql
from ansible.module_utils.th_server import definers, mariadb, prepared
from ansible.module_utils.th_server.accounts import NAME_LIMIT, identifier, literal, scope
from ansible.module_utils.th_server.mariadb import Server, ServerError, UnreachableError, query

LOCK_WAIT = 20
_LOCK_TIMEOUT = 1205
_JOB_NAME = re.compile(r"(th_[0-9a-f]{12})(_.+)?")
# access denied, to a database, to log in, to a command, to a table, to a column; not allowed to create a user, to
# grant; an option such as --read-only or --skip-grant-tables stands in the way
DENIED = (1044, 1045, 1142, 1143, 1227, 1290, 1369, 1396, 1410, 1698, 1836, 3159, 3955)
"""Errors that are about what the server allows an account."""
RIGHTS = "docs/datasets.md, External servers, has the rights that it needs"


def own_name(folder: Path) -> str:
    """The name of all that a job creates on the server for a dataset: stable, and unique for each job and dataset."""
    return "th_" + hashlib.sha256(f"{socket.gethostname()}:{folder}".encode()).hexdigest()[:12]


def describe(folder: Path, config: Mapping[str, Any], schemas: Mapping[str, str], preloaded: bool) -> Server:
    """The server of the job in this folder; writes its two option files. `config` is the dataset's key `server`, with
    absolute paths."""
    user = own_name(folder)
    databases = dict(schemas)
    if not preloaded:
        databases = {name: _own(user, number, schemas[name]) for number, name in enumerate(schemas)}
    server = Server(
        str(folder),
        str(config.get("socket", "")),
        databases,
        user,
        host=str(config.get("host", "")),
        port=int(config.get("port", 3306)),
        private=False,
        preloaded=preloaded,
        ssl_ca=str(config.get("ssl_ca", "")),
    )
    mariadb.write_option_file(
        server.admin_file, server, user=str(config["user"]), password_file=str(config["password_file"])
    )
    # characters of each kind, for servers that check the strength of passwords
    mariadb.write_option_file(server.job_file, server, user=user, password=secrets.token_urlsafe(24) + "-aA1")
    return server


def _own(user: str, number: int, schema: str) -> str:
    """The name of the job's own database, short enough for GRANT when each ``_`` is escaped."""
    name = f"{user}_{schema}"
    return name if len(name) + name.count("_") <= NAME_LIMIT else f"{user}_{number}"


@contextlib.contextmanager
def administrating(server: Server, time_limit: float = 30) -> Iterator[Any]:
    """A connection with the operator's account. Raises UnreachableError when the server denies an operation."""
    try:
        with mariadb.connect(server, server.admin_file, time_limit=time_limit) as connection:
            yield connection
    except pymysql.err.MySQLError as error:
        number = error.args[0] if error.args else 0
        if number in DENIED:
            raise UnreachableError(f"{_place(server)} does not allow it: {error}; {RIGHTS}") from error
        if number == _LOCK_TIMEOUT:
            raise UnreachableError(
                f"{_place(server)}: something else has locked a table of the job's databases: {error}. If it is a"
                " transaction that was prepared and left (XA RECOVER), end it; on MySQL this takes XA_RECOVER_ADMIN,"
                f" with which jobs do it themselves ({RIGHTS})"
            ) from error
        if isinstance(error, pymysql.err.OperationalError) and (2000 <= number < 3000 or number in (0, 1040, 1129)):
            raise UnreachableError(f"{_place(server)} cannot be reached: {error}") from error
        raise


def lock_of(database: str) -> str:
    """The lock of a preloaded database: one job at a time."""
    return "turbo-hipster " + hashlib.sha256(database.encode()).hexdigest()[:24]


def hold_locks(server: Server, program: Path, patience: float) -> Server:
    """Start the process that holds the job's locks, and wait until it has them; returns the server with its `pid`.

    Waits at most `patience` seconds for a preloaded database. Raises UnreachableError, ServerError.
    """
    try:
        account = mariadb.read_account(server.admin_file)
    except ServerError as error:
        raise UnreachableError(str(error)) from error
    locks = [server.user, *(lock_of(name) for name in server.databases.values() if server.preloaded)]
    patience = patience if server.preloaded else LOCK_WAIT
    connect = {"user": account["user"], "password": account["password"], **mariadb.connect_arguments(server)}
    with open(server.error_log, "ab") as errors:
        process = subprocess.Popen(
            [sys.executable, str(program), server.folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
    held = mariadb.save(replace(server, pid=process.pid))
    request = {"connect": connect, "locks": locks, "patience": patience, "user": server.user}
    request["drop"] = _to_drop([] if server.preloaded else server.databases.values())
    request["modules"] = str(Path(prepared.__file__).parents[1])
    request["databases"] = list(server.databases.values())
    word = ""
    try:
        word, said = _answer(process, request, patience * len(locks) + 60)
    finally:
        if word != "held":  # nor is anything to be dropped: what is there may be another job's
            mariadb.stop(held, 1)
            mariadb.save(server)
    if word == "held":
        return held
    if word == "busy":
        names = ", ".join(server.databases.values())
        raise ServerError(f"another job has held {names} on {_place(server)} for {patience:g} s")
    raise UnreachableError(f"{_place(server)} cannot be reached: {said or held.last_words()}")


def _answer(process: subprocess.Popen[bytes], request: Mapping[str, Any], time_limit: float) -> tuple[str, str]:
    """What the process that is to hold the locks says of the request: ``held``, ``busy``, or ``failed`` and why."""
    assert process.stdin is not None and process.stdout is not None
    with process.stdin as request_pipe, process.stdout as answer_pipe:
        request_pipe.write(json.dumps(request).encode())
        request_pipe.close()
        answer = answer_pipe.readline() if select.select([answer_pipe], [], [], time_limit)[0] else b"busy"
    word, _, rest = answer.decode("utf-8", "replace").strip().partition(" ")
    return word, rest


def account_of(server: Server) -> str:
    """The job's account, as ``user@host``."""
    return f"{server.user}@%"


def make_account(connection: Any, server: Server, connections: int) -> None:
    """Create the job's account, with rights on its databases only and at most `connections` at a time (0: no limit)."""
    account = f"{literal(server.user)}@'%'"
    password = mariadb.read_account(server.job_file)["password"]
    limit = f" WITH MAX_USER_CONNECTIONS {connections}" if connections else ""
    query(connection, f"CREATE USER {account} IDENTIFIED BY {literal(password)}{limit}")
    exact = wildcards_are_literal(connection)
    for database in server.databases.values():
        query(connection, f"GRANT ALL ON {f'{identifier(database)}.*' if exact else scope(database)} TO {account}")


def wildcards_are_literal(connection: Any) -> bool:
    """Whether _ and % stand for themselves in GRANT: on a MySQL with partial_revokes."""
    return query(connection, "SHOW GLOBAL VARIABLES LIKE 'partial_revokes'") == [("partial_revokes", "ON")]


def empty_database(connection: Any, database: str) -> None:
    """Drop a preloaded database and create it empty, with the same character set and collation."""
    rows = query(
        connection,
        "SELECT default_character_set_name, default_collation_name FROM information_schema.schemata"
        " WHERE schema_name = %s",
        database,
    )
    if not rows:
        raise UnreachableError(f"there is no database {database!r} that this account can see; {RIGHTS}")
    query(connection, f"SET SESSION lock_wait_timeout = {LOCK_WAIT}")
    query(connection, f"DROP DATABASE {identifier(database)}")
    charset, collation = rows[0]
    query(connection, f"CREATE DATABASE {identifier(database)} CHARACTER SET {charset} COLLATE {collation}")


def drop_dead(connection: Any, server: Server) -> list[str]:
    """Drop what dead jobs, and earlier runs of this one, have left on the server; returns the names of the jobs."""
    rows = query(connection, "SELECT schema_name FROM information_schema.schemata WHERE schema_name LIKE 'th\\_%'")
    names = {str(row[0]) for row in rows}
    users: set[str] = set()
    with contextlib.suppress(pymysql.err.OperationalError, pymysql.err.ProgrammingError):  # not readable
        users = {
            str(row[0])
            for row in query(connection, "SELECT user FROM mysql.user WHERE user LIKE 'th\\_%' AND host = '%'")
        }
    dropped = []
    for name in sorted({match[1] for one in names | users if (match := _JOB_NAME.fullmatch(one))}):
        own = name == server.user
        if own or query(connection, "SELECT IS_FREE_LOCK(%s)", name)[0][0] == 1:
            try:
                _drop(connection, name, [one for one in names if one.startswith(f"{name}_")], LOCK_WAIT if own else 1)
                dropped.append(name)
            except pymysql.err.OperationalError as error:
                if own or error.args[0] not in (_LOCK_TIMEOUT, definers.IN_USE):
                    raise
                # a transaction that nobody ends has locked one of its tables, or its account is the definer of what
                # this account may not see, which disturbs nobody
    return dropped


def release(server: Server) -> None:
    """Drop what the job has on the server, and release its locks. Raises ServerError when the server fails."""
    try:
        with administrating(server) as connection:
            end_connections(connection, server.user)
            prepared.roll_back(connection, list(server.databases.values()), server.prepared)
        with administrating(server) as connection:
            _drop(connection, server.user, [] if server.preloaded else list(server.databases.values()))
        mariadb.save(replace(server, pid=0))
    except pymysql.err.MySQLError as error:
        raise ServerError(f"{_place(server)}: what the job has there could not be dropped: {error}") from error
    finally:
        mariadb.stop(server, 5)


def _drop(connection: Any, user: str, databases: list[str], patience: int = LOCK_WAIT) -> None:
    end_connections(connection, user)
    for statement in _to_drop(databases, patience):
        query(connection, statement)
    definers.drop_account(connection, user)


def end_connections(connection: Any, user: str) -> None:
    """Kill the connections of an account, as far as the server allows it."""
    for (number,) in query(connection, "SELECT id FROM information_schema.processlist WHERE user = %s", user):
        with contextlib.suppress(pymysql.err.MySQLError):  # it has ended already, or may not be killed
            query(connection, f"KILL {int(number)}")


def _to_drop(databases: Iterable[str], patience: int = LOCK_WAIT) -> list[str]:
    return [
        f"SET SESSION lock_wait_timeout = {patience}",
        f"SET SESSION innodb_lock_wait_timeout = {patience}",
        *(f"DROP DATABASE IF EXISTS {identifier(database)}" for database in databases),
    ]


def _place(server: Server) -> str:
    return f"the server {server.socket or f'{server.host}:{server.port}'}"

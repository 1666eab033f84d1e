# SPDX-License-Identifier: Apache-2.0
"""Hold a job's locks on an external server for as long as the job lives: ``hold_locks.py FOLDER``.

A lock of the server (GET_LOCK) ends with its connection, so it is released when this process ends for any reason: the
end of the job, of the worker or of its machine. The process reads a JSON document from stdin: `connect` (arguments of
PyMySQL), `locks`, `patience` (seconds), `user` and `databases` (the job's), `modules` (the folder that contains
`th_server`) and `drop` (statements). It prints ``held`` or an error to stdout, and runs until it gets SIGTERM, or until
FOLDER or the connection is gone. After SIGTERM or without FOLDER, it drops what the job has on the server, so that this
also happens when the job was canceled or its worker has died.
"""

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Collection
from typing import Any

import pymysql

PERIOD = 10.0
"""Seconds between two checks of the folder and the connection."""


def main() -> int:
    """Take and hold the locks; returns the exit status."""
    folder, request = sys.argv[1], json.load(sys.stdin)
    patience = int(request["patience"])
    sys.path.append(request["modules"])
    # all of them are imported now: their folder may be gone when they are needed
    from th_server import definers, prepared  # noqa: F401
    from th_server.connection import Connection

    try:
        connection = Connection(**request["connect"], read_timeout=patience + 30, autocommit=True)
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION wait_timeout = 120")
            for lock in sorted(request["locks"]):  # in one order, so that two jobs never wait for each other
                cursor.execute("SELECT GET_LOCK(%s, %s)", (lock, patience))
                if cursor.fetchone() != (1,):
                    print("busy", flush=True)
                    return 1
    except (pymysql.Error, OSError) as error:
        print(f"failed {error}", flush=True)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        before = prepared.prepared(connection) or []
        print("held", flush=True)
        with open(os.devnull, "w") as nothing:
            os.dup2(nothing.fileno(), 1)
        while os.path.isdir(folder):
            time.sleep(PERIOD)
            connection.ping(reconnect=False)
    except (pymysql.Error, OSError) as error:
        print(f"the connection that held the job's locks was lost: {error}", file=sys.stderr, flush=True)
        return 1
    except SystemExit:
        pass
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    drop(request, before)
    return 0


def drop(request: dict[str, Any], before: Collection[str]) -> None:
    """Drop what the job has on the server. What cannot be dropped is left to the next job there.

    `before` are the transactions that were prepared before the job.
    """
    from th_server import definers, prepared
    from th_server.connection import Connection

    user, databases = request["user"], request["databases"]
    with contextlib.suppress(pymysql.Error, OSError):
        connection = Connection(**request["connect"], read_timeout=60, autocommit=True)
        with connection.cursor() as cursor:
            cursor.execute("SELECT id FROM information_schema.processlist WHERE user = %s", (user,))
            for (number,) in cursor.fetchall():
                with contextlib.suppress(pymysql.Error):  # it has ended by itself, or may not be killed by this account
                    cursor.execute(f"KILL {int(number)}")
            with contextlib.suppress(pymysql.Error):
                prepared.roll_back(connection, databases, before)
            for statement in request["drop"]:
                with contextlib.suppress(pymysql.Error):
                    cursor.execute(statement)
            with contextlib.suppress(pymysql.Error):
                definers.drop_account(connection, user)


if __name__ == "__main__":
    sys.exit(main())

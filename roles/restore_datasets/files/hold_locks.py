# SPDX-License-Identifier: Apache-2.0
"""Hold a job's locks on an external server for as long as the job lives: ``hold_locks.py FOLDER``.

A lock of the server (GET_LOCK) ends with its connection, so whatever ends this process frees it: the job's end, the
end of the worker, or of its machine. It reads from stdin, as JSON, `connect` (arguments of PyMySQL), `locks`,
`patience` (seconds), `user` and `databases` (the job's), `modules` (the folder that `th_server` is in) and `drop`
(statements), says ``held`` or what went wrong on stdout, and goes on until it is ended (SIGTERM), FOLDER is gone or the
connection is. Ended by SIGTERM or for want of its folder, it drops what the job has on the server: so it is dropped
also when the job was canceled, or its worker has died.
"""

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import pymysql

PERIOD = 10.0
"""Seconds between two looks at the folder and the connection."""


def main() -> int:
    """Do it; returns the exit status."""
    folder, request = sys.argv[1], json.load(sys.stdin)
    patience = int(request["patience"])
    sys.path.append(request["modules"])
    from th_server import prepared  # what it lies in may be gone when it is needed

    try:
        connection = pymysql.connect(**request["connect"], read_timeout=patience + 30, autocommit=True)
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION wait_timeout = 120")
            for lock in sorted(request["locks"]):  # in one order, so that two jobs never wait for each other
                cursor.execute("SELECT GET_LOCK(%s, %s)", (lock, patience))
                if cursor.fetchone() != (1,):
                    print("busy", flush=True)
                    return 1
    except (pymysql.Error, OSError, RuntimeError) as error:  # RuntimeError: a way to log in that it cannot do
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
    drop(request, lambda connection: prepared.roll_back(connection, request["databases"], before))
    return 0


def drop(request: dict[str, Any], roll_back: Callable[[Any], None]) -> None:
    """Drop what the job has on the server; what remains is dropped by the next job there."""
    with contextlib.suppress(pymysql.Error, OSError):
        connection = pymysql.connect(**request["connect"], read_timeout=60, autocommit=True)
        with connection.cursor() as cursor:
            cursor.execute("SELECT id FROM information_schema.processlist WHERE user = %s", (request["user"],))
            for (number,) in cursor.fetchall():
                with contextlib.suppress(pymysql.Error):  # it has ended by itself, or is not ours to end
                    cursor.execute(f"KILL {int(number)}")
            with contextlib.suppress(pymysql.Error):
                roll_back(connection)
            for statement in request["drop"]:
                with contextlib.suppress(pymysql.Error):
                    cursor.execute(statement)


if __name__ == "__main__":
    sys.exit(main())

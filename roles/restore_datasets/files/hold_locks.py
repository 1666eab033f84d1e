# SPDX-License-Identifier: Apache-2.0
"""Hold a job's locks on an external server for as long as the job lives: ``hold_locks.py FOLDER``.

A lock of the server (GET_LOCK) ends with its connection, so whatever ends this process frees it: the job's end, the
end of the worker, or of its machine. It reads from stdin, as JSON, `connect` (arguments of PyMySQL), `locks` and
`patience` (seconds), says ``held`` or what went wrong on stdout, and goes on until FOLDER is gone or the connection is.
"""

import json
import os
import sys
import time

import pymysql

PERIOD = 10.0
"""Seconds between two looks at the folder and the connection."""


def main() -> int:
    """Do it; returns the exit status."""
    folder, request = sys.argv[1], json.load(sys.stdin)
    patience = int(request["patience"])
    try:
        connection = pymysql.connect(**request["connect"], read_timeout=patience + 30, autocommit=True)
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
    print("held", flush=True)
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 1)
    try:
        while os.path.isdir(folder):
            time.sleep(PERIOD)
            connection.ping(reconnect=False)
    except (pymysql.Error, OSError) as error:
        print(f"the connection that held the job's locks was lost: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

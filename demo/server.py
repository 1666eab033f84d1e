# SPDX-License-Identifier: Apache-2.0
"""A MariaDB server for a moment: on a socket, without a network, with nothing kept."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pymysql

from demo.tools import DemoError, run

SHORT = "/tmp"  # noqa: S108
"""A socket's path has room for about a hundred characters, whatever TMPDIR and the checkout are called."""

_SMALL = ("--innodb-log-file-size=10M",)
_START_SECONDS = 300


@contextmanager
def running(folder: Path, database: str, options: Sequence[str] = _SMALL) -> Iterator[Path]:
    """Run a server in the new ``folder`` with one empty database; give its socket's path.

    ``root`` needs no password. DemoError when it cannot be set up or started.
    """
    folder.mkdir()
    data, socket, log = folder / "data", folder / "socket", folder / "log"
    path = os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin"
    # It does not run as root unless it is told so in so many words.
    common = ["--no-defaults", f"--datadir={data}", *options, *(["--user=root"] if os.geteuid() == 0 else [])]
    setup = ["mariadb-install-db", *common, "--skip-test-db", "--auth-root-authentication-method=normal"]
    run(setup, environment={"PATH": path})
    program = shutil.which("mariadbd", path=path)
    if program is None:
        raise DemoError("mariadbd is not installed: `make host` installs what the demo needs")
    with log.open("wb") as words:
        process = subprocess.Popen(
            [program, *common, f"--socket={socket}", "--skip-networking"], stdout=words, stderr=words
        )
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not socket.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                last = (log.read_text(errors="replace").splitlines() or ["it said nothing"])[-1]
                raise DemoError(f"mariadbd did not start: {last}")
            time.sleep(0.05)
        with connect(socket) as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE `{database}` CHARACTER SET utf8mb4")
        yield socket
    finally:
        # Nothing of it is kept: there is no need for it to stop in good order.
        process.kill()
        process.wait()


def connect(socket: Path, database: str | None = None) -> pymysql.Connection[Any]:
    """Connect as the administrator."""
    return pymysql.connect(unix_socket=str(socket), user="root", database=database, charset="utf8mb4")

# SPDX-License-Identifier: Apache-2.0
"""Loading a dump into a database: it is unpacked on the way, and either loaded whole or refused with the reason.

A dump is read to its end before any of it is loaded (`th_dump.completeness`): one that is cut off, of another kind or
meant for another database never reaches the server.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import subprocess
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path

import pymysql
from ansible.module_utils.th_core.text import printable
from ansible.module_utils.th_dump.arrived import Expected
from ansible.module_utils.th_dump.completeness import Finding, inspect, label
from ansible.module_utils.th_dump.cures import cure_of
from ansible.module_utils.th_dump.rewrite import rewritten, without_definer, without_gone_mode
from ansible.module_utils.th_dump.seed_errors import SeedError, read_error
from ansible.module_utils.th_dump.source import DumpError, Source, source_of
from ansible.module_utils.th_server import mariadb
from ansible.module_utils.th_server.family_mysql import MYSQL

DISK_FULL = re.compile(r"No space left|Disk is full|disk full|Errcode: 28|is full", re.IGNORECASE)
_GONE = (1040, 1053, 1927, 2002, 2003, 2006, 2013)
_FORGET = ("RESET BINARY LOGS AND GTIDS", "RESET MASTER")
_SAID = 64 << 10
# a server that crashes logs the statement that it was executing, with all its rows, and possibly records
_STATEMENT = re.compile(r"^Query \(0x[0-9a-f]+\):.*", re.MULTILINE | re.DOTALL)
_RECORD = re.compile(r"^.*\bhex [0-9a-f]+; asc .*$", re.MULTILINE)


def examine(dump: Path, database: str, expected: Expected | None = None) -> Finding:
    """Read a dump to its end, before a server is made for it. Raises SeedError when it cannot be used.

    `database` is the one it will be loaded into, `expected` what the dataset's file expects of it.
    """
    try:
        if expected:
            _check_file(dump, expected)
        finding = inspect(dump, database)
    except OSError as error:
        raise SeedError("seed_missing", f"{dump} cannot be read: {error.strerror}") from error
    if not finding.usable:
        raise SeedError("seed_broken", f"{dump}: {finding.reason}")
    return finding


def load_dump(
    server: mariadb.Server,
    option_file: Path,
    dump: Path,
    database: str,
    time_limit: float,
    *,
    own_definers: bool = False,
) -> None:
    """Load an examined dump into an existing database, with the account of an option file.

    With `own_definers`, that account becomes the definer of its views, triggers and routines. Raises SeedError for
    the dump, ServerError for the server, OSError (ENOSPC) for a full disk. Their texts contain no data from the rows.
    """
    try:
        source = source_of(dump, database)
    except DumpError as error:
        raise SeedError("seed_broken", f"{dump}: {error}") from error
    argv = [
        mariadb.tool("mariadb"),
        f"--defaults-file={option_file}",
        "--batch",
        "--sandbox",
        "--default-character-set=utf8mb4",
        # the server's own collation for it, as its own client has; the client of MariaDB names that of MariaDB
        "--init-command=SET NAMES utf8mb4",
        "--max-allowed-packet=1G",
        database,
    ]
    with contextlib.ExitStack() as stack:
        errors = stack.enter_context(tempfile.TemporaryFile())
        client = stack.enter_context(
            subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors)
        )
        late = threading.Event()

        def end() -> None:
            late.set()
            client.kill()

        clock = threading.Timer(time_limit, end)
        clock.start()
        try:
            pieces: Iterable[bytes] = (piece for _, piece in source.pieces())
            changes = [without_definer] if own_definers else []
            if server.family == MYSQL.name:
                changes.append(without_gone_mode)
            for change in changes:
                pieces = rewritten(pieces, change)
            _pump(pieces, client)
            status = client.wait()
        except DumpError as error:  # it has changed since it was read
            raise SeedError("seed_broken", f"{dump}: {error}") from error
        finally:
            clock.cancel()
            client.kill()  # if an exception ended the wait
        errors.seek(max(0, os.fstat(errors.fileno()).st_size - _SAID))
        said = errors.read().decode("utf-8", "replace").strip()
    if late.is_set():
        raise mariadb.ServerError(f"the import of {dump} took longer than its time limit of {time_limit:g} s")
    if status != 0:
        _explain(server, source, said)
    if server.private and server.family == MYSQL.name:
        _forget_transactions(server, option_file)


def _forget_transactions(server: mariadb.Server, option_file: Path) -> None:
    """Forget the transactions that a dump names (``SET GTID_PURGED``): another dump of the same server may name them,
    too, which is an error (3546)."""
    with mariadb.connect(server, option_file) as connection:
        for statement in _FORGET:
            try:
                mariadb.query(connection, statement)
                return
            except pymysql.err.ProgrammingError:  # the statement has another name in this version
                continue


def _explain(server: mariadb.Server, source: Source, said: str) -> None:
    """Raise the error behind the client's output: SeedError, ServerError, or OSError (ENOSPC) for a full disk."""
    error = read_error(said)
    if server.private and DISK_FULL.search(error.text) and mariadb.free_bytes(server.datadir) < 64 << 20:
        raise OSError(errno.ENOSPC, error.said, str(server.datadir))
    if not server.running():
        raise mariadb.ServerError(f"the server died during the import: {_last_words(server)}")
    if not server.private and error.number in _GONE:
        raise mariadb.UnreachableError(f"the server went away during the import of {source.path}: {error.said}")
    statement = source.text_at(error.line, _SAID) if error.line else b""
    what = label(statement)
    where = f", {source.place(error.line)}{f' ({what})' if what else ''}" if error.line else ""
    cure = cure_of(error, statement, server.family)
    raise SeedError("seed_broken", f"{source.path}{where}: {error.said}{f' – {cure}' if cure else ''}")


def _last_words(server: mariadb.Server) -> str:
    """The end of the server's error log, without the dump's statement."""
    try:
        with server.error_log.open("rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - _SAID))
            said = log.read().decode("utf-8", "replace")
    except OSError:
        return "(no error log)"
    said = _RECORD.sub("(a row)", _STATEMENT.sub("(a statement of the dump)", said))
    return "\n".join(map(printable, said.splitlines()[-20:]))


def _check_file(dump: Path, expected: Expected) -> None:
    """Compare the file with what the dataset expects of it. Raises SeedError."""
    if (expected.size >= 0 or expected.sha256) and dump.is_dir():
        raise SeedError(
            "seed_broken", f"{dump} is a folder: expect.size and expect.sha256 of the dataset are for a file"
        )
    if expected.size >= 0 and (size := dump.stat().st_size) != expected.size:
        raise SeedError(
            "seed_broken", f"{dump} has {size} bytes, the key expect.size of the dataset says {expected.size}"
        )
    if expected.sha256:
        with dump.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if digest != expected.sha256:
            raise SeedError(
                "seed_broken",
                f"{dump}: its SHA-256 is {digest}, the key expect.sha256 says {printable(expected.sha256)}",
            )


def _pump(pieces: Iterable[bytes], client: subprocess.Popen[bytes]) -> None:
    """Write the pieces to the client's standard input."""
    assert client.stdin is not None
    try:
        for piece in pieces:
            client.stdin.write(piece)
        client.stdin.close()
    except BrokenPipeError:
        pass  # the client has stopped at an error, and has reported it

# SPDX-License-Identifier: Apache-2.0
"""Loading a dump into a database: unpacked on the way, whole or an error that says why not."""

from __future__ import annotations

import contextlib
import errno
import re
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ansible.module_utils import th_mariadb

CHUNK = 1 << 20
READERS = {".sql": None, ".gz": ("gzip", "-dc"), ".zst": ("zstd", "-dcq"), ".xz": ("xz", "-dc")}
DISK_FULL = re.compile(r"No space left|Disk is full|disk full|Errcode: 28|is full", re.IGNORECASE)
_HEADER = re.compile(rb"^-- (MySQL|MariaDB) dump ", re.MULTILINE)
_COMPLETE = b"-- Dump completed"
_NAME = rb"(?:`(?:[^`]|``)*`|'(?:[^']|'')*'|[\w$%.]+)"
# as the dumping programs write it: /*!50013 DEFINER=…, /*!50003 CREATE*/ /*!50017 DEFINER=…, CREATE DEFINER=…
_DEFINER = re.compile(
    rb"((?:/\*!\d+ )?(?:CREATE (?:OR REPLACE )?(?:ALGORITHM=\w+ )?(?:AGGREGATE )?)?(?:CREATE\*/ /\*!\d+ )?)"
    rb"DEFINER=" + _NAME + rb"@" + _NAME
)


class SeedError(Exception):
    """A dump that cannot be used: `code` is ``seed_missing`` or ``seed_broken``."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


def load_dump(
    server: th_mariadb.Server,
    option_file: Path,
    dump: Path,
    database: str,
    time_limit: float,
    *,
    own_definers: bool = False,
) -> None:
    """Load a dump into a database that is there, with the account of an option file.

    With `own_definers`, its views, triggers and routines become that account's, whoever had them before. Raises
    SeedError for the dump, ServerError for the server, OSError (ENOSPC) for a full disk.
    """
    if dump.suffix not in READERS:
        raise SeedError("seed_broken", f"{dump}: not one of {', '.join(sorted(READERS))}")
    argv = [
        th_mariadb.tool("mariadb"),
        f"--defaults-file={option_file}",
        "--batch",
        "--sandbox",
        "--default-character-set=utf8mb4",
        "--max-allowed-packet=1G",
        database,
    ]
    with contextlib.ExitStack() as stack:
        source, stream = unpacked(stack, dump)
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
            head, tail = _pump(_without_definers(stream) if own_definers else _chunks(stream), client)
            status = client.wait()
        finally:
            clock.cancel()
        errors.seek(0)
        said = errors.read().decode("utf-8", "replace").strip()[-1000:]
        if source is not None and status == 0:
            assert source.stderr is not None
            trouble = source.stderr.read().decode("utf-8", "replace").strip()[-500:]
            if source.wait() != 0:
                raise SeedError("seed_broken", f"{dump} cannot be unpacked: {trouble}")
        elif source is not None:
            source.kill()
    if late.is_set():
        raise th_mariadb.ServerError(f"the import of {dump} took longer than its time limit of {time_limit:g} s")
    if status != 0:
        if server.private and DISK_FULL.search(said) and th_mariadb.free_bytes(server.datadir) < 64 << 20:
            raise OSError(errno.ENOSPC, said, str(server.datadir))
        if not server.running():
            raise th_mariadb.ServerError(f"the server died during the import: {server.last_words()}")
        raise SeedError("seed_broken", f"{dump}: {said}{_hint(said, head)}")
    if cut_off(head, tail):
        raise SeedError("seed_broken", f"{dump} is cut off: its last line, '-- Dump completed', is missing")


def count(server: th_mariadb.Server, option_file: Path, dump: Path, database: str) -> int:
    """The server's estimate of the rows that a dump has brought. Raises SeedError when it has brought no table."""
    with th_mariadb.connect(server, option_file) as connection:
        rows = th_mariadb.query(
            connection,
            "SELECT COUNT(*), COALESCE(SUM(table_rows), 0) FROM information_schema.tables"
            " WHERE table_schema = %s AND table_type = 'BASE TABLE'",
            database,
        )
    tables, estimate = rows[0]
    if not tables:
        raise SeedError(
            "seed_broken",
            f"{dump} leaves the database {database!r} without a table (does it name another database with USE?)",
        )
    return int(estimate)


def unpacked(stack: contextlib.ExitStack, dump: Path) -> tuple[subprocess.Popen[bytes] | None, IO[bytes]]:
    """The dump's text, and the program that unpacks it."""
    file = stack.enter_context(dump.open("rb"))
    reader = READERS[dump.suffix]
    if not reader:
        return None, file
    source = stack.enter_context(
        subprocess.Popen(reader, stdin=file, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    )
    assert source.stdout is not None
    return source, source.stdout


def marked(head: bytes) -> bool:
    """Whether a dump that begins so says at its end that it is whole."""
    return bool(_HEADER.search(head))


def cut_off(head: bytes, tail: bytes) -> bool:
    """Whether a dump that begins and ends so has lost its end."""
    return marked(head) and _COMPLETE not in tail


def _chunks(stream: IO[bytes]) -> Iterator[bytes]:
    while chunk := stream.read(CHUNK):
        yield chunk


def _without_definers(stream: IO[bytes]) -> Iterator[bytes]:
    begins = True
    while piece := stream.readline(CHUNK):
        yield _DEFINER.sub(rb"\1", piece, count=1) if begins and _DEFINER.match(piece) else piece
        begins = piece.endswith(b"\n")


def _pump(pieces: Iterator[bytes], client: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    """Feed the client; returns the first and the last bytes of the dump."""
    head = tail = b""
    assert client.stdin is not None
    try:
        for piece in pieces:
            if len(head) < 4096:
                head += piece[:4096]
            tail = (tail + piece)[-4096:]
            client.stdin.write(piece)
        client.stdin.close()
    except BrokenPipeError:
        pass  # the client has stopped at an error, which it has told
    return head, tail


def _hint(said: str, head: bytes) -> str:
    if b"PostgreSQL database dump" in head:
        return " (this is a dump of PostgreSQL)"
    if head.startswith(b"SQLite format") or b"PRAGMA foreign_keys" in head:
        return " (this is SQLite's)"
    if "Unknown collation" in said or "utf8mb4_0900" in said:
        return (
            " (this is a dump of MySQL 8, whose collations this server does not know:"
            " dump it with a collation that both know, or use a newer MariaDB)"
        )
    if "syntax" in said:
        return " (is it a dump of MySQL or MariaDB, in SQL?)"
    return ""

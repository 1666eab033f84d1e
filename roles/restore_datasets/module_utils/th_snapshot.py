# SPDX-License-Identifier: Apache-2.0
"""Snapshots: a dump imported once, kept as the data directory of a stopped server.

A snapshot is keyed by the identity of the dump and of the server. It is made beside its final name and
renamed, so it is whole or absent; a lock file a dataset lets one process make it while the others wait.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ansible.module_utils import th_mariadb
from ansible.module_utils.th_artifacts import write_text

FORMAT = 2  # part of the key: raised when a snapshot is made in another way
CHUNK = 1 << 20
READERS = {".sql": None, ".gz": ("gzip", "-dc"), ".zst": ("zstd", "-dcq"), ".xz": ("xz", "-dc")}
_HEADER = re.compile(rb"^-- (MySQL|MariaDB) dump ", re.MULTILINE)
_COMPLETE = b"-- Dump completed"
_DISK_FULL = re.compile(r"No space left|Disk is full|disk full|Errcode: 28|is full", re.IGNORECASE)


class SeedError(Exception):
    """A dump that cannot be used: `code` is ``seed_missing`` or ``seed_broken``."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


@dataclass(frozen=True)
class Seed:
    """What a snapshot is made of: the dump and the database that it is loaded into."""

    name: str
    dump: Path
    database: str


@dataclass(frozen=True)
class Snapshot:
    """An imported dataset: `folder`/data is the data directory, of `bytes` bytes.

    `rows` is the server's estimate, `seconds` what the import took, 0 when it was there (`made` is False).
    `definers` are the accounts (``user@host``) in whose name its views, triggers and routines run.
    """

    folder: Path
    bytes: int
    rows: int
    definers: tuple[str, ...]
    seconds: float
    made: bool


@contextlib.contextmanager
def snapshot(root: Path, seed: Seed, options: Sequence[str], time_limit: float) -> Iterator[Snapshot]:
    """The snapshot of a dataset, made if need be; while the context lasts nobody removes it.

    Raises SeedError for the dump, ServerError for the server, OSError (ENOSPC) for a full disk.
    """
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    family = f"{seed.name}-{_digest([str(seed.dump.resolve()), seed.database])[:8]}"
    final = root / f"{family}-{_key(seed, options)}"
    made = False
    with open(root / f".{family}.lock", "w", encoding="ascii") as lock:
        while True:
            fcntl.flock(lock, fcntl.LOCK_SH)
            if _whole(final):
                break
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not _whole(final):
                _remove_old(root, family)
                _make(root, final, family, seed, options, time_limit)
                made = True
        facts = json.loads((final / "snapshot.json").read_text("utf-8"))
        yield Snapshot(
            final, facts["bytes"], facts["rows"], tuple(facts["definers"]), facts["seconds"] if made else 0.0, made
        )


def clone(source: Snapshot, target: Path) -> str:
    """Copy a snapshot's data directory to `target`; returns ``reflink`` or ``copy``.

    Raises OSError, with ENOSPC for a full disk.
    """
    data = source.folder / "data"
    if _can_reflink(data, target.parent):
        method, reflink = "reflink", "always"
    else:
        method, reflink = "copy", "never"
        free = th_mariadb.free_bytes(target.parent)
        if free < source.bytes:
            problem = f"the dataset needs {source.bytes} bytes, {free} are free"
            raise OSError(errno.ENOSPC, problem, str(target))
    result = subprocess.run(
        ["cp", "-a", f"--reflink={reflink}", "--sparse=auto", "--", str(data), str(target)],
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        number = errno.ENOSPC if _DISK_FULL.search(result.stderr) else errno.EIO
        raise OSError(number, result.stderr.strip()[-500:], str(target))
    return method


def _key(seed: Seed, options: Sequence[str]) -> str:
    state = seed.dump.stat()
    identity = {
        "format": FORMAT,
        "dump": [str(seed.dump.resolve()), state.st_size, state.st_mtime_ns],
        "database": seed.database,
        "server": th_mariadb.version(),
        "options": sorted(options),
    }
    return _digest(identity)[:16]


def _digest(document: object) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _whole(folder: Path) -> bool:
    return (folder / "snapshot.json").is_file()


def _remove_old(root: Path, family: str) -> None:
    # the lock is ours: what lies here of this dataset is half made, or of an older dump or server
    for old in (*root.glob(f".{family}.making-*"), *root.glob(f"{family}-*")):
        shutil.rmtree(old, ignore_errors=True)


def _make(
    root: Path, final: Path, family: str, seed: Seed, options: Sequence[str], time_limit: float
) -> None:
    begun = time.monotonic()
    making = Path(tempfile.mkdtemp(prefix=f".{family}.making-", dir=root))
    try:
        th_mariadb.install(making, options, time_limit)
        # the accounts are made anew with each start: these two are gone with the first clone
        server = th_mariadb.start(
            making, database=seed.database, user="import", password="", options=options, time_limit=time_limit
        )
        try:
            _import(server, seed, time_limit)
            rows, definers = _count(server, seed), _definers(server, seed)
            with th_mariadb.connect(server, server.admin_file) as connection:
                # purge and merge everything now, so that no clone does it within a measured migration
                th_mariadb.query(connection, "SET GLOBAL innodb_fast_shutdown = 0")
        finally:
            th_mariadb.stop(server, time_limit)
        for name in ("admin.cnf", "job.cnf", "server.json", "mariadbd.pid"):
            (making / name).unlink(missing_ok=True)
        shutil.rmtree(making / "tmp", ignore_errors=True)
        facts = {
            "bytes": sum(path.stat().st_blocks * 512 for path in making.rglob("*") if path.is_file()),
            "rows": rows,
            "definers": definers,
            "seconds": round(time.monotonic() - begun, 3),
            "dump": str(seed.dump),
            "server": th_mariadb.version(),
        }
        os.sync()
        write_text(making / "snapshot.json", json.dumps(facts, indent=1) + "\n")
        making.rename(final)
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise


def _import(server: th_mariadb.Server, seed: Seed, time_limit: float) -> None:
    suffix = seed.dump.suffix
    if suffix not in READERS:
        raise SeedError("seed_broken", f"{seed.dump}: not one of {', '.join(sorted(READERS))}")
    argv = [
        th_mariadb.tool("mariadb"),
        f"--defaults-file={server.admin_file}",
        "--batch",
        "--sandbox",
        "--default-character-set=utf8mb4",
        "--max-allowed-packet=1G",
        seed.database,
    ]
    with contextlib.ExitStack() as stack:
        source: subprocess.Popen[bytes] | None = None
        stream: IO[bytes]
        dump = stack.enter_context(open(seed.dump, "rb"))
        reader = READERS[suffix]
        if reader:
            source = stack.enter_context(
                subprocess.Popen(reader, stdin=dump, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            )
            assert source.stdout is not None
            stream = source.stdout
        else:
            stream = dump
        errors = stack.enter_context(tempfile.TemporaryFile())
        client = stack.enter_context(
            subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors)
        )
        head, tail = _pump(stream, client, time.monotonic() + time_limit)
        status = client.wait()
        errors.seek(0)
        said = errors.read().decode("utf-8", "replace").strip()[-1000:]
        if source is not None and status == 0:
            assert source.stderr is not None
            trouble = source.stderr.read().decode("utf-8", "replace").strip()[-500:]
            if source.wait() != 0:
                raise SeedError("seed_broken", f"{seed.dump} cannot be unpacked: {trouble}")
        elif source is not None:
            source.kill()
    if status != 0:
        if _DISK_FULL.search(said) and th_mariadb.free_bytes(server.datadir) < 64 << 20:
            raise OSError(errno.ENOSPC, said, str(server.datadir))
        if not server.running():
            raise th_mariadb.ServerError(f"the server died during the import: {server.last_words()}")
        raise SeedError("seed_broken", f"{seed.dump}: {said}{_hint(said, head)}")
    if _HEADER.search(head) and _COMPLETE not in tail:
        raise SeedError(
            "seed_broken", f"{seed.dump} is cut off: its last line, '-- Dump completed', is missing"
        )


def _pump(stream: IO[bytes], client: subprocess.Popen[bytes], deadline: float) -> tuple[bytes, bytes]:
    """Feed the client; returns the first and the last bytes of the dump."""
    head = tail = b""
    assert client.stdin is not None
    try:
        while chunk := stream.read(CHUNK):
            if time.monotonic() > deadline:
                client.kill()
                raise th_mariadb.ServerError("the import of the dump took longer than its time limit")
            head = head or chunk[:4096]
            tail = (tail + chunk)[-4096:]
            client.stdin.write(chunk)
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


def _count(server: th_mariadb.Server, seed: Seed) -> int:
    with th_mariadb.connect(server, server.admin_file) as connection:
        rows = th_mariadb.query(
            connection,
            "SELECT COUNT(*), COALESCE(SUM(table_rows), 0) FROM information_schema.tables"
            " WHERE table_schema = %s AND table_type = 'BASE TABLE'",
            seed.database,
        )
    tables, estimate = rows[0]
    if not tables:
        raise SeedError(
            "seed_broken",
            f"{seed.dump} leaves the database {seed.database!r} without a table"
            " (does it name another database with USE?)",
        )
    return int(estimate)


def _definers(server: th_mariadb.Server, seed: Seed) -> list[str]:
    with th_mariadb.connect(server, server.admin_file) as connection:
        rows = th_mariadb.query(
            connection,
            "SELECT definer FROM information_schema.triggers WHERE trigger_schema = %s"
            " UNION SELECT definer FROM information_schema.views WHERE table_schema = %s"
            " UNION SELECT definer FROM information_schema.routines WHERE routine_schema = %s"
            " UNION SELECT definer FROM information_schema.events WHERE event_schema = %s",
            *[seed.database] * 4,
        )
    return sorted(row[0] for row in rows)


def _can_reflink(data: Path, target_folder: Path) -> bool:
    source = next((path for path in data.iterdir() if path.is_file()), None)
    if source is None:
        return False
    probe = target_folder / ".reflink-probe"
    result = subprocess.run(
        ["cp", "--reflink=always", "--", str(source), str(probe)], capture_output=True, check=False
    )
    probe.unlink(missing_ok=True)
    return result.returncode == 0



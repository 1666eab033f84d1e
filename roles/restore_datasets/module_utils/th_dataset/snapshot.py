# SPDX-License-Identifier: Apache-2.0
"""Snapshots: a dump imported once, kept as the data directory of a stopped server.

A snapshot is keyed by the identity of the dump and of the server. It is made under a temporary name and renamed, so it
is whole or absent. With one lock file per dataset, one process makes it while the others wait.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import pymysql
from ansible.module_utils.th_core.artifacts import write_text
from ansible.module_utils.th_dataset import server_settings
from ansible.module_utils.th_dataset.charset import Charset, follow_tables, make_database, of_part
from ansible.module_utils.th_dataset.dataset import Part
from ansible.module_utils.th_dataset.empty_data import copy_data, copy_empty_data
from ansible.module_utils.th_dataset.settle import settle
from ansible.module_utils.th_dump.arrived import arrived
from ansible.module_utils.th_dump.definers import definers_of, make_definers
from ansible.module_utils.th_dump.load import examine, load_dump
from ansible.module_utils.th_dump.seed_errors import SeedError
from ansible.module_utils.th_sandbox.box import Settings
from ansible.module_utils.th_server import mariadb, private_server
from ansible.module_utils.th_server.engine import Engine, version

_IMPORT = "import"
FORMAT = 5  # part of the key: increase it when snapshots are made in another way


@dataclass(frozen=True)
class Seed:
    """What a snapshot is made of: a dataset's name, its databases, the settings of its server, and the engine with the
    operator's options."""

    name: str
    parts: tuple[Part, ...]
    settings: Mapping[str, str]
    engine: Engine
    options: Sequence[str]

    @property
    def dumps(self) -> list[tuple[Part, Path]]:
        """The parts with their dumps."""
        return [(part, part.dump) for part in self.parts if part.dump]


@dataclass(frozen=True)
class Snapshot:
    """An imported dataset: `folder`/data is the data directory, of `bytes` bytes.

    `rows` is the server's estimate, `seconds` the duration of the import, 0 for an existing snapshot (`made` is False).
    `definers` are the accounts (``user@host``) that its views, triggers and routines run as. `notes` are remarks on the
    dumps for the report.
    """

    folder: Path
    bytes: int
    rows: int
    definers: tuple[str, ...]
    seconds: float
    made: bool
    notes: tuple[str, ...] = ()


@contextlib.contextmanager
def snapshot(root: Path, seed: Seed, time_limit: float, sandbox: Settings) -> Iterator[Snapshot]:
    """The snapshot of a dataset, made if there is none. It is locked against removal within the context.

    Raises SeedError for the dump, ServerError for the server, OSError (ENOSPC) for a full disk, StepError if no box can
    be made.
    """
    family = f"{seed.name}-{_digest([[str(dump.resolve()), part.database] for part, dump in seed.dumps])[:8]}"
    final = root / f"{family}-{_key(seed)}"
    made = False
    with _lock_of(root, family) as lock:
        while True:
            fcntl.flock(lock, fcntl.LOCK_SH)
            if _whole(final):
                break
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not _whole(final):
                _remove_old(root, family)
                _make(root, final, family, seed, time_limit, sandbox)
                made = True
        yield _read(final, made)


@contextlib.contextmanager
def held(folder: Path) -> Iterator[Snapshot | None]:
    """A snapshot that `snapshot` has returned, locked against removal within the context; None if it was replaced."""
    with _lock_of(folder.parent, folder.name.rpartition("-")[0]) as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield _read(folder, made=False) if _whole(folder) else None


def clone(source: Snapshot, target: Path) -> str:
    """Copy a snapshot's data directory to `target`; returns ``reflink`` or ``copy``.

    Raises OSError, with ENOSPC for a full disk.
    """
    data = source.folder / "data"
    if _can_reflink(data, target.parent):
        method, reflink = "reflink", "always"
    else:
        method, reflink = "copy", "never"
        free = mariadb.free_bytes(target.parent)
        if free < source.bytes:
            problem = f"the dataset needs {source.bytes} bytes, {free} are free"
            raise OSError(errno.ENOSPC, problem, str(target))
    copy_data(data, target, reflink)
    return method


def _key(seed: Seed) -> str:
    identity = {
        "format": FORMAT,
        "parts": [
            [part.database, part.character_set, part.collation, *part.otherwise, *identity_of(dump)]
            for part, dump in seed.dumps
        ],
        "expected": [asdict(part.expected) for part, _ in seed.dumps],
        "server": [seed.engine.family.name, version(seed.engine)],
        "options": sorted((*seed.engine.options, *seed.options)),
        "settings": dict(seed.settings),
    }
    return _digest(identity)[:16]


def identity_of(dump: Path) -> list[object]:
    """What identifies a dump: its path, and the size and modification time of its files."""
    files = sorted(dump.iterdir()) if dump.is_dir() else [dump]
    states = [(path.name, path.stat()) for path in files]
    each = [[name, state.st_size, state.st_mtime_ns] for name, state in states]
    return [str(dump.resolve()), *(each if dump.is_dir() else each[0][1:])]


def _digest(document: object) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _lock_of(root: Path, family: str) -> IO[str]:
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    return open(root / f".{family}.lock", "w", encoding="ascii")


def _whole(folder: Path) -> bool:
    return (folder / "snapshot.json").is_file()


def _read(folder: Path, made: bool) -> Snapshot:
    facts = json.loads((folder / "snapshot.json").read_text("utf-8"))
    seconds = facts["seconds"] if made else 0.0
    definers, notes = tuple(facts["definers"]), tuple(facts["notes"])
    return Snapshot(folder, facts["bytes"], facts["rows"], definers, seconds, made, notes)


def _remove_old(root: Path, family: str) -> None:
    # under the exclusive lock: what is here of this dataset is half made, or of an older dump or server
    for old in (*root.glob(f".{family}.making-*"), *root.glob(f"{family}-*")):
        shutil.rmtree(old, ignore_errors=True)


def _make(root: Path, final: Path, family: str, seed: Seed, time_limit: float, sandbox: Settings) -> None:
    begun = time.monotonic()
    # before a server is started for them
    examined = [(part, dump, examine(dump, part.database, part.expected)) for part, dump in seed.dumps]
    making = Path(tempfile.mkdtemp(prefix=f".{family}.making-", dir=root))
    try:
        charsets = [of_part(part) for part in seed.parts]
        server = _start(root, making, seed, time_limit, sandbox)
        rows, definers, notes = 0, set(), list[str]()
        try:
            made = _make_databases(server, seed, charsets)
            named = {name for _, _, finding in examined for name in finding.definers}
            make_definers(server, made, named, _IMPORT)
            for part, dump, _ in examined:
                load_dump(server, server.admin_file, dump, part.database, time_limit)
            for part, dump, finding in examined:
                _finish(server, part, *made[part.database], time_limit)
                there = arrived(server, server.admin_file, dump, part.database, finding, part.expected)
                rows += there.rows
                notes += there.notes
                definers.update(definers_of(server, part.database))
            with mariadb.connect(server, server.admin_file) as connection:
                # purge and merge everything now, so that no clone does it during a measured migration
                mariadb.query(connection, "SET GLOBAL innodb_fast_shutdown = 0")
        finally:
            mariadb.stop(server, time_limit)
        for name in ("admin.cnf", "job.cnf", "server.json"):
            (making / name).unlink(missing_ok=True)
        for name in ("tmp", "run"):
            shutil.rmtree(making / name, ignore_errors=True)
        facts = {
            "bytes": sum(path.stat().st_blocks * 512 for path in making.rglob("*") if path.is_file()),
            "rows": rows,
            "definers": sorted(definers),
            "notes": notes,
            "seconds": round(time.monotonic() - begun, 3),
            "dumps": [str(dump) for _, dump in seed.dumps],
            "engine": seed.engine.name,
            "server": version(seed.engine),
        }
        os.sync()
        write_text(making / "snapshot.json", json.dumps(facts, indent=1) + "\n")
        making.rename(final)
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise


def _start(root: Path, making: Path, seed: Seed, time_limit: float, sandbox: Settings) -> mariadb.Server:
    """Start a new server with the dataset's settings, as far as a dump needs them."""
    applied = server_settings.apply(seed.settings, seed.options, "", importing=True)
    zone = [one for one in applied.statements if "time_zone" in one]  # an unknown one is the dataset's fault
    copy_empty_data(root, making, seed.engine, (*seed.engine.options, *applied.options), time_limit, sandbox)
    try:
        # each start recreates the accounts, so the first clone no longer has these two
        server = private_server.start(
            making,
            seed.engine,
            databases={},
            user=_IMPORT,
            password="",
            options=applied.options,
            time_limit=time_limit,
            sandbox=sandbox,
            settings=[one for one in applied.statements if one not in zone],
        )
    except mariadb.ServerError as error:
        raise server_settings.blamed(error, seed.settings) or error from error
    try:
        with mariadb.connect(server, server.admin_file) as connection:
            for statement in zone:
                try:
                    mariadb.query(connection, statement)
                except pymysql.err.MySQLError as error:
                    raise SeedError("seed_broken", f"server_settings.time_zone: {error.args[-1]}") from error
            server_settings.demand(connection, applied.values)
    except BaseException:
        mariadb.stop(server, 0)
        raise
    return server


def _make_databases(
    server: mariadb.Server, seed: Seed, charsets: Sequence[Charset]
) -> dict[str, tuple[Charset, str]]:
    """Create all databases before the first dump, which may refer to others; returns what each is created with."""
    made = {}
    with mariadb.connect(server, server.admin_file) as connection:
        for part, charset in zip(seed.parts, charsets, strict=True):
            made[part.database] = charset, make_database(connection, part.database, charset, part)
    return made


def _finish(server: mariadb.Server, part: Part, charset: Charset, made: str, time_limit: float) -> None:
    """Set the collation of a loaded database, and calculate its statistics: both are part of the snapshot."""
    with mariadb.connect(server, server.admin_file, time_limit=time_limit) as connection:
        follow_tables(connection, part.database, charset, made)
        settle(connection, [part.database])


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

# SPDX-License-Identifier: Apache-2.0
"""The text of a dump: of a file, packed or not, or of all files in a folder written by mydumper, in loading order.

What mydumper writes (https://mydumper.github.io/mydumper/docs/html/files.html): ``metadata``, which is called
``metadata.partial`` until the dump is whole and then says "Finished dump at"; ``<database>-schema-create.sql``,
``<database>.<table>-schema.sql``, ``<database>.<table>.<chunk>.sql`` with the rows, ``-schema-view.sql``,
``-schema-triggers.sql`` and ``-schema-post.sql``; each may be packed. TiDB's dumpling has the same names.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import tempfile
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ansible.module_utils.th_core.text import printable

CHUNK = 1 << 20
READERS = {".sql": None, ".gz": ("gzip", "-dc"), ".zst": ("zstd", "-dcq"), ".xz": ("xz", "-dc")}
METADATA_BYTES = 16 << 20

_SAID_BY = re.compile(r"^(?:gzip|zstd|xz): |(?:/\*stdin\*\\ ?|\(stdin\)|stdin): ")
# loading order by the end of the name; files with none of these ends hold rows
_ORDER = (
    ("-schema-create", None), ("-schema-create-tablespace", None), ("-schema-sequence", 0), ("-schema", 1), ("", 2),
    ("-schema-indexes", 3), ("-schema-constraints", 3), ("-schema-post", 4), ("-schema-triggers", 5),
    ("-schema-view", 6),
)  # fmt: skip
_FINISHED = re.compile(r"^#? ?Finished dump at: ", re.MULTILINE)
_SECTION = re.compile(r"\[[`\"](?P<database>[^`\"]{1,64})[`\"]\.[`\"](?P<table>[^`\"]{1,64})[`\"]\]")
_ROWS = re.compile(r"rows *= *(\d{1,18})", re.IGNORECASE)
_REAL_NAME = re.compile(r"real_table_name *= *(.{1,64})")


class DumpError(Exception):
    """Why a dump cannot be loaded, or is not whole: one sentence with the remedy, without data from its rows."""


@dataclass(frozen=True)
class Source:
    """The files that a dump consists of, in loading order. `rows` is the exact number of rows by table, where it is
    stated."""

    path: Path
    files: tuple[Path, ...]
    folder: bool = False
    rows: dict[str, int] = field(default_factory=dict)

    def pieces(self) -> Generator[tuple[Path, bytes], None, None]:
        """The text piece by piece, each with the file that it is in. Raises DumpError."""
        for file in self.files:
            ends = b"\n"
            for piece in _pieces(file):
                yield file, piece
                ends = piece[-1:]
            if self.folder and ends != b"\n":
                yield file, b"\n"

    def place(self, line: int) -> str:
        """The place of a line of the whole text: ``line 7``, with the name of the file for a folder."""
        if not self.folder:
            return f"line {line}"
        before = 0
        with contextlib.suppress(DumpError, OSError):
            for file in self.files:
                lines = sum(piece.count(b"\n") for _, piece in Source(self.path, (file,), True).pieces())
                if line <= before + lines:
                    return f"{printable(file.name)}, line {line - before}"
                before += lines
        return f"line {line}"

    def text_at(self, line: int, most: int) -> bytes:
        """The text from a line on, at most `most` bytes of it."""
        before, found = 1, b""
        with contextlib.suppress(DumpError, OSError):
            for _, piece in self.pieces():
                if not found and before + (lines := piece.count(b"\n")) < line:
                    before += lines
                    continue
                at = 0
                while not found and before < line:
                    at = piece.index(b"\n", at) + 1
                    before += 1
                found += piece[at : at + most - len(found)]
                if len(found) >= most:
                    break
        return found


def source_of(path: Path, database: str = "") -> Source:
    """The files of a dataset's `seed_data`; of a folder, those of `database`. Raises DumpError, OSError."""
    if path.is_dir():
        return _folder(path, database)
    if path.suffix not in READERS:
        raise DumpError(f"it is none of {', '.join(sorted(READERS))}, nor a folder of mydumper's")
    return Source(path, (path,))


def _pieces(file: Path) -> Iterator[bytes]:
    reader = READERS[file.suffix]
    with file.open("rb") as stream:
        if reader is None:
            while piece := stream.read(CHUNK):
                yield piece
            return
        with tempfile.TemporaryFile() as errors:
            unpacking = subprocess.Popen(reader, stdin=stream, stdout=subprocess.PIPE, stderr=errors)
            try:
                assert unpacking.stdout is not None
                while piece := unpacking.stdout.read(CHUNK):
                    yield piece
                status = unpacking.wait()
            finally:
                if unpacking.poll() is None:
                    unpacking.kill()
                unpacking.wait()
                if unpacking.stdout is not None:
                    unpacking.stdout.close()
            if status != 0:
                errors.seek(0)
                said = errors.read(4096).decode("utf-8", "replace").strip().splitlines() or [f"status {status}"]
                reason = printable(_SAID_BY.sub("", _SAID_BY.sub("", said[0].strip())).strip())[:200]
                raise DumpError(
                    f"it cannot be unpacked: {reader[0]} says: {reason}. Copy it once more, or make it again"
                )


def _folder(path: Path, database: str) -> Source:
    names = set(os.listdir(path))
    if problem := _other_folder(names):
        raise DumpError(problem)
    if "metadata" not in names:
        if "metadata.partial" in names:
            raise DumpError("mydumper has not finished it (metadata.partial is there, metadata is not): make it again")
        raise DumpError("it is a folder, and none of mydumper's (it has no file metadata): name a dump")
    metadata = _text(path / "metadata")
    if "metadata.partial" in names or not _FINISHED.search(metadata):
        raise DumpError("mydumper has not finished it (its metadata does not say 'Finished dump at'): make it again")
    found: dict[str, list[tuple[int, str]]] = {}
    for name in names:
        if (part := _part(name)) is not None:
            found.setdefault(part[0], []).append((part[1], name))
        elif name.endswith((".dat", ".dat.gz", ".dat.zst", ".csv", ".csv.gz", ".csv.zst")):
            raise DumpError("it has rows in files of LOAD DATA (.dat): make it again without --load-data and --csv")
    owner = _owner(found, database)
    files = tuple(path / name for _, name in sorted(found[owner]))
    return Source(path, files, True, {**_rows_of_tables(path, names, owner), **_rows_of_metadata(metadata, owner)})


def _other_folder(names: set[str]) -> str:
    """What is wrong with a folder that another program wrote; "" when it may be mydumper's."""
    again = "load it there, and make a dump with mysqldump or mariadb-dump"
    if "@.json" in names:
        whole = "whole" if "@.done.json" in names else "not finished, @.done.json is not there"
        return f"it is a dump of MySQL Shell ({whole}), which only its util.loadDump() loads into a server: {again}"
    if names & {"xtrabackup_checkpoints", "mariadb_backup_checkpoints", "ibdata1", "backup-my.cnf"}:
        return f"it is the files of a server (mariadb-backup, xtrabackup) and no dump: {again}"
    tabbed = {name.removesuffix(".txt") for name in names if name.endswith(".txt")}
    if tabbed & {name.removesuffix(".sql") for name in names if name.endswith(".sql")}:
        return "it was made with --tab: make it again without"
    return ""


def _part(name: str) -> tuple[str, int] | None:
    """The database of one of mydumper's files, and its place in the loading order; None when it is not to be loaded."""
    stem = name
    for suffix in (".gz", ".zst", ".xz"):
        stem = stem.removesuffix(suffix)
    if not stem.endswith(".sql") or Path(name).suffix not in READERS:
        return None
    stem = stem.removesuffix(".sql")
    for end, order in sorted(_ORDER, key=lambda item: -len(item[0])):
        if stem.endswith(end):
            own = stem.removesuffix(end)
            if order is None or (not end and "." not in own):
                return None
            return own.partition(".")[0], order
    return None


def _owner(found: dict[str, list[tuple[int, str]]], database: str) -> str:
    if database in found:
        return database
    theirs = sorted(name for name in found if name not in ("mysql", "sys"))
    if len(theirs) == 1:
        return theirs[0]
    if not theirs:
        raise DumpError("it holds no table: make it again, without --no-data and --no-schemas")
    names = ", ".join(printable(name) for name in theirs[:10])
    raise DumpError(f"it holds the databases {names} and none of the dataset's name: make it with --database")


def _text(path: Path) -> str:
    with path.open("rb") as stream:
        return stream.read(METADATA_BYTES).decode("utf-8", "replace")


def _rows_of_tables(path: Path, names: Sequence[str] | set[str], database: str) -> dict[str, int]:
    """Rows by table as older mydumpers state them: a number in a file ``<database>.<table>-metadata``."""
    rows = {}
    for name in names:
        if name.startswith(f"{database}.") and name.endswith("-metadata"):
            said = _text(path / name).strip()
            if re.fullmatch(r"\d{1,18}", said):
                rows[name.removeprefix(f"{database}.").removesuffix("-metadata")] = int(said)
    return rows


def _rows_of_metadata(metadata: str, database: str) -> dict[str, int]:
    """Rows by table as newer mydumpers state them: in sections of ``metadata``."""
    rows: dict[str, int] = {}
    table = ""
    real: dict[str, str] = {}
    for line in metadata.splitlines():
        if line.startswith("["):
            section = _SECTION.fullmatch(line.strip())
            table = section["table"] if section and section["database"] == database else ""
        elif table and (found := _REAL_NAME.fullmatch(line.strip())):
            real[table] = found[1]
        elif table and (found := _ROWS.fullmatch(line.strip())):
            rows[table] = int(found[1])
    return {real.get(name, name): number for name, number in rows.items()}

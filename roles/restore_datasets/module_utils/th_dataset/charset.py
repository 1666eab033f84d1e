# SPDX-License-Identifier: Apache-2.0
"""The character set and collation of a dump's database, as on the server that it was dumped from.

A migration's new tables get those of the database. A foreign key between columns of different collations is an error
(1005, errno 150), and so is a comparison (1267). So the database is created as the dump says.
"""

from __future__ import annotations

import codecs
import contextlib
import glob
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pymysql
from ansible.module_utils.th_dataset.dataset import Part
from ansible.module_utils.th_dump.seed_errors import SeedError
from ansible.module_utils.th_dump.source import DumpError, source_of
from ansible.module_utils.th_server.accounts import identifier
from ansible.module_utils.th_server.mariadb import flavour, query

HEAD = 16 << 20
"""Bytes of a dump that are searched before it is loaded. What comes later is read from the loaded tables."""

TABLES = "most tables in the dump"
_DATABASE = re.compile(rb"^[ \t]{0,8}(CREATE|ALTER)\s{1,8}(?:DATABASE|SCHEMA)\b", re.IGNORECASE | re.MULTILINE)
_COMMENT = re.compile(rb"/\*!\d{5,6}|\*/|IF\s{1,8}NOT\s{1,8}EXISTS", re.IGNORECASE)
_NAME = re.compile(rb"\s{0,64}(?:`((?:[^`]|``){1,256})`|([\w$]{1,64}))")
_STATEMENT_LIMIT = 2048
_CHARSET = re.compile(rb"(?:CHARACTER\s{1,8}SET|CHARSET)\s{0,8}=?\s{0,8}['\"]?(\w{1,64})", re.IGNORECASE)
_COLLATE = re.compile(rb"COLLATE\s{0,8}=?\s{0,8}['\"]?(\w{1,64})", re.IGNORECASE)
_TABLE = re.compile(rb"^\)[^\n]{0,1024}", re.MULTILINE)
_NOT_A_NAME = (b"default", b"character", b"charset", b"collate")
_WORD = re.compile(r"[A-Za-z0-9_]{0,64}")
_UNKNOWN = (1115, 1273, 1253)  # no such character set, no such collation, not one of that character set


@dataclass(frozen=True)
class Charset:
    """What a database is created with, "" for the server's default; `source` says in words where that was found."""

    character_set: str = ""
    collation: str = ""
    source: str = ""

    @property
    def clause(self) -> str:
        """The options of CREATE DATABASE and ALTER DATABASE."""
        options = (("CHARACTER SET", self.character_set), ("COLLATE", self.collation))
        return "".join(f" {word} {name}" for word, name in options if name)


def of_file(part: Part) -> Charset:
    """The character set and collation of a part in the dataset's file. Raises SeedError for an invalid name."""
    if not all(_WORD.fullmatch(name) for name in (part.character_set, part.collation)):
        raise SeedError("seed_broken", "character_set and collation are names of letters, digits and _")
    return Charset(part.character_set, part.collation, "the dataset's file") if _said(part) else Charset()


def of_part(part: Part) -> Charset:
    """The character set and collation of a part: from the dataset's file, else from its dump. Raises SeedError."""
    if _said(part) or part.dump is None:
        return of_file(part)
    found = declared(head(part.dump, part.database), part.database)
    if found.source in ("", TABLES) and any(part.otherwise):
        character_set, collation = part.otherwise
        return Charset(character_set, collation, "server_settings in the dataset's file")
    return found


def _said(part: Part) -> bool:
    return bool(part.character_set or part.collation)


def head(dump: Path, database: str = "", limit: int = HEAD) -> bytes:
    """The first bytes of a dump's text, without errors: a broken dump is reported when it is examined."""
    text = b""
    with contextlib.suppress(DumpError, OSError):
        source = source_of(dump, database)
        if source.folder:  # CREATE DATABASE is in a file of its own, which is not loaded
            owner = source.files[0].name.partition(".")[0]
            made = sorted(dump.glob(f"{glob.escape(owner)}-schema-create.sql*"))
            source = replace(source, files=(*made, *source.files))
        with contextlib.closing(source.pieces()) as pieces:
            for _, piece in pieces:
                text += piece
                if len(text) >= limit:
                    break
    text = text[:limit]
    if text.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return text.decode("utf-16", "replace").encode("utf-8", "replace")
    return text.removeprefix(codecs.BOM_UTF8)


def declared(text: bytes, database: str) -> Charset:
    """What a dump says of a database: by its CREATE DATABASE, else by ALTER DATABASE, else by most of its tables."""
    found: dict[bytes, list[tuple[bytes, Charset]]] = {b"CREATE": [], b"ALTER": []}
    for begin in _DATABASE.finditer(text):
        statement, end, _ = text[begin.end() : begin.end() + _STATEMENT_LIMIT].partition(b";")
        if not end or not (_CHARSET.search(statement) or _COLLATE.search(statement)):
            continue
        kind = begin[1].upper()
        charset = _read(statement, f"{kind.decode()} DATABASE in the dump")
        found[kind].append((_name(_COMMENT.sub(b"", statement)), charset))
    own = database.encode().lower()
    for kind, statements in found.items():
        for_it = [charset for name, charset in statements if name.lower() == own or (kind == b"ALTER" and not name)]
        if not for_it and len({name for name, _ in statements}) == 1:
            for_it = [charset for _, charset in statements]  # the only one, whatever its name was there
        if for_it:
            return for_it[-1]  # it is changed and changed back around a routine: the database's own comes last
    tables = Counter(_read(line, TABLES) for line in _TABLE.findall(text) if _CHARSET.search(line))
    return tables.most_common(1)[0][0] if tables else Charset()


def _name(statement: bytes) -> bytes:
    """The database that a statement names; ALTER DATABASE may name none."""
    name = _NAME.match(statement)
    if not name or (name[2] and name[2].lower() in _NOT_A_NAME):
        return b""
    return (name[1] or name[2]).replace(b"``", b"`")


def _read(options: bytes, source: str) -> Charset:
    charset, collation = _CHARSET.search(options), _COLLATE.search(options)
    return Charset(
        charset[1].decode("ascii", "replace") if charset else "",
        collation[1].decode("ascii", "replace") if collation else "",
        source,
    )


def make_database(connection: Any, database: str, charset: Charset, part: Part) -> str:
    """Create an empty database; returns its collation. Raises SeedError for what the server does not know."""
    try:
        query(connection, f"CREATE DATABASE {identifier(database)}{charset.clause}")
    except pymysql.err.MySQLError as error:
        if error.args[0] not in _UNKNOWN:
            raise
        kind, version = flavour(connection)
        key = f"databases.{part.name}.collation" if part.name else "collation"
        raise SeedError(
            "seed_broken",
            f"{part.dump or part.database}: {charset.source} has{charset.clause}, which the server, {kind} {version},"
            f" does not know ({error.args[1]}): set {key} in the dataset's file to a collation that it knows, such as"
            " utf8mb4_unicode_ci, and replace the other in the dump"
            " (sed s/utf8mb4_0900_ai_ci/utf8mb4_unicode_ci/g); or restore it on an engine that knows it (key engine):"
            " MariaDB 11.4.5 and later know those of MySQL 8",
        ) from error
    return _collation(connection, database)


def follow_tables(connection: Any, database: str, charset: Charset, made: str) -> None:
    """Give a loaded database the collation of most of its tables, unless the dataset's file or the dump names one.

    `made` is the collation that it was created with. If it has another one now, the dump has set it.
    """
    if (charset.source and charset.source != TABLES) or _collation(connection, database) != made:
        return
    rows = query(
        connection,
        "SELECT table_collation, COUNT(*) FROM information_schema.tables"
        " WHERE table_schema = %s AND table_type <> 'VIEW' AND table_collation IS NOT NULL GROUP BY table_collation",
        database,
    )
    most, _ = max(rows, key=lambda row: (row[1], row[0] == made, row[0]), default=(made, 0))
    if most != made:
        query(connection, f"ALTER DATABASE {identifier(database)} COLLATE {most}")


def _collation(connection: Any, database: str) -> str:
    ((collation,),) = query(
        connection,
        "SELECT default_collation_name FROM information_schema.schemata WHERE schema_name = %s",
        database,
    )
    return str(collation)

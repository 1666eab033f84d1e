# SPDX-License-Identifier: Apache-2.0
"""Whether a dump is whole, found out without a server. Each dumping program leaves its own signs:

| written by | recognised by | whole when |
|---|---|---|
| mysqldump, mariadb-dump | ``-- MySQL dump``, ``-- MariaDB dump`` | it has the comment ``-- Dump completed`` |
| mysqlpump | ``-- Dump created by MySQL pump utility`` | it has the comment ``-- Dump end time:`` |
| Adminer | ``-- Adminer 4.8.1 MySQL … dump`` | its last comment is a time stamp |
| phpMyAdmin | ``-- phpMyAdmin SQL Dump`` | START TRANSACTION has its COMMIT, saved settings are restored |
| HeidiSQL, Sequel Pro and Ace, TablePlus, SQLyog, Workbench, dbForge, mysqldump --skip-comments | a header, or none; \
``SET @OLD_…=@@…`` | it restores what it has saved: ``SET …=@OLD_…``, after the last row |
| Navicat | ``Navicat … Data Transfer`` | it ends with ``SET FOREIGN_KEY_CHECKS = 1`` |
| mydumper | a folder with ``metadata`` | that says "Finished dump at" |
| any other (DBeaver, mysqldump --compact, by hand) | | unknown: only something open at the end shows a cut |

(mysqldump: ``write_header`` and ``write_footer`` in client/mysqldump.cc; phpMyAdmin: ``exportHeader`` and
``exportFooter`` of its plugin ExportSql; Adminer: ``dumpFooter``; HeidiSQL: source/tabletools.pas.)
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from pathlib import Path

from ansible.module_utils.th_core.text import printable
from ansible.module_utils.th_dump.facts import Facts, FactsReader
from ansible.module_utils.th_dump.source import DumpError, Source, source_of

WHOLE, BROKEN, UNKNOWN = "whole", "broken", "unknown"
SYSTEM = ("mysql", "sys", "performance_schema", "information_schema")
_MARKS = {"mysqldump": "-- Dump completed", "mysqlpump": "-- Dump end time:", "Adminer": "-- and the time of its end"}
_WORDS = frozenset(
    b"ALTER ANALYZE BEGIN CALL CHECK COMMIT CREATE DELETE DELIMITER DO DROP FLUSH GRANT INSERT LOAD LOCK OPTIMIZE"
    b" PREPARE RENAME REPLACE REVOKE ROLLBACK SELECT SET SHOW START TRUNCATE UNLOCK UPDATE USE WITH EXECUTE REPAIR"
    b" SOURCE CHANGE STOP RESET KILL PURGE HANDLER DEALLOCATE INSTALL UNINSTALL XA SAVEPOINT RELEASE".split()
)
_LABEL = re.compile(
    rb"(?:/\*M?!\d*\s*)?((?:CREATE|DROP|ALTER|INSERT|REPLACE|LOCK|UPDATE|DELETE|SET|USE|GRANT|UNLOCK|SELECT)\b"
    rb"(?:\s+(?:OR\s+REPLACE|TEMPORARY|IGNORE|DEFINER\s*=\s*[^\s]{1,100}|SQL\s+SECURITY\s+\w+|TABLES?|VIEW|TRIGGER|"
    rb"FUNCTION|PROCEDURE|EVENT|INTO|FROM|DATABASE|USER|IF\s+NOT\s+EXISTS|IF\s+EXISTS|UNIQUE|INDEX)){0,6}"
    rb"(?:\s+(?:`[^`]{1,64}`\.)?`[^`]{1,64}`)?)",
    re.IGNORECASE,
)
_NAMED = ("INTO", "TABLE", "TABLES", "VIEW", "FROM", "DATABASE", "USE", "EXISTS", "TRIGGER", "FUNCTION", "PROCEDURE")
_PLAIN_NAME = re.compile(rb"\s+([A-Za-z_$][\w$]{0,63})\b(?=\s|\(|;|\Z)")
# files of other kinds, by their first bytes
_OTHERS = (
    (b"\x1f\x8b", "it is packed with gzip: its name must end with .gz"),
    (b"\x28\xb5\x2f\xfd", "it is packed with zstd: its name must end with .zst"),
    (b"\xfd7zXZ", "it is packed with xz: its name must end with .xz"),
    (b"BZh", "it is packed with bzip2: unpack it, or pack it with gzip, zstd or xz"),
    (b"PK\x03\x04", "it is a ZIP archive: unpack it"),
    (b"PGDMP", "it is a dump of PostgreSQL: only those of MySQL and MariaDB can be loaded"),
    (b"SQLite format", "it is a database of SQLite: only dumps of MySQL and MariaDB can be loaded"),
    (b"XBSTCK01", "it is a backup of mariadb-backup or xtrabackup (xbstream) and no dump: make one with mariadb-dump"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)
_SAID = re.compile(rb"[\w/.\-]{0,200}(?:mysqldump|mariadb-dump|mysqlpump): ")
_UTF16 = (
    "it is UTF-16, as PowerShell writes what is redirected with '>': let the dumping program write the file, with"
    " --result-file=FILE"
)


@dataclass(frozen=True)
class Finding:
    """What is known of a dump before it is loaded.

    `kind` is the program that has written it, as far as it can be recognised. `state` is WHOLE; or BROKEN, when it
    cannot be used, and `reason` says why and what to do; or UNKNOWN, when nothing in it shows whether it is whole, and
    `reason` says what that means. `tables` is how many tables it creates, `rows` the number of rows by table, where it
    states them, `definers` the accounts (``user@host``) that its views, triggers and routines run as. No text here
    contains data from the rows.
    """

    kind: str
    state: str
    reason: str = ""
    tables: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    definers: tuple[str, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether it may be loaded."""
        return self.state != BROKEN


def inspect(path: Path, database: str = "", time_limit: float = 0) -> Finding:
    """Read a dump to its end, without a server. Raises OSError when it cannot be read.

    `database` is the one that it is to be loaded into, "" when that does not matter. After `time_limit` seconds
    (0: no limit) the rest is not read, and the state is UNKNOWN.
    """
    ends = time.monotonic() + time_limit if time_limit else float("inf")
    try:
        source = source_of(path, database)
    except DumpError as error:
        return Finding("", BROKEN, str(error))
    try:
        if not source.folder:
            return _one(source, source.files[0], database, ends)
        return _several(source, database, ends)
    except DumpError as error:
        return Finding("mydumper" if source.folder else "", BROKEN, str(error))
    except TimeoutError:
        return Finding("", UNKNOWN, f"it was not read to its end, which takes longer than {time_limit:g} s")


def _several(source: Source, database: str, ends: float) -> Finding:
    tables, definers = 0, set[str]()
    for file in source.files:
        found = _one(Source(source.path, (file,)), file, database, ends)
        if not found.usable:
            return Finding("mydumper", BROKEN, f"{printable(file.name)}: {found.reason}", tables)
        tables += found.tables
        definers.update(found.definers)
    return Finding("mydumper", WHOLE, "", tables, source.rows, tuple(sorted(definers)))


def _one(source: Source, file: Path, database: str, ends: float) -> Finding:
    reader, first = FactsReader(), True
    for _, piece in source.pieces():
        if first and (problem := _other(piece)):
            return Finding("", BROKEN, problem)
        reader.feed(piece.removeprefix(b"\xef\xbb\xbf") if first else piece)
        first = False
        if time.monotonic() > ends:
            raise TimeoutError
    if first:
        return Finding("", BROKEN, "it is empty: make it again")
    facts = reader.close()
    state, reason = _judged(facts, database)
    return Finding(facts.kind, state, reason, len(facts.tables), definers=tuple(sorted(facts.definers)))


def _other(piece: bytes) -> str:
    for begins, problem in _OTHERS:
        if piece.startswith(begins):
            return _UTF16 if problem == "UTF-16" else problem
    if piece[257:262] == b"ustar":
        return "it is a tar archive: take the dump out of it"
    if _SAID.match(piece):
        return "it begins with what the dumping program has said: send its errors elsewhere (2>FILE, not 2>&1)"
    if b"PRAGMA foreign_keys" in piece[:400]:
        return "it is a dump of SQLite: only those of MySQL and MariaDB can be loaded"
    if b"\0" in piece[:400]:
        return "it is not text: is it a dump of MySQL or MariaDB, in SQL?"
    return ""


def _judged(facts: Facts, database: str) -> tuple[str, str]:
    """The state and its reason."""
    if facts.kind == "PostgreSQL":
        return BROKEN, "it is a dump of PostgreSQL: only those of MySQL and MariaDB can be loaded"
    if facts.commands:
        return BROKEN, _of_the_client(*facts.commands[0])
    marked = facts.headers > 0 and facts.kind in _MARKS
    if (facts.first and not _is_sql(facts.first)) or (
        facts.open and not facts.statements and not _is_sql(facts.open.head)
    ):
        return BROKEN, "what it begins with is no statement (a syntax error): is it a dump of MySQL or MariaDB, in SQL?"
    if problem := _elsewhere(facts, database):
        return BROKEN, problem
    if facts.cut_before:
        return BROKEN, f"it is cut off: before line {facts.cut_before}, where another dump begins, its end is missing"
    if facts.open:
        what = label(facts.open.head)
        inside = f", within {facts.open.within}" if facts.open.within else ""
        return BROKEN, (
            f"it is cut off: it ends in the middle of the statement of line {facts.open.line}"
            f"{f' ({what})' if what else ''}{inside}. Make it again; if it is whole, end it with a ';'"
        )
    if marked:
        if facts.marks < facts.headers:
            return BROKEN, f"it is cut off: its last line, '{_MARKS[facts.kind]}', is missing. Make it again"
        return WHOLE, ""
    return _by_what_is_open(facts)


def _of_the_client(line: int, word: str) -> str:
    what = "of another file" if word.lower() in ("source", "\\.") else "of a dump"
    return (
        f"line {line} is a command of the client's ({word}), which is not run: put the statements {what} there"
        " themselves, or take the line out"
    )


def _by_what_is_open(facts: Facts) -> tuple[str, str]:
    name = facts.kind or "the program that has written it"
    if facts.transaction:
        return BROKEN, f"it is cut off: {name} ends a dump with COMMIT, which is missing. Make it again"
    if facts.locked:
        return BROKEN, "it is cut off: after its last LOCK TABLES, UNLOCK TABLES is missing. Make it again"
    if facts.saved:
        if facts.saved & facts.restored:
            return WHOLE, ""
        return BROKEN, (
            f"it is cut off: it keeps settings ({', '.join(sorted(facts.saved)[:3])}) in variables @OLD_…, and the"
            " statements that give them back at the end are missing. Make it again"
        )
    if facts.kind == "Navicat":
        if facts.keys_back:
            return WHOLE, ""
        return BROKEN, "it is cut off: its last line, 'SET FOREIGN_KEY_CHECKS = 1', is missing. Make it again"
    if facts.kind == "phpMyAdmin" and facts.transactions:
        return WHOLE, ""
    return UNKNOWN, (
        f"a dump of {facts.kind or 'this kind'} has nothing at its end that says that it is whole: each"
        " statement in it is, but whether some are missing cannot be seen. The key expect of the dataset can say what"
        " must be there; mysqldump and mariadb-dump (without --skip-comments and --compact) end a dump with"
        " '-- Dump completed'"
    )


def _is_sql(statement: bytes) -> bool:
    word = re.match(rb"[\s(]*(?:/\*M?!\d*\s*)?([A-Za-z]{1,20})\b|[\s(]*/\*|\\", statement)
    return word is not None and (word[1] is None or word[1].upper() in _WORDS)


def _elsewhere(facts: Facts, database: str) -> str:
    """What is wrong with the target of a dump: databases other than the dataset's, or accounts; "" for nothing."""
    named = [*facts.databases, *facts.uses]
    own = f" {printable(database)}" if database else ""
    one = f"dump the one database, without --databases and --all-databases: mysqldump [options]{own or ' NAME'}"
    system = next(((line, name) for line, name in named if name.lower() in SYSTEM), None)
    if system:
        return (
            f"it is a dump of all databases, with the server's own (line {system[0]}: {printable(system[1])}) and its"
            f" accounts: {one}"
        )
    names = list(dict.fromkeys(name for _, name in named))
    if len(names) > 1:
        return f"it is a dump of several databases ({', '.join(map(printable, names[:5]))}): {one}"
    if facts.accounts:
        line, what = facts.accounts[0]
        return (
            f"it makes or changes accounts (line {line}: {what}), which are the server's and no part of a database:"
            " leave them out (mysqldump: no --users, mysqlpump: --exclude-users=%, mariadb-dump: no --system)"
        )
    if database and names and names[0].lower() != database.lower():
        line = named[0][0]
        return (
            f"it goes into the database {printable(names[0])} (line {line}: USE or CREATE DATABASE), and not into"
            f" {printable(database)}: dump it without --databases (phpMyAdmin, HeidiSQL and Adminer: without CREATE"
            " DATABASE and USE), or let the key database be that name"
        )
    return ""


def label(statement: bytes) -> str:
    """The kind of a statement and the table it is about, without its values."""
    statement = statement.lstrip()
    found = _LABEL.match(statement)
    if not found:
        return ""
    words = found[1].decode("utf-8", "replace").split()
    if words[-1].upper() in _NAMED and (name := _PLAIN_NAME.match(statement, found.end())):
        words.append(name[1].decode("ascii", "replace"))
    return printable(" ".join(words))[:160]

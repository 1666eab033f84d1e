# SPDX-License-Identifier: Apache-2.0
"""The client's error for a dump that does not load, without the rows, and with a remedy.

The client prints the statement that failed, which may be thousands of rows, and the server quotes values. Datasets are
private: only the line with the error's number is kept, with its values masked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ansible.module_utils.th_core.text import printable

MOST = 300
SHORT = 3
"""Values of up to this many characters are not treated as secret."""

_ERROR = re.compile(
    r"^ERROR(?: (?P<number>\d{1,5}) \((?P<state>\w{1,10})\))?(?: at line (?P<line>\d{1,12}))?[^:\n]{0,80}: "
    r"(?P<text>.*)",
    re.M,
)
_DASHES = "\n--------------\n\nERROR"
_LONGEST_TEXT = 4096
# errors that quote names of tables, columns, settings and the like, not values
_ABOUT_NAMES = frozenset((
    1005, 1007, 1008, 1044, 1045, 1046, 1048, 1049, 1050, 1051, 1059, 1060, 1061, 1065, 1067, 1068, 1069, 1071,
    1072, 1074, 1075, 1089, 1091, 1101, 1102, 1103, 1109, 1110, 1113, 1115, 1118, 1125, 1128, 1142, 1143, 1146,
    1153, 1166, 1170, 1171, 1176, 1193, 1215, 1216, 1217, 1227, 1235, 1239, 1243, 1248, 1249, 1253, 1264, 1265,
    1267, 1273, 1283, 1286, 1289, 1298, 1303, 1304, 1305, 1347, 1348, 1349, 1350, 1356, 1359, 1360, 1364, 1370,
    1406, 1418, 1419, 1442, 1451, 1452, 1477, 1478, 1524, 1553, 1558, 1698, 1702, 1709, 1728, 1901, 1906, 3105,
    3780, 4025, 4161,
))  # fmt: skip
_DUPLICATE = re.compile(r"Duplicate entry .* for key '(?P<key>[^']{1,200})'", re.DOTALL)
_VALUE = re.compile(
    r"(?P<what>(?:Incorrect|Truncated incorrect|Invalid|Illegal) [\w ]{1,40}:) .*(?P<where> for column .{1,300}"
    r" at row \d+)",
    re.DOTALL,
)
_SIGNALED, _OWN_STATES = frozenset((1642, 1643, 1644)), "45"
_OPENS = re.compile(r"(?<!\w)'")
_LONG_NUMBER = re.compile(rf"\d{{{SHORT + 1},}}")
_VARIABLE = re.compile(r"Variable '(\w{1,64})' can't be set to the value of '([\w, \-]{0,200})'")


class SeedError(Exception):
    """A dump that cannot be used: `code` is ``seed_missing`` or ``seed_broken``."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


@dataclass(frozen=True)
class ClientError:
    """An error as the client reports it: the server's `number` (0: an error of the client itself), the `line` of the
    dump, and a `text` without values."""

    number: int
    line: int
    text: str

    @property
    def said(self) -> str:
        """The error in one line."""
        return f"ERROR {self.number}: {self.text}" if self.number else f"ERROR: {self.text}"


def read_error(said: str) -> ClientError:
    """The error in a client's output, which may contain rows of the dump."""
    # the statement precedes it, between two lines of dashes; rows in it may look like an error
    found = _ERROR.search(said, said.rfind(_DASHES) + 1) or _ERROR.search(said)
    if found is None:
        return ClientError(0, 0, "the client has ended without an error of the server's")
    number, line = int(found["number"] or 0), int(found["line"] or 0)
    if number in _SIGNALED or (found["state"] or "").startswith(_OWN_STATES):
        return ClientError(number, line, "a trigger or routine of the dump refuses it (SIGNAL)")  # in its own words
    return ClientError(number, line, masked(number, said[found.start("text") :].strip()[:_LONGEST_TEXT]))


def masked(number: int, text: str) -> str:
    """The server's text of an error, shortened, and without values of more than SHORT characters."""
    text = text.partition(" Query: '")[0]
    if number == 1064 or " near '" in text:
        text = text.partition(" near '")[0].partition("; check the manual")[0]
    if duplicate := _DUPLICATE.fullmatch(text):
        text = f"Duplicate entry '…' for key '{duplicate['key']}'"
    elif variable := _VARIABLE.match(text):
        text = variable[0]
    elif value := _VALUE.fullmatch(text):
        text = f"{value['what']} '…'{value['where']}"
    elif number not in _ABOUT_NAMES:
        # a value may itself contain quotes: drop everything between the first and the last one
        opens, ends = _OPENS.search(text), text.rfind("'")
        begins = opens.start() if opens else -1
        if begins >= 0 and not 0 < ends - begins <= SHORT + 1:
            text = f"{text[:begins]}'…'{text[ends + 1 :] if ends > begins else ''}"
        text = _LONG_NUMBER.sub("…", text)
    text = printable(" ".join(text.split()))
    return text if len(text) <= MOST else text[: MOST - 1].rsplit(" ", 1)[0] + "…"


_EXTERNAL = "the key server, with an external MySQL 8, loads it as it is"
_SQL_MODE = (
    "the server that it comes from has another sql_mode: the key server_settings of the dataset sets it"
    ' ({"sql_mode": "…"}, as SELECT @@GLOBAL.sql_mode says there)'
)
_KEYS = (
    "dump with foreign key checks turned off (mysqldump does so; phpMyAdmin: 'Disable foreign key checks'; by hand: SET"
    " FOREIGN_KEY_CHECKS=0 as the first line)"
)
_ACCOUNTS = (
    "leave accounts and rights out of the dump (mysqlpump: --exclude-users=%, no --flush-privileges, no --system)"
)
_BEGINNING = "the beginning of the dump is missing, where settings are kept in @OLD_…: make it again"
_FUNCTIONAL = (
    "the table has an index on an expression, which MariaDB has not: drop the index before the dump is made, or put it"
    f" on a generated column; {_EXTERNAL}"
)

# error numbers, a pattern for the text or the statement, and the remedy; the first match applies
_CURES: tuple[tuple[tuple[int, ...], str, str], ...] = (
    ((1193, 1227, 1238, 3546), r"GTID_PURGED", "dump with --set-gtid-purged=OFF"),
    ((1193, 1227, 1238), r"SQL_LOG_BIN", "dump with --set-gtid-purged=OFF, which leaves SET SQL_LOG_BIN out"),
    ((1193,), r"", "take that SET out of the dump, or dump with the program of the server's own version"),
    (
        (1227, 1044, 1142, 1370),
        r"DEFINER|TRIGGER|FUNCTION|PROCEDURE|VIEW|EVENT",
        "leave DEFINER out (mysqlpump: --skip-definer), or dump without --routines, --triggers and --events",
    ),
    ((1449,), r"", "leave DEFINER out (mysqlpump: --skip-definer), or let it be an account that can be there"),
    ((1227, 1044, 1142, 1045), r"", "dump one database alone, without --databases, --all-databases and accounts"),
    ((1524, 1396, 1410, 1133, 1269, 1819), r"", _ACCOUNTS),
    ((1273, 1115), r"utf8mb4_0900|_0900_", (
        "it is a dump of MySQL 8, whose collations this server does not have: MariaDB 11.4 has them; "
        "sed 's/utf8mb4_0900_ai_ci/utf8mb4_unicode_ci/g' on the dump puts another in their place; " + _EXTERNAL
    )),
    ((1273, 1115), r"", "the server here is older than the dump's: install a newer one, or convert the tables"),
    ((1118,), r"", (
        "the key server_settings of the dataset can turn innodb_strict_mode off, as on the server that it comes from"
        ' ({"innodb_strict_mode": "OFF"}), or set its innodb_page_size; a table of more than 65,535 bytes a row needs'
        " TEXT in place of VARCHAR"
    )),
    ((1071, 1709), r"", (
        "the key server_settings of the dataset can set innodb_page_size and innodb_strict_mode as they are where it"
        " comes from; or make the tables ROW_FORMAT=DYNAMIC before the dump"
    )),
    ((1906, 3105), r"", (
        "the dump has values for a generated column: mysqldump and mariadb-dump leave them out, other programs where"
        ' generated columns are not selected; with server_settings {"sql_mode": ""} MariaDB passes them over'
    )),
    ((1231,), r"to the value of 'NULL'|@OLD_", _BEGINNING),
    ((1231,), r"sql_mode", "the dump sets a sql_mode that this server does not have: take that word out of the dump"),
    ((1231,), r"", "take that SET out of the dump, or dump with the program of the server's own version"),
    ((1064,), r"\(\s*\(|\(cast\(.{1,200}array", _FUNCTIONAL),
    ((1064,), r"GENERATED ALWAYS AS .{1,2000}?(?:STORED|VIRTUAL)\s+(?:NOT\s+)?NULL", (
        "the table has a generated column with NOT NULL, which MariaDB does not read: take NOT NULL away from it before"
        f" the dump is made; {_EXTERNAL}"
    )),
    ((1064,), r"GENERATED ALWAYS AS", (
        "the table has a generated column as only MySQL writes it: drop it before the dump is made; " + _EXTERNAL
    )),
    ((1064,), r"CREATE\s+(?:DEFINER\S*\s+)?(?:FUNCTION|PROCEDURE|TRIGGER|EVENT)|/\*!50003", (
        "dump without --routines, --triggers and --events where migrations do not need them; " + _EXTERNAL
    )),
    ((1064,), r"IDENTIFIED|GRANT |CREATE USER", _ACCOUNTS),
    ((1064,), r"CREATE TABLE", (
        "the table is written as only the server knows it that the dump comes from: leave it out (--ignore-table), or "
        + _EXTERNAL
    )),
    ((1064,), r"INSERT|REPLACE", "has what changed the dump (anonymising, an editor) broken a value? Make it again"),
    ((1064,), r"", "is it a dump of MySQL or MariaDB, in SQL (syntax)?"),
    ((1901, 1305, 1630, 3763), r"DEFAULT|GENERATED|CREATE TABLE|VIEW", (
        "a default, a generated column or a view calls what this server has not: drop it before the dump is made; "
        + _EXTERNAL
    )),
    ((1305,), r"", "dump with --routines"),
    ((4161, 1286, 1289, 1911), r"", (
        "the table's type of column, or its storage engine, is not there: convert it before the dump is made, leave the"
        " table out (--ignore-table), or " + _EXTERNAL
    )),
    ((1062, 1586), r"", (
        "does the dump hold the table twice, or do values differ for the server that it comes from and not here, by"
        " their collation? Let the key's columns have theirs in the dump, or set it by the key server_settings"
    )),
    ((1050, 1304, 1359, 1537), r"", (
        "the dump holds it twice, as two dumps in one file do: make one dump, or dump with --add-drop-table"
    )),
    ((1007, 1008, 1046), r"", "the dump leaves its database: make it without CREATE DATABASE and DROP DATABASE"),
    ((1049,), r"", "the dump names another database: dump without --databases, and let the key database be that name"),
    ((4166, 1148, 3948), r"", (
        "the dump reads rows from a file with LOAD DATA LOCAL, which the worker forbids (docs/security.md): dump the"
        " rows as INSERTs"
    )),
    ((1290,), r"secure.file.priv", (
        "the dump reads rows from a file on its server with LOAD DATA: dump the rows as INSERTs (without --tab)"
    )),
    ((1146,), r"", (
        "a view or trigger needs a table that the dump does not have: dump it, or leave the view out (--ignore-table)."
        " Where the names differ in upper and lower case alone, the key server_settings of the dataset can set"
        ' lower_case_table_names ({"lower_case_table_names": 1}), as on the server that it comes from'
    )),
    ((1356,), r"", (
        "a view or trigger needs a table that the dump does not have: dump it, or leave the view out (--ignore-table)"
    )),
    ((1005, 1215, 1217, 1451, 1452, 3730, 3780, 1822, 1824), r"", _KEYS),
    ((1067, 1264, 1265, 1292, 1366, 1406, 1048, 1364, 1411, 1101, 1166), r"", _SQL_MODE),
    ((1366, 1300, 1977), r"", "dump with --default-character-set=utf8mb4 (and --hex-blob where there are bytes)"),
    ((1153, 2006, 2013, 2020), r"", "a row is too large for one packet: dump with --skip-extended-insert"),
    ((4025,), r"", (
        "the table has a CHECK that its rows do not hold to (NOT ENFORCED in MySQL): drop it before the dump is made"
    )),
    ((1419, 1418), r"", "dump without --triggers and --routines, or set log_bin_trust_function_creators there"),
    ((1813, 1478, 1528, 1273), r"", "dump with --no-tablespaces"),
    ((1642, 1643, 1644), r"", (
        "dump without --triggers, or with the triggers after all rows, as mysqldump and mariadb-dump have them"
    )),
    ((1526,), r"", (
        "the table's partitions do not take all rows of the dump: give it one for the rest before the dump is made"
    )),
    ((0,), r"ASCII '.0' appeared|binary-mode", "is it UTF-8? PowerShell's '>' writes UTF-16: use --result-file=FILE"),
    ((0,), r"sandbox mode", "it has a command of the client's (source, system, \\!): take it out"),
)  # fmt: skip
_PATTERNS = tuple((frozenset(numbers), re.compile(words, re.I | re.DOTALL), cure) for numbers, words, cure in _CURES)
_STATEMENT = 64 << 10


def cure_of(error: ClientError, statement: bytes) -> str:
    """The remedy for an error: an option of the dumping program, or a key of the dataset; "" for an unknown error.

    `statement` is the text of the dump from the failed statement on; the remedy contains none of it.
    """
    text = f"{error.text}\n{_schema_of(statement[:_STATEMENT]).decode('utf-8', 'replace')}"
    for numbers, words, cure in _PATTERNS:
        if error.number in numbers and words.search(text):
            return cure
    return ""


def _schema_of(statement: bytes) -> bytes:
    """A statement without its rows, which could look like anything, and without the text that follows it."""
    if re.match(rb"\s*(?:INSERT|REPLACE)\b", statement, re.I):
        return statement[:40].partition(b"VALUES")[0]
    if re.match(
        rb"\s*/\*M?!\d+ CREATE\*/|\s*(?:/\*M?!\d+\s*)?CREATE\s+(?:DEFINER|FUNCTION|PROCEDURE|TRIGGER)", statement, re.I
    ):
        return statement[:400]
    return statement.partition(b";\n")[0].partition(b";\r\n")[0]

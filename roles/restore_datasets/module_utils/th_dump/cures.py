# SPDX-License-Identifier: Apache-2.0
"""What to do about a dump that does not load: an option of the dumping program, or a key of the dataset."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ansible.module_utils.th_dump.seed_errors import ClientError

_MYSQL = "or restore it on an engine of MySQL (key engine), which loads it as it is"
_MARIADB = "or restore it on an engine of MariaDB (key engine), which loads it as it is"
_SAME = "or restore it on an engine of the kind and version that it comes from (key engine)"
_SQL_MODE = (
    "the server that it comes from has another sql_mode: the key server_settings of the dataset sets it"
    ' ({"sql_mode": "…"}, as SELECT @@GLOBAL.sql_mode says there)'
)
_KEYS = (
    "dump with foreign key checks turned off (mysqldump does so; phpMyAdmin: 'Disable foreign key checks'; by hand: SET"
    " FOREIGN_KEY_CHECKS=0 as the first line)"
)
_ACCOUNTS = (
    "leave accounts and rights out of the dump (mysqlpump: --exclude-users=%, no --users, no --flush-privileges, no"
    " --system)"
)
_BEGINNING = "the beginning of the dump is missing, where settings are kept in @OLD_…: make it again"
_FUNCTIONAL = (
    "the table has an index on an expression, which MariaDB has not: drop the index before the dump is made, put it on"
    f" a generated column, {_MYSQL}"
)

# error numbers, a pattern for the text or the statement, and the remedy; the first match applies
_Cures = tuple[tuple[tuple[int, ...], str, str], ...]

# on a server of MariaDB: what only MySQL writes
_ON_MARIADB: _Cures = (
    ((1273, 1115), r"utf8mb4_0900|_0900_", (
        "it is a dump of MySQL 8, whose collations this server does not have: MariaDB 11.4 has them; "
        "sed 's/utf8mb4_0900_ai_ci/utf8mb4_unicode_ci/g' on the dump puts another in their place, " + _MYSQL
    )),
    ((1906, 3105), r"", (
        "the dump has values for a generated column: mysqldump of MySQL leaves them out, other programs where generated"
        ' columns are not selected; with server_settings {"sql_mode": ""} MariaDB passes them over'
    )),
    ((1064,), r"\(\s*\(|\(cast\(.{1,200}array", _FUNCTIONAL),
    ((1064,), r"GENERATED ALWAYS AS .{1,2000}?(?:STORED|VIRTUAL)\s+(?:NOT\s+)?NULL", (
        "the table has a generated column with NOT NULL, which MariaDB does not read: take NOT NULL away from it before"
        f" the dump is made, {_MYSQL}"
    )),
    ((1064,), r"GENERATED ALWAYS AS", (
        "the table has a generated column as only MySQL writes it: drop it before the dump is made, " + _MYSQL
    )),
)  # fmt: skip

# on a server of MySQL: what only MariaDB writes
_ON_MYSQL: _Cures = (
    ((1273, 1115), r"uca1400|_nopad_", (
        "it is a dump of MariaDB, whose collations this server does not have:"
        " sed 's/utf8mb4_uca1400_ai_ci/utf8mb4_unicode_ci/g' on the dump puts another in their place, " + _MARIADB
    )),
    ((1906, 3105), r"", (
        "the dump has values for a generated column, as mariadb-dump writes them: mysqldump of MySQL leaves them out,"
        f" other programs where generated columns are not selected, {_MARIADB}"
    )),
    ((3109,), r"", (
        "a generated column is computed from the AUTO_INCREMENT column, which only MariaDB allows: drop it before the"
        f" dump is made, {_MARIADB}"
    )),
    ((1101,), r"", (
        "a TEXT, BLOB or JSON column has a default that is no expression in brackets, as only MariaDB has it: drop the"
        f" default before the dump is made, {_MARIADB}"
    )),
    ((1064,), r"CREATE\s+(?:OR\s+REPLACE\s+)?(?:SEQUENCE|PACKAGE)|/\*M!|\bSETVAL\b", (
        "the dump has what only MariaDB has: leave it out (--ignore-table for a sequence), " + _MARIADB
    )),
    ((1064,), (
        r"SYSTEM VERSIONING|SYSTEM_TIME|PERIOD FOR|`\s+(?:uuid|inet4|inet6|xmltype)\b|PERSISTENT"
        r"|(?<!COLUMN_FORMAT )COMPRESSED\b(?!\S)"
        r"|\bIGNORED\b|NEXTVAL|PAGE_CHECKSUM|TRANSACTIONAL=|WITHOUT OVERLAPS|\bREF_SYSTEM_ID="
     ), (
        "the table is written as only MariaDB writes it: leave it out (--ignore-table), " + _MARIADB
    )),
    ((1286,), r"engine '(?:aria|columnstore|s3|mroonga|spider)'", (
        "the table's storage engine is only in MariaDB: convert the table to InnoDB before the dump is made, "
        + _MARIADB
    )),
)  # fmt: skip

_ON_ALL: _Cures = (
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
    ((1273, 1115), r"", f"the server here is older than the dump's: convert the tables, {_SAME}"),
    ((1031,), r"ROW_FORMAT", (
        "the key server_settings of the dataset can turn innodb_strict_mode off, as on the server that it comes from"
        ' ({"innodb_strict_mode": "OFF"}): then such a ROW_FORMAT is passed over'
    )),
    ((1118,), r"", (
        "the key server_settings of the dataset can turn innodb_strict_mode off, as on the server that it comes from"
        ' ({"innodb_strict_mode": "OFF"}), or set its innodb_page_size; a table of more than 65,535 bytes a row needs'
        " TEXT in place of VARCHAR"
    )),
    ((1071, 1709), r"", (
        "the key server_settings of the dataset can set innodb_page_size and innodb_strict_mode as they are where it"
        " comes from; or make the tables ROW_FORMAT=DYNAMIC before the dump"
    )),
    ((1231,), r"to the value of 'NULL'|@OLD_", _BEGINNING),
    ((1231,), r"sql_mode", "the dump sets a sql_mode that this server does not have: take that word out of the dump"),
    ((1231,), r"", "take that SET out of the dump, or dump with the program of the server's own version"),
    ((1064,), r"CREATE\s+(?:DEFINER\S*\s+)?(?:FUNCTION|PROCEDURE|TRIGGER|EVENT)|/\*!50003", (
        "dump without --routines, --triggers and --events where migrations do not need them, " + _SAME
    )),
    ((1064,), r"IDENTIFIED|GRANT |CREATE USER", _ACCOUNTS),
    ((1064,), r"CREATE TABLE", (
        "the table is written as only the server knows it that the dump comes from: leave it out (--ignore-table), "
        + _SAME
    )),
    ((1064,), r"INSERT|REPLACE", "has what changed the dump (anonymising, an editor) broken a value? Make it again"),
    ((1064,), r"", "is it a dump of MySQL or MariaDB, in SQL (syntax)?"),
    ((1901, 1305, 1630, 3758, 3763, 3770, 3814), r"DEFAULT|GENERATED|CREATE TABLE|VIEW", (
        "a default, a generated column or a view calls what this server has not: drop it before the dump is made, "
        + _SAME
    )),
    ((1305,), r"", "dump with --routines"),
    ((4161, 1286, 1289, 1911), r"", (
        "the table's type of column, or its storage engine, is not there: convert it before the dump is made, leave the"
        " table out (--ignore-table), " + _SAME
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
    ((3723,), r"", "is it a dump of the server's own database mysql? Dump the project's"),
    ((3510,), r"", (
        "a table lies in a tablespace that the dump does not make: move it into one of its own before the dump is made"
        " (ALTER TABLE … TABLESPACE innodb_file_per_table)"
    )),
    ((3185,), r"", (
        "a table is encrypted, for which a private server has no key: sed \"s/ENCRYPTION='Y'/ENCRYPTION='N'/\" on the"
        " dump leaves it plain"
    )),
    ((3750,), r"", (
        "the server demands a primary key of every table (sql_require_primary_key): give the table one before the dump"
        " is made, or turn that off there"
    )),
    ((6125,), r"", (
        "a foreign key refers to columns that are no unique key, which newer servers refuse: the key server_settings of"
        ' the dataset allows it, as on the server that it comes from ({"restrict_fk_on_non_standard_key": "OFF"})'
    )),
    ((1366, 1300, 1977), r"", "dump with --default-character-set=utf8mb4 (and --hex-blob where there are bytes)"),
    ((1153, 2006, 2013, 2020), r"", "a row is too large for one packet: dump with --skip-extended-insert"),
    ((4025, 3819), r"", (
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
_FAMILIES: Mapping[str, _Cures] = {"mariadb": _ON_MARIADB + _ON_ALL, "mysql": _ON_MYSQL + _ON_ALL}
_PATTERNS = {
    family: [(frozenset(numbers), re.compile(words, re.I | re.DOTALL), cure) for numbers, words, cure in cures]
    for family, cures in _FAMILIES.items()
}
_STATEMENT = 64 << 10


def cure_of(error: ClientError, statement: bytes, family: str) -> str:
    """The remedy for an error: an option of the dumping program, or a key of the dataset; "" for an unknown error.

    `statement` is the text of the dump from the failed statement on; the remedy contains none of it. `family` is that
    of the server.
    """
    text = f"{error.text}\n{_schema_of(statement[:_STATEMENT]).decode('utf-8', 'replace')}"
    for numbers, words, cure in _PATTERNS[family]:
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

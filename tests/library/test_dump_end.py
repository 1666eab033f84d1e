# SPDX-License-Identifier: Apache-2.0
"""Whether a dump is whole, by the sign of the program that has written it; without a server."""

import gzip
import json
import lzma
import random
import subprocess
import sys
from pathlib import Path

import pytest
from ansible.module_utils.th_dump.completeness import BROKEN, UNKNOWN, WHOLE, Finding, inspect
from ansible.module_utils.th_dump.sql_lexer import Lexer

from tests.kit import ROOT, dumps


def look(tmp_path: Path, content: str | bytes, name: str = "dump.sql", database: str = "shop") -> Finding:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return inspect(path, database)


@pytest.mark.parametrize("name", dumps.SIGNED)
def test_a_whole_dump_of_each_program(tmp_path: Path, name: str) -> None:
    found = look(tmp_path, dumps.SIGNED[name])
    assert (found.state, found.reason, found.tables) == (WHOLE, "", 2)
    assert look(tmp_path, dumps.SIGNED[name].replace("\n", "\r\n")).state == WHOLE


def _end_of_rows(text: str) -> int:
    """Behind this nothing of the data is missing."""
    return max(text.rindex(word) for word in ("(2,3);\n", "END */;;", "ADD KEY") if word in text)


@pytest.mark.parametrize("name", dumps.SIGNED)
def test_a_dump_that_is_cut_anywhere_is_not_whole(tmp_path: Path, name: str) -> None:
    text = dumps.SIGNED[name]
    end = _end_of_rows(text)
    ends = {index for index in range(1, end + 1) if text[index - 1 : index + 1] in (";\n", ");")}
    for length in sorted({*range(1, end + 1, 7), *ends}):
        found = look(tmp_path, text[:length])
        assert found.state != WHOLE, text[:length][-60:]
        if length > text.index("CREATE TABLE"):
            assert found.state == BROKEN and ("cut off" in found.reason), text[:length][-60:]


def test_the_reason_names_the_line_and_the_statement_and_no_rows(tmp_path: Path) -> None:
    text = dumps.COMPACT
    found = look(tmp_path, text[: text.index("carol") + 3])
    assert found.state == BROKEN
    assert "line 7 (INSERT INTO `customers`), within a string" in found.reason and "alice" not in found.reason
    found = look(tmp_path, dumps.MYSQLDUMP[: dumps.MYSQLDUMP.index("-- Dump completed on")])
    assert "its last line, '-- Dump completed', is missing" in found.reason


def test_a_dump_without_an_end_mark_is_unknown_and_says_so(tmp_path: Path) -> None:
    text = dumps.COMPACT
    whole = look(tmp_path, text)
    assert whole.state == UNKNOWN and "expect" in whole.reason and "cannot be seen" in whole.reason
    ends = [index + 2 for index in range(len(text)) if text.startswith(";\n", index)]
    for length in range(1, len(text)):
        state = look(tmp_path, text[:length]).state
        assert state != WHOLE
        if text.startswith("INSERT", text.rfind("\n", 0, length) + 1):  # in the middle of the rows
            assert state == BROKEN or length in ends or length + 1 in ends


@pytest.mark.parametrize("keep", ["LOCK TABLES `customers` WRITE;\n", "START TRANSACTION;\n"])
def test_what_is_left_open_between_two_statements_is_a_cut(tmp_path: Path, keep: str) -> None:
    found = look(tmp_path, dumps.TABLES + keep + dumps.ROWS)
    assert found.state == BROKEN and "cut off" in found.reason


def test_a_cut_dump_before_a_whole_one(tmp_path: Path) -> None:
    """cat one.sql two.sql, the first of which is cut."""
    one = dumps.MYSQLDUMP
    assert look(tmp_path, one + one).state == WHOLE
    found = look(tmp_path, one[: one.index("UNLOCK TABLES")] + one)
    assert found.state == BROKEN and "cut off: before line" in found.reason


def test_rows_that_look_like_the_end_are_none(tmp_path: Path) -> None:
    body = dumps.MYSQLDUMP[: dumps.MYSQLDUMP.index("-- Dump completed on")]
    for rows in (
        "INSERT INTO `customers` VALUES (9,'\n-- Dump completed on 2026\n');\n",
        "/*\n-- Dump completed\n*/\n",
    ):
        found = look(tmp_path, body + rows)
        assert found.state == BROKEN and "is missing" in found.reason


def test_statements_after_the_end_of_a_whole_dump(tmp_path: Path) -> None:
    """Such as those that take out what nobody may see."""
    assert look(tmp_path, dumps.MYSQLDUMP + "UPDATE customers SET email = NULL;\n").state == WHOLE
    assert look(tmp_path, dumps.MYSQLDUMP + "UPDATE customers SET email = 'a").state == BROKEN


@pytest.mark.parametrize(("suffix", "tool"), [(".gz", "gzip"), (".zst", "zstd"), (".xz", "xz")])
def test_a_packed_dump_that_ends_early_says_so_in_the_words_of_its_program(
    tmp_path: Path, suffix: str, tool: str
) -> None:
    text = dumps.MYSQLDUMP + "-- x\n" * 5000
    packed = subprocess.run([tool, "-c"], input=text.encode(), capture_output=True, check=True).stdout
    assert look(tmp_path, packed, f"dump.sql{suffix}").state == WHOLE
    reasons = {".gz": "unexpected end of file", ".zst": "premature end", ".xz": "Unexpected end of input"}
    for length in (len(packed) // 2, len(packed) - 6):
        found = look(tmp_path, packed[:length], f"dump.sql{suffix}")
        assert found.state == BROKEN and f"{tool} says: " in found.reason and reasons[suffix] in found.reason
        assert "alice" not in found.reason
    assert look(tmp_path, b"no such thing", f"dump.sql{suffix}").state == BROKEN


def test_a_packed_dump_that_was_cut_before_it_was_packed(tmp_path: Path) -> None:
    cut = dumps.MYSQLDUMP[:900].encode()
    for name, packed in (("dump.sql.gz", gzip.compress(cut)), ("dump.sql.xz", lzma.compress(cut))):
        found = look(tmp_path, packed, name)
        assert found.state == BROKEN and "cut off" in found.reason


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (dumps.MYSQLDUMP.encode("utf-16"), "--result-file"),
        (b"\xfe\xff" + dumps.MYSQLDUMP.encode("utf-16-be"), "--result-file"),
        (gzip.compress(b"x", mtime=0), "must end with .gz"),
        (b"PGDMP\0", "PostgreSQL"),
        (b"--\n-- PostgreSQL database dump\n--\n\nSET statement_timeout = 0;\n", "PostgreSQL"),
        (b"PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n", "SQLite"),
        (b"SQLite format 3\0", "SQLite"),
        (b"PK\x03\x04", "ZIP"),
        (b"dump.sql" + bytes(249) + b"ustar\x00", "tar archive"),
        (b"<html><body>404</body></html>\n", "no statement"),
        (b"mysqldump: [Warning] Using a password on the command line\n" + dumps.MYSQLDUMP.encode(), "2>&1"),
    ],
)
def test_what_is_no_dump(tmp_path: Path, content: bytes, words: str) -> None:
    found = look(tmp_path, content)
    assert found.state == BROKEN and words in found.reason


def test_a_mark_of_utf8_is_none_of_the_text(tmp_path: Path) -> None:
    assert look(tmp_path, b"\xef\xbb\xbf" + dumps.MYSQLDUMP.encode()).state == WHOLE


@pytest.mark.parametrize(
    ("before", "words"),
    [
        (
            "CREATE DATABASE /*!32312 IF NOT EXISTS*/ `mysql`;\nUSE `mysql`;\n",
            "all databases, with the server's own (line 1",
        ),
        ("CREATE DATABASE `shop`;\nUSE `shop`;\nUSE `other`;\n", "several databases (shop, other)"),
        ("USE `staging`;\n", "into the database staging (line 1"),
        ("CREATE USER `app`@`%` IDENTIFIED WITH 'caching_sha2_password';\n", "accounts (line 1: CREATE USER)"),
        ("/*!50706 GRANT SELECT ON *.* TO `app`@`%` */;\n", "accounts (line 1: GRANT)"),
    ],
)
def test_a_dump_that_is_for_something_else(tmp_path: Path, before: str, words: str) -> None:
    found = look(tmp_path, before + dumps.MYSQLDUMP)
    assert found.state == BROKEN and words in found.reason


def test_a_dump_that_names_its_own_database(tmp_path: Path) -> None:
    named = "CREATE DATABASE /*!32312 IF NOT EXISTS*/ `shop` /*!40100 DEFAULT CHARACTER SET utf8mb4 */;\nUSE `shop`;\n"
    assert look(tmp_path, named + dumps.MYSQLDUMP).state == WHOLE
    assert look(tmp_path, named + dumps.MYSQLDUMP, database="").state == WHOLE


def test_a_limit_of_time_leaves_it_unknown(tmp_path: Path) -> None:
    (tmp_path / "dump.sql").write_text(dumps.MYSQLDUMP)
    assert inspect(tmp_path / "dump.sql", "shop", 1e-9).state == UNKNOWN


def folder(tmp_path: Path, finished: bool = True, **files: str) -> Path:
    """What mydumper writes."""
    path = tmp_path / "dumped"
    path.mkdir(exist_ok=True)
    end = "# Finished dump at: 2026-03-01 10:00:01\n" if finished else ""
    rows = "[`shop`.`customers`]\nreal_table_name=customers\nrows = 3\n\n"
    (path / "metadata").write_text(
        f"# Started dump at: 2026-03-01 10:00:00\n[config]\nquote_character = BACKTICK\n\n{rows}{end}"
    )
    (path / "shop-schema-create.sql").write_text("CREATE DATABASE /*!32312 IF NOT EXISTS*/ `shop`;\n")
    (path / "shop.customers-schema.sql").write_text("/*!40101 SET NAMES binary*/;\n" + dumps.TABLES)
    (path / "shop.customers.00000.sql").write_text("/*!40101 SET NAMES binary*/;\n" + dumps.ROWS)
    for name, content in files.items():
        (path / name).write_text(content)
    return path


def test_a_folder_of_mydumpers(tmp_path: Path) -> None:
    path = folder(tmp_path)
    found = inspect(path, "shop")
    assert (found.kind, found.state, found.tables, found.rows) == ("mydumper", WHOLE, 1, {"customers": 3})
    (path / "shop.customers.00000.sql").write_text(dumps.ROWS[:60])
    cut = inspect(path, "shop")
    assert cut.state == BROKEN and cut.reason.startswith("shop.customers.00000.sql: it is cut off")


def test_a_folder_that_mydumper_has_not_finished(tmp_path: Path) -> None:
    path = folder(tmp_path, finished=False)
    assert "Finished dump at" in inspect(path, "shop").reason
    (path / "metadata").rename(path / "metadata.partial")
    found = inspect(path, "shop")
    assert found.state == BROKEN and "metadata.partial" in found.reason


def test_a_folder_of_several_databases_needs_the_datasets_name(tmp_path: Path) -> None:
    path = folder(tmp_path, **{"other.t-schema.sql": "CREATE TABLE `t` (`id` int);\n"})
    assert inspect(path, "shop").state == WHOLE
    found = inspect(path, "third")
    assert found.state == BROKEN and "other, shop" in found.reason


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["@.json", "shop@customers@@0.tsv.zst"], "not finished"),
        (["@.json", "@.done.json"], "util.loadDump()"),
        (["xtrabackup_checkpoints"], "no dump"),
        (["customers.sql", "customers.txt"], "--tab"),
        (["README"], "metadata"),
    ],
)
def test_other_folders_are_named(tmp_path: Path, names: list[str], words: str) -> None:
    for name in names:
        (tmp_path / name).touch()
    found = inspect(tmp_path, "shop")
    assert found.state == BROKEN and words in found.reason


TEXT = rb"""-- MySQL dump
# c's
/* block ' */ /*!40101 SET NAMES utf8 */;
SELECT 'a;b''c\'d', "x;\"", `q;``r` -- it's;
, 5-3, 4*2, 6/2, 3--4;;
DELIMITER ;;
/*!50003 CREATE TRIGGER t BEFORE INSERT ON x FOR EACH ROW BEGIN /* in;;ner' */ SET a=';;'; -- don't
END */;;
--
delimiter //
SELECT 1/2, ';';//
DELIMITER ;
DELETE FROM t;
USE x;
SET @x = 'y"""


def test_the_pieces_that_a_dump_comes_in_make_no_difference() -> None:
    def read(size: int) -> list[object]:
        found: list[object] = []
        lexer = Lexer(lambda *it: found.append(it), lambda *it: found.append(it))
        for start in range(0, len(TEXT), size):
            lexer.feed(TEXT[start : start + size])
        return [*found, lexer.close()]

    whole = read(len(TEXT))
    assert [line for line, *_ in whole[:-1]] == [1, 2, 3, 3, 4, 7, 9, 11, 13, 14]  # type: ignore[misc]
    for size in range(1, 90):
        assert read(size) == whole, size


def test_the_program_that_inspects_a_dump(tmp_path: Path) -> None:
    path = tmp_path / "dump.sql"
    path.write_text(dumps.MYSQLDUMP[:-40])

    def run(*words: str) -> dict[str, object]:
        argv = [sys.executable, str(ROOT / "roles" / "restore_datasets" / "files" / "inspect_dump.py"), *words]
        said: dict[str, object] = json.loads(subprocess.run(argv, capture_output=True, check=True).stdout)
        return said

    assert run(str(path))["state"] == BROKEN
    path.write_text(dumps.MYSQLDUMP)
    found = {"kind": "mysqldump", "state": WHOLE, "reason": "", "tables": 2, "rows": {}, "definers": ["root@localhost"]}
    assert run(str(path), "shop", "60") == found
    assert "cannot be read" in str(run(str(tmp_path / "none.sql"), "shop")["reason"])


BREAKING = [b"'", b"`", b"/*", b"*/", b"\\", b"\nDELIMITER //\n", b"\n-- Dump completed\n", b"\xff\xfe", b"\0", b";;"]
SLOW = [b"INSERT a;", b"INSERT INTO t VALUES ('", b"/*!", b"/* ", b"-- ", b"'\\", b"((", b";", b"\n"]


def test_whatever_a_dump_holds_there_is_an_answer(tmp_path: Path) -> None:
    chance = random.Random(7)
    for _ in range(300):
        content = bytearray(chance.choice(list(dumps.SIGNED.values())).encode())
        for _ in range(chance.randrange(1, 6)):
            at = chance.randrange(len(content))
            content[at : at + chance.randrange(9)] = chance.choice(BREAKING)
        found = look(tmp_path, bytes(content))
        assert found.state in (WHOLE, BROKEN, UNKNOWN) and bool(found.reason) == (found.state != WHOLE)
        assert found.reason.isprintable() and len(found.reason) < 600 and "alice" not in found.reason


@pytest.mark.parametrize("piece", SLOW)
def test_a_dump_that_is_made_to_be_slow_is_not(tmp_path: Path, piece: bytes) -> None:
    """Each byte is looked at a few times, not once for each that comes before it: this would take very long."""
    header = b"-- MySQL dump 10.13  Distrib 8.0.36, for Linux (x86_64)\n"
    assert look(tmp_path, header + piece * (500_000 // len(piece))).state == BROKEN

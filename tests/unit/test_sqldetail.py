# SPDX-License-Identifier: Apache-2.0
"""The server's error in a detail, as every driver writes it, and the advice that follows its number."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.verdict import CODES, Message, advice, sql_detail
from worker.verdict.sql_errors import _TABLE, _WRITTEN, ERRORS, WRITTEN

ALCHEMY = "sqlalchemy.exc.IntegrityError: (pymysql.err.IntegrityError) "
DUPLICATE = "Duplicate entry name0 for key u_name"
SETTINGS = "server_settings"
MEANT = (
    1005, 1048, 1054, 1061, 1062, 1064, 1071, 1091, 1118, 1138, 1146, 1170, 1205, 1213, 1215, 1217, 1264, 1265, 1267,
    1292, 1298, 1364, 1366, 1406, 1411, 1419, 1451, 1452, 1553, 1701, 1705, 1709, 1785, 1845, 1846, 2006, 2013, 3140,
    3141, 3780, 4025,
)  # fmt: skip
OF_SETTINGS = (1005, 1118, 1146, 1215, 1264, 1265, 1267, 1292, 1298, 1366, 1406, 1419, 3780)


@pytest.mark.parametrize(
    "detail",
    [
        ALCHEMY + "(1062, \"Duplicate entry 'name0' for key 'u_name'\") [SQL: ALTER TABLE t ADD UNIQUE u_name (name)]",
        ALCHEMY + "(1062, \"Duplicate entry 'name0' for key 'u_name'\")\n[SQL: \nALTER TABLE t\n ADD UNIQUE x (y)]",
        "sqlalchemy.exc.IntegrityError: (MySQLdb.IntegrityError) (1062, \"Duplicate entry 'name0' for key 'u_name'\")",
        "django.db.utils.IntegrityError: (1062, \"Duplicate entry 'name0' for key 'u_name'\")",
        "asyncmy.errors.IntegrityError: (1062, \"Duplicate entry 'name0' for key 'u_name'\")",
        "pymysql.err.IntegrityError: (1062, 'Duplicate entry \\'name0\\' for key \\'u_name\\'')",
        "mysql.connector.errors.IntegrityError: 1062 (23000): Duplicate entry 'name0' for key 'u_name'",
        "sqlalchemy.exc.IntegrityError: (mysql.connector.errors.IntegrityError) 1062 (23000): Duplicate entry 'name0' "
        "for key 'u_name' [SQL: ALTER]",
        "ERROR 1062 (23000) at line 3: Duplicate entry 'name0' for key 'u_name'",
        "ERROR 1062 (23000): Duplicate entry 'name0' for key 'u_name'",
        "Error 1062: Duplicate entry 'name0' for key 'u_name'",
        "SQLSTATE[23000]: Integrity constraint violation: 1062 Duplicate entry 'name0' for key 'u_name'",
        "sqlalchemy.exc.IntegrityError: (mariadb.IntegrityError) Duplicate entry 'name0' for key 'u_name'",
        "mariadb.IntegrityError: Duplicate entry 'name0' for key 'u_name'",
        "sqlalchemy.exc.IntegrityError: (pyodbc.IntegrityError) ('23000', \"[23000] [MySQL][ODBC 8.0(w) Driver]"
        "[mysqld-8.0.36]Duplicate entry 'name0' for key 'u_name' (1062) (SQLExecDirectW)\")",
        "Mysql2::Error: Duplicate entry 'name0' for key 'u_name'",
        ALCHEMY + "(1062, \"Duplicate entry 'name0' for key 'u_name'\")"
        "\n(Background on this error at: https://sqlalche.me/e/20/gkpj)",
    ],
)
def test_an_error_of_the_server_is_found_however_it_is_written(detail: str) -> None:
    found = sql_detail.find(detail)
    assert found and found.number == 1062
    assert sql_detail.cause(detail, last=True) == DUPLICATE
    assert advice.of("migration_raised", detail) == (ERRORS[1062].explanation, ERRORS[1062].remedy)


@pytest.mark.parametrize(
    "detail",
    [
        "", "ValueError: 1062 rows", "KeyError: (10, 'x')", "RuntimeError: 2013 was a year",
        "[SQL: SELECT (1062, \"x\")]",
        "ended after 7200 s; it was executing: INSERT INTO t VALUES (1062, 'x')",
    ],
)  # fmt: skip
def test_what_is_none_is_not_found(detail: str) -> None:
    assert sql_detail.find(detail) is None
    assert advice.of("migration_raised", detail) is None


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ('(1062, "Duplicate entry \'alice@example.org-2024-01-01\' for key \'a\'")', "alice@exampl... for key a"),
        ('(1062, "Duplicate entry \'O\'Brien\' for key \'users.name\'")', "entry O'Brien for key users.name"),
        ('(1062, "Duplicate entry \'\' for key \'PRIMARY\'")', "Duplicate entry  for key PRIMARY"),
        ('(1366, "Incorrect string value: \'\\\\xF0\\\\x9F\\\\x98\\\\x80\' for column `db`.`books`.`title` at row 7")',
         "for column books.title at row 7"),
        ('(1292, "Truncated incorrect DOUBLE value: \'a very long value indeed\'")', "DOUBLE value: a very long ..."),
        ("(1452, 'Cannot add or update a child row: a foreign key constraint fails (`db`.`#sql-alter-1f-5`, CONSTRAINT "
         "`fk` FOREIGN KEY (`author_id`) REFERENCES `authors` (`id`))')",
         "fails (CONSTRAINT fk FOREIGN KEY (author_id) REFERENCES authors (id))"),
        ('(1064, "You have an error in your SQL syntax; check the manual that corresponds to your MariaDB server '
         "version for the right syntax to use near 'rank INT' at line 1\")", "SQL syntax near rank INT at line 1"),
        ('(1091, "Can\'t DROP INDEX `isbn`; check that it exists")', "Can't DROP INDEX isbn; check that it exists"),
    ],
)  # fmt: skip
def test_the_cause_is_short_and_has_no_quotes_around_names(said: str, cause: str) -> None:
    assert sql_detail.cause(ALCHEMY + said).endswith(cause)


def test_a_revision_id_that_is_too_long_is_the_cause() -> None:
    told = "the revision id a_long_one has 10 characters, and alembic_version.version_num holds 4"
    advised = "give the migration a shorter id, or make the column wider in a migration before it"
    error = "pymysql.err.DataError: (1406, \"Data too long for column 'version_num' at row 1\")"
    detail = f"{told}: {advised}: {error}"
    assert sql_detail.cause(detail, last=True) == told
    found = advice.of("migration_raised", detail)
    assert found is not None and "shorter id" in found.remedy
    found = advice.of("migration_raised", error)
    assert found is not None and "shorter id" not in found.remedy


@pytest.mark.parametrize("code", ["walk_failed", "migration_raised"])
def test_of_new_syntax_the_remedy_names_the_interpreter(code: str) -> None:
    found = advice.of(code, "SyntaxError: f-string: unmatched '['")
    assert found is not None and "the project's profile says which one" in found.remedy
    assert advice.of(code, "KeyError: 'SyntaxError: x'") is None


@pytest.mark.parametrize(
    ("detail", "remedy"),
    [
        ("the project's code has left a transaction that is neither committed nor rolled back ('x'): …", "XA COMMIT"),
        ("what the project's code had not committed when it ended is still being rolled back", "Commit what"),
        ("alembic_version is a view: a version is read from a base table without triggers", "Leave the version table"),
        ("INSERT DELAYED lets the server write rows after the migration", "INSERT in place of"),
    ],
)
def test_what_a_walk_finds_in_the_database_has_a_remedy(detail: str, remedy: str) -> None:
    found = advice.of("walk_failed", detail)
    assert found and remedy in found.remedy
    assert advice.of("migration_raised", detail) is None, "only the walk's own words"


def test_of_other_errors_the_cause_is_the_line_that_tells_it() -> None:
    assert sql_detail.cause("Traceback\n  File x\nproject.errors.BadRow: no ISBN", last=True) == "BadRow: no ISBN"
    assert sql_detail.cause("upgrade.<locals>.BadRow: no ISBN", last=True) == "BadRow: no ISBN"
    assert sql_detail.cause("ValueError: x [SQL: SELECT 1]", last=True) == "ValueError: x"
    assert sql_detail.cause("requirements.txt:3: gone: x") == "requirements.txt:3: gone: x"
    assert sql_detail.cause("ended after 7200 s; it was executing: ALTER TABLE x") == "ended after 7200 s"
    assert sql_detail.cause("61.25 s, the limit is 60 s") == "61.25 s, the limit is 60 s"
    assert sql_detail.cause("the file a.b/c.d: is wrong") == "the file a.b/c.d: is wrong"
    assert sql_detail.cause("SystemExit: 0", last=True) == "it ended its process (SystemExit: 0)"
    assert sql_detail.cause("") == sql_detail.cause("[SQL: ") == ""


def test_what_tells_nobody_anything_is_left_out_of_a_detail() -> None:
    said = "sqlalchemy.exc.OperationalError: (pymysql.err.OperationalError) (1205, 'Lock')"
    assert sql_detail.tidy(said + "\n(Background on this error at: https://sqlalche.me/e/20/e3q8)") == said
    assert sql_detail.tidy(said + " [SQL: ") == sql_detail.tidy(said) == said
    assert sql_detail.tidy(said + " [SQL: SELECT 1]") == said + " [SQL: SELECT 1]"


@pytest.mark.parametrize("number", MEANT)
def test_the_remedy_follows_the_number(number: int) -> None:
    message = Message.of("migration_raised", "a", "b", detail=f'{ALCHEMY}({number}, "said")')
    kind = CODES["migration_raised"]
    assert message.explanation == ERRORS[number].explanation != kind.explanation
    assert message.remedy == ERRORS[number].remedy != kind.remedy
    assert len(message.explanation) > 15 and message.remedy.endswith(".")


@pytest.mark.parametrize("number", OF_SETTINGS)
def test_an_error_that_a_setting_explains_says_so(number: int) -> None:
    assert SETTINGS in ERRORS[number].remedy and "docs/datasets.md" in ERRORS[number].remedy


def test_an_error_that_no_setting_explains_sends_nobody_there() -> None:
    assert not any(SETTINGS in ERRORS[number].remedy for number in (1062, 1138, 1451, 1452, 1091, 1553))


@pytest.mark.parametrize(
    ("sql", "rows", "null"),
    [
        ("ALTER TABLE b MODIFY isbn VARCHAR(13) NOT NULL", "", False),
        ("ALTER TABLE b MODIFY isbn ENUM('a')", "", False),
        ("ALTER TABLE b MODIFY isbn ENUM('a') NOT NULL", "2 rows of b hold NULL in isbn", True),
        ("", "2 rows of b hold NULL in isbn", True),
        ("ALTER TABLE b MODIFY isbn CHAR(3) NOT NULL", "2 rows of b have more than 3 characters in isbn", False),
        ("", "", False),
    ],
)
def test_a_truncation_that_is_a_null_says_so_and_any_other_that_it_may_be(sql: str, rows: str, null: bool) -> None:
    detail = f"{ALCHEMY}(1265, \"Data truncated for column 'isbn' at row 7\")" + (f" [SQL: {sql}]" if sql else "")
    message = Message.of("migration_raised", "a", "b", detail=detail, rows=rows)
    assert (message.explanation == ERRORS[1138].explanation) == null
    assert "NULL" in message.explanation and "NULL" in message.remedy


@pytest.mark.parametrize(
    ("sql", "does"),
    [
        ("ALTER TABLE b MODIFY isbn VARCHAR(13) NOT NULL", True),
        ("ALTER TABLE `b` CHANGE `isbn` `isbn13` varchar(13) not  null", True),
        ("ALTER TABLE b MODIFY isbn ENUM('a')", False),
        ("", False),
    ],
)
def test_a_statement_that_makes_a_column_not_null_is_seen(sql: str, does: bool) -> None:
    assert sql_detail.makes_not_null(f"(1265, 'x') [SQL: {sql}]") is does


def test_an_error_has_one_explanation() -> None:
    for table in (_TABLE, _WRITTEN):
        numbers = [number for row in table for number in row[0]]
        assert sorted(numbers) == sorted(set(numbers))


def test_who_ends_the_process_is_told_to_raise() -> None:
    for detail in ("SystemExit: 0", "SystemExit: 3", "SystemExit"):
        message = Message.of("migration_raised", "a", "b", detail=detail)
        assert message.remedy == CODES["migration_ended"].remedy
        assert "exit()" in message.explanation


@pytest.mark.parametrize(
    ("detail", "memory", "word"),
    [
        ("the walking process was killed by SIGKILL in the middle of it", False, "sends the signal"),
        ("the command was killed by SIGSEGV", False, "compiled code"),
        ("the command was killed by SIGTERM", False, "sends it"),
        ("killed by SIGKILL: out of memory", True, "in batches"),
        ("the command was killed by signal 64", False, "signal"),
        ("", False, "signal"),
    ],
)
def test_a_killed_migration_is_accused_of_its_memory_on_evidence_alone(detail: str, memory: bool, word: str) -> None:
    message = Message.of("migration_killed", "a", "b", detail=detail)
    assert (message.remedy == "Let the migration read rows in batches instead of all at once.") == memory
    assert word in f"{message.explanation} {message.remedy}"


MARKS = ["(1062, '", "1062 (23000): ", "[SQL: ", "mariadb.Error ", "'", '"', "`"]


@given(st.text(max_size=300), st.sampled_from(MARKS))
def test_nothing_in_a_detail_surprises(text: str, mark: str) -> None:
    detail = text + mark + text
    assert "\n" not in sql_detail.cause(detail)
    advice.of("migration_raised", detail)


@pytest.mark.parametrize(
    "piece",
    [
        "(1062, '\\", "a.", "`a`.", "Duplicate entry '", "Incorrect a value: '", "[SQL: MODIFY ", "Error 1062: ",
        "1062 (23000): ", "SQLSTATE[23000]: a: 1062 ", "]a (1062) (SQL", "; check the manual that corresponds to your ",
    ],
)  # fmt: skip
def test_hostile_repetitions_take_no_time(piece: str) -> None:
    begun = time.process_time()
    detail = piece * (4000 // len(piece))
    for _ in range(5):
        sql_detail.cause(detail)
        advice.of("migration_raised", detail)
        advice.of("migration_raised", f"(1265, 'x') [SQL: {detail}")
    assert time.process_time() - begun < 2


@pytest.mark.parametrize("number", [1062, 1265, 1452, 4025])
@pytest.mark.parametrize(
    ("statement", "writes"),
    [
        ("INSERT INTO t SELECT id FROM p", True),
        ("\n    update t set a = 1", True),
        ("-- the names\n/* of all */ REPLACE INTO t VALUES (%s)", True),
        ("ALTER TABLE t ADD UNIQUE (a)", False),
        ("/* INSERT */ CREATE UNIQUE INDEX i ON t (a)", False),
        ("-- UPDATE t\nALTER TABLE t ADD CHECK (a > 0)", False),
    ],
)
def test_a_statement_that_writes_rows_has_a_remedy_of_its_own(number: int, statement: str, writes: bool) -> None:
    meant = (WRITTEN if writes else ERRORS)[number]
    given = advice.of("migration_raised", ALCHEMY + f"({number}, 'x') [SQL: {statement}]")
    assert given == (meant.explanation, meant.remedy)


def test_statements_behind_endless_comments_take_no_time() -> None:
    begun = time.process_time()
    for piece in ("/**/", "-- \n", "/* ", " ", "--", "-- \n /* */ "):
        for _ in range(20):
            advice.of("migration_raised", f"(1062, 'x') [SQL: {piece * (4000 // len(piece))}")
    assert time.process_time() - begun < 2

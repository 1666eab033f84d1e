# SPDX-License-Identifier: Apache-2.0
"""The rows that were in the way of a migration, asked of a real server; and what is not asked at all."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from ansible.module_utils.th_measure import blocking_rows, sql_statement
from ansible.module_utils.th_measure.sql_statement import (
    Duplicates,
    NotJson,
    Nulls,
    Orphans,
    OutOfRange,
    Table,
    TooLong,
)
from ansible.module_utils.th_server import mariadb
from ansible.module_utils.th_walk.last_output import said
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kit import toy
from tests.kit.toy import error, walk

RAISED = "sqlalchemy.exc.IntegrityError: (pymysql.err.IntegrityError) "
DUPLICATE = RAISED + "(1062, \"Duplicate entry 'x' for key '%s'\") [SQL: %s]"
TRUNCATED = RAISED + "(1265, \"Data truncated for column '%s' at row 7\") [SQL: %s]"
NO_PARENT = RAISED + (
    "(1452, 'Cannot add or update a child row: a foreign key constraint fails (`toy`.`#sql-1`, CONSTRAINT `fk` "
    "FOREIGN KEY (`author_id`) REFERENCES `authors` (`id`))') [SQL: %s]"
)
BOOKS = Table("", "books")
TABLES = (
    "CREATE TABLE authors (id INT PRIMARY KEY)",
    "CREATE TABLE books (id INT PRIMARY KEY, isbn VARCHAR(30), `odd ``name` INT, author_id INT, body LONGTEXT)",
    "CREATE TABLE big (id INT PRIMARY KEY, doc TEXT)",
    "INSERT INTO big VALUES (-40000, '{}'), (9, NULL), (70000, '{oops')",
    "CREATE VIEW seen AS SELECT * FROM books",
    "INSERT INTO authors VALUES (1), (2)",
    "INSERT INTO books (id, isbn, author_id) VALUES (1, '978-0-1234', 1), (2, '978-0-1234', 1), (3, '978-0-1234', 7),"
    " (4, 'b', 7), (5, 'B', 99), (6, NULL, NULL), (7, NULL, 1), (8, 'c', 2), (9, NULL, 2), (10, NULL, 2)",
)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[mariadb.Server]:
    server = toy.start(tmp_path_factory.mktemp("server") / "toy")
    yield server
    mariadb.stop(server, 0)


@pytest.fixture(scope="module")
def filled(running: mariadb.Server) -> mariadb.Server:
    """A server whose database holds duplicates, NULLs and orphans."""
    with mariadb.connect(running, running.admin_file, database="toy") as connection:
        for statement in TABLES:
            mariadb.query(connection, statement)
    return running


@pytest.mark.parametrize(
    ("detail", "rows"),
    [
        (
            DUPLICATE % ("u", "ALTER TABLE books ADD CONSTRAINT u UNIQUE (isbn)"),
            "5 rows of books have a value of isbn that others have, 2 values: 978-… (3 rows), b (2 rows)",
        ),
        (
            DUPLICATE % ("books.u", "CREATE UNIQUE INDEX u ON `toy`.`BOOKS` (`ISBN`(5) DESC, author_id)"),
            "",  # names of tables are case-sensitive here, and nothing is guessed
        ),
        (
            DUPLICATE % ("u", "CREATE UNIQUE INDEX u ON `toy`.`books` (`ISBN`(5) DESC, author_id)"),
            "2 rows of books have a value of (isbn, author_id) that others have, 1 value: (978-…, 1) (2 rows)",
        ),
        (
            TRUNCATED % ("isbn", "ALTER TABLE books MODIFY isbn VARCHAR(30) NOT NULL"),
            "4 rows of books hold NULL in isbn, with id 6, 7, 9",
        ),
        (
            RAISED + "(1138, 'Invalid use of NULL value') [SQL: ALTER TABLE books CHANGE author_id by_id INT NOT NULL]",
            "1 row of books holds NULL in author_id, with id 6",
        ),
        (
            TRUNCATED % ("isbn", "ALTER TABLE books MODIFY isbn VARCHAR(9)"),
            "3 rows of books have more than 9 characters in isbn, up to 10, with id 1, 2, 3",
        ),
        (
            NO_PARENT
            % "ALTER TABLE books ADD CONSTRAINT fk FOREIGN KEY(author_id) REFERENCES authors (id) ON DELETE CASCADE",
            "3 rows of books have a value of author_id that id of authors does not have: 7 (2 rows), 99 (1 row)",
        ),
        (
            RAISED + "(1264, \"Out of range value for column 'author_id' at row 5\") "
            "[SQL: ALTER TABLE books MODIFY author_id TINYINT(3) UNSIGNED]",
            "",
        ),
        (
            RAISED + "(1264, \"Out of range value for column 'id' at row 5\") "
            "[SQL: ALTER TABLE big MODIFY id SMALLINT]",
            "2 rows of big have a number in id that is not from -32768 to 32767, with id -40000, 70000",
        ),
        (
            RAISED + "(4025, 'CONSTRAINT `big.doc` failed for `toy`.`big`') [SQL: ALTER TABLE big MODIFY doc JSON]",
            "1 row of big has a text in doc that is no JSON, with id 70000",
        ),
        (DUPLICATE % ("u", "ALTER TABLE seen ADD CONSTRAINT u UNIQUE (isbn)"), ""),
        (DUPLICATE % ("u", "ALTER TABLE mysql.user ADD CONSTRAINT u UNIQUE (host)"), ""),
        (DUPLICATE % ("u", "ALTER TABLE books ADD CONSTRAINT u UNIQUE (id)"), ""),
        (DUPLICATE % ("u", "ALTER TABLE books ADD CONSTRAINT u UNIQUE (no_such)"), ""),
        (DUPLICATE % ("u", "ALTER TABLE books ADD CONSTRAINT u UNIQUE (`odd ``name`)"), ""),
        (DUPLICATE % ("u", "ALTER TABLE books ADD CONSTRAINT u UNIQUE (`isbn`, `x``); DROP TABLE books; --`)"), ""),
    ],
)
def test_the_server_says_which_rows_are_in_the_way(filled: mariadb.Server, detail: str, rows: str) -> None:
    assert blocking_rows.about(filled, detail) == rows


def test_an_external_server_is_asked_nothing(filled: mariadb.Server) -> None:
    detail = DUPLICATE % ("u", "ALTER TABLE books ADD CONSTRAINT u UNIQUE (isbn)")
    assert blocking_rows.about(replace(filled, private=False), detail) == ""
    assert blocking_rows.about(replace(filled, socket="/nowhere"), detail) == "", "nor one that does not answer"


def test_a_table_that_is_locked_holds_nothing_up(
    filled: mariadb.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocking_rows, "PATIENCE", 1)
    detail = DUPLICATE % ("u", "ALTER TABLE books ADD CONSTRAINT u UNIQUE (isbn)")
    with mariadb.connect(filled, filled.admin_file, database="toy") as connection:
        mariadb.query(connection, "LOCK TABLES books WRITE")
        assert blocking_rows.about(filled, detail) == ""
    assert blocking_rows.about(filled, detail).startswith("5 rows of books")


@pytest.mark.parametrize(
    ("detail", "asked"),
    [
        (DUPLICATE % ("PRIMARY", "ALTER TABLE books ADD PRIMARY KEY (isbn)"), [Duplicates(BOOKS, (("isbn", 0),))]),
        (
            DUPLICATE % ("b", "ALTER TABLE books ADD UNIQUE a (x), ADD UNIQUE KEY b USING BTREE (y, z(3) ASC)"),
            [Duplicates(BOOKS, (("y", 0), ("z", 3)))],
        ),
        (
            DUPLICATE
            % ("isbn", "ALTER ONLINE TABLE IF EXISTS books MODIFY COLUMN isbn VARCHAR(9) UNIQUE COMMENT 'a, b'"),
            [Duplicates(BOOKS, (("isbn", 0),))],
        ),
        (
            "mysql.connector.errors.IntegrityError: 1062 (23000): Duplicate entry 'x' for key 'u' "
            "[SQL: ALTER TABLE `a``b`.books ADD UNIQUE INDEX IF NOT EXISTS u (isbn);]",
            [Duplicates(Table("a`b", "books"), (("isbn", 0),))],
        ),
        (
            "mariadb.DataError: Data too long for column 'isbn' at row 1 "
            "[SQL: ALTER TABLE books MODIFY isbn CHAR(3) NOT NULL]",
            [TooLong(BOOKS, "isbn", 3)],
        ),
        (
            TRUNCATED % ("isbn", "ALTER TABLE books CHANGE COLUMN isbn isbn13 VARCHAR(13) NOT NULL DEFAULT ''"),
            [Nulls(BOOKS, "isbn"), TooLong(BOOKS, "isbn", 13)],
        ),
        (
            NO_PARENT % "ALTER TABLE books ADD FOREIGN KEY fk (a, b) REFERENCES `toy`.`authors` (c, d)",
            [Orphans(BOOKS, ("a", "b"), Table("toy", "authors"), ("c", "d"))],
        ),
        (
            "(1264, \"Out of range value for column 'n' at row 1\") [SQL: ALTER TABLE books MODIFY n INT UNSIGNED]",
            [OutOfRange(BOOKS, "n", 0, 4294967295)],
        ),
        ("(3140, 'Invalid JSON text') [SQL: ALTER TABLE books CHANGE a b JSON NOT NULL]", [NotJson(BOOKS, "a")]),
        (DUPLICATE % ("u", "INSERT INTO books (isbn) VALUES ('x')"), []),
        (DUPLICATE % ("u", "ALTER TABLE books ADD UNIQUE a (x), ADD UNIQUE b (y)"), []),
        (DUPLICATE % ("u", "ALTER TABLE books MODIFY isbn CHAR(3), ADD UNIQUE u (isbn)"), []),
        (DUPLICATE % ("u", "ALTER TABLE books ADD UNIQUE u ((lower(isbn)))"), []),
        (DUPLICATE % ("u", "ALTER TABLE books /* x */ ADD UNIQUE u (isbn)"), []),
        (DUPLICATE % ("u", "ALTER TABLE books ADD UNIQUE u (isbn"), []),
        (DUPLICATE % ("u", "ALTER TABLE"), []),
        (TRUNCATED % ("other", "ALTER TABLE books MODIFY isbn VARCHAR(9) NOT NULL"), []),
        (TRUNCATED % ("isbn", "ALTER TABLE books MODIFY isbn ENUM('a', 'NOT NULL')"), []),
        (NO_PARENT % "ALTER TABLE books ADD FOREIGN KEY (a, b) REFERENCES authors (c)", []),
        ("RuntimeError: 1062 [SQL: ALTER TABLE books ADD UNIQUE u (isbn)]", []),
        ("", []),
    ],
)
def test_only_plain_statements_are_understood(detail: str, asked: list[sql_statement.Question]) -> None:
    assert sql_statement.questions(detail) == asked


WORDS = ["ALTER", "TABLE", "ADD", "UNIQUE", "(", ")", ",", "`a`", "b", "MODIFY", "NOT", "NULL", "9", "'x'", ".", "KEY",
         "FOREIGN", "REFERENCES", "CREATE", "INDEX", "ON", "VARCHAR", "\n", "`"]  # fmt: skip


@settings(deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=25), st.text(max_size=40), st.sampled_from([DUPLICATE, TRUNCATED]))
def test_no_statement_surprises(words: list[str], text: str, form: str) -> None:
    sql_statement.questions(form % ("a", " ".join(["ALTER TABLE t", *words, text])))


@pytest.mark.parametrize("piece", ["`a``", "'", "(", ", ADD UNIQUE (a)", "MODIFY a CHAR(9) ", "\\'"])
def test_hostile_statements_take_no_time(piece: str) -> None:
    begun = time.process_time()
    sql_statement.questions(DUPLICATE % ("a", "ALTER TABLE t " + piece * (4000 // len(piece))))
    assert time.process_time() - begun < 1


def test_the_walk_writes_it_into_the_error(job_dir: Path, running: mariadb.Server) -> None:
    server = toy.emptied(running, job_dir)
    chain = {
        "a1": (None, "op.execute('CREATE TABLE books (id INT PRIMARY KEY, isbn VARCHAR(20))')"),
        "b2": ("a1", "op.execute(\"INSERT INTO books VALUES (1, '978-0-1'), (2, '978-0-1'), (3, 'c'), (4, NULL)\")"),
        "c3": ("b2", "op.execute('''\n    ALTER TABLE books\n      ADD UNIQUE u_isbn (isbn)''')"),
    }
    found = error(walk(job_dir, chain))
    assert found["rows"] == "2 rows of books have a value of isbn that others have, 1 value: 978-… (2 rows)"
    assert found["detail"].endswith("[SQL: ALTER TABLE books ADD UNIQUE u_isbn (isbn)]"), "the statement is on one line"
    assert "Background" not in found["detail"] and server.running()


TRACEBACK = """starting
Traceback (most recent call last):
  File "x.py", line 1, in <module>
    boom()
pymysql.err.IntegrityError: (1062, 'Duplicate')

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "y.py", line 1, in <module>
sqlalchemy.exc.IntegrityError: (pymysql.err.IntegrityError) (1062, 'Duplicate')
[SQL:
    ALTER TABLE books
  ADD UNIQUE (isbn)
]
[parameters: ('a secret',)]
(Background on this error at: https://sqlalche.me/e/20/gkpj)
"""


@pytest.mark.parametrize(
    ("output", "last"),
    [
        (
            TRACEBACK,
            "sqlalchemy.exc.IntegrityError: (pymysql.err.IntegrityError) (1062, 'Duplicate') "
            "[SQL: ALTER TABLE books ADD UNIQUE (isbn)]",
        ),
        (TRACEBACK + "giving up\n", "giving up"),
        ("a\nb: wrong\n(Background on this error at: https://sqlalche.me/e/20/gkpj)\n", "b: wrong"),
        ("Traceback (most recent call last):\n  File x\nValueError: one\n", "ValueError: one"),
        ("Traceback (most recent call last):\n  File x\n", "File x"),
        ("\n\n", ""),
    ],
)
def test_of_a_commands_output_the_error_is_taken(output: str, last: str) -> None:
    assert said(output.splitlines()) == last

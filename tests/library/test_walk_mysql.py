# SPDX-License-Identifier: Apache-2.0
"""What a walk measures and says on a private MySQL, a real one, where it is not what MariaDB does."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pymysql
import pytest
from ansible.module_utils.th_measure import blocking_rows, locks
from ansible.module_utils.th_measure.ledger import CounterLedger
from ansible.module_utils.th_server import mariadb
from ansible.module_utils.th_server.prepared import prepared
from ansible.module_utils.th_walk import leftovers

from tests.kit import toy
from tests.kit.toy import FIRST, NAME, error, kinds, walk
from tests.kit.waiting import PATIENCE, wait_until
from worker.verdict.sql_errors import ERRORS

N = 1000
MANY = f"WITH RECURSIVE s (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < {N})"
ROWS = f'op.execute("INSERT INTO t (name) {MANY} SELECT CONCAT(\'n\', i) FROM s")'
CHAIN = {"a1": (None, FIRST), "b2": ("a1", ROWS), "c3": ("b2", "op.execute('UPDATE t SET name = NULL')")}


@pytest.fixture(scope="module")
def mysql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[mariadb.Server]:
    server = toy.start_mysql(tmp_path_factory.mktemp("mysql") / NAME)
    yield server
    mariadb.stop(server, 0)


@pytest.fixture
def server(mysql: mariadb.Server, job_dir: Path) -> mariadb.Server:
    return toy.emptied(mysql, job_dir)


def as_user(server: mariadb.Server, *statements: str) -> list[tuple[Any, ...]]:
    """What the last of the statements of the job's account gives."""
    rows: list[tuple[Any, ...]] = []
    with mariadb.connect(server, server.job_file, database="toy") as connection:
        for statement in statements:
            rows = mariadb.query(connection, statement)
    return rows


def test_each_migration_is_measured(job_dir: Path, server: mariadb.Server) -> None:
    events = walk(job_dir, CHAIN)
    assert kinds(events) == ["stage", *["begin", "end"] * 3, "final"], events
    first, second, third = (event["counters"] for event in events if event["event"] == "end")
    # the rows, and the one of alembic's version table
    assert [one["rows_changed"] for one in (first, second, third)] == [1, N + 1, N + 1]
    assert [one["rows_read"] for one in (first, second, third)] == [0, 1, N + 1]
    assert first["data_bytes"] > 0 and third["redo_bytes"] > 10_000
    assert events[-1]["version"] == events[-1]["expected"] == "c3"


TABLES = (
    f"CREATE TABLE t (id int AUTO_INCREMENT PRIMARY KEY, a int, b varchar(20)) {MANY} SELECT i AS a, i AS b FROM s",
    "CREATE TABLE child (id int PRIMARY KEY, parent int, KEY (parent),"
    " FOREIGN KEY (parent) REFERENCES t (id) ON DELETE CASCADE ON UPDATE CASCADE) SELECT id, id AS parent FROM t",
    "CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY HASH (id) PARTITIONS 4 SELECT id FROM t",
    "CREATE TABLE old (a int) ENGINE=MyISAM SELECT a FROM t",
)
ABOUT = -1
STEPS: tuple[tuple[str, Sequence[str], int, int], ...] = (
    # what it does, statements; the rows changed and read, ABOUT for as many with the rows of the server's dictionary
    ("an update of all", ["UPDATE t SET a = a + 1"], N, N),
    ("an update that changes nothing", ["UPDATE t SET a = a"], 0, N),
    ("a copy into a new table", ["CREATE TABLE u SELECT id, b FROM t"], N, N),
    ("rows copied", ["CREATE TABLE v (id int)", "INSERT INTO v SELECT id FROM t"], N, N),
    ("a table copied", ["ALTER TABLE u MODIFY b text, ALGORITHM=COPY"], N, N),
    ("a table built anew", ["ALTER TABLE t FORCE, ALGORITHM=INPLACE"], 0, 0),
    ("an index", ["ALTER TABLE t ADD INDEX (a)"], 0, 0),
    ("a column", ["ALTER TABLE t ADD COLUMN c int, ALGORITHM=INSTANT"], 0, 0),
    ("a table dropped", ["DROP TABLE u"], N, 0),
    ("a table emptied", ["TRUNCATE v"], N, 0),
    ("a cascade that updates", ["UPDATE t SET id = id + 10000 WHERE id > 900"], 200, 300),
    ("a cascade that deletes", ["DELETE FROM t WHERE id < 501"], 1000, 1000),
    ("a trigger", ["CREATE TRIGGER g AFTER UPDATE ON t FOR EACH ROW INSERT INTO v VALUES (1)",
                   "UPDATE t SET a = 0 WHERE id < 601"], 200, 100),
    ("what is taken back", ["BEGIN", "DELETE FROM child", "ROLLBACK"], 500, 500),
    ("an update of partitions", ["UPDATE parts SET id = id + 10000"], N, 2 * N),
    ("a partition emptied", ["ALTER TABLE parts TRUNCATE PARTITION p0"], N // 4, 0),
    ("partitions built anew", ["ALTER TABLE parts REBUILD PARTITION ALL"], 750, 750),
    ("a count by a condition", ["SELECT COUNT(*) FROM child WHERE parent > 0"], 0, 500),
    ("a count of all", ["SELECT COUNT(*) FROM v"], 0, 0),
    ("a temporary table", ["CREATE TEMPORARY TABLE w SELECT id FROM child", "UPDATE w SET id = id + 1"], N, N),
    ("rows of MyISAM", ["UPDATE old SET a = a + 1", "DELETE FROM old WHERE a > 901"], N + 100, 2 * N + 2),
    ("a table of MyISAM dropped", ["DROP TABLE old"], N - 100, 0),
    # of the next two nothing is left that counts
    ("a table of MEMORY for a moment", ["CREATE TABLE x (id int) ENGINE=MEMORY", "INSERT INTO x SELECT id FROM child",
                                        "DROP TABLE x"], 500, ABOUT),
    ("a temporary one of MyISAM", ["CREATE TEMPORARY TABLE x (id int) ENGINE=MyISAM SELECT id FROM child",
                                   "UPDATE x SET id = id + 1"], 1000, ABOUT),
)


def test_what_each_statement_counts(server: mariadb.Server) -> None:
    """The table of docs/verdicts.md. Each is measured alone, by what the walk measures with."""
    as_user(server, *TABLES)
    found = {what: measured(server, *statements) for what, statements, _, _ in STEPS}
    silent = {what for what, one in found.items() if not one["redo_bytes"]}
    assert silent <= {
        "an update that changes nothing", "a count by a condition", "a count of all", "rows of MyISAM",
        "a temporary one of MyISAM",
    }, silent  # fmt: skip
    assert (found["an update of all"]["redo_bytes"] or 0) > 60_000 > (found["an index"]["redo_bytes"] or 0)
    assert {what: (one["rows_changed"], one["rows_read"]) for what, one in found.items()} == {
        what: (changed, pytest.approx(changed + 200, abs=200) if read == ABOUT else read)
        for what, _, changed, read in STEPS
    }


def measured(server: mariadb.Server, *statements: str) -> dict[str, int | None]:
    """The counters of statements of the job's account, as those of a step."""
    with mariadb.connect(server, server.admin_file) as connection:
        ledger = CounterLedger(server, {"": "alembic_version"})
        ledger.begin(connection)
        as_user(server, *statements)
        wait_until(lambda: all(one.user != server.user for one in locks.process_list(connection)))
        return ledger.end(connection)


def test_what_nobody_does_counts_nothing(server: mariadb.Server) -> None:
    """The measuring side reads lists of tables and connections, and ends connections, without being counted."""
    as_user(server, "CREATE TABLE t (id int PRIMARY KEY)")
    with mariadb.connect(server, server.admin_file) as connection:
        ledger = CounterLedger(server, {"": "alembic_version"})
        ledger.open(connection)
        ledger.begin(connection)
        locks.waiting(connection, server.user)
        leftovers.end_connections(connection, server, PATIENCE)
        leftovers.nothing_prepared(connection, server)
        counters = ledger.end(connection)
        assert (counters["rows_changed"], counters["rows_read"], counters["data_bytes"]) == (0, 0, 0)
        assert counters["redo_bytes"] is not None and counters["redo_bytes"] < 1000  # the server's own checkpoint
        ledger.resume(connection)
        counters, busy = ledger.close(connection)
        assert (counters["rows_changed"], counters["rows_read"]) == (0, 0) and busy == 0


def test_how_long_the_server_was_busy_outside_of_migrations(server: mariadb.Server) -> None:
    as_user(server, "CREATE PROCEDURE p() BEGIN DO SLEEP(0.4); DO SLEEP(0.4); END")
    with mariadb.connect(server, server.admin_file) as connection:
        ledger = CounterLedger(server, {"": "alembic_version"})
        ledger.open(connection)
        as_user(server, "CALL p()", "SELECT 1")
        _, busy = ledger.close(connection)
    assert busy is not None and 0.8 <= busy < 1.6, "what a procedure executes is in the time of its call"


HOLD = """
from sqlalchemy import create_engine, pool, text
url = op.get_context().config.get_main_option('sqlalchemy.url')
other = create_engine(url, poolclass=pool.NullPool).connect()
other.execute(text('{}'))
op.execute('{}')
"""


@pytest.mark.parametrize(
    ("holds", "waits", "words"),
    [
        ("SELECT * FROM t", "ALTER TABLE t ADD x int", "waits for table metadata lock (ALTER TABLE t ADD x int)"),
        ("INSERT INTO t (id) VALUES (1)", "INSERT INTO t (id) VALUES (1)", "waits for a lock of rows"),
    ],
)
def test_a_migration_that_waits_for_itself(
    job_dir: Path, server: mariadb.Server, holds: str, waits: str, words: str
) -> None:
    found = error(walk(job_dir, {"a1": (None, FIRST), "b2": ("a1", HOLD.format(holds, waits))}, time_limit=4))
    assert found["code"] == "migration_timed_out" and f"it was executing: {waits};" in found["detail"], found
    assert words in found["detail"] and f"its last statement: {holds}:" in found["detail"]
    assert as_user(server, "SELECT COUNT(*) FROM information_schema.processlist") == [(1,)], "nothing goes on"


def test_a_process_that_is_killed(job_dir: Path, server: mariadb.Server) -> None:
    body = "op.execute('INSERT INTO t (id) VALUES (1)')\nimport os, signal\nos.killpg(0, signal.SIGKILL)"
    found = error(walk(job_dir, {"a1": (None, FIRST), "b2": ("a1", body)}))
    assert found["code"] == "migration_killed" and as_user(server, "SELECT * FROM t") == []


def test_a_statement_that_is_forbidden_here(job_dir: Path, server: mariadb.Server) -> None:
    body = "op.execute(\"LOAD DATA LOCAL INFILE '/etc/hostname' INTO TABLE t\")"
    assert error(walk(job_dir, {"a1": (None, FIRST), "b2": ("a1", body)}))["code"] == "forbidden_here"


def test_a_transaction_that_is_neither_committed_nor_rolled_back(job_dir: Path, server: mariadb.Server) -> None:
    body = (
        "op.execute('CREATE TABLE q (id int)')\n"
        "from sqlalchemy import create_engine, pool, text\n"
        "url = op.get_context().config.get_main_option('sqlalchemy.url')\n"
        "other = create_engine(url, poolclass=pool.NullPool, isolation_level='AUTOCOMMIT').connect()\n"
        "for sql in (\"XA START 'a'\", 'INSERT INTO q VALUES (1)', \"XA END 'a'\", \"XA PREPARE 'a'\"):\n"
        "    other.execute(text(sql))"
    )
    found = error(walk(job_dir, {"a1": (None, FIRST), "b2": ("a1", body)}))
    assert found["code"] == "walk_failed" and "neither committed nor rolled back (X'61',X'',1)" in found["detail"]
    with mariadb.connect(server, server.admin_file) as connection:
        for name in prepared(connection) or ():
            mariadb.query(connection, f"XA ROLLBACK {name}")


def test_what_stood_in_the_way_and_what_was_slow(job_dir: Path, server: mariadb.Server) -> None:
    first = "op.execute('CREATE TABLE books (id INT PRIMARY KEY, isbn VARCHAR(20))')\nop.execute('DO SLEEP(1.1)')"
    chain = {
        "a1": (None, first),
        "b2": ("a1", "op.execute(\"INSERT INTO books VALUES (1, '978-0-1'), (2, '978-0-1'), (3, 'c'), (4, NULL)\")"),
        "c3": ("b2", "op.execute('ALTER TABLE books ADD UNIQUE u_isbn (isbn)')"),
    }
    found = error(walk(job_dir, chain))
    assert (found["code"], found["line"]) == ("migration_raised", 10) and "(1062, " in found["detail"]
    assert found["rows"] == "2 rows of books have a value of isbn that others have, 1 value: 978-… (2 rows)"
    lines = (job_dir / "results" / f"{NAME}.log").read_text().splitlines()
    texts = [line[24:] for line in lines]
    begun, slow = texts.index("[output] base -> a1..."), texts.index("[sqlslo] DO SLEEP(1.1);")
    assert begun < slow < texts.index("[output] done"), "it stands in its migration"
    assert not [text for text in texts if text.startswith("[sqlerr]") and "[Warning]" not in text], texts


IN_THE_WAY = (
    ("ADD UNIQUE u (isbn)", "3 rows of books have a value of isbn that others have, 1 value: 9780… (3 rows)"),
    ("MODIFY isbn VARCHAR(30) NOT NULL", "1 row of books holds NULL in isbn, with id 6"),
    ("MODIFY isbn VARCHAR(3)", "3 rows of books have more than 3 characters in isbn, up to 10, with id 1, 2, 3"),
    (
        "ADD CONSTRAINT fk FOREIGN KEY (author_id) REFERENCES authors (id)",
        "1 row of books has a value of author_id that id of authors does not have: 7 (1 row)",
    ),
    ("MODIFY id TINYINT", "1 row of books has a number in id that is not from -128 to 127, with id 500"),
    ("MODIFY isbn JSON", "1 row of books has a text in isbn that is no JSON, with id 500"),
)


def test_the_server_says_which_rows_are_in_the_way(server: mariadb.Server) -> None:
    as_user(
        server,
        "CREATE TABLE authors (id INT PRIMARY KEY)",
        "INSERT INTO authors VALUES (1)",
        "CREATE TABLE books (id INT PRIMARY KEY, isbn VARCHAR(30), author_id INT)",
        "INSERT INTO books VALUES (1, '9780001234', 1), (2, '9780001234', 1), (3, '9780001234', 7), (6, NULL, NULL),"
        " (500, 'b', 1)",
    )
    for clause, rows in IN_THE_WAY:
        sql = f"ALTER TABLE books {clause}"
        with pytest.raises(pymysql.err.MySQLError) as raised:
            as_user(server, "SET SESSION sql_mode = @@GLOBAL.sql_mode", sql)
        said = f"sqlalchemy.exc.DBAPIError: ({type(raised.value).__name__}) {raised.value} [SQL: {sql}]"
        assert blocking_rows.about(server, said) == rows
        assert raised.value.args[0] in ERRORS, "what to do is known"

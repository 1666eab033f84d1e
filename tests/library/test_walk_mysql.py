# SPDX-License-Identifier: Apache-2.0
"""What a walk measures and says on a private MySQL, a real one, where it is not what MariaDB does."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.th_measure import blocking_rows, locks, meter
from ansible.module_utils.th_measure.ledger import CounterLedger
from ansible.module_utils.th_server import mariadb

from tests.kit import toy
from tests.kit.toy import FIRST, NAME, error, kinds, walk

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
STEPS: tuple[tuple[str, Sequence[str], int, int], ...] = (
    # what it does, statements; the rows changed and read
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
    ("rows of MyISAM", ["UPDATE old SET a = a + 1", "DELETE FROM old WHERE a > 901"], N + 100, 2 * N + 2),
)


def test_what_each_statement_counts(server: mariadb.Server) -> None:
    """The table of docs/verdicts.md. Each is measured alone, by what the walk measures with."""
    as_user(server, *TABLES)
    found = {what: measured(server, *statements) for what, statements, _, _ in STEPS}
    assert {what: (one["rows_changed"], one["rows_read"]) for what, one in found.items()} == {
        what: (changed, read) for what, _, changed, read in STEPS
    }


def measured(server: mariadb.Server, *statements: str) -> dict[str, int | None]:
    """The counters of statements of the job's account, as those of a step."""
    with mariadb.connect(server, server.admin_file) as connection:
        ledger = CounterLedger(server, {"": "alembic_version"})
        ledger.begin(connection)
        as_user(server, *statements)
        return ledger.end(connection)

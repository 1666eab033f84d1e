# SPDX-License-Identifier: Apache-2.0
"""What each kind of server can measure: its status as it gives it, told from a table. Real servers: test_walk.py,
test_restore_external.py.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pymysql
import pytest
from ansible.module_utils.th_measure import meter, views
from ansible.module_utils.th_server import mariadb
from ansible.module_utils.th_server.counters import DATA, ROWS_READ, Source

from . import conftest  # noqa: F401 - ansible.module_utils knows the roles' helpers

MYSQL = {
    "Innodb_rows_read": 100, "Innodb_rows_inserted": 10, "Innodb_rows_updated": 20, "Innodb_rows_deleted": 30,
    "Handler_write": 1, "Handler_update": 1, "Handler_delete": 1, "log_lsn_current": 4096,
    "Innodb_os_log_written": 4608,
}  # fmt: skip
MARIADB = {
    "Rows_read": 100, "Handler_write": 10, "Handler_update": 20, "Handler_delete": 30, "Innodb_os_log_written": 512,
}  # fmt: skip


UNKNOWN: dict[str, int | None] = dict.fromkeys(meter.NAMES)


def reading(status: dict[str, int], data: int) -> meter.Reading:
    """What a private server with such a status and so many bytes of data gives."""
    return meter.Reading({**status, DATA: data}, meter.source_of(status))


def grown(status: dict[str, int], by: int = 5) -> dict[str, int]:
    return {name: value + by for name, value in status.items()}


class Fake:
    """A connection to a server that answers from a table of statements and rows, and knows of nothing else."""

    def __init__(self, *answers: tuple[str, list[tuple[Any, ...]]]) -> None:
        self.answers = answers
        self.found: list[tuple[Any, ...]] = []

    def cursor(self) -> "Fake":
        return self

    def __enter__(self) -> "Fake":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def execute(self, statement: str, values: Any) -> None:
        for part, rows in self.answers:
            if part in statement:
                self.found = rows
                return
        raise pymysql.err.OperationalError(1193, f"Unknown: {statement}")

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self.found


@pytest.mark.parametrize(
    ("status", "changed", "read", "redo"),
    [
        (MYSQL, 15, 5, 5),
        (MARIADB, 15, 5, 5),
        ({name: value for name, value in MARIADB.items() if name != "Rows_read"}, 15, None, 5),
        ({name: value for name, value in MYSQL.items() if "deleted" not in name}, 15, None, 5),
        ({name: value for name, value in MARIADB.items() if name.startswith("Rows")}, None, 5, None),
        ({}, None, None, None),
    ],
)
def test_what_a_server_cannot_give_is_none(
    status: dict[str, int], changed: int | None, read: int | None, redo: int | None
) -> None:
    counters = reading(grown(status), 2000).since(reading(status, 1500))
    assert counters == UNKNOWN | {"rows_changed": changed, "rows_read": read, "redo_bytes": redo, "data_bytes": 500}


def test_counters_that_were_set_back_measure_nothing() -> None:
    counters = reading(MARIADB, 1).since(reading(grown(MARIADB), 5))
    assert counters == UNKNOWN | {"data_bytes": -4}


def private(folder: Path) -> mariadb.Server:
    return mariadb.Server(str(folder), "", {"": "a"}, "th")


def test_a_private_server_is_asked_for_its_status(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "ibdata1").write_bytes(b"x" * 100)
    for path in ("ib_logfile0", "undo_001", "#innodb_temp/temp_1.ibt", "#innodb_redo/#ib_redo1", "#ib_16384_0.dblwr"):
        (tmp_path / "data" / path).parent.mkdir(exist_ok=True)
        (tmp_path / "data" / path).write_bytes(b"x" * 100)
    (tmp_path / "data" / "toy").mkdir()
    (tmp_path / "data" / "toy" / "undo_001.ibd").write_bytes(b"x" * 50)
    status = [(name, str(value)) for name, value in MYSQL.items()]
    assert meter.read(Fake(("GLOBAL STATUS", status)), private(tmp_path)) == reading(MYSQL, 150)


def test_a_folder_that_is_no_data_directory(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        meter.read(Fake(), private(tmp_path))


class TestExternal:
    SERVER = mariadb.Server("/job/db/x", "", {"": "a-b"}, "th_1", host="db", port=3306, private=False)
    USERSTAT = (("@@userstat", [(1,)]), ("user_statistics", [(10, 20, 30, 100)]))

    def reading(self, *answers: tuple[str, list[tuple[Any, ...]]]) -> meter.Reading:
        return meter.read(Fake(*answers), self.SERVER)

    def test_mariadb_with_user_statistics(self) -> None:
        found = self.reading(*self.USERSTAT, ("INNODB_SYS_TABLESPACES", [(4096,)]))
        status = {"rows_inserted": 10, "rows_updated": 20, "rows_deleted": 30, "rows_read": 100, DATA: 4096}
        assert found == meter.Reading(status, Source.USER_STATISTICS)
        assert (found.statements, found.handled) == (50, 100)
        assert found.since(found) == UNKNOWN | {"rows_changed": 0, "rows_read": 0, "data_bytes": 0}

    def test_mysql_8_with_the_performance_schema(self) -> None:
        rows = [(f"Handler_{what}", "7") for what in ("write", "update", "delete")]
        rows += [(name, "2") for name in ROWS_READ.read[Source.STATUS_BY_USER]]
        found = self.reading(("status_by_user", rows), (".INNODB_TABLESPACES", [(4096,)]))
        assert (found.source, found.status[DATA]) == (Source.STATUS_BY_USER, 4096)
        assert (found.statements, found.handled) == (14, 14)
        later = replace(found, status=grown(dict(found.status), 3))
        assert later.since(found) == UNKNOWN | {"rows_changed": 9, "rows_read": 21, "data_bytes": 3}

    @pytest.mark.parametrize(
        "answers",
        [
            (),
            (("@@userstat", [(0,)]), ("status_by_user", [])),
            (("@@userstat", [(1,)]), ("user_statistics", [])),
            (("status_by_user", [("Handler_write", "7")]),),
        ],
    )
    def test_what_cannot_be_told_apart_from_others_work_is_none(self, answers: Any) -> None:
        found = self.reading(*answers)
        assert found.since(found) == dict.fromkeys(meter.NAMES)

    def test_a_statement_that_goes_on_running_makes_the_counters_unknown(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(meter, "_COUNTED_SECONDS", 0)
        found = self.reading(("command <> 'Sleep'", [(1,)]), *self.USERSTAT)
        assert found.status == {} and found.since(found)["rows_changed"] is None

    def test_how_often_the_account_has_connected(self) -> None:
        assert meter.connections(Fake(("performance_schema.users", [(7,)])), self.SERVER) == 7
        assert meter.connections(Fake(("processlist", [(1,)])), self.SERVER) == 1

    def test_a_connection_that_is_lost_is_not_taken_for_a_server_that_does_not_count(self) -> None:
        class Lost(Fake):
            def execute(self, statement: str, values: Any) -> None:
                raise pymysql.err.OperationalError(2013, "Lost connection")

        with pytest.raises(pymysql.err.OperationalError):
            meter.read(Lost(), self.SERVER)

    def test_names_are_written_as_the_servers_files(self) -> None:
        assert views.encoded("th_1_a-b$é") == "th_1_a@002db@0024@00e9"


@pytest.mark.parametrize(
    ("version", "comment", "flavour"),
    [
        ("10.11.19-MariaDB-0+deb12u1", "Debian 12", "MariaDB"),
        ("8.0.36", "MySQL Community Server - GPL", "MySQL"),
        ("8.0.36-28", "Percona Server (GPL), Release 28, Revision 47601f19", "Percona"),
        ("5.7.44-48-log", "Percona Server (GPL), Release 48", "Percona"),
        ("8.0.36", "", "MySQL"),
        ("5.5.5-10.6.1", "mariadb.org binary distribution", "MariaDB"),
    ],
)
def test_the_flavour_is_what_the_server_says(version: str, comment: str, flavour: str) -> None:
    assert mariadb.flavour(Fake(("@@version_comment", [(version, comment)]))) == (flavour, version)

# SPDX-License-Identifier: Apache-2.0
"""Restoring a dataset: real dumps, a real server, and every kind of dump that cannot be used."""

import gzip
import json
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pymysql
import pytest
from ansible.module_utils.th_core.artifacts import write_json
from ansible.module_utils.th_dataset import snapshot
from ansible.module_utils.th_dataset.dataset import read_dataset
from ansible.module_utils.th_dataset.failure import RestoreError
from ansible.module_utils.th_server import mariadb

from tests.kit import ROOT, boxes, shared

from . import restoring

OPTIONS = ["--character-set-server=utf8mb4", "--innodb-log-file-size=16M", "--performance-schema=OFF"]
DUMP = """-- MariaDB dump 10.19  Distrib 10.11.6-MariaDB, for debian-linux-gnu (x86_64)
CREATE TABLE alembic_version (version_num varchar(32) NOT NULL PRIMARY KEY);
INSERT INTO alembic_version VALUES ('a1');
CREATE TABLE t (id int PRIMARY KEY AUTO_INCREMENT, name varchar(50));
INSERT INTO t (name) VALUES ('one'), ('zwei ü 😀'), (NULL);
-- Dump completed on 2026-01-01  0:00:00
"""


def database(name: str, **keys: str) -> dict[str, Any]:
    query = "SELECT version_num FROM alembic_version"
    return {"name": name, "tool": "alembic", "versions": "alembic", "version_query": query, **keys}


class Home:
    """A dataset, a place for snapshots, and jobs that restore it."""

    def __init__(self, root: Path) -> None:
        self.root, self.jobs = root, 0
        shared.share_empty_data(root / "snapshots")
        self.dump = root / "toy.sql"
        self.dump.write_text(DUMP)
        self.config = root / "toy.json"
        self.keys: dict[str, Any] = {
            "project": "org/toy", "type": "mysql", "database": "toy_db", "db_user": "toy", "db_pass": "p'w\"\\%",
            "seed_data": "toy.sql", "maximum_migration_times": {"default": 60}, "_7_bugs": "known",
        }  # fmt: skip
        self.databases = [database("")]
        self.started: list[mariadb.Server] = []

    def several(self) -> None:
        """Make it a dataset of two databases."""
        self.databases = [
            database(
                "main", tool="sqlalchemy_migrate", versions="numbered",
                version_query="SELECT version FROM migrate_version",
            ),
            database("api"),
        ]
        del self.keys["database"], self.keys["seed_data"]
        self.keys["databases"] = {
            "api": {"database": "toy_api", "seed_data": "toy.sql"},
            "main": {"database": "toy_db", "seed_data": "main.sql"},
        }
        (self.root / "main.sql").write_text(
            "CREATE TABLE migrate_version (repository_id varchar(250), version int);\n"
            "INSERT INTO migrate_version VALUES ('toy', 417);\n"
            "CREATE DEFINER=`app`@`%` VIEW v AS SELECT version FROM migrate_version;\n"
        )

    def options(self) -> dict[str, Any]:
        self.jobs += 1
        self.config.write_text(json.dumps(self.keys))
        return {
            "job_dir": str(self.root / f"job{self.jobs}"),
            "name": "toy",
            "config": str(self.config),
            "snapshots_dir": str(self.root / "snapshots"),
            "databases": self.databases,
            "lock_program": str(ROOT / "roles" / "restore_datasets" / "files" / "hold_locks.py"),
            "sandbox": boxes.given(),
            "server_options": OPTIONS,
            "import_time_limit": 300,
            "start_time_limit": 300,
        }

    def restore(self, options: dict[str, Any] | None = None) -> tuple[dict[str, Any], mariadb.Server]:
        options = options or self.options()
        facts = restoring.restore(options)
        server = mariadb.load(Path(options["job_dir"]) / "db" / "toy")
        self.started.append(server)
        return facts, server


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path)
    yield made
    for server in made.started:
        mariadb.stop(server, 0)


def rows(server: mariadb.Server) -> list[tuple[Any, ...]]:
    with mariadb.connect(server, server.job_file, database="toy_db") as connection:
        return mariadb.query(connection, "SELECT id, name FROM t ORDER BY id")


def failure(home: Home) -> tuple[str, str]:
    with pytest.raises(RestoreError) as caught:
        home.restore()
    assert not list(home.root.glob("snapshots/*/snapshot.json"))
    assert not list(home.root.glob("snapshots/.*making*"))
    return caught.value.code, str(caught.value)


def test_a_dataset_is_restored_with_its_version(home: Home) -> None:
    facts, server = home.restore()
    assert facts["version"] == ["a1"]
    assert facts["snapshot"] == "made" and facts["seconds"]["import"] > 0
    assert facts["server"]["flavour"] == "MariaDB"
    assert facts["limits"] == {"maximum_migration_times": {"default": 60}}
    assert facts["remarks"] == {"_7_bugs": "known"}
    assert rows(server) == [(1, "one"), (2, "zwei ü 😀"), (3, None)]


def test_the_dump_is_imported_once_and_each_job_has_its_own_copy(home: Home) -> None:
    _, first = home.restore()
    with mariadb.connect(first, first.job_file, database="toy_db") as connection:
        mariadb.query(connection, "DELETE FROM t")
    facts, second = home.restore()
    assert facts["snapshot"] == "hit" and facts["seconds"]["import"] == 0
    assert len(rows(second)) == 3 and rows(first) == []


def test_a_new_dump_replaces_the_snapshot(home: Home) -> None:
    home.restore()
    home.dump.write_text(DUMP.replace("'one'", "'another'"))
    facts, server = home.restore()
    assert facts["snapshot"] == "made"
    assert rows(server)[0] == (1, "another")
    assert len(list(home.root.glob("snapshots/toy-*"))) == 1


def test_two_jobs_at_once_make_one_snapshot(home: Home) -> None:
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(home.restore, [home.options(), home.options()]))
    assert sorted(facts["snapshot"] for facts, _ in both) == ["hit", "made"]
    assert [len(rows(server)) for _, server in both] == [3, 3]


@pytest.mark.parametrize(("suffix", "tool"), [(".gz", "gzip"), (".zst", "zstd"), (".xz", "xz")])
def test_packed_dumps(home: Home, suffix: str, tool: str) -> None:
    subprocess.run([tool, "-q", str(home.dump)], check=True)
    home.keys["seed_data"] = f"toy.sql{suffix}"
    facts, server = home.restore()
    assert facts["version"] == ["a1"] and len(rows(server)) == 3


def test_an_empty_database(home: Home) -> None:
    home.dump.write_text("CREATE TABLE alembic_version (version_num varchar(32) NOT NULL PRIMARY KEY);\n")
    facts, _ = home.restore()
    assert facts["version"] == []
    (note,) = facts["notes"]
    assert "toy.sql" in note and "expect" in note


def test_a_database_without_a_version_table(home: Home) -> None:
    home.dump.write_text("CREATE TABLE customers (id int PRIMARY KEY);\n")
    with pytest.raises(RestoreError) as caught:
        home.restore()
    assert caught.value.code == "seed_broken"
    assert "there is no table alembic_version" in str(caught.value) and "customers" in str(caught.value)


def test_a_version_that_no_stage_knows_beside_another_version_table(home: Home) -> None:
    other = "CREATE TABLE old_version (version_num int);\n"
    home.dump.write_text(DUMP.replace("-- Dump completed", f"{other}-- Dump completed"))
    options = home.options()
    artifacts = Path(options["job_dir"]) / "artifacts"
    write_json(artifacts / "checkout.json", {"revisions": {"z9": {"down": []}}})
    facts, _ = home.restore(options)
    assert facts["version"] == ["a1"] and facts["version_tables"] == ["old_version"]
    options = home.options()
    write_json(Path(options["job_dir"]) / "artifacts" / "checkout.json", {"revisions": {"a1": {"down": []}}})
    assert home.restore(options)[0]["version_tables"] == []


def test_a_socket_at_the_end_of_a_long_path(home: Home) -> None:
    home.root = home.root / ("long-" * 20)
    home.root.mkdir()
    facts, server = home.restore()
    assert facts["version"] == ["a1"]
    folder = Path(server.socket).parent
    assert folder != Path(server.folder) and folder.stat().st_mode & 0o777 == 0o700
    mariadb.stop(server, 0)
    assert not folder.exists()


def test_a_byte_order_mark_is_no_part_of_a_datasets_file(home: Home) -> None:
    home.options()
    home.config.write_bytes(b"\xef\xbb\xbf" + home.config.read_bytes())
    assert read_dataset(home.config, [""]).parts[0].database == home.keys["database"]


def test_a_dump_that_is_missing(home: Home) -> None:
    home.dump.unlink()
    code, text = failure(home)
    assert code == "seed_missing" and "toy.sql" in text


def test_a_dump_whose_end_is_missing(home: Home) -> None:
    home.dump.write_text(DUMP[: DUMP.index("-- Dump completed")])
    code, text = failure(home)
    assert code == "seed_broken" and "cut off" in text


def test_a_packed_dump_whose_end_is_missing(home: Home) -> None:
    packed = gzip.compress((DUMP + "-- x\n" * 1000).encode())
    (home.root / "toy.sql.gz").write_bytes(packed[: len(packed) - 20])
    home.keys["seed_data"] = "toy.sql.gz"
    code, text = failure(home)
    assert code == "seed_broken" and "unpacked" in text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is empty"),
        (b"this is not SQL\n", "syntax"),
        (os.urandom(4096), ""),
        (b"-- PostgreSQL database dump\nSET statement_timeout = 0;\nCOPY t FROM stdin;\n", "PostgreSQL"),
        (b"CREATE TABLE t (id int) COLLATE utf8mb4_0900_ai_ci;\n", "MySQL 8"),
        (b"CREATE DATABASE other; USE other; CREATE TABLE t (id int);\n", "USE"),
    ],
)
def test_what_is_no_dump_of_this_server(home: Home, content: bytes, words: str) -> None:
    home.dump.write_bytes(content)
    code, text = failure(home)
    assert code == "seed_broken" and words in text


def test_a_dump_runs_no_commands_of_the_client(home: Home) -> None:
    witness = home.root / "witness"
    home.dump.write_text(f"\\! touch {witness}\n{DUMP}")
    code, _ = failure(home)
    assert code == "seed_broken" and not witness.exists()


def test_a_full_disk_is_told(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.restore()
    monkeypatch.setattr(mariadb, "free_bytes", lambda folder: 1000)
    monkeypatch.setattr(snapshot, "_can_reflink", lambda source, target: False)
    with pytest.raises(RestoreError) as caught:
        home.restore()
    assert caught.value.code == "disk_full" and "1000 are free" in str(caught.value)


def test_a_server_that_cannot_start_says_why(home: Home) -> None:
    options = home.options()
    options["server_options"] = [*OPTIONS, "--no-such-option=1"]
    with pytest.raises(RestoreError) as caught:
        restoring.restore(options)
    assert caught.value.code == "server_failed" and "no-such-option" in str(caught.value)


def test_a_missing_server_names_the_remedy(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(home.root))
    monkeypatch.setattr(mariadb, "_SBIN", str(home.root))
    with pytest.raises(RestoreError) as caught:
        restoring.restore(home.options())
    assert caught.value.code == "server_failed" and "prepare-host.yaml" in str(caught.value)


def test_a_profile_whose_query_is_wrong_is_told(home: Home) -> None:
    options = home.options()
    options["databases"] = [database("", version_query="SELECT FROM WHERE")]
    with pytest.raises(RestoreError) as caught:
        home.restore(options)
    assert caught.value.code == "profile_wrong" and "version_query" in str(caught.value)
    assert not mariadb.load(Path(options["job_dir"]) / "db" / "toy").running()


def test_what_runs_in_the_name_of_another_account_still_runs(home: Home) -> None:
    """mariadb-dump writes the definers of the place that the dump comes from."""
    home.dump.write_text(
        DUMP.replace(
            "-- Dump completed",
            "CREATE DEFINER=`app`@`10.0.%` TRIGGER upper BEFORE UPDATE ON t"
            " FOR EACH ROW SET NEW.name = UPPER(NEW.name);\n"
            "CREATE DEFINER=`it's`@`%` SQL SECURITY DEFINER VIEW v AS SELECT name FROM t;\n-- Dump completed",
        )
    )
    _, server = home.restore()
    with mariadb.connect(server, server.job_file, database="toy_db") as connection:
        mariadb.query(connection, "UPDATE t SET name = 'changed' WHERE id = 1")
        assert mariadb.query(connection, "SELECT name FROM v LIMIT 1") == [("CHANGED",)]
    with mariadb.connect(server, server.admin_file) as connection:
        grants = mariadb.query(connection, "SHOW CREATE USER app@'10.0.%'")
    assert "ACCOUNT LOCK" in grants[0][0]


def test_several_databases_in_one_server(home: Home) -> None:
    home.several()
    facts, server = home.restore()
    assert server.databases == {"main": "toy_db", "api": "toy_api"} and server.database == "toy_db"
    assert facts["database"] == "toy_db"
    assert facts["databases"] == [
        {"name": "main", "database": "toy_db", "version": ["main:417"]},
        {"name": "api", "database": "toy_api", "version": ["api:a1"]},
    ]
    assert facts["version"] == ["api:a1", "main:417"]
    assert len(list(home.root.glob("snapshots/toy-*"))) == 1
    with mariadb.connect(server, server.job_file, database="toy_db") as connection:
        assert mariadb.query(connection, "SELECT * FROM v") == [(417,)]
        mariadb.query(connection, "CREATE TABLE toy_api.another (id int)")
        with pytest.raises(pymysql.err.OperationalError, match="denied"):
            mariadb.query(connection, "CREATE DATABASE another")


def test_a_new_dump_of_one_database_replaces_the_snapshot(home: Home) -> None:
    home.several()
    home.restore()
    assert home.restore()[0]["snapshot"] == "hit"
    (home.root / "main.sql").write_text((home.root / "main.sql").read_text().replace("417", "418"))
    facts, _ = home.restore()
    assert facts["snapshot"] == "made" and facts["version"] == ["api:a1", "main:418"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda home: home.keys["databases"].pop("api"), "has no part for the database 'api', but the project's"),
        (
            lambda home: home.keys["databases"].update({"cell": home.keys["databases"].pop("main")}),
            "has no part for the database 'main' and has a part for the database 'cell'",
        ),
        (lambda home: home.keys.update(home.keys.pop("databases")["api"]), "a part for one database without a name"),
        (lambda home: home.keys["databases"]["main"].update(database="toy_api"), "the same database"),
    ],
)
def test_the_parts_are_those_of_the_profile(home: Home, change: Any, words: str) -> None:
    home.several()
    change(home)
    code, text = failure(home)
    assert code == "seed_broken" and words in text


def test_of_djangos_rows_only_the_heads_of_the_trees_apps_are_the_version(home: Home) -> None:
    home.dump.write_text(
        "CREATE TABLE django_migrations (app varchar(255), name varchar(255));\n"
        "INSERT INTO django_migrations VALUES ('auth', '0001'), ('shop', '0001'), ('shop', '0002');\n"
    )
    query = "SELECT CONCAT(app, '.', name) FROM django_migrations"
    home.databases = [database("", tool="django", versions="django", version_query=query)]
    assert home.restore()[0]["version"] == ["auth.0001", "shop.0001", "shop.0002"]
    options = home.options()
    revisions = {"shop.0001": {"down": []}, "shop.0002": {"down": ["shop.0001"]}}
    write_json(Path(options["job_dir"]) / "artifacts" / "checkout.json", {"revisions": revisions})
    assert home.restore(options)[0]["version"] == ["shop.0002"]


def test_limits_and_waivers_reach_the_artifact(home: Home) -> None:
    limit = {"default": 5, "a1->b2": 7, "warn_only": True}
    waiver = {"migration": "a1->b2", "limit": "maximum_redo_bytes", "reason": "known", "bug": "http://bugs/1"}
    home.keys |= {"maximum_redo_bytes": limit, "maximum_data_growth": limit, "waivers": [waiver]}
    facts, _ = home.restore()
    assert facts["limits"]["maximum_redo_bytes"] == facts["limits"]["maximum_data_growth"] == limit
    assert facts["waivers"] == [waiver]

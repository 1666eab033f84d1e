# SPDX-License-Identifier: Apache-2.0
"""What a restored database says of its version, on a real server that the tests of this file share."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_dataset import version_table
from ansible.module_utils.th_dump.seed_errors import SeedError
from ansible.module_utils.th_sandbox.box import Settings
from ansible.module_utils.th_server import mariadb, private_server
from ansible.module_utils.th_server.engine import of_machine
from ansible.module_utils.th_tools.alembic import overlapping
from ansible.module_utils.th_tools.tools import VERSIONS

from tests.kit import shared
from tests.kit.boxes import given

OPTIONS = ["--character-set-server=utf8mb4", "--innodb-log-file-size=16M", "--performance-schema=OFF"]
ALEMBIC = "CREATE TABLE %s (version_num varchar(32) NOT NULL PRIMARY KEY)"
DJANGO = "CREATE TABLE django_migrations (id int, app varchar(255), name varchar(255), applied datetime)"
TABLE = "CREATE TABLE customers (id int PRIMARY KEY)"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[mariadb.Server]:
    folder = tmp_path_factory.mktemp("versions")
    sandbox = Settings.of(given())
    shared.create_data(folder, OPTIONS, sandbox)
    started = private_server.start(
        folder,
        of_machine(),
        databases={"": "shop", "meta": "meta"},
        user="shop",
        password="x",
        options=OPTIONS,
        time_limit=60,
        sandbox=sandbox,
    )
    yield started
    mariadb.stop(started, 0)


def profile(table: str = "alembic_version", versions: str = "alembic", column: str = "version_num") -> dict[str, Any]:
    query = f"SELECT {column} FROM `{table.replace('.', '`.`')}`"
    tool = VERSIONS[versions].kept_by
    return {"name": "", "tool": tool, "versions": versions, "version_table": table, "version_query": query}


def read(
    server: mariadb.Server, statements: list[str], database: dict[str, Any], revisions: dict[str, Any] | None = None
) -> list[str]:
    with mariadb.connect(server, server.admin_file) as connection:
        for schema in ("shop", "meta"):
            mariadb.query(connection, f"DROP DATABASE {schema}")
            mariadb.query(connection, f"CREATE DATABASE {schema}")
    with mariadb.connect(server, server.job_file, database="shop") as connection:
        for statement in statements:
            mariadb.query(connection, statement)
        return version_table.read(connection, server, database, revisions or {})


def test_a_version_is_read(server: mariadb.Server) -> None:
    made = [ALEMBIC % "alembic_version", TABLE, "INSERT INTO alembic_version VALUES ('a1')"]
    assert read(server, made, profile()) == ["a1"]


@pytest.mark.parametrize("statements", [[], [ALEMBIC % "alembic_version"], ["CREATE VIEW v AS SELECT 1"]])
def test_an_empty_database_is_one_without_tables(server: mariadb.Server, statements: list[str]) -> None:
    assert read(server, statements, profile()) == []


@pytest.mark.parametrize(
    ("statements", "words"),
    [
        ([TABLE], "there is no table alembic_version, and the dump has one other table (customers)"),
        ([TABLE, ALEMBIC % "alembic_version"], "the table alembic_version is empty"),
        ([TABLE, "CREATE TABLE schema_migrations (version varchar(99))"], "schema_migrations is another tool's"),
    ],
)
def test_tables_without_a_version_are_the_dumps_fault(
    server: mariadb.Server, statements: list[str], words: str
) -> None:
    with pytest.raises(SeedError) as caught:
        read(server, statements, profile())
    assert caught.value.code == "seed_broken" and words in str(caught.value)
    assert "migrations.version_table" in str(caught.value) and "--" in str(caught.value)


def test_a_statement_of_the_profiles_own_that_finds_no_version(server: mariadb.Server) -> None:
    own = {**profile(), "tool": "command", "version_query": "SELECT MAX(v) FROM changes"}
    with pytest.raises(SeedError, match=r"correct migrations\.version_query"):
        read(server, [TABLE, "CREATE TABLE changes (v int)"], own)


@pytest.mark.parametrize(
    ("statements", "database", "words"),
    [
        ([TABLE, ALEMBIC % "other_version"], profile(), "set migrations.version_table: other_version"),
        (
            [TABLE, ALEMBIC % "alembic_version", ALEMBIC % "other_version"],
            profile(),
            "set migrations.version_table: other_version",
        ),
        ([TABLE, ALEMBIC % "meta.alembic_version"], profile(), "set migrations.version_table: meta.alembic_version"),
        ([TABLE, DJANGO], profile(), "set migrations.tool: django"),
        ([TABLE, "CREATE TABLE alembic_version (v int, w int)"], profile(), "has the columns v, w and not version_num"),
        ([TABLE], profile("elsewhere.alembic_version"), "in none of the dataset's databases (shop, meta)"),
        ([TABLE], {**profile(), "version_query": "SELECT FROM"}, "version_query cannot be asked"),
    ],
)
def test_a_version_that_is_kept_elsewhere_is_the_profiles_fault(
    server: mariadb.Server, statements: list[str], database: dict[str, Any], words: str
) -> None:
    with pytest.raises(StepError) as caught:
        read(server, statements, database)
    assert caught.value.code == "profile_wrong" and words in caught.value.detail


REVISIONS = {
    "a": {"down": []}, "b": {"down": ["a"]}, "c": {"down": ["b"]}, "x": {"down": []}, "y": {"down": ["x", "b"]},
}  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "said"),
    [(["a"], None), (["c", "x"], None), (["a", "b"], ("b", "a")), (["c", "a"], ("c", "a")), (["y", "b"], ("y", "b"))],
)
def test_rows_of_which_one_comes_after_another(rows: list[str], said: tuple[str, str] | None) -> None:
    """As alembic has it: y only depends on b."""
    assert overlapping(rows, "", REVISIONS) == said
    named = {f"api:{name}": {"down": [f"api:{one}" for one in facts["down"]]} for name, facts in REVISIONS.items()}
    assert overlapping(rows, "api", named) == said


def test_alembic_refuses_the_same_rows() -> None:
    revision = pytest.importorskip("alembic.script.revision", reason="alembic is one of the tests' packages")
    tree = [
        revision.Revision("a", ()), revision.Revision("b", ("a",)), revision.Revision("c", ("b",)),
        revision.Revision("x", ()), revision.Revision("y", ("x",), dependencies=("b",)),
    ]  # fmt: skip
    names = [item.revision for item in tree]
    for one in names:
        for other in names:
            if one == other:
                continue
            refused = ""
            try:
                revision.RevisionMap(lambda: tree)._collect_upgrade_revisions("heads", (one, other), False, True, True)
            except revision.RevisionError as error:
                refused = str(error)
            assert bool(overlapping([one, other], "", REVISIONS)) == ("overlaps" in refused), (one, other)


@pytest.mark.parametrize(
    ("statements", "words"),
    [
        (["INSERT INTO alembic_version VALUES ('a'), ('c')"], "overlaps with other requested revisions a"),
        (
            ["ALTER TABLE alembic_version DROP PRIMARY KEY", "INSERT INTO alembic_version VALUES ('a'), ('a')"],
            "has a more than once",
        ),
    ],
)
def test_rows_that_alembic_refuses_are_the_datasets_fault(
    server: mariadb.Server, statements: list[str], words: str
) -> None:
    with pytest.raises(SeedError) as caught:
        read(server, [TABLE, ALEMBIC % "alembic_version", *statements], profile(), REVISIONS)
    assert caught.value.code == "seed_broken" and words in str(caught.value)


def test_a_version_of_another_project_beside_the_projects_own(server: mariadb.Server) -> None:
    made = [
        ALEMBIC % "alembic_version", "INSERT INTO alembic_version VALUES ('of-another')",
        ALEMBIC % "shop_version", "INSERT INTO shop_version VALUES ('c')",
    ]  # fmt: skip
    with pytest.raises(StepError, match=r"set migrations\.version_table: shop_version") as caught:
        read(server, made, profile(), REVISIONS)
    assert caught.value.code == "profile_wrong"
    assert read(server, made, profile("shop_version"), REVISIONS) == ["c"]
    assert read(server, made[:2], profile(), REVISIONS) == ["of-another"]  # the walk says that nobody knows it


def test_numbered_versions_of_several_repositories(server: mariadb.Server) -> None:
    made = [
        TABLE,
        "CREATE TABLE migrate_version (repository_id varchar(250) PRIMARY KEY, version int)",
        "INSERT INTO migrate_version VALUES ('shop', 417), ('other', 3)",
    ]
    with pytest.raises(SeedError, match="has the versions 3, 417"):
        read(server, made, profile("migrate_version", "numbered", "version"))


def test_other_tables_like_the_version_table_are_named(server: mariadb.Server, tmp_path: Path) -> None:
    made = [ALEMBIC % "alembic_version", ALEMBIC % "other_version", "INSERT INTO alembic_version VALUES ('a')"]
    read(server, made, profile())
    with mariadb.connect(server, server.job_file, database="shop") as connection:
        assert version_table.also(connection, server, profile()) == ["other_version"]

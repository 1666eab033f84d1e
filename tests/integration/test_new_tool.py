# SPDX-License-Identifier: Apache-2.0
"""A migration tool that an operator has added to a copy of the playbooks, as docs/editing.md has it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.examples import example
from tests.kit.installation import World

from .test_tools import Project, rows

SEED = """
CREATE TABLE sql_version (script varchar(60) PRIMARY KEY);
INSERT INTO sql_version VALUES ('001_books');
CREATE TABLE books (id int, title varchar(50));
INSERT INTO books SELECT seq, CONCAT('title', seq % 500) FROM seq_1_to_1000;
"""
PRICE = "ALTER TABLE books ADD price int;\nUPDATE books SET price = 1 WHERE id <= 10;\n"
UNIQUE = "ALTER TABLE books ADD UNIQUE (title);\n"


@pytest.fixture(scope="module")
def ansible(world: World) -> Path:
    """A copy of the playbooks with the tool of the documentation: its two files, and its name in the registry."""
    folder = Path(world.ansible(run_migrations_time_limit=7000))
    shelf = folder / "roles" / "project" / "module_utils" / "th_tools"
    (shelf / "sql_files.py").write_text(example("editing.md", "`roles/project/module_utils/th_tools/sql_files.py`:"))
    program = folder / "roles" / "run_migrations" / "files" / "walk_sql_files.py"
    program.write_text(example("editing.md", "`roles/run_migrations/files/walk_sql_files.py`:"))
    registry = (shelf / "tools.py").read_text()
    first = "from ansible.module_utils.th_tools.alembic import ALEMBIC\n"
    assert registry.count(first) == registry.count(", COMMAND)") == 1
    imported = f"{first}from ansible.module_utils.th_tools.sql_files import SQL_FILES\n"
    (shelf / "tools.py").write_text(registry.replace(first, imported).replace(", COMMAND)", ", COMMAND, SQL_FILES)"))
    return folder


@pytest.fixture(scope="module")
def books(world: World) -> Project:
    profile = yaml.safe_load(example("editing.md", "A project's profile:"))
    files = {"db/001_books.sql": "CREATE TABLE books (id int, title varchar(50));\n", "db/readme.txt": "books\n"}
    made = Project(world, "books", {**files, "db/002_note.sql": "ALTER TABLE books ADD note text;\n"}, profile)
    made.dataset({"": SEED}, XInnodb_rows_changed={"default": 5})
    return made


def run(project: Project, ansible: Path | None, files: Mapping[str, str | None], status: int) -> dict[str, Any]:
    """Run the job of a change with the copy, or with the worker's own playbooks; what result.json says."""
    keys = {} if ansible is None else {"ansible_dir": str(ansible)}
    project.changes += 1
    ref = f"refs/zuul/master/Z{project.changes}"
    project.repository.change(ref, files)
    words = ["run", "-c", str(project.world.configure(**keys)), "--job", "gate-toy", "--project", project.name]
    words += ["--url", project.world.url, "--ref", ref, "--branch", "master", "--change", str(project.changes)]
    done = project.world.th(*words, "--patchset", "1", "--json")
    assert done.returncode == status, done.stdout + done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_its_migrations_are_read_walked_and_measured(books: Project, ansible: Path) -> None:
    document = run(books, ansible, {"db/003_price.sql": PRICE}, 1)
    assert rows(document) == [("stable/1", "001_books", "002_note"), ("change", "002_note", "003_price")]
    (dataset,) = document["datasets"]
    assert dataset["final"] == dataset["expected"] == "003_price"
    (excess,) = [message for message in document["messages"] if message["counts"]]
    assert excess["to"] == "003_price" and excess["file"] == "db/003_price.sql", "10 rows, of which 5 are allowed"


def test_one_that_fails_is_the_changes(books: Project, ansible: Path) -> None:
    document = run(books, ansible, {"db/003_unique.sql": UNIQUE}, 1)
    raised = next(message for message in document["messages"] if message["code"] == "migration_raised")
    assert (raised["from"], raised["to"]) == ("002_note", "003_unique") and "1062" in raised["detail"]


def test_what_it_reads_is_checked(books: Project, ansible: Path) -> None:
    """A change that takes all scripts away, and playbooks that do not have the tool."""
    gone: dict[str, str | None] = {f"db/{name}.sql": None for name in ("001_books", "002_note")}
    document = run(books, ansible, gone, 1)
    (message,) = document["messages"]
    assert message["code"] == "no_migrations" and "db" in message["detail"]
    document = run(books, None, {"db/003_price.sql": PRICE}, 3)
    (message,) = document["messages"]
    assert message["code"] == "profile_wrong" and "migrations.tool: must be one of alembic" in message["detail"]

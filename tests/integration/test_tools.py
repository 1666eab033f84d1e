# SPDX-License-Identifier: Apache-2.0
"""Whole jobs of projects that do not migrate one database with alembic: Django, numbers, several databases."""

import json
import subprocess
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.kit import ROOT
from tests.kit.git_server import Repository
from tests.kit.installation import World, program

PASSWORD = "secret-of-the-dataset"


class Project:
    """A project of the world's with its repository, its profile and its dataset; `job` runs a change of it."""

    def __init__(self, world: World, name: str, files: Mapping[str, str], profile: Mapping[str, Any]) -> None:
        self.world, self.name, self.changes = world, f"org/{name}", 0
        self.repository = Repository(world.root / "served" / self.name)
        self.repository.commit(files, "The beginning")
        self.repository.git("branch", "stable/1")
        world.profile({"releases": ["stable/1"], **profile}, self.name)

    def dataset(self, dumps: Mapping[str, str], name: str = "", **keys: Any) -> None:
        """Write a dataset, `<project>` if it has no name: a dump for each database, "" for the only one."""
        home = self.world.root / "datasets" / (name or self.name.replace("/", "-"))
        home.mkdir()
        for name, text in dumps.items():
            (home / f"seed{name}.sql").write_text(f"{text}-- Dump completed on 2026-01-01  0:00:00\n")
        parts = {name: {"database": f"shop_{name}", "seed_data": f"seed{name}.sql"} for name in dumps}
        alone = {"database": "shop", "seed_data": "seed.sql"}
        part: dict[str, Any] = alone if "" in dumps else {"databases": parts}
        account = {"db_user": "shop", "db_pass": PASSWORD}
        document = {"project": self.name, "type": "mysql", **account, **part, **keys}
        (home / "config.json").write_text(json.dumps(document))

    def job(self, files: Mapping[str, str], status: int = 0, *more: str) -> dict[str, Any]:
        """Run the job of a change; what result.json says."""
        self.changes += 1
        ref = f"refs/zuul/master/Z{self.changes}"
        self.repository.change(ref, files)
        words = ["run", "-c", str(self.world.configure()), "--job", "gate-toy", "--project", self.name]
        words += ["--url", self.world.url, "--ref", ref, "--branch", "master", "--change", str(self.changes)]
        done = self.world.th(*words, "--patchset", "1", "--json", *more, patience=1200)
        assert done.returncode == status, done.stdout + done.stderr
        assert PASSWORD not in done.stdout + done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document


def rows(document: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The steps of the only dataset: first word of the stage, from, to."""
    (dataset,) = document["datasets"]
    return [(row["stage"].split()[0], row["from"], row["to"]) for row in dataset["migrations"]]


def django_migration(depends: str, *operations: str) -> str:
    """A migration of the app catalogue."""
    return (
        "from django.db import migrations, models\n\n\nclass Migration(migrations.Migration):\n"
        f"    dependencies = {[('catalogue', depends)] if depends else []!r}\n"
        f"    operations = [{', '.join(operations)}]\n"
    )


BOOK = (
    "migrations.CreateModel('Book', [('id', models.AutoField(primary_key=True)), "
    "('title', models.CharField(max_length=50))])"
)
NOTE = "migrations.AddField('Book', 'note', models.CharField(max_length=9, default=''))"
UNIQUE = "migrations.AlterField('Book', 'title', models.CharField(max_length=50, unique=True))"
PRICE = "migrations.AddField('Book', 'price', models.IntegerField(null=True))"
SHOP = {
    "shop.py": "SECRET_KEY = 'x'\nINSTALLED_APPS = ['django.contrib.contenttypes', 'catalogue']\n"
    "DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': 'x.db'}}\n",
    "catalogue/__init__.py": "",
    "catalogue/migrations/__init__.py": "",
    "catalogue/migrations/0001_initial.py": django_migration("", BOOK),
    "catalogue/migrations/0002_note.py": django_migration("0001_initial", NOTE),
}
BOOKS = """
CREATE TABLE django_migrations (id bigint PRIMARY KEY AUTO_INCREMENT, app varchar(255) NOT NULL,
  name varchar(255) NOT NULL, applied datetime(6) NOT NULL);
INSERT INTO django_migrations (app, name, applied) VALUES ('catalogue', '0001_initial', NOW());
CREATE TABLE catalogue_book (id int PRIMARY KEY AUTO_INCREMENT, title varchar(50) NOT NULL);
INSERT INTO catalogue_book (title) SELECT CONCAT('title', seq % 500) FROM seq_1_to_1000;
"""


@pytest.fixture(scope="module")
def shop(world: World) -> Project:
    install = {"requirements": [], "packages": ["django>=5.2,<6", "pymysql>=1.1"], "project": "none"}
    made = Project(world, "shop", SHOP, {"install": install, "migrations": {"tool": "django", "settings": "shop"}})
    made.dataset({"": BOOKS}, XInnodb_rows_changed={"default": 5000})
    return made


@pytest.fixture(scope="module")
def good(shop: Project) -> dict[str, Any]:
    """A good change, whose job's folder is kept."""
    return shop.job({"catalogue/migrations/0003_price.py": django_migration("0002_note", PRICE)}, 0, "--keep")


def test_a_good_change_of_a_django_project(good: dict[str, Any]) -> None:
    assert rows(good) == [
        ("stable/1", "catalogue.0001_initial", "catalogue.0002_note"),
        ("stable/1", "base", "contenttypes.0001_initial"),
        ("stable/1", "contenttypes.0001_initial", "contenttypes.0002_remove_content_type_name"),
        ("stable/1", "around", "release"),  # Django writes its content types then
        ("change", "catalogue.0002_note", "catalogue.0003_price"),
    ]
    (dataset,) = good["datasets"]
    everything = "catalogue.0003_price,contenttypes.0002_remove_content_type_name"
    assert dataset["final"] == dataset["expected"] == everything
    assert [row["by_change"] for row in dataset["migrations"]] == [False, False, False, False, True]
    assert any(note.startswith("Outside of its migrations, stable/1 changed ") for note in good["notes"])


def test_a_django_migration_that_fails_on_real_rows(shop: Project) -> None:
    document = shop.job({"catalogue/migrations/0003_unique.py": django_migration("0002_note", UNIQUE)}, 1)
    raised = next(message for message in document["messages"] if message["code"] == "migration_raised")
    assert (raised["from"], raised["to"]) == ("catalogue.0002_note", "catalogue.0003_unique")
    assert raised["file"] == "catalogue/migrations/0003_unique.py" and "1062" in raised["detail"]
    assert document["fault"] == "change"


def test_two_django_migrations_on_the_same_one(shop: Project) -> None:
    document = shop.job(
        {
            "catalogue/migrations/0003_one.py": django_migration("0002_note", PRICE),
            "catalogue/migrations/0003_two.py": django_migration("0002_note", UNIQUE),
        },
        1,
    )
    assert [message["code"] for message in document["messages"]] == ["several_heads"]
    assert "0003_one" in json.dumps(document) and "0003_two" in json.dumps(document)


def alembic_script(revision: str, down: str | None, up: str, back: str) -> str:
    """A migration with a way down, which may have the name of the account in it."""
    return (
        f"from alembic import op\n\nrevision = {revision!r}\ndown_revision = {down!r}\n\n\n"
        f"def upgrade():\n    op.execute({up!r})\n\n\n"
        f"def downgrade():\n    op.execute({back!r}.format(op.get_bind().engine.url.username))\n"
    )


ALEMBIC_ENV = """
from alembic import context
from sqlalchemy import create_engine

with create_engine(context.config.get_main_option("sqlalchemy.url")).connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""
MOVE = """
import sys
import pymysql

connection = pymysql.connect(unix_socket=sys.argv[1], user=sys.argv[2], password=sys.argv[3], database=sys.argv[4])
with connection.cursor() as cursor:
    moved = cursor.execute("UPDATE t SET name = 'moved' WHERE name <> 'moved' LIMIT 600")
connection.commit()
sys.exit(1 if moved == 600 else 0)
"""


def version(name: str) -> str:
    """A version table as a dump has it."""
    return (
        "CREATE TABLE alembic_version (version_num varchar(32) NOT NULL);\n"
        f"INSERT INTO alembic_version VALUES ('{name}');\n"
    )


def test_two_databases_their_data_and_the_way_down(world: World) -> None:
    files = {
        "move.py": MOVE,
        "api/env.py": ALEMBIC_ENV,
        "main/env.py": ALEMBIC_ENV,
        "api/versions/a1_.py": alembic_script("a1", None, "CREATE TABLE k (id int)", "DROP TABLE k"),
        "main/versions/m1_.py": alembic_script("m1", None, "CREATE TABLE t (name varchar(9))", "DROP TABLE t"),
        "main/versions/m2_.py": alembic_script(
            "m2", "m1", "ALTER TABLE t ADD x int", "ALTER TABLE t DROP COLUMN x"
        ),
    }

    def tool(name: str) -> dict[str, Any]:
        return {"tool": "alembic", "config": "", "script_location": name}

    project = Project(
        world,
        "two",
        files,
        {
            "install": {"requirements": [], "packages": ["alembic", "sqlalchemy", "pymysql"], "project": "none"},
            "databases": {"api": tool("api"), "main": tool("main")},
            "data_migrations": [
                {
                    "name": "move",
                    "command": ["python", "{src}/move.py", "{socket}", "{user}", "{password}", "{database_main}"],
                    "again": [1],
                }
            ],
            "downgrade": True,
        },
    )
    dumps = {
        "api": version("a1") + "CREATE TABLE k (id int);\n",
        "main": version("m1")
        + "CREATE TABLE t (name varchar(9));\nINSERT INTO t SELECT seq FROM seq_1_to_1000;\n",
    }
    for name in ("good", "bad"):
        project.dataset(dumps, name, db_user=name, XInnodb_rows_changed={"default": 5, "data->move": 1000})
    added = {
        "api/versions/a2_.py": alembic_script(
            "a2", "a1", "ALTER TABLE k ADD good int", "ALTER TABLE k DROP COLUMN {}"
        ),
        "main/versions/m3_.py": alembic_script("m3", "m2", "ALTER TABLE t ADD y int", "ALTER TABLE t DROP COLUMN y"),
    }
    document = project.job(added, 1)
    bad, good = document["datasets"]
    assert (bad["name"], bad["result"], good["name"], good["result"]) == ("bad", "FAILURE", "good", "SUCCESS")
    assert rows({"datasets": [good]}) == [
        ("stable/1", "main:m1", "main:m2"),
        ("stable/1", "data", "move"),
        ("change", "api:a1", "api:a2"),
        ("change", "main:m2", "main:m3"),
        ("change", "data", "move"),
        ("change", "main:m3", "main:m2"),
        ("change", "api:a2", "api:a1"),
        ("change", "api:a1", "api:a2"),
        ("change", "main:m2", "main:m3"),
    ]
    assert good["final"] == good["expected"] == "api:a2,main:m3"
    moved = good["migrations"][1]
    assert (moved["rows_changed"], moved["rounds"]) == (1000, 2)
    failed = next(message for message in document["messages"] if message["code"] == "migration_raised")
    assert failed["dataset"] == "bad"
    assert (failed["from"], failed["to"], failed["file"]) == ("api:a2", "api:a1", "api/versions/a2_.py")


def test_numbered_migrations(world: World) -> None:
    script = "def upgrade(engine):\n    engine.execute({!r})\n"
    numbered = "db/migrate_repo/versions/{:03}_step.py"
    project = Project(
        world,
        "numbered",
        {
            "db/migrate_repo/__init__.py": "",
            "db/migrate_repo/migrate.cfg": "[db_settings]\nrepository_id=shop\nversion_table=migrate_version\n",
            "db/migrate_repo/versions/__init__.py": "",
            numbered.format(1): script.format("CREATE TABLE t (id int, name varchar(9))"),
            numbered.format(2): script.format("ALTER TABLE t ADD x int"),
        },
        {
            "exclude_newer": "2022-12-31",
            "install": {
                "requirements": [],
                "packages": ["sqlalchemy-migrate==0.13.0", "sqlalchemy<1.5", "setuptools<66", "pymysql>=1.0"],
                "project": "none",
            },
            "migrations": {"tool": "sqlalchemy_migrate", "repository": ["gone/migrate_repo", "db/migrate_repo"]},
        },
    )
    seed = """
    CREATE TABLE migrate_version (repository_id varchar(250) PRIMARY KEY, repository_path text, version int);
    INSERT INTO migrate_version VALUES ('shop', 'x', 1);
    CREATE TABLE t (id int, name varchar(9));
    INSERT INTO t SELECT seq % 10, 'x' FROM seq_1_to_100;
    """
    project.dataset({"": textwrap.dedent(seed)})
    document = project.job({numbered.format(3): script.format("ALTER TABLE t ADD UNIQUE (id)")}, 1)
    assert rows(document) == [("stable/1", "1", "2"), ("change", "2", "3")]
    raised = next(message for message in document["messages"] if message["code"] == "migration_raised")
    assert raised["file"].endswith("003_step.py") and "1062" in raised["detail"]


def test_a_walk_by_hand_with_any_tool(good: dict[str, Any]) -> None:
    """`ansible-playbook playbooks/run-migrations.yaml -e @job.yaml` in the folder of a job that was kept."""
    folder = Path(good["folder"])
    before = (folder / "artifacts" / "walk-org-shop.jsonl").read_text()

    def play(playbook: str, fails: bool = False) -> str:
        done = subprocess.run(
            [program("ansible-playbook"), f"playbooks/{playbook}.yaml", "-e", f"@{folder / 'job.yaml'}"],
            cwd=ROOT, capture_output=True, text=True, timeout=1200, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert (done.returncode != 0) is fails, done.stdout + done.stderr
        return done.stdout

    # a dataset that was walked is not walked again: what was found stays
    assert "run playbooks/restore-datasets.yaml first" in play("run-migrations", fails=True)
    assert (folder / "artifacts" / "walk-org-shop.jsonl").read_text() == before
    play("restore-datasets")
    play("run-migrations")
    after = (folder / "artifacts" / "walk-org-shop.jsonl").read_text()

    def told(text: str) -> list[tuple[str, ...]]:
        events = [json.loads(line) for line in text.splitlines()]
        return [tuple(str(event.get(key)) for key in ("event", "from", "to", "version", "exit")) for event in events]

    assert told(after) == told(before)
    # all of it once more, after a try that has failed
    for role, code in (("checkout", "git_unreachable"), ("project", "profile_wrong"), ("worker", "playbook_failed")):
        event = {"event": "error", "role": role, "code": code, "detail": "x", "dataset": ""}
        with (folder / "artifacts" / "errors.jsonl").open("a") as stream:
            stream.write(json.dumps(event) + "\n")
    assert "SUCCESS" in play("gate_real_db_upgrade/run")
    assert told((folder / "artifacts" / "walk-org-shop.jsonl").read_text()) == told(before)

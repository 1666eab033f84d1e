# SPDX-License-Identifier: Apache-2.0
"""Walking real projects of the package index, each with its own program, from an empty database."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.th_checkout.checkout import facts_of
from ansible.module_utils.th_checkout.trees import ForestReader
from ansible.module_utils.th_core.artifacts import write_json, write_text
from ansible.module_utils.th_environment.uv import uv_path
from ansible.module_utils.th_git.client import Git, RetryPolicy
from ansible.module_utils.th_sandbox.capped_log import CappedLog
from ansible.module_utils.th_server import mariadb, private_server
from ansible.module_utils.th_server.engine import Engine, of_machine
from ansible.module_utils.th_tools.profile import check_profile
from ansible.module_utils.th_walk.walk import DatasetWalk
from ansible.module_utils.th_walk.walkers import WalkLimits

from tests.kit import ROOT, boxes, bytecode, shared, toy
from tests.kit.engines import mysql, mysql_options
from tests.kit.git_server import Repository

NAME = "real"
PROGRAMS = ROOT / "roles" / "run_migrations" / "files"
OPTIONS = ["--innodb-log-file-size=16M", "--performance-schema=OFF", "--userstat=ON", "--skip-name-resolve"]
REQUIREMENTS = {
    "today": ["openstack-placement==16.0.0", "keystone==30.0.0", "barbican==23.0.0", "nova==34.0.0", "pymysql>=1.1"],
    # sqlalchemy-migrate needs SQLAlchemy before 2, masakari what oslo.db had for it
    "2023": [
        *("--exclude-newer", "2023-09-30", "masakari==13.0.0", "sqlalchemy<2", "oslo.db<13"),
        *("setuptools<66", "pymysql>=1.1"),
    ],
}
MODULES = {
    "today": ["placement.cmd.manage", "keystone.cmd.manage", "nova.db.migration", "pymysql"],
    "2023": ["masakari.cmd.manage", "migrate.versioning.api", "pymysql"],
}
"""What comes to all that walks import, but for the projects themselves."""
WHERE = {"placement": "today", "keystone": "today", "barbican": "today", "nova": "today", "masakari": "2023"}
COUNTERS = {"rows_changed", "rows_read", "redo_bytes", "data_bytes"}


@pytest.fixture(scope="module")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The environments, built side by side. Not beside a walk, which ends all processes that are younger than it."""
    folder = tmp_path_factory.mktemp("environments")
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    building = {}
    for name, words in REQUIREMENTS.items():
        subprocess.run([uv_path(), "venv", "--quiet", "--python", sys.executable, name], cwd=folder, check=True)
        install = [uv_path(), "pip", "install", "--quiet", "--python", str(folder / name), *words]
        with open(folder / f"{name}.log", "wb") as log:
            building[name] = subprocess.Popen(install, cwd=folder, env=variables, stdout=log, stderr=log)
    for name, process in building.items():
        assert process.wait(600) == 0, (folder / f"{name}.log").read_text()
        bytecode.keep(folder / name, *MODULES[name])
    return lambda name: folder / name


@dataclass(frozen=True)
class Checkout:
    """A commit of a project's repository, checked out."""

    repository: Repository
    commit: str
    src: Path
    venv: Path


@pytest.fixture(scope="module")
def checkout(environments: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Checkout]:
    """Makes a repository of a project's release, and checks out a commit; `without` are scripts that it lacks."""
    repositories: dict[str, Repository] = {}

    def check_out(project: str, *without: str) -> Checkout:
        venv = environments(WHERE[project])
        if project not in repositories:
            made = repositories[project] = Repository(tmp_path_factory.mktemp("repositories") / project)
            packages = next(venv.glob("lib/python3*/site-packages"))
            ignored = shutil.ignore_patterns("tests", "locale", "__pycache__")
            shutil.copytree(packages / project, made.folder / project, ignore=ignored)
            made.commit({})
        repository = repositories[project]
        src = tmp_path_factory.mktemp("src") / project
        repository.git("worktree", "add", "--quiet", "--detach", str(src), "master")
        tree = Repository(src)
        gone = [str(path.relative_to(src)) for name in without for path in src.rglob(f"{name}_*.py")]
        assert len(gone) == len(without)
        return Checkout(repository, tree.commit(dict.fromkeys(gone)), src, venv)

    return check_out


@contextmanager
def started(folder: Path, engine: Engine, options: list[str]) -> Iterator[mariadb.Server]:
    folder.mkdir(parents=True)
    shared.create_data(folder, options, boxes.settings(), engine)
    password = 'it\'s "odd" %s\\'
    running = private_server.start(
        folder, engine,
        databases={"": "project"}, user="job", password=password, options=options, time_limit=300,
        sandbox=boxes.settings(),
    )
    yield running
    mariadb.stop(running, 0)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[mariadb.Server]:
    with started(tmp_path_factory.mktemp("job") / "db" / NAME, of_machine(), OPTIONS) as running:
        yield running


@dataclass(frozen=True)
class Job:
    """A job's folder with a server whose databases are empty."""

    folder: Path
    server: mariadb.Server

    def walk(self, described: Mapping[str, Any], *stages: Checkout) -> list[dict[str, Any]]:
        """Walk through the stages, the last of which is the change; gives the events of this walk alone."""
        profile = check_profile(dict(described))
        revisions: dict[str, Any] = {}
        said, built = [], []
        for number, stage in enumerate(stages, 1):
            change = number == len(stages)
            name, slug, kind = ("change 1,1", "change", "change") if change else ("stable/1", "stable-1", "release")
            log = CappedLog(self.folder / "results" / "git_prep.log", 10**6)
            forest = ForestReader(Git(log, (), RetryPolicy()), stage.repository.folder, profile["databases"])
            tree = forest.read(stage.commit)
            assert not tree.unreadable
            revisions |= {one: facts_of(revision) for one, revision in tree.revisions.items()}
            more = {"heads": tree.heads(), "folders": forest.folders(stage.commit)}
            said.append({"name": name, "slug": slug, "kind": kind, "commit": stage.commit, **more})
            built.append({"stage": slug, "src": str(stage.src), "venv": str(stage.venv), "prefix": sys.base_prefix})
        write_json(self.folder / "artifacts" / "checkout.json", {"stages": said, "revisions": revisions})
        write_json(self.folder / "artifacts" / "environment.json", {"environments": built})
        self._make_databases([one["name"] for one in profile["databases"]])
        (self.folder / "artifacts" / f"walk-{NAME}.jsonl").unlink(missing_ok=True)
        DatasetWalk(self.folder, NAME, profile, WalkLimits(300, 300, 1_000_000), PROGRAMS, boxes.settings()).run()
        return toy.events(self.folder, NAME)

    def _make_databases(self, names: list[str]) -> None:
        described = replace(self.server, databases={name: f"project_{name}" if name else "project" for name in names})
        for database in described.databases.values():
            self.sql(f"CREATE DATABASE IF NOT EXISTS {database}", f"GRANT ALL ON {database}.* TO job@localhost")
        folder = self.folder / "db" / NAME
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "server.json", json.dumps(asdict(described)))

    def sql(self, *statements: str, database: str | None = None) -> list[tuple[Any, ...]]:
        """The rows of the last of the statements."""
        rows: list[tuple[Any, ...]] = []
        with mariadb.connect(self.server, self.server.admin_file, database=database) as connection:
            for statement in statements:
                rows = mariadb.query(connection, statement)
        return rows


@pytest.fixture
def job(job_dir: Path, server: mariadb.Server) -> Iterator[Job]:
    yield from with_no_databases(Job(job_dir, server))


@pytest.fixture
def job_on_mysql(job_dir: Path, tmp_path: Path) -> Iterator[Job]:
    with started(tmp_path / "mysql" / "db" / NAME, mysql(), mysql_options()) as running:
        yield from with_no_databases(Job(job_dir, running))


def with_no_databases(made: Job) -> Iterator[Job]:
    yield made
    made.sql(*(f"DROP DATABASE {name}" for (name,) in made.sql("SHOW DATABASES LIKE 'project%'")))


def ends(events: list[dict[str, Any]], kind: str = "schema") -> list[dict[str, Any]]:
    """The ends of the migrations of a kind, each complete."""
    found = [event for event in events if event["event"] == "end" and event.get("kind", "schema") == kind]
    for end in found:
        assert end["counters"].keys() >= COUNTERS and all(end["counters"][name] is not None for name in COUNTERS)
        assert end["seconds"] >= 0
    return found


def error(events: list[dict[str, Any]]) -> dict[str, Any]:
    """The error that has ended the walk."""
    assert events[-1]["event"] == "error", events
    return events[-1]


PLACEMENT = {
    "migrations": {
        "tool": "alembic",
        "config": "placement/db/sqlalchemy/alembic.ini",
        "command": ["placement-manage", "--config-file", "{files}/placement.conf", "db", "sync"],
        "files": [{"path": "placement.conf", "content": "[placement_database]\nconnection = {url}\n"}],
        "environment": {"PYTHONPATH": "{src}"},
    }
}
PLACEMENT_DATA = {
    "name": "online_data_migrations",
    "command": ["placement-manage", "--config-file", "{files}/placement.conf", "db", "online_data_migrations"],
    "environment": {"PYTHONPATH": "{src}"},
}
RESOURCE_PROVIDER = (
    "INSERT INTO resource_providers (id, uuid, name, root_provider_id) VALUES (1, 'one', 'one', 1)",
    "INSERT INTO allocations (resource_provider_id, consumer_id, resource_class_id, used)"
    " WITH RECURSIVE s (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < 5)"
    " SELECT 1, CONCAT('nobody-', i), 0, 1 FROM s",
)


def test_a_migration_that_refuses_the_data(job: Job, checkout: Callable[..., Checkout]) -> None:
    old = checkout("placement", "b5c396305c25", "422ece571366", "a082b8bb98d0")
    new = checkout("placement")
    events = job.walk(PLACEMENT, old)
    assert [end["to"] for end in ends(events)] == ["b4ed3a175331", "611cd6dffd7b"]
    assert events[-1]["version"] == events[-1]["expected"] == "611cd6dffd7b"
    job.sql(*RESOURCE_PROVIDER, database="project")

    events = job.walk(PLACEMENT, old, new)
    assert [event["event"] for event in events] == ["skipped", "stage", "begin", "end", "error"]
    found = error(events)
    assert (found["code"], found["from"], found["to"]) == ("migration_raised", "611cd6dffd7b", "b5c396305c25")
    assert "at least one allocation record which is missing a consumer record" in found["detail"]
    place = "placement/db/sqlalchemy/alembic/versions/b5c396305c25_block_on_null_consumer.py"
    assert found["file"] == place
    assert (new.src / place).read_text().splitlines()[found["line"] - 1].strip().startswith("raise Exception(")
    assert ends(events)[0]["counters"]["rows_read"] >= 5 and ends(events)[0]["exit"] == 1


def test_data_that_is_mended_between_the_releases(job: Job, checkout: Callable[..., Checkout]) -> None:
    old = checkout("placement", "b5c396305c25", "422ece571366", "a082b8bb98d0")
    job.walk(PLACEMENT, old)
    job.sql(*RESOURCE_PROVIDER, database="project")
    # two consumers at a time: it ends with 1 until there are none to make
    data = {**PLACEMENT_DATA, "command": [*PLACEMENT_DATA["command"], "--max-count", "2"], "again": [1]}
    events = job.walk({**PLACEMENT, "data_migrations": [data]}, old)
    (end,) = ends(events, "data")
    assert (end["from"], end["to"], end["rounds"], end["exit"]) == ("data", "online_data_migrations", 4, 0)
    assert end["start_up"] > 0.2 and end["counters"]["rows_changed"] >= 5
    assert job.sql("SELECT COUNT(*) FROM consumers", database="project") == [(5,)]
    events = job.walk(PLACEMENT, old, checkout("placement"))
    assert len(ends(events)) == 3 and events[-1]["version"] == events[-1]["expected"] == "a082b8bb98d0"


KEYSTONE = {
    "migrations": {
        "tool": "alembic",
        "config": "keystone/common/sql/alembic.ini",
        "version_locations": ["keystone/common/sql/migrations/versions"],
        "recursive_version_locations": True,
        "heads": 2,
        "command": ["keystone-manage", "--config-file", "{files}/keystone.conf", "db_sync"],
        "files": [{"path": "keystone.conf", "content": "[database]\nconnection = {url}\n"}],
        "environment": {"PYTHONPATH": "{src}"},
    }
}


def test_two_heads_by_design(job: Job, checkout: Callable[..., Checkout]) -> None:
    now = checkout("keystone")
    events = job.walk(KEYSTONE, now)
    assert events[0]["steps"] == 10 and len(ends(events)) == 10
    assert events[-1]["version"] == events[-1]["expected"] == "742c857f1dfb,c88cdce8f248"
    # nothing is left to do, and the program is still run
    events = job.walk(KEYSTONE, now)
    assert [event["event"] for event in events] == ["stage", "final"] and events[0]["steps"] == 0
    refused = error(job.walk({"migrations": {**KEYSTONE["migrations"], "heads": 1}}, now))
    assert refused["code"] == "several_heads" and "742c857f1dfb, c88cdce8f248" in refused["detail"]


def test_real_projects_on_mysql(job_on_mysql: Job, checkout: Callable[..., Checkout]) -> None:
    job, old = job_on_mysql, checkout("placement", "b5c396305c25", "422ece571366", "a082b8bb98d0")
    assert [end["to"] for end in ends(job.walk(PLACEMENT, old))] == ["b4ed3a175331", "611cd6dffd7b"]
    job.sql(*RESOURCE_PROVIDER, database="project")
    events = job.walk(PLACEMENT, old, checkout("placement"))
    assert error(events)["code"] == "migration_raised" and ends(events)[0]["counters"]["rows_read"] >= 5
    assert "missing a consumer record" in error(events)["detail"]

    job.sql("DROP DATABASE project")
    events = job.walk(KEYSTONE, checkout("keystone"))
    assert len(ends(events)) == 10 and events[-1]["version"] == events[-1]["expected"]
    assert all(end["counters"]["rows_changed"] for end in ends(events))  # at least the version's


NOVA_CONF = "[database]\nconnection = {url_main}\n[api_database]\nconnection = {url_api}\n"


def nova(name: str, *command: str) -> dict[str, Any]:
    return {
        "tool": "alembic",
        "config": f"nova/db/{name}/alembic.ini",
        "command": ["nova-manage", "--config-file", "{files}/nova.conf", *command],
        "files": [{"path": "nova.conf", "content": NOVA_CONF}],
        "environment": {"PYTHONPATH": "{src}"},
    }


def test_two_databases_of_one_project(job: Job, checkout: Callable[..., Checkout]) -> None:
    databases = {"api": nova("api", "api_db", "sync"), "main": nova("main", "db", "sync", "--local_cell")}
    events = job.walk({"databases": databases}, checkout("nova"))
    assert [event["event"] for event in events] == ["stage", *["begin", "end"] * 13, "final"]
    assert events[0]["steps"] == 13 and events[0]["target"] == "api:cdeec0c85668,main:ab450ba04102"
    found = ends(events)
    assert [end["to"].partition(":")[0] for end in found] == ["api"] * 3 + ["main"] * 10
    assert (found[0]["from"], found[0]["version"]) == ("base", "api:d67eeaabee36")
    assert (found[3]["from"], found[3]["version"]) == ("base", "api:cdeec0c85668,main:8f2f1571d55b")
    assert events[-1]["version"] == events[-1]["expected"] == "api:cdeec0c85668,main:ab450ba04102"
    assert job.sql("SHOW TABLES LIKE 'cell_mappings'", database="project_api")
    assert job.sql("SHOW TABLES LIKE 'instance_faults'", database="project_main")


BARBICAN = {
    "tool": "alembic",
    "config": "barbican/model/migration/alembic.ini",
    "script_location": "barbican/model/migration/alembic_migrations",
    "command": ["barbican-db-manage", "upgrade"],
    "environment": {"PYTHONPATH": "{src}", "OS_DATABASE__CONNECTION": ""},
}


def test_a_program_that_migrates_another_database(job: Job, checkout: Callable[..., Checkout]) -> None:
    # it reads no configuration of a path that it is given, makes a database of SQLite, and ends with status 0
    now = checkout("barbican")
    own = {"path": "barbican.conf", "content": "[database]\nconnection = {url}\n"}
    settings = {**BARBICAN, "files": [own], "environment": {"PYTHONPATH": "{src}"}}
    found = error(job.walk({"migrations": settings}, now))
    assert (found["code"], found["from"], found["to"]) == ("version_unchanged", "base", "39cf2e645cba")


def test_a_command_for_each_migration(job: Job, checkout: Callable[..., Checkout]) -> None:
    settings = {
        "tool": "command",
        "command": ["barbican-db-manage", "--dburl", "{url}", "upgrade", "--version", "{version}"],
        "version_locations": ["barbican/model/migration/alembic_migrations/versions"],
        "environment": {"PYTHONPATH": "{src}"},
    }
    events = job.walk({"migrations": settings}, checkout("barbican"))
    found = ends(events)
    assert [end["version"] for end in found] == ["39cf2e645cba", "0f8c192a061f", "8c74e2d7f1ff"]
    # to start takes it a good part of a second, which is none of the migration's
    assert all(end["start_up"] > 0.2 for end in found)
    assert events[-1]["version"] == events[-1]["expected"]


MASAKARI = {
    "tool": "sqlalchemy_migrate",
    "repository": ["masakari/db/sqlalchemy/migrate_repo"],
    "files": [{"path": "masakari.conf", "content": "[database]\nconnection = {url}\n"}],
    "environment": {"PYTHONPATH": "{src}"},
}
MASAKARI_SYNC = ["masakari-manage", "--config-file", "{files}/masakari.conf", "db", "sync"]


@pytest.mark.parametrize("command", [MASAKARI_SYNC, []], ids=["its own program", "the tool itself"])
def test_numbered_migrations(job: Job, checkout: Callable[..., Checkout], command: list[str]) -> None:
    described = {"migrations": {**MASAKARI, "command": command}}
    old = checkout("masakari", "006", "007")
    events = job.walk(described, old, checkout("masakari"))
    stages = [(event["name"], event["steps"], event["target"]) for event in events if event["event"] == "stage"]
    assert stages == [("stable/1", 5, "5"), ("change 1,1", 2, "7")]
    found = ends(events)
    assert [(end["from"], end["to"]) for end in found] == [
        ("base", "1"),
        *[(str(n), str(n + 1)) for n in range(1, 7)],
    ]
    assert [end["version"] for end in found] == [str(n) for n in range(1, 8)]
    assert events[-1]["version"] == events[-1]["expected"] == "7"


MANAGE = """
import sys
from migrate.exceptions import DatabaseAlreadyControlledError
from migrate.versioning import api

verb, url, version = sys.argv[1:]
try:
    api.version_control(url, "db", 215)
except DatabaseAlreadyControlledError:
    pass
print("at", api.db_version(url, "db"), "of", api.version("db"))
api.upgrade(url, "db", version) if verb == "upgrade" else api.downgrade(url, "db", version)
"""
NOTHING = "def upgrade(engine):\n    pass\n\ndef downgrade(engine):\n    pass\n"
NUMBERED = {
    "manage.py": MANAGE,
    "migrate.cfg": "[db_settings]\nrepository_id=toy\nversion_table=migrate_version\nrequired_dbs=[]\n",
    "versions/__init__.py": "",
    "versions/216_first.py": """
import sqlalchemy as sa

table = sa.Table("t", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.String(9)))

def upgrade(engine):
    table.create(engine)

def downgrade(engine):
    table.drop(engine)
""",
    "versions/217_mysql_upgrade.sql": "INSERT INTO t (name) SELECT seq FROM seq_1_to_50;\nUPDATE t SET name = 'x';\n",
    "versions/217_mysql_downgrade.sql": "DELETE FROM t;\n",
    "versions/217_default_upgrade.sql": "this is for other servers;\n",
    "versions/218_placeholder.py": NOTHING,
}
FAILS = "def upgrade(engine):\n    engine.execute('UPDATE t SET nothing = 1')\n"


def numbered(tmp_path: Path, venv: Path, *names: str, **more: str) -> Checkout:
    repository = Repository(tmp_path / f"numbered-{len(names)}-{len(more)}")
    files = {f"db/{name}": text for name, text in NUMBERED.items() if not name[9:12].isdigit() or name[9:12] in names}
    files |= {f"db/versions/{name[1:]}.py": text for name, text in more.items()}
    return Checkout(repository, repository.commit(files), repository.folder, venv)


@pytest.mark.parametrize("command", [["python", "db/manage.py"], []], ids=["command", "tool"])
def test_scripts_of_sql_and_the_way_down(
    job: Job, environments: Callable[[str], Path], tmp_path: Path, command: list[str]
) -> None:
    up, down = ([*command, verb, "{url}", "{version}"] if command else [] for verb in ("upgrade", "downgrade"))
    migrations = {"tool": "sqlalchemy_migrate", "repository": ["elsewhere", "db"]}
    described = {"migrations": {**migrations, "command": up, "downgrade_command": down}, "downgrade": True}
    venv = environments("2023")
    old, new = numbered(tmp_path, venv, "216"), numbered(tmp_path, venv, "216", "217", "218")
    events = job.walk(described, old, new)
    assert [(end["from"], end["to"], end["version"]) for end in ends(events)] == [
        ("base", "216", "216"),
        ("216", "217", "217"),
        ("217", "218", "218"),
        ("216", "217", "217"),
        ("217", "218", "218"),
    ]
    assert ends(events)[1]["counters"]["rows_changed"] == 101
    downwards = [(end["from"], end["to"], end["version"]) for end in ends(events, "downgrade")]
    assert downwards == [("218", "217", "217"), ("217", "216", "216")]
    assert events[-1]["version"] == events[-1]["expected"] == "218"


@pytest.mark.parametrize("tool", ["sqlalchemy_migrate", "command"])
def test_numbered_migrations_down_to_nothing(
    job: Job, environments: Callable[[str], Path], tmp_path: Path, tool: str
) -> None:
    up, down = (["python", "db/manage.py", verb, "{url}", "{version}"] for verb in ("upgrade", "downgrade"))
    place = {"version_locations": ["db/versions"], "versions": "numbered"}
    migrations = {"tool": tool, **(place if tool == "command" else {"repository": ["db"]})}
    described = {"migrations": {**migrations, "command": up, "downgrade_command": down}, "downgrade": True}
    events = job.walk(described, numbered(tmp_path, environments("2023"), "216", _217_next=NOTHING))
    assert [(end["from"], end["to"]) for end in ends(events)] == [("base", "216"), ("216", "217")] * 2
    downwards = [(end["from"], end["to"], end["version"]) for end in ends(events, "downgrade")]
    assert downwards == [("217", "216", "216"), ("216", "base", "base")]
    assert events[-1]["version"] == events[-1]["expected"] == "217"


def test_a_numbered_migration_that_raises(job: Job, environments: Callable[[str], Path], tmp_path: Path) -> None:
    change = numbered(tmp_path, environments("2023"), "216", "217", "218", _219_fails=FAILS)
    found = error(job.walk({"migrations": {"tool": "sqlalchemy_migrate", "repository": ["db"]}}, change))
    assert (found["code"], found["from"], found["to"]) == ("migration_raised", "218", "219")
    assert "Unknown column 'nothing'" in found["detail"] and "[SQL: UPDATE t SET nothing = 1]" in found["detail"]
    assert (found["file"], found["line"]) == ("db/versions/219_fails.py", 2)

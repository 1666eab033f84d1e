# SPDX-License-Identifier: Apache-2.0
"""A Django site whose migrations are in packages: releases that differ in nothing but a requirement."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.th_server import mariadb, private_server
from ansible.module_utils.th_server.engine import of_machine
from ansible.module_utils.th_tools.django_trees import may_matter, read_django_tree
from ansible.module_utils.th_walk.walk import DatasetWalk
from ansible.module_utils.th_walk.walkers import WalkLimits

from tests.kit import boxes, bytecode, shared
from tests.kit import toy as alembic_toy
from tests.kit.bills import VERSIONS, add_wheel, module
from worker.verdict import Fault, artifacts, decide

SETTINGS = """
SECRET_KEY = "none"
INSTALLED_APPS = {apps!r}
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3"}}}}
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
"""
APPS = ["bill"]
PEOPLE = "migrations.CreateModel('Person', [('id', models.AutoField(primary_key=True))])"


@pytest.fixture(scope="module")
def venvs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The environment with a version of the packaged app."""
    root = tmp_path_factory.mktemp("environments")
    for version, migrations in VERSIONS.items():
        add_wheel(root / "index", version, migrations)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    common = root / "common"
    for words in (
        ["venv", "--quiet", "--python", sys.executable, str(common)],
        ["pip", "install", "--quiet", "--python", str(common), "django==4.2.16", "pymysql>=1.1"],
    ):
        subprocess.run([sys.executable, "-m", "uv", *words], check=True, env=environment)
    driver = ("import pymysql", "pymysql.version_info = (99, 0, 0, 'final', 0)", "pymysql.install_as_MySQLdb()")
    (site,) = common.glob("lib/python*/site-packages")
    (site / "driver.py").write_text("\n".join(driver))
    command = "django.core.management.commands"
    bytecode.keep(common, "driver", "django.db.backends.mysql.base", f"{command}.migrate", f"{command}.makemigrations")

    def made(version: str) -> Path:
        folder = root / version / "venv"
        if not folder.exists():
            shutil.copytree(common, folder, symlinks=True, copy_function=os.link)
            (site,) = folder.glob("lib/python*/site-packages")
            with zipfile.ZipFile(root / "index" / "simple" / "bill" / f"bill-{version}-py3-none-any.whl") as wheel:
                wheel.extractall(site)
        return folder

    return made


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[mariadb.Server]:
    folder = tmp_path_factory.mktemp("server") / "db" / "toy"
    folder.mkdir(parents=True)
    shared.create_data(folder, alembic_toy.OPTIONS, boxes.settings())
    server = private_server.start(
        folder,
        of_machine(),
        databases={"": "toy"},
        user="toy",
        password="secret",
        options=alembic_toy.OPTIONS,
        time_limit=60,
        sandbox=boxes.settings(),
    )
    yield server
    mariadb.stop(server, 0)


@dataclass
class Site:
    """A site; each stage is a version of the packaged app, and the settings' apps."""

    root: Path
    server: mariadb.Server
    venvs: Callable[[str], Path]
    own: bool = True
    jobs: int = 0
    last: Path = field(default_factory=Path)

    def walk(
        self,
        *stages: tuple[str, str],
        apps: list[str] = APPS,
        installs: tuple[str, ...] = (),
        **settings: str,
    ) -> list[dict[str, Any]]:
        """Walk through stages (kind, version of the package), the last one being the change with the apps `apps`;
        `settings` are the text of the settings by stage's kind."""
        self.jobs += 1
        self.last = job_dir = self.root / str(self.jobs)
        (job_dir / "artifacts").mkdir(parents=True)
        (job_dir / "results").mkdir()
        (job_dir / "db").mkdir()
        (job_dir / "db" / "toy").symlink_to(self.server.folder)
        listed, built, revisions = [], [], {}
        for kind, version in stages:
            src = job_dir / "src" / kind
            src.mkdir(parents=True)
            people = ["people"] if self.own else []
            text = SETTINGS.format(apps=people + (apps if kind == "change" else APPS))
            (src / "settings.py").write_text(settings.get(kind, text))
            if self.own:
                folder = src / "people" / "migrations"
                folder.mkdir(parents=True)
                (folder / "__init__.py").write_text("")
                (folder / "0001_initial.py").write_text(module(PEOPLE))
            files = [(str(path.relative_to(src)), path.read_bytes()) for path in src.rglob("*.py")]
            tree, folders = read_django_tree([one for one in files if may_matter(one[0])])
            revisions |= {name: {"down": list(one.before), "file": one.file} for name, one in tree.revisions.items()}
            stage = {"name": kind, "slug": kind, "kind": kind, "commit": "1" * 40}
            listed.append({**stage, "heads": tree.heads(), "folders": folders})
            venv = self.venvs(version)
            built.append({"stage": kind, "src": str(src), "venv": str(venv), "prefix": sys.base_prefix})
        touched: dict[str, list[str]] = {"added": [], "altered": [], "removed": [], "helpers": []}
        document = {"stages": listed, "revisions": revisions, "touched": touched, "installs": list(installs)}
        write(job_dir, "checkout.json", document)
        write(job_dir, "environment.json", {"environments": built})
        described = alembic_toy.profile({"tool": "django", "settings": "settings"})
        limits = WalkLimits(60, 60, 100_000)
        DatasetWalk(job_dir, "toy", described, limits, alembic_toy.PROGRAMS, boxes.settings()).run()
        return alembic_toy.events(job_dir, "toy")

    def verdict(self) -> decide.Verdict:
        """What the worker makes of the last walk; its dataset was at the repository's own migrations."""
        folder = self.last / "artifacts"
        write(self.last, "dataset-toy.json", {"name": "toy", "version": ["people.0001_initial"] if self.own else []})
        return decide.decide(artifacts.read(folder), ["toy"])


def write(job_dir: Path, name: str, document: Mapping[str, Any]) -> None:
    (job_dir / "artifacts" / name).write_text(json.dumps({"schema": 1, **document}))


@pytest.fixture
def site(tmp_path: Path, running: mariadb.Server, venvs: Callable[[str], Path]) -> Site:
    with mariadb.connect(running, running.admin_file) as connection:
        mariadb.query(connection, "DROP DATABASE IF EXISTS toy")
        mariadb.query(connection, "CREATE DATABASE toy")
    return Site(tmp_path, running, venvs)


def seeded(site: Site, version: str) -> None:
    """Let the dataset be one that was migrated with a version of the package."""
    names = [("people", "0001_initial")] * site.own + [("bill", name) for name in VERSIONS[version]]
    rows = ", ".join(f"('{app}', '{name}', NOW(6))" for app, name in names)
    added = "".join(f", f{number} INT" for number in range(2, len(VERSIONS[version]) + 1))
    with mariadb.connect(site.server, site.server.admin_file, database="toy") as connection:
        for statement in (
            "CREATE TABLE django_migrations (id BIGINT AUTO_INCREMENT PRIMARY KEY, app VARCHAR(255), name VARCHAR(255),"
            " applied DATETIME(6))",
            f"INSERT INTO django_migrations (app, name, applied) VALUES {rows}",
            "CREATE TABLE people_person (id INT AUTO_INCREMENT PRIMARY KEY)",
            f"CREATE TABLE bill_bill (id INT AUTO_INCREMENT PRIMARY KEY{added})",
        ):
            mariadb.query(connection, statement)


def steps(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(event["stage"], event["to"]) for event in events if event["event"] == "end" and event["exit"] == 0]


def skipped(events: list[dict[str, Any]]) -> dict[str, str]:
    return {event["name"]: event["reason"] for event in events if event["event"] == "skipped"}


def told(events: list[dict[str, Any]]) -> dict[str, Any]:
    found = [event["migrations"] for event in events if event["event"] == "packages"]
    return found[0] if found else {}


def test_what_a_releases_packages_bring_runs_in_that_release(site: Site) -> None:
    seeded(site, "1")
    events = site.walk(("release", "2"), ("tip", "3"), ("change", "3"))
    assert steps(events) == [("release", "bill.0002_f2"), ("tip", "bill.0003_f3")]
    assert not told(events) and not skipped(events)
    final = events[-1]
    assert final["version"] == final["expected"]
    assert final["version"] == "bill.0003_f3,people.0001_initial"
    assert not [message for message in site.verdict().messages if message.fault is Fault.CHANGE]


def test_a_stage_whose_packages_have_nothing_more_is_passed_by(site: Site) -> None:
    seeded(site, "3")
    events = site.walk(("release", "2"), ("tip", "3"), ("change", "4"), installs=("requirements.txt",))
    assert skipped(events) == dict.fromkeys(("release", "tip"), "the dataset is at or past it")
    assert steps(events) == [("change", "bill.0004_f4")]


@pytest.mark.parametrize(
    ("installs", "by_change", "fault"),
    [(("requirements.txt",), True, Fault.CHANGE), ((), False, Fault.DATASET)],
    ids=["raised by the change", "released today"],
)
def test_whose_a_packages_new_migration_is(
    site: Site, installs: tuple[str, ...], by_change: bool, fault: Fault
) -> None:
    seeded(site, "2")
    events = site.walk(("tip", "3"), ("change", "4.1"), installs=installs)
    assert steps(events) == [("tip", "bill.0003_f3")]
    file = "site-packages/bill/migrations/0004_f4.py"
    assert told(events) == {"bill.0004_f4": {"file": file, "by_change": by_change}}
    found = site.verdict()
    assert {message.code for message in found.messages} == {"migration_unfinished", "migration_raised"}
    assert {message.fault for message in found.messages} == {fault} and found.messages[0].file.endswith("0004_f4.py")


def test_an_app_that_the_change_installs_is_the_changes(site: Site) -> None:
    seeded(site, "3")
    events = site.walk(("tip", "3"), ("change", "3"), apps=[*APPS, "django.contrib.sites"])
    assert skipped(events) == {"tip": "the dataset is at or past it"}
    assert {name: facts["by_change"] for name, facts in told(events).items()} == {
        "sites.0001_initial": True,
        "sites.0002_alter_domain_unique": True,
    }
    assert site.verdict().outcome.name == "SUCCESS"


def test_what_the_change_brings_and_does_not_install_is_not_run(site: Site) -> None:
    seeded(site, "3")
    events = site.walk(("tip", "3"), ("change", "4"), apps=[], installs=("requirements.txt",))
    assert steps(events) == []
    assert told(events)["bill.0004_f4"]["by_change"] is True
    assert next(message.code for message in site.verdict().messages) in ("change_not_run", "version_mismatch")
    # without anything new there, to install an app no more is nobody's business
    events = site.walk(("tip", "3"), ("change", "3"), apps=[])
    assert not told(events) and events[-1]["version"] == events[-1]["expected"]


def test_a_site_without_migrations_of_its_own(site: Site) -> None:
    site.own = False
    seeded(site, "1")
    events = site.walk(("tip", "2"), ("change", "3"), installs=("requirements.txt",))
    assert steps(events) == [("tip", "bill.0002_f2"), ("change", "bill.0003_f3")]
    assert site.verdict().outcome.name == "SUCCESS"


def test_a_dataset_of_newer_packages_is_past_a_release(site: Site) -> None:
    seeded(site, "5")  # its first three migrations were folded into one
    events = site.walk(("release", "3"), ("tip", "5"), ("change", "5"))
    assert steps(events) == []
    assert set(skipped(events)) == {"release", "tip"}


def test_an_app_that_only_a_past_release_installs_is_not_on_the_way(site: Site) -> None:
    seeded(site, "3")
    settings = SETTINGS.format(apps=["people", *APPS, "django.contrib.sites"])
    events = site.walk(("release", "2"), ("tip", "3"), ("change", "3"), release=settings)
    assert steps(events) == [] and set(skipped(events)) == {"release", "tip"}


def test_a_change_that_cannot_be_asked_does_not_hide_what_is_merged(site: Site) -> None:
    seeded(site, "1")
    events = site.walk(("tip", "2"), ("change", "2"), change="import no_such_module\n")
    assert steps(events) == [("tip", "bill.0002_f2")]
    error = alembic_toy.error(events)
    assert (error["code"], error["stage"]) == ("import_failed", "change")


def test_a_release_that_cannot_be_asked(site: Site) -> None:
    seeded(site, "1")
    events = site.walk(("release", "2"), ("tip", "3"), ("change", "3"), release="import no_such_module\n")
    assert "no_such_module" in skipped(events)["release"]
    assert steps(events) == [("tip", "bill.0002_f2"), ("tip", "bill.0003_f3")]

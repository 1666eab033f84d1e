# SPDX-License-Identifier: Apache-2.0
"""Whole jobs of a Django site without migrations of its own: its releases differ in a requirement alone."""

import shutil
from pathlib import Path

import pytest

from tests.kit.bills import VERSIONS, add_wheel
from tests.kit.git_server import Repository
from tests.kit.installation import World

from .test_tools import Project, rows

SETTINGS = """SECRET_KEY = "x"
INSTALLED_APPS = ["bill"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "x.db"}}
"""
SEED = """
CREATE TABLE django_migrations (id bigint PRIMARY KEY AUTO_INCREMENT, app varchar(255) NOT NULL,
  name varchar(255) NOT NULL, applied datetime(6) NOT NULL);
INSERT INTO django_migrations (app, name, applied) VALUES ('bill', '0001_initial', NOW());
CREATE TABLE bill_bill (id int PRIMARY KEY AUTO_INCREMENT);
"""


def requirement(version: str) -> dict[str, str]:
    return {"requirements.txt": f"./wheels/bill-{version}-py3-none-any.whl\n"}


@pytest.fixture(scope="module")
def site(world: World, tmp_path_factory: pytest.TempPathFactory) -> Project:
    index = tmp_path_factory.mktemp("index")
    wheels = Repository(world.root / "served" / "org" / "site").folder / "wheels"
    wheels.mkdir()
    for version in ("2", "3", "4", "4.1"):
        add_wheel(index, version, VERSIONS[version])
        shutil.copy(Path(index, "simple", "bill", f"bill-{version}-py3-none-any.whl"), wheels)
    profile = {
        "install": {"packages": ["django>=4.2,<5", "pymysql>=1.1"], "project": "none"},
        "migrations": {"tool": "django", "settings": "site_settings"},
    }
    made = Project(world, "site", {"site_settings.py": SETTINGS, **requirement("2")}, profile)
    made.repository.git("checkout", "--quiet", "master")
    made.repository.commit(requirement("3"), "Take the next version")
    made.dataset({"": SEED})
    return made


def test_what_releases_and_the_branch_bring_is_theirs(site: Project) -> None:
    document = site.job({"README": "x"})
    assert rows(document) == [
        ("stable/1", "bill.0001_initial", "bill.0002_f2"),
        ("master", "bill.0002_f2", "bill.0003_f3"),
    ]
    (dataset,) = document["datasets"]
    assert dataset["final"] == dataset["expected"] == "bill.0003_f3"
    assert not any(row["by_change"] for row in dataset["migrations"])


def test_what_the_change_brings_is_the_changes(site: Project) -> None:
    document = site.job(requirement("4.1"), 1)
    assert rows(document)[-1] == ("change", "bill.0003_f3", "bill.0004_f4")
    raised = next(message for message in document["messages"] if message["code"] == "migration_raised")
    assert raised["file"].endswith("bill/migrations/0004_f4.py") and raised["fault"] == "change"
    (dataset,) = document["datasets"]
    assert [row["by_change"] for row in dataset["migrations"]] == [False, False, True]

# SPDX-License-Identifier: Apache-2.0
"""A project's profile: its defaults, and what it may hold."""

import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.th_core.step import StepError

from tests.kit import ROOT, load_module

module = load_module("project", "project_profile")

COMMAND = {"tool": "command", "command": ["x-manage", "sync", "{version}"], "version_locations": ["x/versions"]}


def load(tmp_path: Path, profile: Any) -> dict[str, Any]:
    path = tmp_path / "org" / "name.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(profile if isinstance(profile, str) else yaml.safe_dump(profile, sort_keys=False))
    return dict(module.load(tmp_path, "org/name"))


def test_the_shortest_profile_gets_all_defaults(tmp_path: Path) -> None:
    profile = load(tmp_path, {"migrations": {"tool": "alembic"}})
    assert profile == {
        "name": "org/name",
        "file": str(tmp_path / "org" / "name.yaml"),
        "python": "python3",
        "exclude_newer": "",
        "install": {
            "requirements": ["requirements.txt"],
            "constraints": [],
            "packages": [],
            "project": "editable",
            "extras": [],
            "environment": {},
        },
        "releases": [],
        "downgrade": False,
        "data_migrations": [],
        "databases": [
            {
                "name": "",
                "tool": "alembic",
                "config": "alembic.ini",
                "section": "alembic",
                "script_location": "",
                "version_locations": [],
                "version_table": "alembic_version",
                "version_query": "SELECT version_num FROM `alembic_version`",
                "versions": "alembic",
                "url_scheme": "mysql+pymysql",
                "url_option": "sqlalchemy.url",
                "options": {},
                "environment": {},
                "files": [],
                "workdir": ".",
                "recursive_version_locations": False,
                "heads": 1,
                "command": [],
                "downgrade_command": [],
            }
        ],
    }


@pytest.mark.parametrize(
    ("more", "table", "query"),
    [
        ({}, "alembic_version", "SELECT version_num FROM `alembic_version`"),
        ({"versions": "numbered"}, "migrate_version", "SELECT version FROM `migrate_version`"),
        ({"version_table": "a.b"}, "a.b", "SELECT version_num FROM `a`.`b`"),
        ({"version_query": "SELECT 1"}, "alembic_version", "SELECT 1"),
    ],
)
def test_a_command_knows_how_to_read_the_version(tmp_path: Path, more: dict[str, str], table: str, query: str) -> None:
    migrations = load(tmp_path, {"migrations": {**COMMAND, **more}})["databases"][0]
    assert (migrations["version_table"], migrations["version_query"]) == (table, query)


def test_the_profiles_that_are_here_are_right() -> None:
    folder = ROOT / "inventory" / "projects"
    names = [str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.yaml")]
    assert names
    for name in names:
        assert module.load(folder, name)["name"] == name


def alembic(**more: Any) -> dict[str, Any]:
    return {"migrations": {"tool": "alembic", **more}}


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        ("migrations: [", "is not YAML"),
        ("\0", "is not YAML"),
        ("- a", "must be a mapping"),
        ("", "must be a mapping"),
        ({}, "migrations: either this or databases"),
        ({"migrations": {}}, "migrations.tool: must be one of alembic, sqlalchemy_migrate, django, command"),
        ({"migrations": {"tool": "flyway"}}, "not 'flyway'"),
        (alembic(scriptlocation="x"), "migrations.scriptlocation: unknown key; known are command, config"),
        ({"migrations": COMMAND, "downgrade": True}, "migrations.downgrade_command: is missing"),
        (alembic(heads=0), "migrations.heads: must be a whole number from 1"),
        ({"migrations": {"tool": "django"}}, "migrations.settings: is missing"),
        ({"migrations": {"tool": "django", "settings": "a b"}}, "is not a module"),
        ({"migrations": {"tool": "sqlalchemy_migrate"}}, "migrations.repository: is missing"),
        ({"migrations": {"tool": "sqlalchemy_migrate", "repository": "x"}}, "must be a list"),
        ({**alembic(), "databases": {"main": {"tool": "alembic"}}}, "and not both"),
        ({"databases": {}}, "databases: must be a mapping"),
        ({"databases": {"Main": {"tool": "alembic"}}}, "'Main' is not the name of a database"),
        ({"databases": {"main": {"tool": "x"}}}, "databases.main.tool: must be one of"),
        ({"databases": {"main": {"tool": "alembic", "environment": {"A": "{url_api}"}}}}, "{url_api} is not one of"),
        ({**alembic(), "exclude_newer": "yesterday"}, "exclude_newer: 'yesterday' is not a day"),
        ({**alembic(), "downgrade": "yes"}, "downgrade: must be true or false"),
        ({**alembic(), "releases": ["x", {"name": "x", "ref": "y"}]}, "releases: x is there twice"),
        ({**alembic(), "releases": [{"ref": "x"}]}, "releases[0].name: is missing"),
        ({**alembic(), "releases": [{"name": "x", "install": {"pip": []}}]}, "releases[0].install.pip: unknown key"),
        ({**alembic(), "data_migrations": [{"name": "x", "command": []}]}, "data_migrations[0].command: must not be"),
        ({**alembic(), "data_migrations": [{"name": "x", "command": ["x"], "again": [0]}]}, "again[0]: must be"),
        ({**alembic(), "release": []}, "release: unknown key"),
        ({**alembic(), "releases": "stable/1"}, "releases: must be a list"),
        ({**alembic(), "releases": ["-x"]}, "releases[0]: '-x'"),
        ({**alembic(), "releases": [2.22]}, "releases[0]: must be a text"),
        ({**alembic(), "python": 3.11}, "python: must be a text"),
        ({**alembic(), "python": "--x"}, "python:"),
        ({**alembic(), "install": {"project": "yes"}}, "install.project: must be one of"),
        ({**alembic(), "install": {"requirements": ["/etc/passwd"]}}, "install.requirements[0]"),
        ({**alembic(), "install": {"requirements": ["a/../../x"]}}, "must be a path in the checkout"),
        ({**alembic(), "install": {"packages": ["--index-url=x"]}}, "is not a requirement"),
        ({**alembic(), "install": {"extras": ["a,b"]}}, "is not an extra"),
        ({**alembic(), "install": {"environment": {"A": 1}}}, "install.environment.A: must be a text"),
        ({**alembic(), "install": {"environment": {"A-B": "1"}}}, "is not a variable's name"),
        (alembic(environment={"URL": "{uri}"}), "{uri} is not one of database, files"),
        (alembic(environment={"URL": "{url.x}"}), "{url.x} is not one of"),
        (alembic(environment={"URL": "{url"}), "double a brace"),
        (alembic(environment={"URL": "{version}"}), "{version} is not one of"),
        (alembic(environment={"URL": "{}"}), "is not one of"),
        (alembic(files=[{"path": "../x", "content": ""}]), "migrations.files[0].path"),
        (alembic(files=[{"path": "x"}]), "migrations.files[0].content: is missing"),
        (alembic(version_table="a; DROP TABLE x"), "is not a table's name"),
        (alembic(url_scheme="mysql://"), "migrations.url_scheme"),
        ({"migrations": {"tool": "command", "version_locations": ["x"]}}, "migrations.command: is missing"),
        ({"migrations": {**COMMAND, "command": []}}, "migrations.command: must not be empty"),
        ({"migrations": {**COMMAND, "command": "x"}}, "migrations.command: must be a list"),
    ],
)
def test_a_wrong_profile_is_refused_with_file_and_key(tmp_path: Path, profile: Any, words: str) -> None:
    with pytest.raises(StepError) as caught:
        load(tmp_path, profile)
    assert caught.value.code == "profile_wrong"
    assert str(tmp_path / "org" / "name.yaml") in caught.value.detail
    assert words in caught.value.detail
    assert "\n" not in caught.value.detail


@pytest.mark.parametrize("project", ["org/other", "org", "../x", "a/../b", "/etc/passwd", "", "-x", "org/name/x"])
def test_a_project_without_a_profile(tmp_path: Path, project: str) -> None:
    load(tmp_path, alembic())
    with pytest.raises(StepError) as caught:
        module.load(tmp_path, project)
    assert caught.value.code == "no_profile"


def test_the_jobs_folders_are_for_the_owner_alone(tmp_path: Path) -> None:
    job_dir = tmp_path / "jobs" / "1"
    assert module.make_folders(job_dir)
    assert not module.make_folders(job_dir)
    for path in (job_dir, job_dir / "artifacts", job_dir / "results"):
        assert path.stat().st_mode & 0o777 == 0o700


def test_the_times_of_an_earlier_run_by_a_worker_are_forgotten(tmp_path: Path) -> None:
    module.make_folders(tmp_path)
    times = tmp_path / "artifacts" / "times.json"
    times.write_text("{}")
    module.make_folders(tmp_path)
    assert not times.exists()


def test_several_databases_know_each_other(tmp_path: Path) -> None:
    api = {"tool": "alembic", "environment": {"MAIN": "{url_main}", "OWN": "{url}", "SCHEMA": "{database_main}"}}
    main = {"tool": "sqlalchemy_migrate", "repository": ["a/migrate_repo", "b/migrate_repo"]}
    databases = load(tmp_path, {"databases": {"main": main, "api": api}})["databases"]
    assert [(one["name"], one["tool"], one["versions"]) for one in databases] == [
        ("main", "sqlalchemy_migrate", "numbered"),
        ("api", "alembic", "alembic"),
    ]
    assert databases[0]["version_locations"] == ["a/migrate_repo/versions", "b/migrate_repo/versions"]


def test_a_release_has_what_holds_for_all_but_for_what_it_says_itself(tmp_path: Path) -> None:
    old = {
        "name": "stable/victoria",
        "ref": "victoria-eol",
        "python": "python3.8",
        "exclude_newer": datetime.date(2022, 1, 15),
        "install": {"packages": ["sqlalchemy<1.4"]},
    }
    profile = {**alembic(), "install": {"extras": ["db"]}, "releases": [old, "stable/zed"]}
    first, second = load(tmp_path, profile)["releases"]
    assert (first["ref"], first["python"], first["exclude_newer"]) == ("victoria-eol", "python3.8", "2022-01-15")
    assert (first["install"]["packages"], first["install"]["extras"]) == (["sqlalchemy<1.4"], ["db"])
    assert (second["ref"], second["python"], second["exclude_newer"]) == ("stable/zed", "python3", "")
    assert (second["install"]["packages"], second["install"]["extras"]) == ([], ["db"])


def test_a_django_project_has_the_versions_of_its_apps(tmp_path: Path) -> None:
    (database,) = load(tmp_path, {"migrations": {"tool": "django", "settings": "shop.settings"}})["databases"]
    assert database["versions"] == "django"
    assert database["version_query"] == "SELECT CONCAT(app, '.', name) FROM `django_migrations`"

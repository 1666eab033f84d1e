# SPDX-License-Identifier: Apache-2.0
"""What can be known of a project before there is a job: does its profile fit its repository, are its dumps whole?"""

import gzip
import lzma
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.th_tools.profile import check_profile

from tests.kit import load_module, toy
from tests.kit.git_server import Repository
from tests.kit.waiting import free_port

repository_module = load_module("checkout", "check_repository")
dumps_module = load_module("restore_datasets", "check_dumps")

ALEMBIC = {"tool": "alembic", "config": "", "script_location": "migrations"}
HEAD = b"-- MariaDB dump 10.19  Distrib 10.11.6-MariaDB\nCREATE TABLE t (a int);\n"
WHOLE = HEAD + b"-- Dump completed on 2026-01-01\n"


class Project:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.repository = Repository(root / "served" / "org" / "project")
        self.repository.commit({"migrations/versions/a1_.py": toy.migration("a1", None)})
        self.repository.git("branch", "stable/1")
        (root / "job" / "results").mkdir(parents=True)

    def look(self, url: str = "", **profile: Any) -> dict[str, Any]:
        file = self.root / "profile.yaml"
        document = {"name": "org/project", "file": str(file), **check_profile({"migrations": ALEMBIC, **profile})}
        params = {
            "profile": document, "url": url or str(self.root / "served"), "job_dir": str(self.root / "job"),
            "mirrors_dir": str(self.root / "mirrors"), "fetch_time_limit": 60.0, "log_limit": 1 << 20,
        }  # fmt: skip
        report: dict[str, Any] = repository_module.report_of(params)
        return report


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_what_fits(project: Project) -> None:
    found = project.look(releases=["stable/1", {"name": "one", "ref": "stable/1"}])
    assert (found["problems"], found["releases"], found["migrations"]) == ([], ["stable/1", "one"], 1)
    assert found["branch"] == "master"


@pytest.mark.parametrize(
    ("migrations", "said"),
    [
        ({**ALEMBIC, "script_location": "db"}, "migrations: there is no migration in db/versions of master"),
        ({"tool": "alembic"}, "neither the profile nor alembic.ini of master says where migrations are"),
        ({"tool": "sqlalchemy_migrate", "repository": ["a", "b"]}, "of master"),
        ({"tool": "django", "settings": "shop.settings"}, "master has no app with migrations"),
        ({"tool": "command", "command": ["x"], "version_locations": ["v"]}, "no migration in v of master"),
    ],
)
def test_a_profile_that_names_no_migrations(project: Project, migrations: dict[str, Any], said: str) -> None:
    (problem,) = project.look(migrations=migrations)["problems"]
    assert problem["code"] == "profile_wrong" and not problem["warning"]
    assert said in problem["detail"] and "profile.yaml" in problem["detail"] and problem["remedy"]


def test_a_release_that_is_not_there_and_one_without_migrations(project: Project) -> None:
    project.repository.git("checkout", "-q", "--orphan", "stable/0")
    project.repository.git("rm", "-rfq", ".")
    project.repository.git("commit", "-q", "--allow-empty", "-m", "Before there was a database")
    project.repository.git("checkout", "-q", "-f", "master")
    gone, empty = project.look(releases=["stable/7", "stable/0"])["problems"]
    assert "has no branch and no tag stable/7" in gone["detail"] and not gone["warning"]
    assert "of stable/0" in empty["detail"] and empty["warning"]


@pytest.mark.parametrize("kind", ["folder", "port", "password"])
def test_a_repository_that_cannot_be_fetched_says_gits_reason(project: Project, kind: str) -> None:
    port = free_port()
    url = {"folder": "/nowhere", "port": f"http://127.0.0.1:{port}", "password": f"http://u:hidden@127.0.0.1:{port}"}
    (problem,) = project.look(url[kind])["problems"]
    assert ("does not " if kind == "folder" else "connect") in problem["detail"].lower()
    assert "hidden" not in str(problem) and problem["remedy"]


def test_a_mirror_that_cannot_be_made(project: Project) -> None:
    (project.root / "mirrors").write_text("a file")
    (problem,) = project.look()["problems"]
    assert str(project.root / "mirrors") in problem["detail"]


@pytest.mark.parametrize(
    ("name", "content", "state", "said"),
    [
        ("a.sql", WHOLE, "whole", ""),
        ("a.sql", HEAD, "broken", "cut off"),
        ("a.sql", b"", "broken", "empty"),
        ("a.sql.gz", gzip.compress(b"", mtime=0), "broken", "empty"),
        ("a.sql", b"CREATE TABLE t (a int);\n", "unknown", "whole"),
        ("a.sql.gz", gzip.compress(WHOLE, mtime=0), "whole", ""),
        ("a.sql.gz", gzip.compress(WHOLE, mtime=0)[:-9], "broken", "unexpected end of file"),
        ("a.sql.gz", gzip.compress(HEAD, mtime=0), "broken", "cut off"),
        ("a.sql.gz", WHOLE, "broken", "not in gzip format"),
        ("a.sql.xz", lzma.compress(WHOLE), "whole", ""),
        ("a.sql.xz", lzma.compress(WHOLE)[:-9], "broken", "Unexpected end"),
        ("a.tar", WHOLE, "broken", ".sql"),
    ],
)
def test_a_dump_is_read_to_its_end(tmp_path: Path, name: str, content: bytes, state: str, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    (found,) = dumps_module.report([{"path": str(tmp_path / name), "database": "d"}], 60.0)
    assert found["path"] == str(tmp_path / name)
    assert (found["state"], said in found["reason"]) == (state, True), found


def test_no_row_of_a_dump_is_told(tmp_path: Path) -> None:
    secret = b"INSERT INTO t VALUES ('somebody@example.org');\n"
    (tmp_path / "a.sql").write_bytes(HEAD + secret)
    (tmp_path / "b.sql.gz").write_bytes(gzip.compress(HEAD + secret * 9)[:-20])
    found = dumps_module.report([{"path": str(path)} for path in sorted(tmp_path.iterdir())], 60.0)
    assert [one["state"] for one in found] == ["broken", "broken"] and "somebody" not in str(found)


def test_a_dump_that_takes_too_long_is_not_called_broken(tmp_path: Path) -> None:
    (tmp_path / "a.sql").write_bytes(WHOLE)
    (found,) = dumps_module.report([{"path": str(tmp_path / "a.sql")}], 1e-9)
    assert found["state"] == "unknown" and "was not read to its end" in found["reason"]
    (gone,) = dumps_module.report([{"path": str(tmp_path / "b.sql")}], 1.0)
    assert gone["state"] == "broken" and "No such file" in gone["reason"]

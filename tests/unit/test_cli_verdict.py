# SPDX-License-Identifier: Apache-2.0
"""`th verdict`: the verdict again, from a job's folder or a published one."""

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import yaml

from tests.kit.recorded_walks import case
from worker.cli.main import th

JOB = {
    "th_job": {"id": "8d1b", "name": "gate", "project": "library/catalog", "change": "42", "patchset": "3",
               "url": "https://me:secret@git.example.org", "zuul": {"ZUUL_URL": "https://me:secret@git.example.org"}},
    "th_job_dir": "/var/lib/turbo-hipster/jobs/8d1b",
    "th_datasets": [{"name": "user_001", "config": "/etc/user_001.json"}],
}  # fmt: skip


def folder(tmp_path: Path, name: str, job: Any = JOB) -> Path:
    shutil.copytree(case(name).artifacts, tmp_path / "artifacts")
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "status", "last"),
    [
        ("success", 0, "SUCCESS: "),
        ("migration_raised", 1, "FAILURE (change's fault): "),
        ("too_long", 1, "WARNING (change's fault): "),
        ("seed_missing", 3, "INFRASTRUCTURE (not the change's fault, but the dataset's): "),
    ],
)
def test_the_verdict_is_the_last_line_and_the_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, status: int, last: str
) -> None:
    assert th(["verdict", str(folder(tmp_path, name))]) == status
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1].startswith(last)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["artifacts", "job.yaml"], "nothing is written"


def test_all_datasets_of_the_job_have_to_be_there(tmp_path: Path) -> None:
    more = {**JOB, "th_datasets": [*JOB["th_datasets"], {"name": "user_002"}]}
    assert th(["verdict", str(folder(tmp_path, "success", more))]) == 3


def test_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert th(["verdict", "--json", str(folder(tmp_path, "migration_raised"))]) == 1
    printed = capsys.readouterr().out
    document = json.loads(printed)
    assert (document["result"], document["job"]["change"]) == ("FAILURE", "42")
    assert "secret" not in printed


def test_written_into_a_published_folder(tmp_path: Path) -> None:
    former = {"url": "https://logs.example.org/42/", "started": "2026-11-23T18:16:00.123Z", "seconds": 75.5}
    (tmp_path / "result.json").write_text(json.dumps(former))
    assert th(["verdict", "--write", str(folder(tmp_path, "success"))]) == 0
    document = json.loads((tmp_path / "result.json").read_text())
    assert {key: document[key] for key in former} == former, "what the job's own report knew still holds"
    assert "SUCCESS" in (tmp_path / "index.html").read_text()
    again = (tmp_path / "index.html").read_bytes()
    assert th(["verdict", "--write", str(tmp_path)]) == 0
    assert (tmp_path / "index.html").read_bytes().count(b"<h1>") == again.count(b"<h1>") == 1


def test_written_into_a_jobs_folder(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    assert th(["verdict", "--write", str(folder(tmp_path, "success"))]) == 0
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["index.html", "result.json"]
    assert not (tmp_path / "index.html").exists()


@pytest.mark.parametrize(
    ("job", "said"),
    [
        ("", "th_job: is missing"),
        ([1], "must hold a mapping"),
        ({"th_job": 5}, "th_job: is missing"),
        ({**JOB, "th_datasets": 5}, "th_datasets"),
        ({"th_job": {**JOB["th_job"], "plugin": "gate_real_db_upgrade"}}, "th_datasets"),
        ({**JOB, "th_datasets": ["user_001"]}, "th_datasets"),
        ({**JOB, "th_datasets": [{"config": "x"}]}, "th_datasets"),
    ],
)
def test_a_job_file_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str], job: Any, said: str) -> None:
    folder(tmp_path, "success")
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job) if job else "")
    assert th(["verdict", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert said in error and "job.yaml" in error
    assert error.count("\n") == 1


def test_a_folder_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert th(["verdict", str(tmp_path / "none")]) == 2
    assert "name a job's folder" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["verdict"], ["history", "import", "/dev/null", "--out"]])
def test_a_folder_that_may_not_be_entered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    refused = PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(tmp_path / "artifacts"))
    for name in ("stat", "listdir", "mkdir"):
        monkeypatch.setattr(os, name, Mock(side_effect=refused))
    status = th([*command, str(tmp_path)])
    monkeypatch.undo()
    assert status == 2
    said = capsys.readouterr().err
    assert str(tmp_path) in said and "Permission denied" in said


def test_a_folder_without_job_yaml(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "artifacts").mkdir()
    assert th(["verdict", str(tmp_path)]) == 2
    assert "job.yaml: cannot be read" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder(tmp_path, "success")

    def replace(source: str, target: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(target))

    monkeypatch.setattr(os, "replace", replace)
    assert th(["verdict", "--write", str(tmp_path)]) == 2
    assert "result.json: cannot be written" in capsys.readouterr().err

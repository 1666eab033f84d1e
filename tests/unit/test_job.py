# SPDX-License-Identifier: Apache-2.0
"""One job with playbooks that are played by the test: when it is tried a second time, and what is left of the first."""

import errno
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import yaml

from tests.kit.recorded_walks import case
from worker import job
from worker.cli import main
from worker.config import Config, config
from worker.job import Job, JobResult
from worker.job_end import SHUTDOWN, STOP
from worker.progress import Progress
from worker.request import Request
from worker.runner import PlaybookRun
from worker.verdict.artifacts import read
from worker.verdict.run_times import RunTimes, TaskTime

ARGUMENTS = {
    "ZUUL_UUID": "8d1b", "ZUUL_PROJECT": "library/catalog", "ZUUL_PIPELINE": "check", "ZUUL_URL": "git://localhost",
    "ZUUL_REF": "refs/zuul/master/Z5a1", "ZUUL_BRANCH": "master", "ZUUL_CHANGE": "42", "ZUUL_PATCHSET": "3",
    "LOG_PATH": "42/42/3/check/gate/8d1b",
}  # fmt: skip
DATASET = {
    "project": "library/catalog", "type": "mysql", "db_user": "u", "db_pass": "p", "database": "d",
    "seed_data": "seed.sql",
}  # fmt: skip

Act = Callable[[Path], PlaybookRun]


def leaves(name: str, status: str = "successful") -> Act:
    """A playbook that leaves the artifacts of a recorded case."""

    def act(folder: Path) -> PlaybookRun:
        errors = folder / "artifacts" / "errors.jsonl"
        told = errors.read_text() if errors.exists() else ""
        errors.unlink(missing_ok=True)
        shutil.copytree(case(name).artifacts, folder / "artifacts", dirs_exist_ok=True)
        errors.write_text(told + (errors.read_text() if errors.exists() else ""))
        (folder / "src").mkdir()
        (folder / "results" / "git_prep.log").write_text(f"{name}\n")
        return PlaybookRun(status, {"successful": 0, "failed": 2}.get(status, 254), "a task", "a reason")

    return act


class Stage:
    """An installation whose playbooks are `acts`, one a try; `published` is what the upload got."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.acts, self.limits = root, list[Act](), list[int]()
        self.told: list[Progress] = []
        self.published, self.uploads = root / "published", list[str]()
        (root / "datasets" / "user_001").mkdir(parents=True)
        (root / "datasets" / "user_001" / "config.json").write_text(json.dumps(DATASET))
        (root / "datasets" / "user_001" / "seed.sql").write_text("")
        (root / "projects" / "library").mkdir(parents=True)
        (root / "projects" / "library" / "catalog.yaml").write_text("{}")
        monkeypatch.setattr(job, "RETRY_PAUSE", 0.01)
        monkeypatch.setattr(job.runner, "run", self.play)

    def config(self, **keys: Any) -> Config:
        document = {
            "zuul_server": {"gearman_host": "embedded", "gearman_port": 4730},
            "jobs_working_dir": str(self.root / "jobs"), "projects_dir": str(self.root / "projects"),
            "jobs": [{"name": "gate", "plugin": "gate_real_db_upgrade", "datasets_dir": str(self.root / "datasets")}],
            "publish_logs": {"type": "local", "path": str(self.root / "logs"), "prepend_url": "http://logs"},
            **keys,
        }  # fmt: skip
        (self.root / "config.yaml").write_text(yaml.safe_dump(document))
        return config.load(self.root / "config.yaml")

    def play(self, playbook: Path, *, job_yaml: Path, time_limit: int, **_: Any) -> PlaybookRun:
        """What stands in for ansible-runner."""
        if playbook.name == "upload-logs.yaml":
            status = self.uploads.pop(0) if self.uploads else "successful"
            if status == "successful":
                shutil.copytree(job_yaml.parent / "results", self.published)
            return PlaybookRun(status, 0, "Publish", "a network file system that is away")
        self.limits.append(time_limit)
        return self.acts.pop(0)(job_yaml.parent)

    def job(self, *acts: Act, **keys: Any) -> Job:
        self.acts = list(acts)
        settings = self.config(**keys)
        return Job(settings, settings.jobs[0], Request.parse("gate", "8d1b", json.dumps(ARGUMENTS)), self.told.append)

    def run(self, *acts: Act, **keys: Any) -> JobResult:
        result = self.job(*acts, **keys).run()
        assert not self.acts, "not all of it was played"
        assert list((self.root / "jobs").iterdir()) == []
        return result

    def document(self, *folders: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.published.joinpath(*folders, "result.json").read_text())
        return document


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("git_unreachable", "git_unreachable"),
        ("index_unreachable", "index_unreachable"),
        ("server_failed", "server_failed"),
        ("server_died", "server_died"),
        ("server_out_of_memory", "server_out_of_memory"),
        ("server_unreachable", "server_unreachable"),
        ("not_tested_to_the_end", "not_tested"),
    ],
)
def test_trouble_of_ours_is_tried_once_more(stage: Stage, name: str, code: str) -> None:
    result = stage.run(leaves(name), leaves("success"))
    assert result.verdict.gearman_result() == "SUCCESS"
    document = stage.document()
    assert (document["result"], [item["code"] for item in document["first_try"]]) == ("SUCCESS", [code])
    assert document["notes"][0].startswith("This is the second try.")
    assert stage.document("first-try")["messages"][0]["code"] == code
    assert (stage.published / "first-try" / "git_prep.log").read_text() == f"{name}\n"
    assert (stage.published / "git_prep.log").read_text() == "success\n"
    kept = read(stage.published / "first-try" / "artifacts")
    assert (kept.checkout is None) == (name in ("git_unreachable", "index_unreachable"))
    assert (stage.published / "first-try" / "index.html").is_file()


def test_where_the_time_went_is_published_and_adds_up(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(job, "RETRY_PAUSE", 0.0)
    task = TaskTime("A play", "checkout", "Fetch the change", False, 0.001, 1)

    def measured(name: str) -> Act:
        act = leaves(name)
        return lambda folder: replace(act(folder), times=RunTimes(0.003, 0.001, (task,)))

    result = stage.run(measured("git_unreachable"), measured("success"))
    first, document = stage.document("first-try"), stage.document()
    assert [part["part"] for part in first["times"]["parts"]] == ["checkout", "other"]
    assert [part["part"] for part in document["times"]["parts"]] == ["first_try", "checkout", "other"]
    for one in (first, document):
        parts = [part["seconds"] for part in one["times"]["parts"]]
        assert sum(parts) == pytest.approx(one["seconds"], abs=0.01)
    assert main.th(["verdict", "--json", str(stage.published)]) == 0
    assert json.loads(capsys.readouterr().out)["times"] == document["times"]
    assert 0 < result.upload_seconds < result.seconds


def test_times_that_cannot_be_written_are_left_out(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.job_end.run_times.as_document", Mock(side_effect=OSError(errno.ENOSPC, "full")))
    act = leaves("success")
    result = stage.run(lambda folder: replace(act(folder), times=RunTimes(1.0, 0.5, ())))
    assert result.verdict.outcome.name == "SUCCESS"
    assert stage.document()["times"] is None


def test_the_second_try_is_the_last_and_zuul_is_given_no_result(stage: Stage) -> None:
    result = stage.run(leaves("git_unreachable"), leaves("git_unreachable"))
    assert result.verdict.gearman_result() is None
    assert result.summary_lines[0].startswith("INFRASTRUCTURE (not the change's fault, but the machine's): ")
    assert stage.document()["ours"] is True
    assert len(stage.limits) == 2


def test_the_second_try_finds_what_the_change_does(stage: Stage) -> None:
    result = stage.run(leaves("server_died"), leaves("migration_raised"))
    assert result.verdict.outcome.name == "FAILURE" and result.verdict.fault.value == "change"
    assert [message["code"] for message in stage.document()["messages"]] == ["migration_unfinished", "migration_raised"]


@pytest.mark.parametrize(
    "name",
    ["success", "migration_raised", "disk_full", "profile_wrong", "seed_missing", "seed_broken", "seed_changed",
     "version_unknown", "artifacts_damaged", "too_long"],
)  # fmt: skip
def test_what_a_second_try_cannot_change_is_not_tried_again(stage: Stage, name: str) -> None:
    stage.run(leaves(name))
    assert stage.document()["first_try"] == []
    assert not (stage.published / "first-try").exists()


def test_without_room_in_the_time_limit_there_is_no_second_try(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 10_000, 40))
    monkeypatch.setattr(job.time, "monotonic", lambda: float(next(clock)))
    assert stage.run(leaves("git_unreachable"), job_time_limit=60).verdict.gearman_result() is None
    assert stage.limits == [60]


def test_both_tries_together_have_the_time_limit(stage: Stage) -> None:
    result = stage.run(leaves("git_unreachable"), leaves("canceled", "timeout"), job_time_limit=600)
    assert stage.limits[0] == 600 and 590 <= stage.limits[1] < 600
    codes = [message.code for message in result.verdict.messages]
    assert "retry_timed_out" in codes and "job_timed_out" not in codes
    assert result.verdict.gearman_result() is None, "not the change's fault: the first try had used the time"


def test_the_first_try_may_be_too_long_by_itself(stage: Stage) -> None:
    result = stage.run(leaves("canceled", "timeout"), job_time_limit=600)
    assert "job_timed_out" in [message.code for message in result.verdict.messages]


@pytest.mark.parametrize(("reason", "answer"), [(STOP, "CANCELED"), (SHUTDOWN, None)])
def test_a_job_that_is_stopped_is_not_tried_again(stage: Stage, reason: str, answer: str | None) -> None:
    made: list[Job] = []

    def act(folder: Path) -> PlaybookRun:
        made[0].cancel(reason)
        return leaves("git_unreachable", "failed")(folder)

    made.append(stage.job(act))
    result = made[0].run()
    assert result.verdict.gearman_result() == answer
    assert stage.limits == [14400] and not (stage.published / "first-try").exists()


def test_with_a_dataset_that_would_fail_again_there_is_no_second_try(stage: Stage) -> None:
    broken = stage.root / "datasets" / "user_009.json"
    broken.write_text(json.dumps({**DATASET, "type": "oracle"}))
    stage.run(leaves("git_unreachable"))
    assert stage.document()["first_try"] == []
    codes = {message["code"] for message in stage.document()["messages"]}
    assert codes == {"git_unreachable", "seed_broken"}


def test_the_progress_never_goes_back(stage: Stage) -> None:
    stage.run(leaves("git_unreachable"), leaves("success"))
    percents = [progress.percent for progress in stage.told]
    assert percents == sorted(percents)
    assert "trying once more: git_unreachable" in [progress.text for progress in stage.told]


def test_nothing_of_the_first_try_is_left_where_the_second_works(stage: Stage) -> None:
    seen: list[list[str]] = []

    def act(folder: Path) -> PlaybookRun:
        seen.append(sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")))
        return leaves("success")(folder)

    stage.run(leaves("git_unreachable"), act)
    assert seen == [["artifacts", "job.yaml", "results", "runner", "tmp"]]


@pytest.mark.parametrize(
    ("uploads", "zuul", "url"),
    [
        (["failed", "successful"], "SUCCESS", "http://logs/42/42/3/check/gate/8d1b/"),
        (["failed", "failed"], "SUCCESS", ""),
        (["timeout"], "SUCCESS", ""),
    ],
)
def test_an_upload_that_fails_is_tried_once_more(stage: Stage, uploads: list[str], zuul: str | None, url: str) -> None:
    stage.uploads = list(uploads)
    result = stage.run(leaves("success"))
    assert (result.verdict.gearman_result(), result.url, stage.uploads) == (zuul, url, [])
    late = [(message.code, message.counts) for message in result.verdict.messages]
    assert late == ([] if url else [("upload_failed", False)]), "a verdict is not taken back by what comes after it"


def test_without_a_sandbox_nothing_of_the_change_is_run(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked before each job: what was there when the worker started may be gone."""
    monkeypatch.setattr(job.sandbox, "problem", lambda: "bubblewrap is not installed; install it")
    result = stage.run()
    assert [(message.code, message.detail) for message in result.verdict.messages] == [
        ("sandbox_unavailable", "bubblewrap is not installed; install it")
    ]
    assert result.verdict.gearman_result() is None and result.url == "http://logs/42/42/3/check/gate/8d1b/"
    assert stage.document()["first_try"] == []
    stage.published = stage.root / "unconfined"
    assert stage.run(leaves("success"), sandbox="none").verdict.gearman_result() == "SUCCESS"


@pytest.mark.parametrize("keys", [{}, {"sandbox": "none"}])
def test_the_playbooks_are_told_of_the_sandbox_and_readers_are_not(stage: Stage, keys: dict[str, str]) -> None:
    """Who does a job again has a sandbox, whatever this worker's was."""
    told: list[str] = []

    def act(folder: Path) -> PlaybookRun:
        told.append(yaml.safe_load((folder / "job.yaml").read_text())["sandbox"])
        return leaves("success")(folder)

    stage.run(act, **keys)
    assert told == [keys.get("sandbox", "bubblewrap")]
    assert "sandbox" not in yaml.safe_load((stage.published / "job.yaml").read_text())

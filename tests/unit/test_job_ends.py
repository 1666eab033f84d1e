# SPDX-License-Identifier: Apache-2.0
"""What comes after a verdict never takes it back: full disks, defects, an upload that hangs, a worker that ends."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.kit import ROOT
from tests.unit.test_job import ARGUMENTS, Stage, leaves
from worker import job, job_end
from worker.cli import run
from worker.job import JobResult
from worker.job_end import SHUTDOWN, STOP
from worker.request import Request
from worker.runner import PlaybookRun
from worker.verdict import AFTERWARDS

FULL = OSError(28, os.strerror(28), "/jobs/8d1b/results/index.html")
ODD = RuntimeError("a defect")
REQUEST = Request.parse("gate", "8d1b", json.dumps(ARGUMENTS))


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(tmp_path, monkeypatch)


def fails(error: Exception) -> Callable[..., Any]:
    def failing(*_: object, **__: object) -> None:
        raise error

    return failing


SEAMS = ["publish.collect", "render.write", "runner.run", "publish.documents.write_anew", "publish.shutil.copytree"]


@pytest.mark.parametrize("error", [FULL, PermissionError(13, "Permission denied"), ODD], ids=lambda error: str(error))
@pytest.mark.parametrize("seam", SEAMS)
@pytest.mark.parametrize(
    ("name", "zuul"), [("migration_raised", "FAILURE"), ("success", "SUCCESS"), ("too_long", "WARNING")]
)
def test_a_verdict_is_not_lost_to_what_fails_after_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, name: str, zuul: str, seam: str, error: Exception
) -> None:
    def act(folder: Path) -> PlaybookRun:
        end = leaves(name)(folder)
        monkeypatch.setattr(f"worker.{'job_end' if 'runner' not in seam else 'job'}.{seam}", fails(error))
        return end

    result = stage.job(act).run()
    told = result.verdict.gearman_result()
    assert told is not None and told.startswith(zuul)
    late = [message for message in result.verdict.messages if message.excuse == AFTERWARDS]
    assert late and not any(message.counts for message in late)
    assert set(result.summary_lines) >= {message.text for message in late}, "what failed is told as well"
    assert list((stage.root / "jobs").iterdir()) == []


@pytest.mark.parametrize("error", [FULL, ODD], ids=["full", "defect"])
def test_a_folder_that_cannot_be_removed_takes_no_verdict_back(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr("worker.job_dir._remove", fails(error))
    result = stage.job(leaves("migration_raised")).run()
    assert (result.verdict.gearman_result() or "").startswith("FAILURE") and result.url


def test_what_ends_ansible_runner_does_not_end_the_evidence(stage: Stage) -> None:
    """It writes files of its own, on the same disk."""

    def act(folder: Path) -> PlaybookRun:
        leaves("migration_raised")(folder)
        raise FULL

    result = stage.run(act)
    assert (result.verdict.gearman_result() or "").startswith("FAILURE")
    assert "disk_full" in [message.code for message in result.verdict.messages]


def test_what_the_worker_cannot_write_down_counts_all_the_same(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.job_dir.JobDir.report", fails(FULL))
    result = stage.run(leaves("canceled", "timeout"))
    assert "job_timed_out" in [message.code for message in result.verdict.messages]


def test_a_full_disk_before_the_verdict_is_called_so(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.job_dir.JobDir.write_job_yaml", fails(FULL))
    result = stage.run()
    assert result.verdict.gearman_result() is None
    counting = [message for message in result.verdict.messages if message.counts]
    assert [(message.code, message.fault.value) for message in counting] == [("disk_full", "machine")]


ON_A_FULL_DISK = """
import json, sys
from pathlib import Path
import pytest
from tests.unit.test_job import Stage, leaves

root, name, keep = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
stage = Stage(root / "stage", pytest.MonkeyPatch())

def act(folder):
    end = leaves(name)(folder)
    (folder / "db").mkdir()
    with open(folder / "db" / "ibdata1", "wb", buffering=0) as stream:
        try:
            while stream.write(bytes(4096)):
                pass
        except OSError as error:
            assert error.errno == 28, error
    return end

keys = {"jobs_working_dir": str(root / "disk" / "jobs"), "keep_job_dirs": keep}
result = stage.job(act, **keys).run()
page = stage.published / "index.html"
print(json.dumps({
    "zuul": result.verdict.gearman_result(), "url": result.url, "page": page.is_file() and page.stat().st_size,
    "late": [[message.code, message.counts] for message in result.verdict.messages if message.excuse],
}))
"""


@pytest.mark.parametrize("name", ["migration_raised", "success"])
@pytest.mark.parametrize("keep", ["never", "always"])
def test_a_disk_that_is_really_full(tmp_path: Path, name: str, keep: str) -> None:
    """A small file system in a mount namespace. What the job no longer needs makes room, unless it is to be kept."""
    (tmp_path / "stage").mkdir()
    (tmp_path / "disk").mkdir()
    command = f'mount -t tmpfs -o size=2m none {tmp_path}/disk && exec "$0" "$@"'
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", command,
         sys.executable, "-c", ON_A_FULL_DISK, str(tmp_path), name, keep],
        capture_output=True, text=True, cwd=ROOT, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["zuul"].startswith("SUCCESS" if name == "success" else "FAILURE")
    assert found["url"] and ["upload_failed", False] not in found["late"]
    assert bool(found["page"]) == (keep == "never")
    assert found["late"] == ([] if keep == "never" else [["disk_full", False]])


@pytest.mark.parametrize("keep", ["failed", "always"])
@pytest.mark.parametrize("error", [ODD, FULL], ids=["defect", "full"])
def test_the_folder_of_a_job_that_failed_in_an_unexpected_way_is_kept(
    stage: Stage, keep: str, error: Exception
) -> None:
    def act(folder: Path) -> PlaybookRun:
        (folder / "artifacts" / "trace").write_text("x")
        raise error

    result = stage.job(act, keep_job_dirs=keep).run()
    assert result.folder is not None and (result.folder / "artifacts" / "trace").is_file()
    assert result.verdict.outcome.exit_code and result.verdict.gearman_result() is None


def test_the_folder_of_a_second_try_that_cannot_begin_is_kept(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.job_dir.JobDir.begin_again", fails(FULL))
    result = stage.job(leaves("git_unreachable"), keep_job_dirs="failed").run()
    assert result.folder is not None and result.folder.is_dir()
    assert [message.code for message in result.verdict.messages] == ["git_unreachable", "disk_full"]


def test_an_unexpected_end_is_published_with_what_there_is(stage: Stage) -> None:
    result = stage.run(fails(ODD))
    assert result.url and stage.document()["messages"][0]["code"] == "worker_failed"
    assert "a defect" in stage.document()["messages"][0]["detail"]


@pytest.mark.parametrize(("reason", "answer"), [(STOP, "CANCELED"), (SHUTDOWN, None)])
def test_a_canceled_job_is_answered_before_it_is_published(stage: Stage, reason: str, answer: str | None) -> None:
    given: list[JobResult] = []

    def act(folder: Path) -> PlaybookRun:
        made.cancel(reason)
        return leaves("canceled", "canceled")(folder)

    def answered(result: JobResult) -> None:
        assert not stage.published.exists()
        given.append(result)

    made = stage.job(act)
    made.on_answer = answered
    result = made.run()
    assert [one.verdict.gearman_result() for one in given] == [answer]
    assert result.verdict.gearman_result() == answer and result.url
    assert stage.document()["datasets"][0]["migrations"], "what was measured so far is published"


@pytest.mark.parametrize(("reason", "answer"), [(STOP, "CANCELED"), (SHUTDOWN, "SUCCESS")])
def test_an_upload_that_hangs_holds_no_answer_up(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, reason: str, answer: str
) -> None:
    """A stop is answered while it hangs; only the end of the worker gives it up."""
    given: list[JobResult] = []
    monkeypatch.setattr(job_end, "SHUTDOWN_SECONDS", 0.2)
    uploading, answered = threading.Event(), threading.Event()

    def play(playbook: Path, *, job_yaml: Path, canceled: Callable[[], bool], **_: Any) -> PlaybookRun:
        if playbook.name != "upload-logs.yaml":
            return leaves("success")(job_yaml.parent)
        uploading.set()
        while not canceled():
            answered.wait(0.01)
        return PlaybookRun("canceled", 254)

    def answering(result: JobResult) -> None:
        given.append(result)
        answered.set()

    made = stage.job()
    made.on_answer = answering
    monkeypatch.setattr(job.runner, "run", play)
    ended: list[JobResult] = []
    thread = threading.Thread(target=lambda: ended.append(made.run()))
    thread.start()
    assert uploading.wait(60)
    made.cancel(reason)
    assert answered.wait(60)
    if reason == STOP:
        thread.join(1)
        assert thread.is_alive(), "the upload goes on"
    made.cancel(SHUTDOWN)
    thread.join(60)
    assert not thread.is_alive() and len(given) == 1
    assert given[0].verdict.gearman_result() == ended[0].verdict.gearman_result() == answer
    assert ended[0].url == ""


def test_when_a_job_began_and_how_long_it_took_is_part_of_its_result(stage: Stage) -> None:
    """Also of one that came to nothing; `th run --json` has it."""
    result = stage.run(leaves("success"))
    document = run._document(result, REQUEST)
    assert document["started"] == stage.document()["started"] and document["seconds"] >= stage.document()["seconds"]
    (stage.root / "jobs").rmdir()
    (stage.root / "jobs").write_text("a file")
    nothing = stage.job().run()
    assert nothing.started.endswith("Z") and nothing.seconds > 0
    assert run._document(nothing, REQUEST)["messages"][0]["code"] == "job_folder"

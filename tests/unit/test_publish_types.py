# SPDX-License-Identifier: Apache-2.0
"""How results are published is a task file's to say, and where: the worker checks the URL that it is handed back."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.kit import load_module
from tests.kit.service import write_config
from tests.unit.test_job import Stage, leaves
from worker import job, publish
from worker.cli import check, main
from worker.cli.published import published
from worker.config import config
from worker.errors import ConfigError
from worker.job_dir import JobDir
from worker.runner import PlaybookRun
from worker.verdict import AFTERWARDS

EXPECTED = "http://logs/42/42/3/check/gate/8d1b/"
ELSEWHERE = "https://archive.example.org/8d1b.tar.gz?v=1&x=%20"
BAD = [
    "", "logs.example.org/1/", "ftp://logs/1/", "javascript:alert(1)", "https://", "https://logs", "http:///1/",
    "https://logs/1/\nresult: SUCCESS", "https://logs/a b/", 'https://logs/"; rm -rf /', "https://logs/<b>",
    "https://u:secret@logs/1/", "https://token@logs/1/", "https://lögs/1/", "https://logs/\u202e1/", "https://logs/\x00",
    "https://logs/" + "x" * 3000, "file://../x", "https://logs/`id`", "https://logs/a\\b", " https://logs/1/",
]  # fmt: skip


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(tmp_path, monkeypatch)


def uploads(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, leave: Callable[[Path], object], *statuses: str
) -> list[Path]:
    """Have each upload end so, after it has left what it leaves in the job's folder."""
    seen: list[Path] = []

    def play(playbook: Path, *, job_yaml: Path, **more: Any) -> PlaybookRun:
        if playbook.name != "upload-logs.yaml":
            return stage.play(playbook, job_yaml=job_yaml, **more)
        seen.append(job_yaml.parent)
        leave(job_yaml.parent / publish.PUBLISHED)
        status = statuses[len(seen) - 1] if statuses else "successful"
        return PlaybookRun(status, 0 if status == "successful" else 2, "Mirror it", "the mirror is away")

    monkeypatch.setattr(job.runner, "run", play)
    return seen


def says(url: object) -> Callable[[Path], object]:
    return lambda file: file.write_text(json.dumps({"schema": 1, "url": url}))


@pytest.mark.parametrize("url", [ELSEWHERE, "file:///srv/logs/1/", "http://[::1]:8080/1/index.html#x", EXPECTED])
def test_zuul_gets_the_url_that_the_role_hands_back(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    made = stage.job(leaves("migration_raised"))
    uploads(stage, monkeypatch, says(url))
    result = made.run()
    assert result.url == url and (result.verdict.gearman_result() or "").startswith("FAILURE")
    assert not [message for message in result.verdict.messages if message.excuse]


def test_a_role_that_says_nothing_has_published_where_it_was_expected(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = stage.job(leaves("success"))
    uploads(stage, monkeypatch, lambda file: None)
    assert made.run().url == EXPECTED


@pytest.mark.parametrize(
    "leave",
    [*map(says, [None, 5, ["https://logs/1/"], {}]), lambda file: file.write_text("{"), lambda file: file.mkdir(),
     os.mkfifo, lambda file: file.symlink_to("job.yaml"), lambda file: file.write_bytes(b"\xff" * 100_000)],
)  # fmt: skip
def test_what_is_no_document_gives_no_link(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, leave: Callable[[Path], object]
) -> None:
    made = stage.job(leaves("success"))
    uploads(stage, monkeypatch, leave)
    result = made.run()
    assert result.url == "" and result.verdict.gearman_result() == "SUCCESS"
    assert [(one.code, one.excuse) for one in result.verdict.messages] == [("upload_failed", AFTERWARDS)]
    assert publish.PUBLISHED in result.verdict.messages[0].detail


def test_only_the_address_of_a_page_is_one(tmp_path: Path) -> None:
    """The worker and the role have one rule."""
    hand_back = load_module("upload_logs", "hand_back_url")
    with JobDir(tmp_path / "jobs", "1") as folder:
        for url in [*BAD, ELSEWHERE, "file:///a", "http://h/"]:
            says(url)(folder.root / publish.PUBLISHED)
            if url in BAD:
                with pytest.raises(publish.WrongUrlError) as caught:
                    publish.handed_back(folder)
                assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
                with pytest.raises(hand_back.StepError, match=r"upload_logs_url: .* set it in the task file"):
                    hand_back.hand_back(url, folder.root)
            else:
                assert publish.handed_back(folder) == url == hand_back.hand_back(url, folder.root)["url"]
        publish.forget_url(folder)
        assert publish.handed_back(folder) is None


def test_a_step_that_fails_after_the_results_are_published_takes_no_link_away(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = stage.job(leaves("success"))
    seen = uploads(stage, monkeypatch, says(ELSEWHERE), "failed", "failed")
    result = made.run()
    assert len(seen) == 2 and result.url == ELSEWHERE and result.verdict.gearman_result() == "SUCCESS"
    assert [one.detail for one in result.verdict.messages] == ["the mirror is away"]


def test_what_an_earlier_upload_has_said_is_forgotten(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(file: Path) -> None:
        assert not file.exists()
        if len(seen) == 1:
            says(ELSEWHERE)(file)

    made = stage.job(leaves("success"))
    seen = uploads(stage, monkeypatch, leave, "failed", "successful")
    assert made.run().url == EXPECTED


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    folder = tmp_path / "ansible/roles/upload_logs/tasks"
    folder.mkdir(parents=True)
    for name in ("publish_local.yaml", "publish_archive.yaml", "main.yaml"):
        (folder / name).write_text("[]")
    return folder


def test_a_type_is_a_task_file(tmp_path: Path, tasks: Path) -> None:
    keys = {"type": "archive", "folder": "/srv", "token": "x"}
    settings = config.load(write_config(tmp_path, 0, host="embedded", publish_logs=keys))
    assert settings.publish_logs == config.PublishLogs("archive", None, "", {"folder": "/srv", "token": "x"})
    assert "publish_logs.path" not in settings.writable_dirs()
    settings.prepare()
    (only,) = published(settings)
    assert only.ok and "publish_archive.yaml" in only.text
    assert publish.variables(settings.publish_logs) == {
        "th_publish_type": "archive", "th_publish_path": "", "th_publish_url": "",
        "th_publish_options": {"folder": "/srv", "token": "x"},
    }  # fmt: skip
    assert publish.url_of(settings.publish_logs.prepend_url, "1") == ""


def test_a_type_may_have_a_folder_and_a_url(tmp_path: Path, tasks: Path) -> None:
    keys = {"type": "archive", "path": "logs", "prepend_url": "https://logs"}
    settings = config.load(write_config(tmp_path, 0, host="embedded", publish_logs=keys))
    assert settings.publish_logs == config.PublishLogs("archive", tmp_path / "logs", "https://logs/", {})
    with pytest.raises(ConfigError, match="not an http, https or file URL"):
        config.load(write_config(tmp_path, 1, publish_logs={**keys, "prepend_url": "logs"}))


@pytest.mark.parametrize("kind", ["swift", "../archive", "Archive", "archive.yaml", "*", ""])
def test_a_type_without_a_task_file_is_refused_with_those_that_are_there(
    tmp_path: Path, tasks: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_config(tmp_path, 0, host="embedded", publish_logs={"type": kind, "path": "logs"})
    (found,) = check.check(path, alone=True)
    assert not found.ok and "publish_logs.type: " in found.text
    if kind:
        assert f"{tasks} has publish_archive.yaml, publish_local.yaml; write " in found.text
    assert main.th_worker(["-c", str(path)]) == 2
    assert "publish_logs.type" in capsys.readouterr().err


def test_a_type_whose_file_was_taken_away_is_refused(tmp_path: Path, tasks: Path) -> None:
    (tasks / "publish_local.yaml").unlink()
    with pytest.raises(ConfigError, match=r"'local' is not available; .* has publish_archive\.yaml"):
        config.load(write_config(tmp_path, 1))
    (tasks / "publish_archive.yaml").unlink()
    assert config.load(write_config(tmp_path, 1)).publish_logs.type == "local", "an older copy of the role"


def test_nobody_reads_in_a_published_folder_how_it_was_published() -> None:
    how = {"th_publish_type": "x", "th_publish_options": {"token": "s"}}
    assert publish.public({"th_job": {"zuul": {}}, **how}) == {"th_job": {"zuul": {}}}

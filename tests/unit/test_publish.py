# SPDX-License-Identifier: Apache-2.0
"""What of a job is put beside its logs: without secrets, and never through what somebody else has put there."""

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.kit import hostile_artifacts as hostile
from worker import publish, runner
from worker.inputs import documents
from worker.job_dir import JobDir
from worker.report import render
from worker.verdict import Message, Problem, decide
from worker.verdict.artifacts import Artifacts

SECRET = "hunter2-of-ours"
URL = f"https://zuul:{SECRET}@git.example.org/p"
TOKEN_URL = f"https://{SECRET}@git.example.org/p"

VARIABLES: dict[str, Any] = {
    "th_job": {
        "id": "1", "url": URL, "branch": "master", "change": "7",
        "zuul": {"ZUUL_URL": TOKEN_URL, "ZUUL_BRANCH": "master", "ZUUL_EXTRA_SWIFT_HMAC_BODY": SECRET, "TOKEN": SECRET},
    },
    "th_plugin": {
        "script": "run.sh", "password": SECRET, "db_pass": SECRET, "API-Key": "x", "apikey": SECRET, "retries": 3,
        "deep": [{"auth": {"Access_Token": SECRET, "user": "me"}}, f"see {URL} and {TOKEN_URL}"],
        "secrets": {"first": SECRET, "list": [SECRET, [12345678], True, None]}, "credentials": (SECRET,),
        "private_key": f"-----BEGIN\n{SECRET}", "passphrase": SECRET, "use_tokens": False,
    },
    "th_git_origin": URL,
    "th_datasets": [{"name": "user_001", "config": "/datasets/user_001.json"}],
    "th_job_dir": f"/jobs/{SECRET}", "th_publish_path": f"/logs/{SECRET}",
}  # fmt: skip


def test_the_published_variables_hold_no_secret() -> None:
    shown = publish.public(VARIABLES)
    assert SECRET not in json.dumps(shown) and "12345678" not in json.dumps(shown)
    assert shown["th_job"]["url"] == "https://zuul:***@git.example.org/p"
    assert shown["th_job"]["zuul"] == {
        "ZUUL_URL": "https://***@git.example.org/p", "ZUUL_BRANCH": "master", "TOKEN": "***",
    }  # fmt: skip
    plugin = shown["th_plugin"]
    assert (plugin["script"], plugin["retries"], plugin["use_tokens"]) == ("run.sh", 3, False)
    assert plugin["deep"][0]["auth"] == {"Access_Token": "***", "user": "me"}
    assert plugin["secrets"] == {"first": "***", "list": ["***", ["***"], True, None]}
    assert shown["th_datasets"] == VARIABLES["th_datasets"]
    assert VARIABLES["th_plugin"]["password"] == SECRET, "what the playbooks are told is another copy"


def test_what_the_change_puts_in_our_way_is_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("kept")
    with JobDir(tmp_path / "jobs", "1") as folder:
        for name in ("job.yaml", "index.html"):
            (folder.results / name).symlink_to(precious / "file")
        (folder.results / "reproduce.sh").mkdir()
        (folder.results / "reproduce.sh" / "x").write_text("x")
        (folder.results / "artifacts").symlink_to(precious)
        (folder.artifacts / "checkout.json").write_text("{}")
        (folder.artifacts / "more" / "deep").mkdir(parents=True)
        (folder.artifacts / "more" / "file").write_text("x")
        (folder.artifacts / "link").symlink_to(precious / "file")
        os.mkfifo(folder.artifacts / "pipe")
        publish.collect(folder, VARIABLES, "gate_real_db_upgrade")
        found, header = hostile.job(folder.artifacts, "http://127.0.0.1")
        render.write(folder.results, found, header)
        assert documents.read_mapping(folder.results / "job.yaml") == json.loads(json.dumps(publish.public(VARIABLES)))
        assert SECRET not in (folder.results / "job.yaml").read_text()
        assert (folder.results / "reproduce.sh").stat().st_mode & 0o777 == 0o755
        copied = [str(path.relative_to(folder.results / "artifacts")) for path in _files(folder.results / "artifacts")]
        assert copied == ["checkout.json", "more/file"]
        for path in _files(folder.results):
            assert not path.is_symlink()
    assert sorted(os.listdir(precious)) == ["file"] and (precious / "file").read_text() == "kept"


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if not path.is_dir())


@pytest.mark.parametrize("room", ["", "x" * 215])
def test_what_zuul_is_told_has_no_password_of_a_url(room: str) -> None:
    """Also where what is told is cut, which would leave the beginning of one that is no longer seen as such."""
    detail = f"{room} cannot connect to {URL}\n{URL}"
    found = decide.of_messages([Message.of("migration_raised", "1", "2", detail=detail)])
    told = [*report_of(found), str(found.gearman_result())]
    assert not any(SECRET[:4] in text for text in told)
    problem = Problem("git_unreachable", f"no answer from {TOKEN_URL}")
    problems = decide.decide(Artifacts(None, (), {}, (problem,)), [])
    assert not any(SECRET in text for text in report_of(problems))


def report_of(found: decide.Verdict) -> list[str]:
    header = render.Header({})
    return [render.render_text(found), json.dumps(render.as_document(found, header)), render.as_page(found, header)]


def test_what_ansible_prints_cannot_move_a_cursor() -> None:
    log = io.StringIO()
    events = runner._Events(log, lambda *_: None)
    events.handle({"event": "runner_on_ok", "stdout": "ok: [\x1b[2J\u202elocalhost]\n\tsecond\x07 line"})
    assert log.getvalue() == "ok: [\ufffd[2J\ufffdlocalhost]\n second\ufffd line\n"




def test_results_that_are_published_nowhere_have_no_link() -> None:
    assert publish.url_of("", "7/7/1/check/job/1") == ""
    assert publish.url_of("https://logs.example.org/", "7/7/1/a b/1") == "https://logs.example.org/7/7/1/a%20b/1/"

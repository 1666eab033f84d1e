# SPDX-License-Identifier: Apache-2.0
"""The keys of a plugin's jobs: a plugin that says which it takes has them checked when the worker starts."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.kit import ROOT
from tests.kit.service import write_config
from tests.unit.test_job import Stage
from worker.config import config
from worker.errors import ConfigError
from worker.report import summary
from worker.runner import PlaybookRun
from worker.verdict import artifacts, decide

OPTIONS = ROOT / "playbooks" / "shell_script" / "options.yaml"


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """The folder of a plugin that says which keys it takes: those of shell_script, unless a test writes others."""
    folder = tmp_path / "ansible/playbooks/shell_script"
    folder.mkdir(parents=True)
    (folder / "options.yaml").write_text(OPTIONS.read_text())
    return folder


def load(root: Path, **job: Any) -> dict[str, Any]:
    """The options of a job with these keys."""
    path = write_config(root, 1, jobs=[{"name": "tests", "plugin": "shell_script", **job}])
    return dict(config.load(path).jobs[0].options)


def test_the_keys_reach_the_playbook(tmp_path: Path, plugin: Path) -> None:
    assert load(tmp_path, script="./tools/test.sh") == {"script": "./tools/test.sh"}
    keys = {"script": sys.executable, "arguments": ["-c", "1"], "time_limit": 60}
    assert load(tmp_path, **keys) == keys
    assert load(tmp_path, shell_script="test.sh") == {"script": "test.sh"}, "as the first turbo-hipster called it"


@pytest.mark.parametrize(
    ("job", "key", "problem"),
    [
        ({}, "script", "is missing; the script, relative to the checkout"),
        ({"scripts": "x"}, "scripts", "is not a known key; did you mean script?"),
        ({"script": "x", "time_limits": 5}, "time_limits", "did you mean time_limit?"),
        ({"script": "x", "shell_script": "y"}, "shell_script", "says the same as script"),
        ({"script": "/no/such/program"}, "script", "there is no program /no/such/program"),
        ({"script": "/etc/passwd"}, "script", "there is no program /etc/passwd"),
        ({"script": "../x"}, "script", "is not in the checkout"),
        ({"script": "a/../../x"}, "script", "is not in the checkout"),
        ({"script": "."}, "script", "is not in the checkout"),
        ({"script": ["x"]}, "script", "must be text"),
        ({"script": "x", "arguments": "fast"}, "arguments", "must be a list of texts"),
        ({"script": "x", "arguments": [5]}, "arguments", "must be a list of texts"),
        ({"script": "x", "time_limit": 0}, "time_limit", "from 1 to 604800"),
        ({"script": "x", "time_limit": "5"}, "time_limit", "whole number"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, plugin: Path, job: dict[str, Any], key: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, **job)
    assert f"jobs[0].{key}: " in str(caught.value) and problem in str(caught.value)


def test_a_plugin_that_names_no_keys_gets_all_unchanged(tmp_path: Path, plugin: Path) -> None:
    (plugin / "options.yaml").unlink()
    assert load(tmp_path, deep={"x": [1]}, script=5) == {"deep": {"x": [1]}, "script": 5}


def test_other_kinds(tmp_path: Path, plugin: Path) -> None:
    kinds = {"on": {"type": "boolean"}, "of": {"type": "mapping"}, "n": {"type": "integer"}, "t": {"type": "text"}}
    (plugin / "options.yaml").write_text(yaml.safe_dump(kinds))
    assert load(tmp_path, on=False, of={"a": 1}, n=-5, t="x") == {"on": False, "of": {"a": 1}, "n": -5, "t": "x"}
    for key, value in (("on", "yes"), ("of", []), ("n", 1.5), ("t", "a\nb")):
        with pytest.raises(ConfigError, match=rf"jobs\[0\]\.{key}: must be"):
            load(tmp_path, **{key: value})


@pytest.mark.parametrize("about", [None, 5, {}, {"type": "path"}, {"type": "text", "default": 1}])
def test_a_file_of_a_plugin_that_is_wrong_is_named(tmp_path: Path, plugin: Path, about: Any) -> None:
    (plugin / "options.yaml").write_text(yaml.safe_dump({"script": about}))
    with pytest.raises(ConfigError, match=r"shell_script/options\.yaml: script: "):
        load(tmp_path, script="x")


def test_what_is_known_of_its_keys_is_documented() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    assert [name for name in yaml.safe_load(OPTIONS.read_text()) if f"| `{name}`" not in text] == []


@pytest.mark.parametrize(
    ("message", "notes"),
    [
        ("all of 3 passed", ["The test says: all of 3 passed"]),
        ("\x1b[2J\u202ered", ["The test says: \ufffd[2J\ufffdred"]),
        ("", []), (5, []), (None, []), (["x"], []),
    ],
)  # fmt: skip
def test_what_a_plugin_says_is_a_note_and_no_evidence(tmp_path: Path, message: Any, notes: list[str]) -> None:
    (tmp_path / "plugin.json").write_text(json.dumps({"schema": 1, "message": message}))
    found = decide.decide(artifacts.read(tmp_path), None)
    assert found.gearman_result() == "SUCCESS" and summary.notes(found) == notes
    (tmp_path / "errors.jsonl").write_text('{"event": "error", "code": "script_failed", "detail": "no"}\n')
    failed = decide.decide(artifacts.read(tmp_path), None)
    assert failed.gearman_result() == "FAILURE - The script failed: no"


@pytest.mark.parametrize("code", ["script_failed", "playbook_failed", "git_unreachable", ""])
def test_a_task_that_fails_for_a_recorded_reason_is_not_told_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    """What a step has recorded is the reason; only without one is a failing task the test's."""
    stage = Stage(tmp_path, monkeypatch)

    def act(folder: Path) -> PlaybookRun:
        if code:
            event = {"event": "error", "role": "x", "code": code, "detail": "because", "dataset": ""}
            (folder / "artifacts" / "errors.jsonl").write_text(json.dumps(event) + "\n")
        return PlaybookRun("failed", 2, "Run it", "because")

    made = stage.job(act, act, jobs=[{"name": "gate", "plugin": "shell_script", "script": "x"}])
    found = made.run().verdict
    assert [message.code for message in found.messages] == [code or "test_failed"]
    assert (found.gearman_result() is None) == (code in ("playbook_failed", "git_unreachable"))

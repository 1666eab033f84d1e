# SPDX-License-Identifier: Apache-2.0
"""`th check` and the steps of one project."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import yaml

from tests.kit import ROOT
from worker.cli.own_steps import PLACES, own_steps
from worker.config import Config


def test_each_place_is_in_a_playbook_and_in_the_documentation() -> None:
    plays = [play for path in (ROOT / "playbooks").glob("*.yaml") for play in yaml.safe_load(path.read_text())]
    tasks = [task for play in plays for task in play.get("tasks", [])]
    run = [task["vars"]["own_steps_at"] for task in tasks if "own_steps_at" in task.get("vars", {})]
    assert sorted(run) == sorted(PLACES)
    text = (ROOT / "docs" / "editing.md").read_text()
    assert [place for place in PLACES if f"`{place}.yaml`" not in text] == []


def test_a_file_that_is_never_run_is_named(tmp_path: Path) -> None:
    settings = cast(Config, SimpleNamespace(projects_dir=tmp_path))
    folder = tmp_path / "org" / "thing"

    def check() -> list[tuple[str, str, str]]:
        found = own_steps(settings, "org/thing")
        return [(one.level, one.text.removeprefix(f"{folder}/"), one.remedy) for one in found]

    assert check() == []
    folder.mkdir(parents=True)
    files: dict[str, Any] = {
        "before-checkout.yaml": "- name: x\n  ansible.builtin.debug: {msg: !vault x}\n", "before-chekcout.yaml": "[]",
        "after-build.yaml": "[]", "before_upload_logs.yaml": "[]", "after-checkout.yml": "[]", "list.txt": "",
        "after-upload-logs.yaml": "- name: [x\n", "before-run-migrations.yaml": "a: 1\n", "x.yaml": "",
        "after-run-migrations.yaml": "", "after-checkout.yaml": "[]",
    }  # fmt: skip
    for name, text in files.items():
        (folder / name).write_text(text)
    found = {text.split()[0]: (level, text.partition(" ")[2][:40], remedy) for level, text, remedy in check()}
    assert found.pop("after-upload-logs.yaml")[:2] == ("fail", "is not YAML: while parsing a flow sequen")
    never, wrong = "is never run", ("fail", "holds no list of tasks", "write a list of tasks")
    assert found == {
        "before-chekcout.yaml": ("warn", never, "call it before-checkout.yaml"),
        "after-build.yaml": ("warn", never, "call it after-build-environment.yaml"),
        "before_upload_logs.yaml": ("warn", never, "call it before-upload-logs.yaml"),
        "after-checkout.yml": ("warn", never, "call it after-checkout.yaml"),
        "before-run-migrations.yaml": wrong, "after-run-migrations.yaml": wrong,
        "org/thing:": ("ok", "before-checkout, after-checkout", ""),
    }  # fmt: skip

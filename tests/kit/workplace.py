# SPDX-License-Identifier: Apache-2.0
"""A job's folder where environments are built, with what it shares with others."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.kit import ROOT

from . import boxes

# found once conftest is loaded
from ansible.module_utils.th_environment.build_step import continue_build  # isort: skip
from ansible.module_utils.th_environment.find import check_out, find_or_begin, forget  # isort: skip
from ansible.module_utils.th_core.step import StepError  # isort: skip


def build(params: Mapping[str, Any], stage: str, kind: str, commit: str) -> dict[str, Any]:
    """Take the steps of roles/build_environment/tasks/environment.yaml, each from what the one before has left."""
    forget(Path(params["job_dir"]), stage)
    made, kept = find_or_begin(params, stage, kind, commit)
    if kept:
        return entry_of(params, stage)
    install = made.recipe.install
    files, project = (install["requirements"], install["constraints"]), (install["project"], install["extras"])
    steps: list[Callable[[Any, Any], Any]] = [
        check_out,
        lambda build, log: build.create(log),
        lambda build, log: build.install_requirements(log, *files, *project),
        lambda build, log: build.install_packages(log, install["packages"]),
        lambda build, log: build.install_project(log, *project),
        lambda build, log: {"environment": build.finish(log)},
    ]
    for step in steps:
        continue_build(type(made).read(made.file), step)
    return entry_of(params, stage)


def entry_of(params: Mapping[str, Any], stage: str) -> dict[str, Any]:
    """The entry of environment.json."""
    document = json.loads((Path(params["job_dir"]) / "artifacts" / "environment.json").read_text())
    return next(one for one in document["environments"] if one["stage"] == stage)


class Workplace:
    """One job's folder and what it shares with others."""

    def __init__(self, tmp_path: Path, job_dir: Path) -> None:
        self.job_dir = job_dir
        self.src = job_dir / "src"
        self.log = job_dir / "results" / "environment.log"
        self.place: dict[str, Any] = {}
        self.entry: dict[str, Any] = {}
        self.install: dict[str, Any] = {
            "requirements": ["requirements.txt"],
            "constraints": [],
            "packages": [],
            "project": "editable",
            "extras": [],
            "environment": {},
        }
        self.params: dict[str, Any] = {
            "job": {"project": "org/project", "url": str(tmp_path / "served")},
            "profile": {"python": "python3", "exclude_newer": "", "install": self.install, "releases": []},
            "job_dir": str(job_dir),
            "mirrors_dir": str(tmp_path / "mirrors"),
            "environments_dir": str(tmp_path / "environments"),
            "cache_dir": str(tmp_path / "cache"),
            "origin": "",
            "time_limit": 300,
            "cache_keep": 20,
            "sandbox": boxes.given(),
            "programs": str(ROOT / "roles" / "build_environment" / "files"),
            "log_limit": 10**6,
            "pass_environment": ["PIP_INDEX_URL", "UV_HTTP_RETRIES", "UV_HTTP_TIMEOUT"],
        }

    def write(self, files: dict[str, str]) -> None:
        for name, content in files.items():
            path = self.src / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)

    def build(self, stage: str = "change", kind: str = "change", commit: str = "") -> dict[str, Any]:
        self.entry = build(self.params, stage, kind, commit)
        return self.entry

    def fails(self, code: str, words: str) -> str:
        with pytest.raises(StepError) as caught:
            self.build()
        assert caught.value.code == code, caught.value.detail
        assert words in caught.value.detail
        assert caught.value.more.pop("stage") == "change"
        self.place = caught.value.more
        assert not (self.job_dir / "build").exists()
        return caught.value.detail

# SPDX-License-Identifier: Apache-2.0
"""A job's folder where environments are built, with what it shares with others."""

from pathlib import Path
from typing import Any

import pytest

from . import boxes
from .conftest import ROOT, load_module

# found once conftest is loaded
from ansible.module_utils.th_capped import CappedLog  # isort: skip
from ansible.module_utils.th_step import StepError  # isort: skip

module = load_module("build_environment", "build_environments")


class Workplace:
    """One job's folder and what it shares with others."""

    def __init__(self, tmp_path: Path, job_dir: Path) -> None:
        self.job_dir = job_dir
        self.src = job_dir / "src"
        self.log = job_dir / "results" / "environment.log"
        self.place: dict[str, Any] = {}
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
            "pass_environment": ["PIP_INDEX_URL", "UV_HTTP_RETRIES", "UV_HTTP_TIMEOUT"],
        }

    def write(self, files: dict[str, str]) -> None:
        for name, content in files.items():
            path = self.src / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)

    def build(self, stage: str = "change", kind: str = "change", commit: str = "") -> dict[str, Any]:
        log = CappedLog(self.log, 10**6)
        try:
            return dict(module.Builder(self.params, log).build(stage, kind, commit))
        finally:
            log.close()

    def fails(self, code: str, words: str) -> str:
        with pytest.raises(StepError) as caught:
            self.build()
        assert caught.value.code == code, caught.value.detail
        assert words in caught.value.detail
        assert caught.value.more.pop("stage") == "change"
        self.place = caught.value.more
        assert not (self.job_dir / "build").exists()
        return caught.value.detail

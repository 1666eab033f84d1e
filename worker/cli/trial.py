# SPDX-License-Identifier: Apache-2.0
"""The part of `th check` that tests what a job of each project needs: its profile, its repository and its dumps."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.cli import surroundings
from worker.cli.surroundings import Check
from worker.config import Config, datasets
from worker.inputs import git_url, untrusted
from worker.verdict import artifacts

_PROFILE_PLAYBOOK = Path("playbooks") / "read-profile.yaml"
_PROJECT_PLAYBOOK = Path("playbooks") / "check-project.yaml"
_SECONDS = 3600.0
_FETCH_SECONDS = 120


@dataclass(frozen=True)
class Trial:
    """Checks of projects. `url` is the base URL of the repositories, "" if unknown; `quick` skips slow checks."""

    settings: Config
    url: str
    quick: bool

    def project(self, name: str, tested: Sequence[datasets.Dataset]) -> Iterator[Check]:
        """Check a project's profile, its repository, and the dumps of its readable datasets."""
        playbook = self.settings.ansible_dir / _PROJECT_PLAYBOOK
        if self.quick or not os.path.isfile(playbook):
            yield self._profile(name)
            if not self.quick:
                text = f"{playbook} is not there: these playbooks are of an older version"
                yield Check(True, "repository", text, "'th init DIR' makes a whole copy", warning=True)
            return
        with tempfile.TemporaryDirectory(prefix="th-check-") as made:
            yield from self._all(name, tested, playbook, Path(made))

    def _all(
        self, name: str, tested: Sequence[datasets.Dataset], playbook: Path, folder: Path
    ) -> Iterator[Check]:
        if not self.url:
            yield self._profile(name)
        dumps = [part for dataset in tested for part in dataset.parts if part.seed and os.access(part.seed, os.R_OK)]
        variables = {
            **_job(self.settings, name, self.url or "/", folder),
            "th_git_working_dir": str(self._mirrors(folder)),
            "th_dumps": [{"path": str(part.seed), "database": part.database} for part in dumps],
            "th_repository_report": str(folder / "repository.json"),
            "th_dumps_report": str(folder / "dumps.json"),
            "th_servers": [_server(dataset) for dataset in tested if dataset.server and dataset.reset],
            "th_servers_report": str(folder / "servers.json"),
            "checkout_fetch_time_limit": _FETCH_SECONDS,
        }
        try:
            done = surroundings.play(self.settings, playbook, variables, folder, _SECONDS)
        except (OSError, subprocess.SubprocessError) as error:
            yield Check(False, "profile", f"{name}: {playbook} could not be run: {error}")
            return
        if self.url:
            profile = _profile_check(self.settings, name, folder, done, playbook)
            yield profile
            if not profile.ok:
                return
            yield from _repository(name, _read(folder / "repository.json"))
        else:
            text = f"{name}: where it is, each job says (ZUUL_URL); it was not tried"
            remedy = "give th check --url, or set zuul_server.git_url"
            yield Check(True, "repository", text, remedy, warning=True)
        yield from _dumps(_read(folder / "dumps.json").get("dumps", []))
        yield from _lent(_read(folder / "servers.json").get("servers", []))

    def _mirrors(self, folder: Path) -> Path:
        """The folder for mirrors: the worker's own if this user owns it, so that the first job need not clone the
        repository again; otherwise a temporary one."""
        own = self.settings.git_working_dir
        try:
            if own.stat().st_uid == os.geteuid() and os.access(own, os.W_OK | os.X_OK):
                return own
        except OSError:
            pass
        return folder / "git"

    def _profile(self, name: str) -> Check:
        """Check the profile with the role `project`, as a job does; its artifacts contain any errors."""
        playbook = self.settings.ansible_dir / _PROFILE_PLAYBOOK
        with tempfile.TemporaryDirectory(prefix="th-check-") as made:
            folder = Path(made)
            try:
                done = surroundings.play(self.settings, playbook, _job(self.settings, name, "/", folder), folder)
            except (OSError, subprocess.SubprocessError) as error:
                return Check(False, "profile", f"{name}: the profile could not be checked: {error}")
            return _profile_check(self.settings, name, folder, done, playbook)


def command(settings: Config, job: str, project: str, url: str) -> str:
    """The shell command that tries a job of a project; `url` is the base URL of its repository, "" if unknown."""
    words = [program(), "run", "-c", str(settings.path), "--job", job, "--project", project]
    if settings.zuul_server.origin and not url:
        return shlex.join(words)
    return shlex.join([*words, "--url", git_url.mask(url) or "URL"])


def program() -> str:
    """How this user can call `th`: by name if it is in PATH, otherwise by the path of the running program."""
    beside = Path(sys.executable).parent / "th"
    return "th" if shutil.which("th") or not beside.is_file() else str(beside)


def _server(dataset: datasets.Dataset) -> dict[str, Any]:
    assert dataset.server is not None
    account = {"user": dataset.server.user, "password_file": str(dataset.server.password_file)}
    if dataset.server.ssl_ca:
        account["ssl_ca"] = str(dataset.server.ssl_ca)
    place = {"socket": dataset.server.socket} if dataset.server.socket else {
        "host": dataset.server.host, "port": dataset.server.port,
    }  # fmt: skip
    return {
        "path": str(dataset.config_path),
        "server": {**place, **account},
        "databases": [part.database for part in dataset.parts],
    }


def _job(settings: Config, name: str, url: str, folder: Path) -> dict[str, Any]:
    return {
        "th_job": {"project": name, "url": url},
        "th_job_dir": str(folder / "job"),
        "th_projects_dir": str(settings.projects_dir),
    }


def _read(path: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _profile_check(
    settings: Config, name: str, folder: Path, done: subprocess.CompletedProcess[str], playbook: Path
) -> Check:
    problems = artifacts.read(folder / "job" / "artifacts").problems
    if problems:
        detail = problems[0].detail.rstrip(".")
        needed = "" if "docs/profiles.md" in detail else ": docs/profiles.md"
        return Check(False, "profile", detail, f"a job for {name} needs it{needed}")
    if done.returncode:
        said = " ".join(done.stdout.split())[-500:]
        return Check(False, "profile", f"{name}: {playbook} has failed: {said}")
    return Check(True, "profile", f"{name}: {settings.projects_dir / name}.yaml")


def _repository(name: str, report: Mapping[str, Any]) -> Iterator[Check]:
    problems = report.get("problems")
    if not isinstance(problems, list):
        yield Check(False, "repository", f"{name}: nothing was found out of its repository")
        return
    if all(problem["warning"] for problem in problems):
        releases = f"releases {', '.join(report['releases'])}" if report["releases"] else "no releases"
        text = f"{name}: {report['url']}: {report['migrations']} migrations in {report['branch']}; {releases}"
        yield Check(True, "repository", untrusted.name(text))
    for problem in problems:
        mild = bool(problem["warning"])
        text = untrusted.name(f"{name}: {problem['detail']}")
        yield Check(mild, "repository", text, problem["remedy"], warning=mild)


def _lent(found: Sequence[Mapping[str, Any]]) -> Iterator[Check]:
    """Report preloaded databases with a reset command that would let a change do harm: their jobs are refused."""
    for dataset in found:
        for problem in dataset["problems"]:
            text = untrusted.name(f"{dataset['path']}: {problem}")
            yield Check(False, "dataset", text, "docs/datasets.md, Preloaded databases, has what is allowed")


def _dumps(found: Sequence[Mapping[str, str]]) -> Iterator[Check]:
    for dump in found:
        text = f"{dump['path']}: {dump['reason'] or 'it is whole'}"
        if dump["state"] == "broken":
            yield Check(False, "dump", text, "" if "again" in dump["reason"] else "make the dump again")
        else:
            yield Check(True, "dump", text, warning=dump["state"] != "whole")

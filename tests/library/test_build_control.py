# SPDX-License-Identifier: Apache-2.0
"""A change whose environment cannot be built: the same is tried without it, and the verdict knows whose fault it is."""

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import basic
from ansible.module_utils.th_core.artifacts import report_error
from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_environment.build_step import with_missing

from tests.kit import ROOT, boxes, load_module
from tests.kit.git_server import Repository, git
from tests.kit.packages import add_sdist, add_wheel, project, serve
from tests.kit.waiting import free_port
from tests.kit.workplace import Workplace, build
from worker.verdict import Fault, Outcome, Verdict, artifacts, decide

PROGRAM = Path(sys.executable).parent / "ansible-playbook"
CONTROL_TIME_LIMIT = 600
ROLE = {"time_limit", "pass_environment"}
"""Options that are variables of the role."""


@pytest.fixture
def index(tmp_path: Path) -> Iterator[str]:
    add_wheel(tmp_path / "index", "alpha", "1.0")
    add_sdist(tmp_path / "index", "broken", "1.0", project(evil="raise RuntimeError('broken on purpose')"))
    with serve(tmp_path / "index") as url:
        yield url


def called(name: str, **options: Any) -> dict[str, Any]:
    """What a module of the role answers, run in this process."""
    module, answer = load_module("build_environment", name), io.StringIO()
    basic._ANSIBLE_ARGS, basic._ANSIBLE_PROFILE = json.dumps({"ANSIBLE_MODULE_ARGS": options}).encode(), "legacy"
    with contextlib.redirect_stdout(answer), contextlib.suppress(SystemExit):
        module.main()
    document: dict[str, Any] = json.loads(answer.getvalue())
    return document


class Job(Workplace):
    """A job's folder, its repository, and the role's steps: by Ansible, or in this process."""

    def propose(self, tmp_path: Path, merged: Mapping[str, str], change: Mapping[str, str]) -> None:
        repository = Repository(tmp_path / "served" / "org" / "project")
        base = repository.commit(dict(merged), "What is merged")
        mirror = Path(self.params["mirrors_dir"]) / "org" / "project.git"
        mirror.parent.mkdir(parents=True)
        git(tmp_path, "clone", "--quiet", "--mirror", str(repository.folder), str(mirror))
        self.write({**merged, **change})
        stages = [{"name": "change 1,1", "slug": "change", "kind": "change", "commit": "c" * 40, "heads": []}]
        told = {"branch": "master", "base": base, "commit": "c" * 40, "stages": stages, "revisions": {}, "touched": {}}
        (self.job_dir / "artifacts" / "checkout.json").write_text(json.dumps(told))

    def take_steps(self) -> None:
        """Do in this process what the role's tasks do when a build fails: `run` starts Ansible for that."""
        log = {"job_dir": str(self.job_dir), "log": str(self.log)}
        failure = self._failure(self.params, "change", "")
        assert failure is not None
        began = called("begin_build_control", **log, failed={"msg": failure.detail, "code": failure.code})
        if began["commit"]:
            limit = min(self.params["time_limit"], CONTROL_TIME_LIMIT)
            self._failure({**self.params, "job_dir": began["job_dir"], "time_limit": limit}, "base", began["commit"])
        ended = called("end_build_control", **log, control=began)
        assert (ended["failed"], ended["code"]) == (True, failure.code)

    @staticmethod
    def _failure(params: Mapping[str, Any], kind: str, commit: str) -> StepError | None:
        """Build, and record why that is not possible, as `run_step` does."""
        try:
            build(params, "change", kind, commit)
            return None
        except StepError as error:
            recorded = with_missing(error, kind)
            report_error(Path(params["job_dir"]), "build_environment", error.code, error.detail, **recorded.more)
            return error

    def run(self, root: Path = ROOT, fails: bool = True) -> str:
        """Run the role, of the playbooks in a folder; what it says in the end."""
        names = {"git_working_dir": "mirrors_dir", "environments_dir": "environments_dir"}
        names |= {"pip_download_cache": "cache_dir", "sandbox": "sandbox", "job_dir": "job_dir", "job": "job"}
        variables = {f"th_{name}": self.params[option] for name, option in names.items()}
        variables |= {f"build_environment_{name}": self.params[name] for name in ROLE}
        variables["th_profile"] = {"name": self.params["job"]["project"], **self.params["profile"]}
        path = self.job_dir.parent / "variables.json"
        path.write_text(json.dumps(variables))
        words = [str(PROGRAM), "playbooks/build-environment.yaml", "-e", f"@{path}"]
        environment = {**os.environ, "ANSIBLE_CONFIG": str(root / "ansible.cfg"), "HOME": str(self.job_dir.parent)}
        done = subprocess.run(words, cwd=root, env=environment, capture_output=True, text=True, timeout=900)
        assert done.returncode == (2 if fails else 0), done.stdout + done.stderr
        return done.stdout.rpartition("TASK [")[2]

    def events(self) -> list[dict[str, Any]]:
        path = self.job_dir / "artifacts" / "errors.jsonl"
        events = [json.loads(line) for line in path.read_text().splitlines()]
        return [event for event in events if event.get("outcome") != "begun"]

    def entries(self) -> list[dict[str, Any]]:
        document = json.loads((self.job_dir / "artifacts" / "environment.json").read_text())
        entries: list[dict[str, Any]] = document["environments"]
        return entries

    def verdict(self) -> Verdict:
        return decide.decide(artifacts.read(self.job_dir / "artifacts"), ["one"])


@pytest.fixture
def job(tmp_path: Path, job_dir: Path, index: str, monkeypatch: pytest.MonkeyPatch) -> Job:
    for name in list(os.environ):
        if name.startswith(("UV_", "PIP_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_INDEX_URL", index)
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("UV_HTTP_TIMEOUT", "2")
    made = Job(tmp_path, job_dir)
    made.install["project"] = "none"
    return made


GONE = {"requirements.txt": "alpha\ngone-package==1.2\n"}
FINE = {"requirements.txt": "alpha\n"}


@pytest.mark.parametrize(
    ("merged", "change"),
    [
        (GONE, {"README": "words"}),
        (GONE, {"requirements.txt": "# a word\nalpha>=1\ngone-package==1.2\n"}),
        ({"requirements.txt": "alpha\nbroken\n"}, {"README": "words"}),
        (project(evil="raise RuntimeError('no build of ours')"), {"README": "words"}),
        ({"requirements.txt": "alpha\n-r not-there.txt\n"}, {"README": "words"}),
    ],
    ids=["gone from the index", "in another line", "does not build", "the project itself", "a file that is missing"],
)
def test_what_fails_without_the_change_is_the_operators(
    job: Job, tmp_path: Path, merged: dict[str, str], change: dict[str, str]
) -> None:
    job.install["project"] = "editable" if "pyproject.toml" in merged else "none"
    job.propose(tmp_path, merged, change)
    job.take_steps()
    error, control = job.events()
    assert (error["event"], control["event"], control["outcome"]) == ("error", "control", "failed")
    assert control["commit"] == json.loads((job.job_dir / "artifacts" / "checkout.json").read_text())["base"]
    found = job.verdict()
    assert (found.outcome, found.fault) == (Outcome.INFRASTRUCTURE, Fault.OPERATOR)
    said = f"the branch without the change fails the same way, at {control['commit'][:12]}"
    assert said in found.messages[0].detail
    assert found.gearman_result() is None and not found.may_retry
    assert not (job.job_dir / "control").exists()
    assert "Control: the same without the change" in job.log.read_text()


@pytest.mark.parametrize(
    ("merged", "change"),
    [
        (FINE, {"requirements.txt": "alpha\nnope\n"}),
        (GONE, {"requirements.txt": "alpha\nanother-one\n"}),
        (FINE, {"requirements.txt": "alpha\nbroken\n"}),
        ({"requirements.txt": "alpha\nbroken\n"}, {"requirements.txt": "alpha\nnope\n"}),
    ],
    ids=["the branch is fine", "another package", "does not build", "the branch fails otherwise"],
)
def test_what_only_fails_with_the_change_is_its_own(
    job: Job, tmp_path: Path, merged: dict[str, str], change: dict[str, str]
) -> None:
    job.propose(tmp_path, merged, change)
    job.take_steps()
    assert job.events()[-1]["event"] == "control"
    found = job.verdict()
    assert (found.outcome, found.fault) == (Outcome.FAILURE, Fault.CHANGE)


@pytest.mark.parametrize(("merged", "fault"), [(GONE, Fault.OPERATOR), (FINE, Fault.CHANGE)])
def test_the_role_takes_the_same_steps(job: Job, tmp_path: Path, merged: dict[str, str], fault: Fault) -> None:
    job.propose(tmp_path, merged, {"requirements.txt": "alpha\ngone-package==1.2\n"})
    assert "code: environment_failed" in job.run()
    assert [event["event"] for event in job.events()] == ["error", "control"]
    assert job.verdict().fault is fault
    assert not (job.job_dir / "control").exists()


def test_an_index_that_the_branch_names_and_the_worker_may_not_reach(job: Job, tmp_path: Path) -> None:
    merged = {"requirements.txt": f"--extra-index-url http://localhost:{free_port()}/simple\nalpha\nprivate-one\n"}
    job.propose(tmp_path, merged, {"README": "words"})
    job.take_steps()
    assert job.verdict().fault is Fault.OPERATOR


def test_a_kept_environment_proves_nothing(job: Job, tmp_path: Path) -> None:
    """The branch's environment was built, and is kept; then the index loses one of its packages."""
    job.propose(tmp_path, FINE, {"README": "words"})
    base = json.loads((job.job_dir / "artifacts" / "checkout.json").read_text())["base"]
    job.build("master", "tip", base)
    assert job.build()["venv"].startswith(job.params["environments_dir"])
    job.write({"requirements.txt": "alpha  # as before\n"})
    for path in (tmp_path / "index" / "simple" / "alpha").iterdir():
        path.unlink()
    (tmp_path / "index" / "simple" / "alpha").rmdir()
    (tmp_path / "cache").rename(tmp_path / "former-cache")
    job.take_steps()
    assert job.verdict().fault is Fault.OPERATOR


def test_the_control_reads_nothing_that_the_change_has_written(job: Job, tmp_path: Path) -> None:
    """Given a build that alters all that it can reach so that the branch would fail as well."""
    evil = "for name in ('../control/src', '.', '..'):\n    pathlib.Path(name, 'requirements.txt').write_text('nope')\n"
    wrapped = "try:\n    " + evil.replace("\n", "\n    ") + "pass\nexcept OSError:\n    pass\nraise RuntimeError('no')"
    job.install["project"] = "editable"
    job.propose(tmp_path, {**project(), **FINE}, project(evil=wrapped))
    job.take_steps()
    assert job.events()[-1]["outcome"] == "passed"
    assert job.verdict().fault is Fault.CHANGE


@pytest.mark.parametrize("base", [None, "c" * 40], ids=["a tag", "a branch by itself"])
def test_without_a_change_there_is_nothing_to_leave_out(job: Job, tmp_path: Path, base: str | None) -> None:
    job.propose(tmp_path, GONE, {})
    path = job.job_dir / "artifacts" / "checkout.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "base": base}))
    job.take_steps()
    assert [event["event"] for event in job.events()] == ["error"]


def test_trouble_of_the_control_changes_nothing(job: Job, tmp_path: Path) -> None:
    job.propose(tmp_path, GONE, {"README": "words"})
    path = job.job_dir / "artifacts" / "checkout.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "base": "b" * 40}))  # the mirror has no such commit
    job.take_steps()
    assert job.events()[-1]["outcome"] == "unknown"
    assert (job.verdict().outcome, job.verdict().fault) == (Outcome.FAILURE, Fault.CHANGE)


def test_a_build_that_takes_too_long_is_not_tried_again(job: Job, tmp_path: Path) -> None:
    job.install["project"] = "editable"
    job.propose(tmp_path, project(), project(evil="import time; time.sleep(900)"))
    job.params["time_limit"] = 3
    job.take_steps()
    assert [event["event"] for event in job.events()] == ["error"]


def test_what_a_limit_has_ended_is_compared_as_well(job: Job, tmp_path: Path) -> None:
    job.params["sandbox"] = boxes.given(memory="256M")
    job.install["project"] = "editable"
    greedy = project(evil="kept = bytearray(b'x') * (400 << 20)")
    job.propose(tmp_path, greedy, {"README": "words"})
    job.take_steps()
    assert [event["code"] for event in job.events()] == ["over_limit"] * 2
    assert job.verdict().fault is Fault.OPERATOR

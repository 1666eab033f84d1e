# SPDX-License-Identifier: Apache-2.0
"""A stage that is run again in the same folder forgets what it had reported, and nothing else."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.th_server import mariadb
from ansible.module_utils.th_tools.profile import check_profile

from tests.kit import ROOT, boxes, toy
from tests.playbooks import arrange

ROLES = ("project", "checkout", "build_environment", "restore_datasets", "run_migrations", "upload_logs")
OTHERS = [
    {"event": "error", "role": role, "code": "profile_wrong", "detail": "x", "dataset": "other"} for role in ROLES
]
BROKEN = {"event": "error", "role": "worker", "code": "seed_broken", "detail": "x", "dataset": "other"}


class Again:
    """A job's folder with errors of every stage."""

    def __init__(self, folder: Path) -> None:
        arrange.main(folder)
        self.job: dict[str, Any] = yaml.safe_load((folder / "job.yaml").read_text())
        self.folder, self.job_dir = folder, Path(self.job["th_job_dir"])
        self.artifacts = self.job_dir / "artifacts"
        self.artifacts.mkdir(parents=True)
        (self.job_dir / "results").mkdir()
        self.profile = {"name": "org/thing", "file": "x", **check_profile(arrange.PROFILE)}
        lines = [{**one, "dataset": dataset} for one in OTHERS for dataset in ("", "first")]
        lines += [*OTHERS, BROKEN, {**BROKEN, "code": "job_timed_out", "dataset": ""}]
        self.write("errors.jsonl", "".join(json.dumps(line) + "\n" for line in lines))

    def write(self, name: str, text: str) -> None:
        (self.artifacts / name).write_text(text)

    def run(self, role: str, module_name: str, /, **options: Any) -> dict[str, Any]:
        """Run a role's module that is told of the job's folder; what it answers."""
        return self.step(role, module_name, job_dir=str(self.job_dir), **options)

    def step(self, role: str, module_name: str, /, **options: Any) -> dict[str, Any]:
        """Run a role's module; what it answers."""
        module = ROOT / "roles" / role / "library" / f"{module_name}.py"
        told = {"ANSIBLE_MODULE_ARGS": options}
        words = [sys.executable, "-P", str(ROOT / "roles" / "project" / "files" / "run_module.py"), str(module)]
        done = subprocess.run(words, input=json.dumps(told), capture_output=True, text=True)
        answer: dict[str, Any] = json.loads(done.stdout or json.dumps({"failed": True, "msg": done.stderr}))
        return answer

    def left(self) -> list[tuple[str, str, str]]:
        """The errors of other times that are left, of all stages: role, dataset, code."""
        lines = (self.artifacts / "errors.jsonl").read_text().splitlines()
        return [(one["role"], one["dataset"], one["code"]) for one in map(json.loads, lines)]


@pytest.fixture
def again(tmp_path: Path) -> Again:
    return Again(tmp_path)


def forgotten(again: Again, role: str, dataset: str = "") -> None:
    """Nothing but what the role had said of this dataset, and how the worker had ended, is gone."""
    every = [(one, of, "profile_wrong") for one in ROLES for of in ("", "first")]
    every += [(one, "other", "profile_wrong") for one in ROLES] + [("worker", "other", "seed_broken")]
    assert sorted(again.left()) == sorted(one for one in every if one[:2] != (role, dataset))


def test_the_project(again: Again) -> None:
    options = {"project": "org/thing", "projects_dir": again.job["th_projects_dir"]}
    assert "failed" not in again.run("project", "project_profile", **options)
    forgotten(again, "project")


def test_the_checkout(again: Again) -> None:
    walked = json.dumps({"event": "restored"}) + "\n"
    again.write("walk-first.jsonl", walked + json.dumps({"event": "final", "version": "c", "expected": "c"}) + "\n")
    again.write("checkout.json", "{}")
    gone = {**again.job["th_job"], "ref": "refs/zuul/master/Z2"}
    assert check_out(again, gone)["code"] == "checkout_ref_gone"
    assert not (again.artifacts / "checkout.json").exists()
    assert (again.artifacts / "walk-first.jsonl").read_text() == walked
    assert "failed" not in check_out(again, again.job["th_job"])
    forgotten(again, "checkout")


def check_out(again: Again, job: dict[str, Any]) -> dict[str, Any]:
    """Take the steps of the checkout, until one fails."""
    answer = again.run("checkout", "update_mirror", job=job, mirrors_dir=again.job["th_git_working_dir"])
    for name, more in (("fetch_change", {}), ("check_out_change", {}), ("read_migrations", {"profile": again.profile})):
        if "failed" not in answer:
            answer = again.step("checkout", name, state=str(again.job_dir / "checkout-steps.json"), **more)
    return answer


def test_the_environments(again: Again) -> None:
    again.write("environment.json", json.dumps({"environments": [{"stage": "change"}, {"stage": "stable-1"}]}))
    options = {"job": again.job["th_job"], "profile": again.profile, "mirrors_dir": again.job["th_git_working_dir"]}
    options |= {"environments_dir": again.job["th_environments_dir"], "cache_dir": str(again.folder / "packages")}
    options |= {"sandbox": boxes.given(), "programs": str(ROOT / "roles" / "build_environment" / "files")}
    answer = again.run("build_environment", "find_environment", stage="other", kind="base", commit="x", **options)
    assert answer["kept"] is False
    forgotten(again, "build_environment")
    failed = again.run("build_environment", "find_environment", stage="change", kind="change", **options)
    assert failed["code"] == "playbook_failed"  # there is no checkout
    document = json.loads((again.artifacts / "environment.json").read_text())
    assert [one["stage"] for one in document["environments"]] == ["stable-1"]


def begin_restore(again: Again) -> dict[str, Any]:
    options = {"name": "first", "config": str(again.folder / "first.json"), "snapshots_dir": str(again.folder / "kept")}
    options |= {"databases": again.profile["databases"], "lock_program": "/bin/true", "sandbox": boxes.given()}
    return again.run("restore_datasets", "begin_restore", **options)


def test_a_dataset(again: Again) -> None:
    again.write("dataset-first.json", "{}")
    answer = begin_restore(again)
    assert answer["ready"] is False and not (again.artifacts / "dataset-first.json").exists()
    assert again.left()[-1] == ("restore_datasets", "first", answer["code"]) and answer["code"] != "profile_wrong"
    assert ("restore_datasets", "first", "profile_wrong") not in again.left()
    assert ("restore_datasets", "other", "profile_wrong") in again.left()


def test_each_step_of_a_dataset(again: Again) -> None:
    """A step that is repeated alone, once its reason to fail is gone, forgets that it has failed."""
    dump = again.folder / "seed.sql"
    table = "CREATE TABLE alembic_version (version_num varchar(32))"
    dump.write_text(f"{table};\nINSERT INTO alembic_version VALUES ('a');\n")
    keys = {"database": "thing", "db_user": "thing", "db_pass": "x", "seed_data": "seed.sql"}
    (again.folder / "first.json").write_text(json.dumps(keys))
    state = begin_restore(again)["restore"]
    dump.rename(away := again.folder / "away.sql")
    answer = again.step("restore_datasets", "import_dump", restore=state)
    assert (answer["ready"], answer["code"]) == (False, "seed_missing") and "first: " in answer["msg"]
    assert ("restore_datasets", "first", "seed_missing") in again.left()
    away.rename(dump)
    for name in ("import_dump", "clone_snapshot", "start_server"):
        answer = again.step("restore_datasets", name, restore=state)
        assert answer["ready"] is True, answer
    mariadb.stop(mariadb.load(Path(answer["folder"])), 0)
    assert answer["facts"]["version"] == ["a"] and (again.artifacts / "dataset-first.json").exists()
    assert not [one for one in again.left() if one[:2] == ("restore_datasets", "first")]


def test_a_step_of_a_dataset_that_comes_first(again: Again) -> None:
    state = str(again.job_dir / "db" / "first" / "restore.json")
    answer = again.step("restore_datasets", "import_dump", restore=state)
    assert answer["failed"] and "the step begin_restore has to come first" in answer["msg"]


def test_a_job_without_a_dataset(again: Again) -> None:
    begun = begin_restore(again)
    assert begun["code"] == "seed_missing"
    answer = again.run("restore_datasets", "require_dataset", names=["first", "second"])
    wanted = f"None of the job's datasets could be restored. {begun['msg']}"
    assert answer["failed"] and answer["msg"] == wanted
    with (again.artifacts / "errors.jsonl").open("a") as errors:
        errors.write('nonsense\n[]\n{"event": "error"}\n')  # by a step of the operator's
    answer = again.run("restore_datasets", "require_dataset", names=["first", "second"])
    assert answer["failed"] and answer["msg"] == wanted
    again.write("dataset-second.json", "{}")
    assert again.run("restore_datasets", "require_dataset", names=["first", "second"])["restored"] == ["second"]


def test_a_walk(again: Again) -> None:
    options: Mapping[str, Any] = {
        "name": "first",
        "profile": again.profile,
        "programs": str(toy.PROGRAMS),
        "sandbox": boxes.given(),
    }
    final = json.dumps({"event": "final", "version": "c", "expected": "c"}) + "\n"
    again.write("walk-first.jsonl", final)
    again.write("checkout.json", json.dumps({"stages": [], "revisions": {}}))
    server = toy.start(again.folder / "server")
    mariadb.stop(server, 0)
    (again.job_dir / "db").mkdir()
    (again.job_dir / "db" / "first").symlink_to(server.folder)
    answer = again.run("run_migrations", "walk_migrations", **options)
    assert answer["failed"] and answer["code"] == "server_died"
    assert "run playbooks/restore-datasets.yaml first" in answer["msg"]
    assert [one for one in again.left() if one[:2] == ("run_migrations", "first")] == [
        ("run_migrations", "first", "server_died")
    ]
    assert (again.artifacts / "walk-first.jsonl").read_text() == ""
    # one that was walked stays as it is
    (Path(server.folder) / "walked").touch()
    again.write("walk-first.jsonl", final)
    before = again.left()
    answer = again.run("run_migrations", "walk_migrations", **options)
    assert answer["failed"] and "run playbooks/restore-datasets.yaml first" in answer["msg"]
    assert (again.left(), (again.artifacts / "walk-first.jsonl").read_text()) == (before, final)


def test_the_plan_of_the_walks(again: Again) -> None:
    again.write("checkout.json", json.dumps({"stages": [], "revisions": {}}))
    again.write(
        "errors.jsonl",
        "".join(json.dumps({**OTHERS[2], "dataset": "", "stage": stage}) + "\n" for stage in ("change", "stable-1")),
    )
    assert "failed" not in again.run("run_migrations", "plan_walk", datasets=["first"])
    (left,) = map(json.loads, (again.artifacts / "errors.jsonl").read_text().splitlines())
    assert left["stage"] == "change"

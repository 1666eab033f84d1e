# SPDX-License-Identifier: Apache-2.0
"""The checkout, against real git servers: what it finds, and what it refuses."""

import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from ansible.module_utils.th_checkout.checkout import Checkout
from ansible.module_utils.th_checkout.request import Request
from ansible.module_utils.th_core.artifacts import report_error
from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_git.client import Git, GitError, RetryPolicy, join_url
from ansible.module_utils.th_git.mirror import Mirror
from ansible.module_utils.th_git.process import GitLimits
from ansible.module_utils.th_git.submodules import submodule_problem
from ansible.module_utils.th_sandbox.capped_log import CappedLog
from ansible.module_utils.th_tools.profile import check_profile

from tests.kit.git_server import Repository, daemon, git, script, silence
from tests.kit.waiting import free_port
from worker.verdict import Fault, Outcome, artifacts, decide

PROJECT = "org/project"
VERSIONS = "app/migrations/versions"
ZUUL_REF = "refs/zuul/master/Z1"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "served"
    path.mkdir()
    return path


@pytest.fixture
def repository(root: Path) -> Repository:
    """Two releases and a master: revisions a, b, c; a tag."""
    made = Repository(root / PROJECT)
    made.commit({f"{VERSIONS}/a.py": script("a", None), "README": "x\n"})
    git(made.folder, "branch", "stable/1")
    git(made.folder, "tag", "--annotate", "--message", "one", "1.0")
    made.commit({f"{VERSIONS}/b.py": script("b", "a")})
    git(made.folder, "branch", "stable/2")
    made.commit({f"{VERSIONS}/c.py": script("c", "b")})
    return made


@pytest.fixture
def url(root: Path, repository: Repository) -> Iterator[str]:
    with daemon(root) as base:
        yield base


def checked_out(checkout: Checkout) -> dict[str, Any]:
    """Take the role's steps, one after the other; the document of checkout.json."""
    begun = time.monotonic()
    checkout.update()
    return checkout.read(checkout.check_out(checkout.fetch()), begun)


class Workplace:
    """Runs checkouts as jobs do; what differs from the usual is given."""

    def __init__(self, tmp_path: Path, url: str) -> None:
        self.mirrors = tmp_path / "mirrors"
        self.jobs = tmp_path / "jobs"
        self.url = url
        self.described: dict[str, Any] = {
            "releases": ["stable/1", "stable/2"],
            "migrations": {"tool": "alembic", "script_location": "app/migrations"},
        }
        self.patience = RetryPolicy(attempts=2, time_limit=120, backoff=0.01)
        self.limits: GitLimits | None = None

    def run(self, name: str = "job", origin: str = "", url: str = "", **fields: str) -> dict[str, Any]:
        job = {
            "project": PROJECT,
            "url": url or self.url,
            "ref": ZUUL_REF,
            "branch": "master",
            "change": "7",
            "patchset": "1",
            **fields,
        }
        request = Request.of(job, origin)
        profile = {"file": "/profiles/project.yaml", **check_profile(self.described)}
        log = CappedLog(self.jobs / name / "git_prep.log", 10**6)
        try:
            tool = Git(log, (request.url, request.origin), self.patience, self.limits)
            mirror = Mirror(tool, self.mirrors, PROJECT, join_url(request.origin, PROJECT))
            return checked_out(Checkout(tool, mirror, request, profile, self.src(name)))
        finally:
            log.close()

    def src(self, name: str = "job") -> Path:
        return self.jobs / name / "src"

    def log(self, name: str = "job") -> str:
        return (self.jobs / name / "git_prep.log").read_text()

    def fails(self, code: str, words: str, **fields: str) -> str:
        with pytest.raises(StepError) as caught:
            self.run(**fields)
        assert caught.value.code == code, caught.value.detail
        assert words in caught.value.detail
        return caught.value.detail


@pytest.fixture
def work(tmp_path: Path, url: str) -> Workplace:
    return Workplace(tmp_path, url)


def names(document: dict[str, Any]) -> list[tuple[str, str]]:
    return [(stage["name"], stage["kind"]) for stage in document["stages"]]


def test_a_change_and_its_stages(work: Workplace, repository: Repository) -> None:
    tip = git(repository.folder, "rev-parse", "master")
    commit = repository.change(ZUUL_REF, {f"{VERSIONS}/d.py": script("d", "c")}, "Add d")
    document = work.run(commit=commit)
    assert names(document) == [
        ("stable/1", "release"),
        ("stable/2", "release"),
        ("master", "tip"),
        ("change 7,1", "change"),
    ]
    assert [stage["heads"] for stage in document["stages"]] == [["a"], ["b"], ["c"], ["d"]]
    assert [stage["slug"] for stage in document["stages"]] == ["stable-1", "stable-2", "master", "change"]
    assert document["commit"] == commit
    assert document["base"] == tip
    assert document["subject"] == "Add d"
    assert document["touched"] == {"added": ["d"], "altered": [], "removed": [], "helpers": [], "others": []}
    assert document["revisions"]["d"] == {"down": ["c"], "file": f"{VERSIONS}/d.py"}
    assert sorted(document["revisions"]) == ["a", "b", "c", "d"]
    src = work.src()
    assert git(src, "rev-parse", "HEAD") == commit
    assert (src / VERSIONS / "d.py").is_file()
    assert git(src, "config", "remote.origin.url") == f"{work.url}/{PROJECT}"
    assert git(src, "rev-parse", "origin/stable/1") and git(src, "describe", "1.0") == "1.0"
    assert subprocess.run(["git", "symbolic-ref", "-q", "HEAD"], cwd=src).returncode == 1


def test_the_change_never_gets_into_the_mirror(work: Workplace, repository: Repository) -> None:
    commit = repository.change(ZUUL_REF, {"evil": "x"})
    work.run(commit=commit)
    mirror = work.mirrors / f"{PROJECT}.git"
    assert subprocess.run(["git", "cat-file", "-e", commit], cwd=mirror).returncode != 0
    inodes = {path.stat().st_ino for path in mirror.rglob("*") if path.is_file()}
    assert not inodes & {path.stat().st_ino for path in work.src().rglob("*") if path.is_file()}


def test_a_target_branch_that_is_a_release_ends_the_releases(work: Workplace, repository: Repository) -> None:
    repository.change(ZUUL_REF, {f"{VERSIONS}/b1.py": script("b1", "b")}, on="stable/2")
    document = work.run(branch="stable/2")
    assert names(document) == [("stable/1", "release"), ("stable/2", "tip"), ("change 7,1", "change")]


@pytest.mark.parametrize(
    ("files", "reason", "touched"),
    [
        ({f"{VERSIONS}/c.py": script("c", "b", "other()")}, "alters c", ("altered", ["c"])),
        ({f"{VERSIONS}/c.py": "revision = 'c'\ndown_revision = ('b', 'a')\n"}, "alters c", ("altered", ["c"])),
        ({f"{VERSIONS}/c.py": None}, "removes c", ("removed", ["c"])),
        ({f"{VERSIONS}/c.py": "# a word\n" + script("c", "b")}, "", ("altered", [])),
        ({f"{VERSIONS}/c.py": None, f"{VERSIONS}/renamed.py": script("c", "b")}, "", ("removed", [])),
    ],
)
def test_the_tip_is_left_out_when_a_migration_is_altered_or_removed(
    work: Workplace, repository: Repository, files: dict[str, str | None], reason: str, touched: tuple[str, list[str]]
) -> None:
    repository.change(ZUUL_REF, files)
    document = work.run()
    assert reason in document["tip_left_out"]
    assert bool(document["tip_left_out"]) == bool(reason)
    assert (("master", "tip") in names(document)) == (not reason)
    assert document["touched"][touched[0]] == touched[1]


def test_a_change_behind_the_branch_leaves_the_tip_out(work: Workplace, repository: Repository) -> None:
    repository.change(ZUUL_REF, {f"{VERSIONS}/x.py": script("x", "b")}, on="master~1")
    document = work.run()
    assert "does not have c" in document["tip_left_out"]
    assert document["touched"] == {"added": ["x"], "altered": [], "removed": [], "helpers": [], "others": []}


def test_a_timer_takes_the_default_branch(work: Workplace, repository: Repository) -> None:
    document = work.run(ref="", branch="", change="", patchset="")
    tip = git(repository.folder, "rev-parse", "master")
    assert document["commit"] == tip and document["branch"] == "master"
    assert document["tip_left_out"] == "the same commit"
    assert names(document)[-2:] == [("stable/2", "release"), (tip[:12], "change")]


def test_a_branch_without_a_ref(work: Workplace, repository: Repository) -> None:
    document = work.run(ref="", branch="stable/2", change="")
    assert document["commit"] == git(repository.folder, "rev-parse", "stable/2")
    assert names(document)[0] == ("stable/1", "release") and len(document["stages"]) == 2


@pytest.mark.parametrize("ref", ["stable/2", "refs/heads/stable/2"])
def test_a_ref_update_takes_its_new_commit(work: Workplace, repository: Repository, ref: str) -> None:
    newrev = git(repository.folder, "rev-parse", "stable/2")
    git(repository.folder, "checkout", "--quiet", "stable/2")
    repository.commit({"later": "x"})
    document = work.run(ref=ref, branch="", change="", newrev=newrev, commit=newrev)
    assert document["commit"] == newrev and document["branch"] == "stable/2"


def test_a_tag_has_no_target_branch(work: Workplace, repository: Repository) -> None:
    tag_object = git(repository.folder, "rev-parse", "1.0")
    document = work.run(ref="refs/tags/1.0", branch="", change="", newrev=tag_object, commit=tag_object)
    assert document["commit"] == git(repository.folder, "rev-parse", "1.0^{commit}")
    assert (document["branch"], document["base"]) == ("", None)
    assert "no target branch" in document["tip_left_out"]


def test_a_commit_within_what_the_ref_holds(work: Workplace, repository: Repository) -> None:
    first = repository.change(ZUUL_REF, {"one": "1"})
    repository.change(ZUUL_REF, {"two": "2"}, on=first)
    assert work.run(commit=first)["commit"] == first
    assert not (work.src() / "two").exists()


def test_a_ref_that_was_forced_elsewhere(work: Workplace, repository: Repository) -> None:
    gone = repository.change(ZUUL_REF, {"one": "1"})
    repository.change(ZUUL_REF, {"two": "2"})
    detail = work.fails("checkout_ref_gone", "does not hold", commit=gone)
    assert gone in detail


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"ref": "refs/zuul/master/Znone"}, "has no refs/zuul/master/Znone"),
        ({"ref": "", "branch": "nope"}, "has no branch nope"),
        ({"branch": "nope"}, "has no branch nope"),
        ({"ref": "", "commit": "1" * 40}, "1" * 40),
        ({"ref": "refs/heads/x", "newrev": "0" * 40}, "deleted"),
    ],
)
def test_what_is_not_there(work: Workplace, repository: Repository, fields: dict[str, str], words: str) -> None:
    repository.change(ZUUL_REF, {"one": "1"})
    work.fails("checkout_ref_gone", words, **fields)
    assert work.log().count("exit 128") <= 1, "to try again would not help"


@pytest.mark.parametrize(
    "fields",
    [
        {"ref": "--upload-pack=touch /tmp/x"},
        {"ref": "-x"},
        {"ref": "a:b"},
        {"ref": "+refs/heads/*"},
        {"ref": "a..b"},
        {"ref": "a b"},
        {"ref": "refs/heads/a\n"},
        {"branch": "--force"},
        {"branch": "x.lock"},
        {"commit": "HEAD"},
        {"commit": "--all"},
        {"newrev": "12345"},
        {"url": "ext::sh -c touch% /tmp/x"},
        {"url": "--upload-pack=x"},
        {"url": "a\nb"},
    ],
)
def test_arguments_that_git_could_misunderstand(work: Workplace, fields: dict[str, str]) -> None:
    work.fails("checkout_failed", "th_job.", **fields)
    assert not work.mirrors.exists()


def test_a_transport_that_is_not_allowed(work: Workplace, tmp_path: Path) -> None:
    work.fails("git_refused", "not allowed", url="ftp://127.0.0.1/x")


def test_a_missing_release_names_the_profile(work: Workplace, repository: Repository) -> None:
    repository.change(ZUUL_REF, {"x": "x"})
    work.described["releases"] = ["stable/1", "stable/9"]
    detail = work.fails("profile_wrong", "stable/9")
    assert "/profiles/project.yaml" in detail


def test_a_release_may_be_a_tag(work: Workplace, repository: Repository) -> None:
    repository.change(ZUUL_REF, {"x": "x"})
    work.described["releases"] = ["1.0"]
    assert names(work.run())[0] == ("1.0", "release")


def test_a_server_that_is_not_there(work: Workplace) -> None:
    detail = work.fails("git_unreachable", "cannot be fetched", url=f"git://127.0.0.1:{free_port()}")
    assert "refused" in detail
    assert work.log().count("git fetch") == work.patience.attempts


def test_a_server_that_never_answers(work: Workplace) -> None:
    work.patience = RetryPolicy(attempts=2, time_limit=0.5, backoff=0.01)
    with silence() as url:
        work.fails("git_unreachable", "no end after", url=url)
    assert work.log().count("git fetch") == work.patience.attempts


def test_a_server_that_dies_after_the_mirror_was_made(
    work: Workplace, root: Path, repository: Repository, tmp_path: Path
) -> None:
    repository.change(ZUUL_REF, {"x": "x"})
    with daemon(root) as origin:
        work.run(origin=origin)
    work.fails("git_unreachable", origin, origin=origin)
    assert (work.mirrors / f"{PROJECT}.git" / "HEAD").is_file(), "a good mirror must stay"


def test_the_changes_server_is_another_than_the_branches(
    work: Workplace, repository: Repository, tmp_path: Path
) -> None:
    merger = tmp_path / "merger"
    (merger / PROJECT).parent.mkdir(parents=True)
    git(tmp_path, "clone", "--quiet", "--bare", str(repository.folder), str(merger / PROJECT))
    commit = repository.change("refs/heads/gone", {"x": "x"})
    git(merger / PROJECT, "fetch", "--quiet", str(repository.folder), f"{commit}:{ZUUL_REF}")
    with daemon(merger) as other:
        document = work.run(url=other, origin=work.url, commit=commit)
    assert document["url"] == f"{other}/{PROJECT}"
    assert git(work.src(), "config", "remote.origin.url") == f"{work.url}/{PROJECT}"


def broken_head(mirror: Path) -> None:
    (mirror / "HEAD").write_text("")


def broken_objects(mirror: Path) -> None:
    for path in (mirror / "objects").rglob("*"):
        if path.is_file():
            path.chmod(0o600)
            path.write_bytes(path.read_bytes()[:20])


def missing_objects(mirror: Path) -> None:
    shutil.rmtree(mirror / "objects")


def broken_contents(mirror: Path) -> None:
    """Damage that only reading the contents finds."""
    for line in git(mirror, "cat-file", "--batch-all-objects", "--batch-check").splitlines():
        name, kind, _ = line.split()
        loose = mirror / "objects" / name[:2] / name[2:]
        assert loose.is_file(), "a small mirror is not packed"
        if kind == "blob":
            loose.chmod(0o600)
            loose.write_bytes(b"nonsense")


@pytest.mark.parametrize("damage", [broken_head, broken_objects, missing_objects, broken_contents])
def test_a_broken_mirror_is_made_anew(work: Workplace, repository: Repository, damage: Any) -> None:
    commit = repository.change(ZUUL_REF, {"x": "x"})
    work.run(commit=commit)
    damage(work.mirrors / f"{PROJECT}.git")
    document = work.run("second", commit=commit)
    assert document["commit"] == commit
    git(work.mirrors / f"{PROJECT}.git", "fsck", "--full")


def test_the_mirror_follows_branches_that_move_back_and_go(work: Workplace, repository: Repository) -> None:
    repository.change(ZUUL_REF, {"x": "x"}, on="stable/1")
    work.run(branch="stable/1")
    git(repository.folder, "branch", "--force", "stable/2", "stable/1")
    git(repository.folder, "branch", "--delete", "--force", "stable/1")
    git(repository.folder, "tag", "--force", "stable/1", "master")
    work.run("second", branch="master")
    mirror = work.mirrors / f"{PROJECT}.git"
    assert git(mirror, "rev-parse", "refs/heads/stable/2") == git(repository.folder, "rev-parse", "stable/2")
    assert "stable/1" not in git(mirror, "branch", "--list").split()


def test_many_checkouts_at_once_on_one_mirror(work: Workplace, repository: Repository) -> None:
    commit = repository.change(ZUUL_REF, {"x": "x"})
    done: list[str] = []
    threads = [
        threading.Thread(target=lambda name=f"job{number}": done.append(work.run(name, commit=commit)["commit"]))
        for number in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert done == [commit] * 4


def test_user_and_password_stay_out_of_logs_and_the_checkout(work: Workplace, repository: Repository) -> None:
    repository.change(ZUUL_REF, {"x": "x"})
    secret = work.url.replace("://", "://user:s3cret@")
    # git:// takes no user; what matters is where the words go
    with pytest.raises(StepError) as caught:
        work.run(url=secret)
    assert "s3cret" not in caught.value.detail
    assert "s3cret" not in work.log()
    work.run("other", origin=work.url, url=work.url)
    for path in work.jobs.rglob("*"):
        assert not path.is_file() or b"s3cret" not in path.read_bytes()


def test_hooks_and_filters_of_a_change_are_not_run(work: Workplace, repository: Repository, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    repository.change(
        ZUUL_REF,
        {
            ".gitattributes": "* filter=evil diff=evil\n",
            "post-checkout": f"#!/bin/sh\ntouch {mark}\n",
            ".git-config": f'[filter "evil"]\n smudge = touch {mark}\n',
            ".lfsconfig": "[lfs]\nurl=http://127.0.0.1:1\n",
        },
    )
    work.run()
    assert not mark.exists()


def test_scripts_of_a_change_that_cannot_be_read_end_the_job(work: Workplace, repository: Repository) -> None:
    """Else the walk would end before them, and well."""
    repository.change(ZUUL_REF, {f"{VERSIONS}/d.py": "revision = make()\n"})
    with pytest.raises(StepError) as caught:
        work.run()
    assert caught.value.code == "migration_unreadable"
    assert caught.value.detail == f"{VERSIONS}/d.py: its revision is computed, not written out"


def test_scripts_that_were_merged_and_cannot_be_read_are_reported(work: Workplace, repository: Repository) -> None:
    repository.commit({f"{VERSIONS}/odd.py": "revision = make()\n"})
    repository.change(ZUUL_REF, {f"{VERSIONS}/d.py": script("d", "c")})
    found = work.run()["unreadable"]
    assert {item["file"] for item in found} == {f"{VERSIONS}/odd.py"}
    repository.change(ZUUL_REF, {f"{VERSIONS}/odd.py": "revision = make_another()\n"})
    work.fails("migration_unreadable", "odd.py")


def test_what_cannot_be_read_in_a_tag_has_been_merged(work: Workplace, repository: Repository) -> None:
    commit = repository.commit({f"{VERSIONS}/odd.py": "revision = make()\n"})
    repository.git("tag", "9.9")
    document = work.run(ref="refs/tags/9.9", branch="", change="", newrev=commit, commit=commit)
    assert document["unreadable"] and not any(document["touched"].values())


def test_a_change_without_a_common_history_cannot_be_merged(work: Workplace, repository: Repository) -> None:
    repository.git("checkout", "--quiet", "--orphan", "other")
    commit = repository.commit({f"{VERSIONS}/d.py": script("d", "c")})
    repository.git("update-ref", ZUUL_REF, commit)
    work.fails("merge_conflict", "no history in common")


def test_a_change_that_cannot_be_merged_names_the_files(work: Workplace, repository: Repository) -> None:
    repository.change(ZUUL_REF, {"README": "y\n", "other": "1", f"{VERSIONS}/d.py": script("d", "c")})
    repository.commit({"README": "z\n", "other": "2"})
    detail = work.fails("merge_conflict", "cannot be merged into master: README, other: rebase it")
    assert VERSIONS not in detail
    repository.change(ZUUL_REF, {"README": "y\n"}, on="master~1")
    repository.git("reset", "--quiet", "--hard", "master~1")
    repository.commit({"more": "z\n"})
    assert names(work.run())[-1][1] == "change"  # behind the branch, and it can be merged


def test_a_git_that_cannot_try_a_merge_tries_none(
    work: Workplace, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.change(ZUUL_REF, {"README": "y\n"})
    repository.commit({"README": "z\n"})
    run = Git.run

    def old(self: Git, *words: str, **options: Any) -> bytes:
        if words[0] == "merge-tree":
            raise GitError("merge-tree", 129, "usage: git merge-tree <base-tree> <branch1> <branch2>", 0)
        return bytes(run(self, *words, **options))

    monkeypatch.setattr(Git, "run", old)
    assert names(work.run())[-1][1] == "change"


def test_a_release_with_migrations_that_were_folded_into_one_since_is_walked(
    work: Workplace, repository: Repository
) -> None:
    repository.commit({f"{VERSIONS}/a.py": None, f"{VERSIONS}/b.py": script("b", None)})
    repository.change(ZUUL_REF, {f"{VERSIONS}/d.py": script("d", "c")})
    document = work.run()
    assert ("stable/2", "release") in names(document)
    assert [item["name"] for item in document["left_out"]] == ["stable/1"]


def test_a_release_whose_migration_the_change_alters_is_left_out(work: Workplace, repository: Repository) -> None:
    repository.change(ZUUL_REF, {f"{VERSIONS}/b.py": script("b", "a", "raise RuntimeError")})
    document = work.run()
    assert document["touched"]["altered"] == ["b"]
    assert [stage["name"] for stage in document["stages"]] == ["stable/1", "change 7,1"]
    assert [(item["name"], item["kind"]) for item in document["left_out"]] == [("stable/2", "release")]
    assert "alters b" in document["left_out"][0]["reason"] and "alters b" in document["tip_left_out"]


def test_a_release_that_the_change_does_not_build_on_is_left_out(work: Workplace, repository: Repository) -> None:
    repository.git("branch", "feature/x", "stable/1")
    repository.change(ZUUL_REF, {f"{VERSIONS}/d.py": script("d", "a")}, on="feature/x")
    document = work.run(branch="feature/x")
    assert [stage["name"] for stage in document["stages"]] == ["stable/1", "feature/x", "change 7,1"]
    assert document["left_out"] == [{"name": "stable/2", "kind": "release", "reason": "it comes after feature/x"}]


def test_a_branch_that_is_no_release_is_walked_to_from_those_before_it(work: Workplace, repository: Repository) -> None:
    """Given releases that have left the main branch, with commits of their own and no migrations in between."""
    repository.commit({"more": "x"})
    for branch, after in (("stable/3", "master"), ("stable/3.5", "master"), ("stable/4", "master")):
        repository.git("checkout", "--quiet", "-b", branch, after)
        repository.commit({"backport": branch})
        repository.git("checkout", "--quiet", "master")
        repository.commit({"ahead of": branch})
    work.described["releases"] = ["stable/2", "stable/3", {"name": "four", "ref": "stable/4"}]
    repository.change(ZUUL_REF, {f"{VERSIONS}/d.py": script("d", "c")}, on="stable/3.5")
    document = work.run(branch="stable/3.5")
    assert [stage["name"] for stage in document["stages"]] == ["stable/2", "stable/3", "stable/3.5", "change 7,1"]
    assert document["left_out"] == [{"name": "four", "kind": "release", "reason": "it comes after stable/3.5"}]
    assert work.log().count("ls-remote") == 1
    assert work.run("again", branch="stable/3.5")["left_out"] and "ls-remote" not in work.log("again")
    repository.change(ZUUL_REF, {f"{VERSIONS}/d.py": script("d", "c")}, on="stable/4")
    document = work.run(branch="stable/4")  # a release by its ref
    assert [stage["name"] for stage in document["stages"]] == ["stable/2", "stable/3", "stable/4", "change 7,1"]


def test_several_databases_are_one_forest(work: Workplace, repository: Repository) -> None:
    """Given a change to the second of two databases, in another tool, and a release before that was there."""
    old, new = "app/old/versions", "app/new/versions"
    work.described = {
        "releases": ["stable/2"],
        "databases": {
            "main": {"tool": "alembic", "script_location": "app/migrations"},
            "api": {"tool": "sqlalchemy_migrate", "repository": ["app/new", "app/old"]},
        },
    }
    repository.commit({f"{old}/001_one.py": "x()", f"{old}/002_two.py": "x()"})
    repository.git("branch", "stable/3")
    work.described["releases"] += ["stable/3"]
    repository.git("mv", "app/old", "app/new")
    repository.commit({f"{new}/002_mysql_upgrade.sql": "ALTER", f"{new}/002_sqlite_upgrade.sql": "ALTER"})
    repository.change(ZUUL_REF, {f"{new}/003_three.py": "x()", f"{VERSIONS}/d.py": script("d", "c")})
    document = work.run()
    assert [stage["heads"] for stage in document["stages"]] == [
        ["main:b"],
        ["api:2", "main:c"],
        ["api:2", "main:c"],
        ["api:3", "main:d"],
    ]
    nothing: dict[str, list[str]] = {kind: [] for kind in ("altered", "removed", "helpers", "others")}
    assert document["touched"] == {"added": ["api:3", "main:d"], **nothing}
    assert document["revisions"]["api:3"] == {"down": ["api:2"], "file": f"{new}/003_three.py"}
    assert document["revisions"]["main:d"]["down"] == ["main:c"]
    assert [stage["folders"] for stage in document["stages"]][1:3] == [[VERSIONS, old], [VERSIONS, new]]
    repository.change(ZUUL_REF, {f"{new}/002_mysql_upgrade.sql": "DROP"})
    assert work.run()["touched"] == {"added": [], "altered": ["api:2"], "removed": [], "helpers": [], "others": []}
    repository.change(ZUUL_REF, {f"{new}/002_sqlite_upgrade.sql": "DROP", f"{new}/helper.py": "x", f"{new}/x.txt": ""})
    document = work.run()
    assert document["touched"] == {
        "added": [],
        "altered": [],
        "removed": [],
        "helpers": [f"{new}/002_sqlite_upgrade.sql", f"{new}/helper.py"],
        "others": [f"{new}/x.txt"],
    }
    assert [stage["name"] for stage in document["stages"]][2:] == ["master", "change 7,1"]


def test_what_the_migrations_use_beside_themselves(work: Workplace, repository: Repository) -> None:
    repository.commit({"app/migrations/env.py": "x", "alembic.ini": "[alembic]\n"})
    repository.change(
        ZUUL_REF,
        {
            "app/migrations/env.py": "y",
            "alembic.ini": "[alembic]\nsqlalchemy.url = x\n",
            "app/migrations/script.py.mako": "x",
            f"{VERSIONS}/data/words.json": "{}",
            f"{VERSIONS}/README": "x",
            f"{VERSIONS}/EXPAND_HEAD": "d",
            f"{VERSIONS}/c.py": "# a word\n" + script("c", "b"),
            f"{VERSIONS}/d.py": script("d", "c"),
            "app/models.py": "x",
        },
    )
    assert work.run()["touched"] == {
        "added": ["d"],
        "altered": [],
        "removed": [],
        "helpers": ["alembic.ini", "app/migrations/env.py", f"{VERSIONS}/data/words.json"],
        "others": ["app/migrations/script.py.mako", f"{VERSIONS}/EXPAND_HEAD", "app/models.py"],
    }


def test_what_alembics_table_holds_is_where_a_stage_ends(work: Workplace, repository: Repository) -> None:
    repository.change(
        ZUUL_REF,
        {
            f"{VERSIONS}/x.py": script("x", None),
            f"{VERSIONS}/deep/d.py": script("d", "c") + "depends_on = ['x']\n",
        },
    )
    work.described["migrations"]["recursive_version_locations"] = True
    document = work.run()
    assert document["stages"][-1]["heads"] == ["d"]
    assert document["revisions"]["d"]["down"] == ["c", "x"]


def test_a_django_project(work: Workplace, repository: Repository) -> None:
    def migration(dependencies: str, more: str = "") -> str:
        return f"class Migration(migrations.Migration):\n    dependencies = {dependencies}\n    {more}\n"

    work.described = {"migrations": {"tool": "django", "settings": "shop.settings"}}
    shop = "org/shop/migrations"
    repository.commit(
        {
            f"{shop}/__init__.py": "",
            f"{shop}/0001_initial.py": migration("[]"),
            "org/shop/apps.py": "class Shop(AppConfig):\n    label = 'store'\n",
        }
    )
    repository.change(
        ZUUL_REF,
        {
            f"{shop}/0002_b.py": migration('[("store", "0001_initial")]'),
            f"{shop}/0001_squashed_0002.py": migration("[]", 'replaces = [("store", "0001_initial")]'),
            f"{shop}/_tools.py": "x",
        },
    )
    document = work.run()
    assert document["installs"] == []
    assert [stage["heads"] for stage in document["stages"]] == [["store.0001_initial"], ["store.0002_b"]]
    assert document["revisions"]["store.0001_squashed_0002"]["replaces"] == ["store.0001_initial"]
    assert "replaces" not in document["revisions"]["store.0002_b"]
    assert document["touched"]["added"] == ["store.0001_squashed_0002", "store.0002_b"]
    assert document["touched"]["helpers"] == [f"{shop}/_tools.py"]
    assert document["stages"][0]["folders"] == [shop]


def test_folders_of_scripts_are_not_searched_unless_they_say_so(work: Workplace, repository: Repository) -> None:
    ini = "[alembic]\nscript_location = app/migrations\nrecursive_version_locations = %s\n"
    repository.change(ZUUL_REF, {f"{VERSIONS}/deep/d.py": script("d", "c"), "alembic.ini": ini % "false"})
    work.described["migrations"]["script_location"] = ""
    assert work.run()["stages"][-1]["heads"] == ["c"]
    repository.change(ZUUL_REF, {f"{VERSIONS}/deep/d.py": script("d", "c"), "alembic.ini": ini % "true"})
    assert work.run()["stages"][-1]["heads"] == ["d"]


def add_submodule(repository: Repository, url: str, path: str = "sub", source: Path | None = None) -> str:
    """A change that adds a submodule of that URL, whatever git thinks of it."""
    git(repository.folder, "checkout", "--quiet", "--detach", "master")
    commit = git(source or repository.folder, "rev-parse", "HEAD")
    (repository.folder / ".gitmodules").write_text(f'[submodule "{path}"]\n\tpath = {path}\n\turl = {url}\n')
    git(repository.folder, "add", ".gitmodules")
    git(repository.folder, "update-index", "--add", "--cacheinfo", f"160000,{commit},{path}")
    git(repository.folder, "commit", "--quiet", "--message", "Add a submodule")
    made = git(repository.folder, "rev-parse", "HEAD")
    git(repository.folder, "update-ref", ZUUL_REF, made)
    git(repository.folder, "checkout", "--quiet", "--force", "master")
    return made


@pytest.mark.parametrize("form", ["../library", "{url}/org/library", "../../org/library"])
def test_submodules_recursively(work: Workplace, root: Path, repository: Repository, form: str) -> None:
    deepest = Repository(root / "org" / "deepest")
    deepest.commit({"deep": "1"})
    library = Repository(root / "org" / "library")
    library.commit({"lib": "1"})
    (library.folder / ".gitmodules").write_text('[submodule "below"]\n\tpath = below\n\turl = ../deepest\n')
    git(library.folder, "add", ".gitmodules")
    head = git(deepest.folder, "rev-parse", "HEAD")
    git(library.folder, "update-index", "--add", "--cacheinfo", f"160000,{head},below")
    git(library.folder, "commit", "--quiet", "--message", "below")
    add_submodule(repository, form.format(url=work.url), source=library.folder)
    work.run()
    assert (work.src() / "sub" / "lib").is_file()
    assert (work.src() / "sub" / "below" / "deep").is_file()


@pytest.mark.parametrize(
    "evil",
    [
        "ext::sh -c touch% {mark}",
        "--upload-pack=touch {mark}",
        "file://{other}",
        "{other}",
        "/etc",
        "file:///",
        "rsync://127.0.0.1/x",
        "fd::17",
        "ssh://-oProxyCommand=touch%20{mark}/x",
        "-oProxyCommand=x:y",
    ],
)
def test_submodules_with_evil_urls(work: Workplace, repository: Repository, tmp_path: Path, evil: str) -> None:
    mark, other = tmp_path / "ran", tmp_path / "elsewhere"
    Repository(other).commit({"x": "1"})
    add_submodule(repository, evil.format(mark=mark, other=other))
    with pytest.raises(StepError) as caught:
        work.run()
    assert caught.value.code == "checkout_failed"
    assert not mark.exists()
    assert not list((work.src() / "sub").glob("*"))


@pytest.mark.parametrize("name", ["../../.git/hooks", "../x", "a/../../x"])
def test_submodules_with_evil_names(work: Workplace, repository: Repository, name: str) -> None:
    add_submodule(repository, work.url + "/org/project")
    git(repository.folder, "checkout", "--quiet", ZUUL_REF)
    content = (repository.folder / ".gitmodules").read_text().replace('"sub"', f'"{name}"')
    (repository.folder / ".gitmodules").write_text(content)
    git(repository.folder, "commit", "--quiet", "--all", "--message", "evil")
    git(repository.folder, "update-ref", ZUUL_REF, "HEAD")
    git(repository.folder, "checkout", "--quiet", "--force", "master")
    work.fails("checkout_failed", "")


def test_a_submodules_commit_that_is_not_there(work: Workplace, root: Path, repository: Repository) -> None:
    Repository(root / "org" / "library").commit({"x": "1"})
    add_submodule(repository, "../library")
    detail = work.fails("checkout_failed", "submodules")
    report_error(work.jobs / "job", "checkout", "checkout_failed", detail)  # without the change there is none
    assert decide.decide(artifacts.read(work.jobs / "job" / "artifacts"), ["one"]).fault is Fault.CHANGE


def test_a_submodule_that_is_broken_without_the_change_is_not_its_fault(
    work: Workplace, root: Path, repository: Repository
) -> None:
    Repository(root / "org" / "library").commit({"x": "1"})
    add_submodule(repository, "../library")
    git(repository.folder, "merge", "--quiet", "--ff-only", ZUUL_REF)
    repository.change(ZUUL_REF, {"README": "y\n"})
    detail = work.fails("checkout_failed", "submodules")
    base = git(repository.folder, "rev-parse", "master")
    events = [json.loads(line) for line in (work.jobs / "job" / "artifacts" / "errors.jsonl").read_text().splitlines()]
    assert [event["outcome"] for event in events] == ["begun", "failed"] and events[1]["commit"] == base
    report_error(work.jobs / "job", "checkout", "checkout_failed", detail)
    found = decide.decide(artifacts.read(work.jobs / "job" / "artifacts"), ["one"])
    assert (found.outcome, found.fault) == (Outcome.INFRASTRUCTURE, Fault.OPERATOR)
    assert not (work.jobs / "job" / "control").exists()


def test_a_submodules_server_that_is_not_there(work: Workplace, repository: Repository) -> None:
    url = f"git://127.0.0.1:{free_port()}/x"
    add_submodule(repository, url)
    work.fails("checkout_failed", "submodules")  # a foreign server that the change has brought
    git(repository.folder, "merge", "--quiet", "--ff-only", ZUUL_REF)
    repository.change(ZUUL_REF, {"README": "y\n"})
    work.fails("git_unreachable", "submodules")  # no change can help that


def test_what_fails_for_this_machines_sake_is_not_the_changes_fault(
    work: Workplace, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.change(ZUUL_REF, {"README": "y\n"})
    for status, said, code in (
        (None, "", "playbook_failed"),
        (128, "fatal: could not create leading directories: Permission denied", "playbook_failed"),
        (128, "fatal: this tree is not sound", "checkout_failed"),
    ):
        failure = GitError("checkout", status, said, 600)
        monkeypatch.setattr(Git, "checkout", Mock(side_effect=failure))
        work.fails(code, "cannot be checked out")


def test_submodules_of_a_local_repository_stay_below_its_base(
    tmp_path: Path, root: Path, repository: Repository
) -> None:
    library = Repository(root / "org" / "library")
    library.commit({"lib": "1"})
    work = Workplace(tmp_path, f"file://{root}")
    add_submodule(repository, "../library", source=library.folder)
    work.run()
    assert (work.src() / "sub" / "lib").is_file()
    outside = Repository(tmp_path / "outside")
    outside.commit({"x": "1"})
    add_submodule(repository, "../../../outside", source=outside.folder)
    work.fails("checkout_failed", "outside of the repositories")
    (root / "link").symlink_to(outside.folder)
    add_submodule(repository, "../../link", source=outside.folder)
    work.fails("checkout_failed", "outside of the repositories")


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://example.org/x", True),
        ("http://user@example.org/x", True),
        ("git://example.org/x", True),
        ("ssh://git@example.org:29418/x", True),
        ("git@example.org:x/y.git", True),
        ("example.org:x", True),
        ("", False),
        ("http:///x", False),
        ("https://-x/y", False),
        ("foo::bar", False),
        ("x:", False),
        ("ftp://example.org/x", False),
        ("a b", False),
        ("C:\\x", False),
        ("relative/path", False),
    ],
)
def test_urls_of_submodules(url: str, allowed: bool) -> None:
    assert (submodule_problem(url, ["http://example.org"]) == "") == allowed


def test_a_hostile_object_is_refused(work: Workplace, repository: Repository) -> None:
    """Given a tree with an entry called .git."""
    blob = git(repository.folder, "rev-parse", "HEAD:README")
    tree = (
        subprocess.run(
            ["git", "hash-object", "-t", "tree", "-w", "--stdin", "--literally"],
            input=b"100644 .git\0" + bytes.fromhex(blob),
            cwd=repository.folder,
            check=True,
            stdout=subprocess.PIPE,
        )
        .stdout.decode()
        .strip()
    )
    commit = git(repository.folder, "commit-tree", tree, "-p", "master", "-m", "evil")
    git(repository.folder, "update-ref", ZUUL_REF, commit)
    work.fails("checkout_failed", "not sound")


def test_repositories_of_another_user_on_this_machine(work: Workplace, repository: Repository) -> None:
    """Such as those of Zuul's merger; git refuses them unless it is told that they are fine."""
    repository.change(ZUUL_REF, {"x": "x"})
    work.url = str(repository.folder.parent.parent)
    if os.geteuid() == 0:
        for path in [repository.folder, *repository.folder.rglob("*")]:
            os.chown(path, 65534, 65534, follow_symlinks=False)
    assert work.run()["subject"] == "A change"


def test_only_repositories_on_this_machine_may_be_of_another_user(tmp_path: Path) -> None:
    def said(base: str) -> str:
        tool = Git(CappedLog(tmp_path / "log", 10_000), (base,), RetryPolicy())
        try:
            return str(tool.text("config", "--global", "--get-all", "safe.directory", cwd=tmp_path))
        except GitError:
            return ""

    assert [said(base) for base in ("/srv/git", "file:///srv/git", "https://git.example.org")] == ["*", "*", ""]

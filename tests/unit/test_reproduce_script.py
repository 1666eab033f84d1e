# SPDX-License-Identifier: Apache-2.0
"""The script that does a job again is made of names from outside: none of them is ever run."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.kit.git_server import Repository
from worker import publish

ODD = ["@PLUGIN@", "@ORIGIN@", "$(touch pwned)", "`touch pwned`", "';import os;'", '"+__import__("os").system("x")+"',
       "PROGRAM", "\\", "\\\"", "é\u2028x", "{{ lookup('pipe', 'touch pwned') }}"]  # fmt: skip


@pytest.mark.parametrize("odd", ODD)
def test_a_name_is_text(tmp_path: Path, odd: str) -> None:
    job: dict[str, Any] = {"project": "org/p", "url": str(tmp_path / "none"), "ref": odd, "branch": odd, "zuul": {}}
    shown = {"th_job": job, "th_git_origin": odd, "th_datasets": [{"name": "first", "config": "/x"}]}
    (tmp_path / "reproduce.sh").write_text(publish._reproduce("gate", shown))
    done = subprocess.run(
        ["sh", "reproduce.sh", "--check", "--url", str(tmp_path / "none")],
        cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 2 and "Traceback" not in done.stderr and "SyntaxError" not in done.stderr, done.stderr
    assert "name their folder: --datasets DIR" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["reproduce.sh"]


def test_a_dataset_on_several_engines_has_one_file(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "served" / "org" / "p")
    repository.commit({"a": "a"})
    job: dict[str, Any] = {"project": "org/p", "url": f"{tmp_path}/served", "ref": "HEAD", "zuul": {}}
    items = [{"name": f"user_001@{engine}", "config": "/x", "engine": engine} for engine in ("system", "mysql-9.7")]
    shown = {"th_job": job, "th_datasets": [*items, {"name": "user_002", "config": "/y"}]}
    (tmp_path / "reproduce.sh").write_text(publish._reproduce("gate", shown))
    clone = tmp_path / "clone"
    (clone / "playbooks" / "gate").mkdir(parents=True)
    (clone / ".venv" / "bin").mkdir(parents=True)
    (clone / "playbooks" / "gate" / "run.yaml").touch()
    for program in ("ansible-playbook", "bwrap", "mariadbd"):
        (clone / ".venv" / "bin" / program).write_text('#!/bin/sh\ncat "${5#@}"\n')
        (clone / ".venv" / "bin" / program).chmod(0o755)
    for name in ("job.yaml", "profile.yaml"):
        (tmp_path / name).touch()
    folder = tmp_path / "datasets"
    folder.mkdir()
    command = ["sh", "reproduce.sh", "--datasets", str(folder), "--clone", str(clone)]
    about: dict[str, Any] = {"cwd": tmp_path, "capture_output": True, "text": True, "env": {"PATH": "/usr/bin:/bin"}}
    lacking = subprocess.run(command, **about)
    assert lacking.returncode == 2 and lacking.stderr.count("user_001: neither") == 1, lacking.stderr
    for name in ("user_001", "user_002"):
        (folder / f"{name}.json").write_text("{}")
    done = subprocess.run(command, **about)
    assert done.returncode == 0, done.stderr
    given = yaml.safe_load(done.stdout.partition("\n")[2])["th_datasets"]
    first, second = (str(folder / f"{name}.json") for name in ("user_001", "user_002"))
    assert given == [*({**item, "config": first} for item in items), {"name": "user_002", "config": second}]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a repository to another user")
@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_repository_of_this_machine_may_belong_to_another_user(tmp_path: Path, scheme: str) -> None:
    """As a job fetches from it, so does the script, which the user's own configuration of git does not allow."""
    repository = Repository(tmp_path / "served" / "org" / "p")
    repository.commit({"a": "a"})
    for path in (tmp_path / "served").rglob("*"):
        os.chown(path, 65534, 65534)
    job: dict[str, Any] = {"project": "org/p", "url": f"{scheme}{tmp_path}/served", "ref": "HEAD", "zuul": {}}
    (tmp_path / "reproduce.sh").write_text(publish._reproduce("gate", {"th_job": job, "th_datasets": []}))
    done = subprocess.run(
        ["sh", "reproduce.sh", "--check"], cwd=tmp_path, capture_output=True, text=True,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )  # fmt: skip
    assert "Traceback" not in done.stderr and "reproduce.sh: playbooks:" in done.stderr, done.stderr
    assert "reproduce.sh: git:" not in done.stderr

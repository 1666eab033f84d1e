# SPDX-License-Identifier: Apache-2.0
"""The bytecode that a change's environment has from the environments of what it is based on."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.th_environment import bytecode
from ansible.module_utils.th_environment.bytecode import carry

from tests.kit.git_server import Repository, git
from tests.kit.packages import add_wheel, project
from tests.kit.workplace import Workplace

from .test_build_environment import index, work  # noqa: F401 - fixtures

VERSION = ".".join(map(str, sys.version_info[:3]))
MODULES = ("alpha", "only_alpha", "omega", "only_omega", "same", "other")
LATER = 2_000_000_000
"""A time of files, in seconds since the epoch."""


def imported(venv: Path, kept: Path, *modules: str, path: Path | None = None) -> set[str]:
    """Import modules as a walk does; those whose bytecode Python has taken and not made."""
    environment = {"PYTHONPYCACHEPREFIX": str(kept), **({"PYTHONPATH": str(path)} if path else {})}
    argv = [str(venv / "bin" / "python"), "-v", "-c", f"import {', '.join(modules)}"]
    said = subprocess.run(argv, env=environment, check=True, capture_output=True, text=True).stderr
    return {name for name in modules if f"/{name}." in "".join(_taken(said)) or f"/{name}/" in "".join(_taken(said))}


def _taken(said: str) -> list[str]:
    return [line for line in said.splitlines() if line.startswith("# code object from") and ".pyc" in line]


class Sources:
    """Two folders of sources, and what Python has compiled of the first one."""

    def __init__(self, tmp_path: Path) -> None:
        self.old, self.new = tmp_path / "old", tmp_path / "new"
        self.kept, self.carried = tmp_path / "kept", tmp_path / "carried"
        self.venv = Path(sys.prefix)

    def write(self, files: Mapping[str, str]) -> None:
        for root, time in ((self.old, LATER), (self.new, LATER + 60)):
            for name, text in files.items():
                path = root / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
                os.utime(path, (time, time))
        imported(self.venv, self.kept, *{name.partition("/")[0].removesuffix(".py") for name in files}, path=self.old)

    def carry(self) -> int:
        return carry(self.kept, self.carried, {self.old: self.new}, VERSION)


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    return Sources(tmp_path)


def test_what_is_the_same_need_not_be_compiled_again(sources: Sources) -> None:
    sources.write({"same.py": "A = 1\n", "other.py": "A = 1\n", "whole/__init__.py": "", "gone.py": ""})
    (sources.new / "other.py").write_text("A = 2\n")
    (sources.new / "gone.py").unlink()
    assert sources.carry() == 2
    modules = ("same", "other", "whole")
    assert imported(sources.venv, sources.carried, *modules, path=sources.new) == {"same", "whole"}
    assert imported(sources.venv, sources.carried, *modules, path=sources.new) == set(modules)


def test_bytecode_that_is_not_of_the_source_is_left_out(sources: Sources) -> None:
    """A source that was altered since, files that are none, and another Python's."""
    sources.write({"older.py": "A = 1\n", "whole.py": "A = 1\n", "short.py": "A = 1\n"})
    os.utime(sources.old / "older.py", (LATER + 1, LATER + 1))
    next(sources.kept.rglob("short.*.pyc")).write_bytes(b"short")
    next(sources.kept.rglob("whole.*.pyc")).with_name("more.txt").write_text("words")
    assert carry(sources.kept, sources.carried, {sources.old: sources.new}, "3.99.1") == 0
    assert sources.carry() == 1
    assert [path.name.partition(".")[0] for path in sources.carried.rglob("*.*")] == ["whole"]


def test_nothing_is_read_by_a_link_nor_waited_for(sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change's checkout may have a link in the place of each file and folder, a pipe, and anything large."""
    files = ("linked.py", "pipe.py", "large.py", "folder/__init__.py", "kept_link.py", "plain.py")
    sources.write(dict.fromkeys(files, "A = 1\n"))
    for name in ("linked.py", "pipe.py"):
        (sources.new / name).unlink()
    (sources.new / "linked.py").symlink_to(sources.old / "linked.py")
    os.mkfifo(sources.new / "pipe.py")
    (sources.new / "large.py").write_text("A = 1\n" * 1000)
    (sources.new / "folder").rename(sources.new / "elsewhere")
    (sources.new / "folder").symlink_to(sources.old / "folder")
    kept = next(sources.kept.rglob("kept_link.*.pyc"))
    kept.symlink_to(kept.rename(kept.with_suffix(".moved")))
    monkeypatch.setattr(bytecode, "SIZE_LIMIT", 5000)
    assert sources.carry() == 1
    assert imported(sources.venv, sources.carried, "plain", path=sources.new) == {"plain"}


@pytest.fixture
def merged(work: Workplace, tmp_path: Path) -> dict[str, Any]:  # noqa: F811
    """The tip of a branch, built and walked; a change to it that alters a module and asks for a later package."""
    for version in ("3.0", "4.0"):
        for name in ("alpha", "omega"):
            add_wheel(tmp_path / "index", name, version, more="A = 1\n", beside={f"only_{name}.py": f"A = {version}\n"})
    repository = Repository(tmp_path / "served" / "org" / "project")
    files = {**project(["alpha==3.0", "omega==3.0"]), "same.py": "A = 1\n", "other.py": "A = 1\n"}
    commit = repository.commit(files)
    mirror = Path(work.params["mirrors_dir"]) / "org" / "project.git"
    mirror.parent.mkdir(parents=True)
    git(tmp_path, "clone", "--quiet", "--mirror", str(repository.folder), str(mirror))
    tip = work.build("master", "tip", commit)
    imported(Path(tip["venv"]), Path(tip["bytecode"]), *MODULES)
    work.write({**files, **project(["alpha==3.0", "omega==4.0"]), "other.py": "A = 2\n"})
    return {"name": "master", "slug": "master", "kind": "tip", "commit": commit}


@pytest.mark.parametrize("known_as", ["base", "tip"])
def test_a_change_has_the_bytecode_of_what_it_is_based_on(
    work: Workplace, merged: dict[str, Any], known_as: str  # noqa: F811
) -> None:
    """What its walks compile is the job's alone, and gone with the next build."""
    release = {"name": "one", "slug": "one", "kind": "release", "commit": "1" * 40}
    about = {"base": merged["commit"], "stages": []} if known_as == "base" else {"stages": [merged, release]}
    (work.job_dir / "artifacts" / "checkout.json").write_text(json.dumps({"branch": "master", **about}))
    shared = [path for path in Path(work.params["environments_dir"]).rglob("*") if path.is_file()]
    before = {path: path.read_bytes() for path in shared}
    left = work.job_dir / "bytecode" / "left"
    left.mkdir(parents=True)
    entry = work.build()
    assert Path(entry["bytecode"]) == work.job_dir / "bytecode" and not left.exists()
    assert "omega==4.0" in entry["packages"]
    assert imported(Path(entry["venv"]), Path(entry["bytecode"]), *MODULES) == {"alpha", "only_alpha", "omega", "same"}
    assert imported(Path(entry["venv"]), Path(entry["bytecode"]), *MODULES) == set(MODULES)
    assert {path: path.read_bytes() for path in shared} == before

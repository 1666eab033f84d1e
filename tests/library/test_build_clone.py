# SPDX-License-Identifier: Apache-2.0
"""The packages that a change's environment has from that of its base: which, and when."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.th_environment.build import Build
from ansible.module_utils.th_environment.build_step import continue_build
from ansible.module_utils.th_environment.clone import NotClonedError, Twin, as_json, clone
from ansible.module_utils.th_environment.find import find_or_begin
from ansible.module_utils.th_environment.merged_code import MergedCode
from ansible.module_utils.th_environment.recipe import Recipe
from ansible.module_utils.th_environment.source import NotPlainError, Plain, Source
from ansible.module_utils.th_sandbox.capped_log import continued_log

from tests.kit.git_server import Repository, git
from tests.kit.packages import BACKEND, add_wheel, project
from tests.kit.workplace import Workplace

from .test_build_environment import index, work  # noqa: F401 - fixtures

MORE = 'wheel.writestr(f"{name}.py", "")'
FILES = {
    **project(["alpha"]),
    "backend.py": BACKEND.replace(MORE, f'{MORE}; wheel.writestr("gone.py", "")'),
    "gone.py": "",
    "requirements.txt": "-r more/needs.txt\n",
    "more/needs.txt": "gamma-delta>=3\n",
}


def merge(work: Workplace, tmp_path: Path, files: Mapping[str, str]) -> str:  # noqa: F811
    """A commit of a branch, in the mirror, and the checkout of a change to it that is the same."""
    repository = Repository(tmp_path / "served" / "org" / "project")
    commit = repository.commit(dict(files))
    mirror = Path(work.params["mirrors_dir"]) / "org" / "project.git"
    mirror.parent.mkdir(parents=True)
    git(tmp_path, "clone", "--quiet", "--mirror", str(repository.folder), str(mirror))
    (work.job_dir / "artifacts" / "checkout.json").write_text(json.dumps({"branch": "master", "base": commit}))
    work.write(dict(files))
    return commit


def answer(entry: Mapping[str, Any], *words: str) -> str:
    """What a program of an environment says."""
    argv = [f"{entry['venv']}/bin/{words[0]}", *words[1:]]
    return subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout.strip()


@pytest.mark.parametrize("kind", ["editable", "regular"])
def test_a_change_that_asks_for_the_same_has_a_copy(work: Workplace, tmp_path: Path, kind: str) -> None:  # noqa: F811
    """Without an index; and of the project it has nothing but its own."""
    script = "#!python\nimport sys; print(sys.executable)\n"
    add_wheel(tmp_path / "index", "alpha", "3.0", beside={"alpha-3.0.data/scripts/where": script, "gone2.py": ""})
    work.install["project"] = kind
    tip = work.build("master", "tip", merge(work, tmp_path, FILES))
    assert answer(tip, "python", "-c", "import gone, gone2") == ""
    shutil.rmtree(tmp_path / "index")
    shutil.rmtree(work.params["cache_dir"])
    work.write({"README": "words", "backend.py": BACKEND})
    (work.src / "gone.py").unlink()
    (Path(tip["venv"]) / "lib" / "left.txt").touch()
    entry = work.build()
    assert entry["venv"] == str(work.job_dir / "venv")
    assert entry["packages"] == tip["packages"] == ["alpha==3.0", "gamma-delta==3.0", "thing==1.5"]
    assert answer(entry, "where") == f"{entry['venv']}/bin/python"
    assert answer(entry, "python", "-c", "import alpha, gone2, gamma_delta") == ""
    assert "No module named 'gone'" in answer(entry, "python", "-c", "import gone")
    assert tip["src"] not in answer(entry, "python", "-c", "import sys; print(sys.path)")
    assert not (Path(entry["venv"]) / "lib" / "left.txt").exists()
    mine = {path.stat().st_ino for path in Path(entry["venv"]).rglob("*") if path.is_file() and not path.is_symlink()}
    assert not mine & {path.stat().st_ino for path in Path(tip["venv"]).rglob("*") if not path.is_symlink()}


def test_what_was_altered_or_added_is_installed_anew(work: Workplace, tmp_path: Path) -> None:  # noqa: F811
    """Given a module that the base has altered, and a step of the operator's that asks for more of changes alone."""
    tip = work.build("master", "tip", merge(work, tmp_path, FILES))
    module = next(Path(tip["venv"]).glob("lib/python3*/site-packages/alpha/__init__.py"))
    text = module.read_text()
    module.write_text("altered = True\n")
    assert answer(work.build(), "python", "-c", "import alpha; print(hasattr(alpha, 'altered'))") == "False"
    assert "alpha/__init__.py is not as its package has brought it" in work.log.read_text()
    module.write_text(text)
    build, there = find_or_begin(work.params, "change", "change", "")
    assert not there
    files = (work.install["requirements"], [], "editable", [])
    found = []
    for step in (
        lambda build, log: build.create(log),
        lambda build, log: build.install_requirements(log, *files),
        lambda build, log: found.append(build.cloned),
        lambda build, log: build.install_packages(log, ["alpha<2"]),
        lambda build, log: build.install_project(log, "editable", []),
        lambda build, log: {"environment": build.finish(log)},
    ):
        result = continue_build(Build.read(build.file), step)
    assert found == [True]
    assert result["environment"]["packages"] == ["alpha==1.0", "beta==2.0", "gamma-delta==3.0", "thing==1.5"]


def test_an_environment_of_another_day_or_index_is_no_twin(
    work: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:
    tip = work.build("master", "tip", merge(work, tmp_path, FILES))
    path = Path(tip["venv"]).parent / "complete.json"
    facts = json.loads(path.read_text())

    def twin() -> Mapping[str, Any]:
        return find_or_begin(work.params, "change", "change", "")[0].twin

    assert twin()["folder"] == str(path.parent)
    for other in ({"day": "2020-01-01"}, {"wheels": False}, {"index": ""}):
        path.write_text(json.dumps({**facts, **other}))
        assert twin() == {}
    path.write_text(json.dumps(facts))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/")
    assert twin() == {}


def _remove(name: str) -> Callable[[Path], None]:
    return lambda src: (src / name).unlink()


def _write(name: str, text: str) -> Callable[[Path], None]:
    return lambda src: (src / name).write_text(text)


def _link(src: Path) -> None:
    (src / "more" / "needs.txt").rename(src / "elsewhere.txt")
    (src / "more" / "needs.txt").symlink_to("../elsewhere.txt")


@pytest.mark.parametrize(
    ("alter", "same"),
    [
        (_write("backend.py", "raise RuntimeError\n"), True),
        (_write("requirements.txt", "-r more/needs.txt\n# words\n"), False),
        (_write("more/needs.txt", "gamma-delta>=2\n"), False),
        (_remove("requirements.txt"), False),
        (_remove("limits.txt"), False),
        (_write("others.txt", "beta\n"), False),
        (_write("pyproject.toml", project(["alpha", "beta"])["pyproject.toml"]), False),
        (_write("pyproject.toml", project(["alpha"], dynamic=True)["pyproject.toml"]), False),
        (_write("more/needs.txt", "gamma-delta @ https://example.org/gamma_delta.whl\n"), False),
        (_link, True),
    ],
)
def test_what_decides_on_packages(
    work: Workplace, tmp_path: Path, alter: Callable[[Path], None], same: bool  # noqa: F811
) -> None:
    files = ["requirements.txt", "limits.txt", "others.txt"]
    install = {**work.install, "requirements": files, "constraints": ["limits.txt"]}
    commit = merge(work, tmp_path, {**FILES, "limits.txt": "alpha<4\n"})
    twin = Twin("", commit, as_json(Source.of(install, work.src)))
    alter(work.src)
    source = Source.of(install, work.src)
    recipe = Recipe.of({**work.params["profile"], "install": install}, {}, "change", "change", "master")
    log = continued_log(str(work.log), 10**6)
    code = MergedCode("org/project", str(tmp_path / "served"), "", Path(work.params["mirrors_dir"]), log)
    try:
        plain: Plain | None = Plain.of(source, work.src)
    except NotPlainError:
        plain = None
    try:
        twin.check(code, source, plain, recipe, work.src)
        assert same
    except NotClonedError:
        assert not same


EMPTY = "sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"
RECORD = f"alpha/__init__.py,{EMPTY},0\nalpha-1.0.dist-info/RECORD,,\n"


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({}, ""),
        ({"alpha-1.0.dist-info/RECORD": RECORD + "alpha/gone.py,,\n"}, "is not as its package"),
        ({"alpha-1.0.dist-info/RECORD": RECORD.replace(EMPTY, "sha256=abc")}, "is not as its package"),
        ({"alpha-1.0.dist-info/RECORD": RECORD.replace(EMPTY, "")}, "is not as its package"),
        ({"alpha-1.0.dist-info/RECORD": RECORD + "../../../../outside.py,,\n"}, "leads out"),
        ({"alpha-1.0.dist-info/RECORD": RECORD + f"linked/__init__.py,{EMPTY},0\n"}, "is not as its package"),
        ({"alpha-1.0.dist-info/RECORD": RECORD + f"linked.py,{EMPTY},0\n"}, "is not as its package"),
        ({"alpha-1.0.dist-info/RECORD": RECORD + "alpha\n"}, "is not valid"),
        ({"beta-1.0.dist-info/METADATA": ""}, "is not valid"),
        ({"beta-1.0.dist-info/RECORD": RECORD}, "two packages have"),
    ],
)
def test_only_what_packages_have_brought_is_copied(tmp_path: Path, files: Mapping[str, str], why: str) -> None:
    kept, venv = tmp_path / "kept", tmp_path / "venv"
    site = kept / "lib" / "python3.11" / "site-packages"
    usual = {"alpha/__init__.py": "", "alpha-1.0.dist-info/RECORD": RECORD, "left.pth": "import evil\n"}
    own = {"thing.py": "", "thing-1.dist-info/RECORD": "thing.py,,\n", "thing-1.dist-info/direct_url.json": "{}"}
    for name, text in {**usual, **own, **files}.items():
        path = site / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "outside.py").touch()
    (site / "linked").symlink_to(site / "alpha")
    (site / "linked.py").symlink_to(tmp_path / "outside.py")
    if why:
        with pytest.raises(NotClonedError, match=why):
            clone(kept, venv, "3.11.7")
    else:
        clone(kept, venv, "3.11.7")
        made = {os.path.relpath(path, venv) for path in venv.rglob("*") if path.is_file()}
        where = "lib/python3.11/site-packages"
        assert made == {f"{where}/alpha/__init__.py", f"{where}/alpha-1.0.dist-info/RECORD"}

# SPDX-License-Identifier: Apache-2.0
"""Projects of all shapes: in a folder of their repository, not meant to be installed, with linked interpreters."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_environment.recipe import find_python
from ansible.module_utils.th_environment.unpackaged import REFUSED, needed, unpackaged
from ansible.module_utils.th_environment.uv_errors import cause
from packaging.requirements import Requirement

from tests.kit.packages import add_sdist, add_wheel, project, serve
from tests.kit.workplace import Workplace

FLAT = """
raise SystemExit("error: Multiple top-level packages discovered in a flat-layout: ['one', 'two'].")
"""


@pytest.fixture
def work(tmp_path: Path, job_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workplace]:
    for name in list(os.environ):
        if name.startswith(("UV_", "PIP_")):
            monkeypatch.delenv(name)
    for name, version in (("alpha", "1.4"), ("alpha", "2.0"), ("beta", "0.3.1"), ("beta", "0.4")):
        add_wheel(tmp_path / "index", name, version)
    with serve(tmp_path / "index") as url:
        monkeypatch.setenv("PIP_INDEX_URL", url)
        monkeypatch.setenv("UV_HTTP_RETRIES", "0")
        yield Workplace(tmp_path, job_dir)


def test_a_project_in_a_folder(work: Workplace) -> None:
    work.params["profile"]["folder"] = "backend"
    work.install["project"] = "none"
    files = {**project(["alpha<2"]), "requirements.txt": "-e .\n-r more.txt\n", "more.txt": "beta\n"}
    work.write({f"backend/{name}": text for name, text in files.items()})
    entry = work.build()
    assert entry["packages"] == ["alpha==1.4", "beta==0.4", "thing==1.5"]
    assert entry["src"] == str(work.src)
    code = "import sys; print([p for p in sys.path if 'src' in p][-1])"
    done = subprocess.run([f"{entry['venv']}/bin/python", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(work.src / "backend")
    work.install["project"] = "editable"
    work.write({"backend/requirements.txt": "alpha\n"})
    assert work.build()["packages"] == ["alpha==1.4", "thing==1.5"]


def test_a_requirement_of_a_folder_is_named_with_its_place_in_the_repository(work: Workplace) -> None:
    work.params["profile"]["folder"] = "backend"
    work.install["project"] = "none"
    work.write({"backend/requirements.txt": "alpha\nno-such-package==1\n"})
    work.fails("environment_failed", "backend/requirements.txt:2: no-such-package==1: ")
    assert work.place == {"file": "backend/requirements.txt", "line": 2}


@pytest.mark.parametrize("way", ["missing", "a link out of it"])
def test_a_folder_that_is_not_there(work: Workplace, tmp_path: Path, way: str) -> None:
    work.params["profile"]["folder"] = "backend"
    work.write({"README": "words"})
    if way != "missing":
        (work.src / "backend").symlink_to(tmp_path)
    work.fails("environment_failed", "The checkout has no folder backend (the profile's folder)")


POETRY = """
[tool.poetry]
package-mode = false
[tool.poetry.dependencies]
python = "^3.9"
alpha = "^1.0"
beta = {version = "~0.3", optional = true}
[tool.poetry.extras]
more = ["beta"]
[build-system]
requires = ["poetry-core"]
build-backend = "poetry.core.masonry.api"
"""


@pytest.mark.parametrize(
    ("files", "packages"),
    [
        ({"pyproject.toml": POETRY}, ["alpha==1.4", "beta==0.3.1"]),
        ({"pyproject.toml": "[project]\nname = 'x'\ndependencies = ['alpha<2']\n[tool.uv]\npackage = false\n"},
         ["alpha==1.4"]),
        (project(["alpha<2"], evil=FLAT), ["alpha==1.4"]),
        ({**project(dynamic=True, evil=FLAT), "requirements.txt": "beta\n"}, ["beta==0.4"]),
    ],
    ids=["poetry", "uv", "flat layout", "flat layout, dynamic"],
)
def test_a_project_that_is_not_meant_to_be_installed(
    work: Workplace, files: dict[str, str], packages: list[str]
) -> None:
    work.install["extras"] = ["more"]
    work.write(files)
    assert work.build()["packages"] == packages
    assert "The project itself is not installed" in work.log.read_text()


def test_a_build_that_fails_otherwise_stays_a_failure(work: Workplace) -> None:
    work.write({**project(["alpha"], evil="raise RuntimeError('broken on purpose')"), "requirements.txt": "beta\n"})
    work.fails("environment_failed", "RuntimeError: broken on purpose")


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("'^1.2.3'", "x<2,>=1.2.3"),
        ("'^0.2.3'", "x<0.3,>=0.2.3"),
        ("'^0.0.3'", "x<0.0.4,>=0.0.3"),
        ("'^0'", "x<1,>=0"),
        ("'~1.2.3'", "x<1.3,>=1.2.3"),
        ("'~1'", "x<2,>=1"),
        ("'1.2.*'", "x==1.2.*"),
        ("'*'", "x"),
        ("'1.2'", "x==1.2"),
        ("'>=1.2, <2, !=1.5'", "x!=1.5,<2,>=1.2"),
        ("{version = '^1', extras = ['a', 'b']}", "x[a,b]<2,>=1"),
        ("{version = '^1', markers = \"sys_platform == 'linux'\"}", 'x<2,>=1; sys_platform == "linux"'),
        ("{version = '*', python = '^3.9'}", 'x; python_version >= "3.9" and python_version < "4"'),
        ("{git = 'https://example.org/x.git', tag = 'v1'}", "x@ git+https://example.org/x.git@v1"),
        ("{url = 'https://example.org/x.whl'}", "x@ https://example.org/x.whl"),
        ("{version = '1', optional = true}", None),
    ],
)
def test_what_poetry_says_in_everybodys_words(tmp_path: Path, said: str, written: str | None) -> None:
    text = f"[tool.poetry]\npackage-mode = false\n[tool.poetry.dependencies]\nx = {said}\n"
    (tmp_path / "pyproject.toml").write_text(text)
    assert unpackaged(tmp_path) == "pyproject.toml: [tool.poetry] says package-mode = false"
    assert list(map(Requirement, needed(tmp_path, []))) == ([Requirement(written)] if written else [])


@pytest.mark.parametrize(
    "said",
    ["'^1 || ^2'", "'--index-url=http://x'", "{path = '../x'}", "'latest'", "{git = 'x y', tag = 'z ; w'}", "'^1;'"],
)
def test_what_cannot_be_said_otherwise_is_an_error_and_no_option(tmp_path: Path, said: str) -> None:
    (tmp_path / "pyproject.toml").write_text(f"[tool.poetry.dependencies]\nx = {said}\n")
    with pytest.raises(StepError, match=r"^pyproject\.toml: ") as caught:
        needed(tmp_path, [])
    assert caught.value.code == "environment_failed"


def test_no_requirement_is_an_option(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\ndependencies = ['--index-url=http://evil.example']\n")
    with pytest.raises(StepError, match="is not a requirement"):
        needed(tmp_path, [])


def test_an_interpreter_that_is_a_link_of_a_link(
    work: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As pyenv's and uv's are, in a folder of the home that a box does not have."""
    real = Path(sys.base_prefix).resolve()
    for name, target in (("versions", real), ("current", tmp_path / "versions"), ("bin", None)):
        if target is None:
            (tmp_path / name).mkdir()
        else:
            (tmp_path / name).symlink_to(target)
    executable = tmp_path / "current" / "bin" / Path(sys.executable).resolve().name
    (tmp_path / "bin" / "python-of-mine").symlink_to(executable)
    work.install["project"] = "none"
    work.write({"requirements.txt": "alpha\n"})
    work.params["profile"]["python"] = str(tmp_path / "bin" / "python-of-mine")
    found = find_python(work.params["profile"]["python"])
    assert not Path(found.path).is_symlink() and Path(found.prefix).resolve() == Path(found.prefix) == real
    assert work.build()["packages"] == ["alpha==2.0"]


NOISE = [f"         line {number}" for number in range(300)]


@pytest.mark.parametrize(
    ("tail", "words"),
    [
        (["error: Failed to build `x`", "  cause: Call failed", "", "         [stdout]", *NOISE[:100], "",
          "         [stderr]", *NOISE[:50], "         Traceback (most recent call last):",
          "         KeyError: 'VERSION'", "", "hint: Build failures usually indicate a problem"],
         "[stderr] KeyError: 'VERSION'"),
        ([*NOISE, "         ModuleNotFoundError: No module named 'x'"], "ModuleNotFoundError: No module named 'x'"),
        (["error: No solution", *(f"  cause: Because a{n} and" for n in range(20)), "  cause: unsatisfiable."],
         "cause: Because a19 and cause: unsatisfiable."),
        (["error: Failed", "         [stderr]", "         x.c:1:1: fatal error: mysql.h: No such file or directory",
          *NOISE[:80], "         error: command 'gcc' failed", "hint: install a library"],
         "fatal error: mysql.h: No such file or directory error: command 'gcc' failed hint: install a library"),
        (["one", "two", "three", "four"], "two three four"),
    ],
)  # fmt: skip
def test_the_cause_of_a_failed_build_is_not_cut_out(tail: list[str], words: str) -> None:
    said = cause(tail)
    assert words in said and len(said) <= 2000 and "line 40" not in said


def test_what_setuptools_says_of_a_flat_layout() -> None:
    assert REFUSED.search("error: Multiple top-level modules discovered in a flat-layout: ['a', 'b'].")
    assert not REFUSED.search("RuntimeError: something else")


def test_a_dependency_that_cannot_be_built_says_why(work: Workplace, tmp_path: Path) -> None:
    loud = "print('\\n'.join('noise %d' % n for n in range(500)))\nraise KeyError('SET_ME')"
    add_sdist(tmp_path / "index", "loud", "1.0", project(evil=loud))
    work.install["project"] = "none"
    work.write({"requirements.txt": "loud\n"})
    work.fails("environment_failed", "KeyError: 'SET_ME'")

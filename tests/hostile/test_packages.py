# SPDX-License-Identifier: Apache-2.0
"""Builds that try to reach what other builds install, and what the worker writes for them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kit.packages import add_sdist, add_wheel, project

from .sites import Site


def poisoned(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and b"POISON = True" in path.read_bytes()]


def in_a_dependency(worksite: Site, code: str) -> dict[str, str]:
    other = {name: text.replace('"thing"', '"dependency"') for name, text in project(evil=code).items()}
    add_sdist(worksite.index, "dependency", "1.5", other)
    return {**project(), "requirements.txt": "alpha\ndependency\n"}


def in_the_backend_and_in_a_wheel(worksite: Site, code: str) -> dict[str, str]:
    add_wheel(worksite.index, "with_pth", "1.0", beside={"with_pth.pth": "import of_pth\n", "of_pth.py": code})
    starting = "import os, subprocess\nsubprocess.run([os.path.abspath('../venv/bin/python'), '-c', ''])"
    return {**project(evil=f"{starting}\n{code}"), "requirements.txt": "alpha\nwith-pth\n"}


@pytest.mark.parametrize("where", [in_the_backend_and_in_a_wheel, in_a_dependency], ids=lambda where: where.__name__)
def test_a_release_poisons_what_other_projects_install(
    worksite: Site, where: Callable[[Site, str], dict[str, str]], stopped_by: Callable[[str], None]
) -> None:
    """Given all that merged code may run while its release is built, and a package that everybody uses."""
    evil = f"{worksite.poison}\nspread()\nopen(os.environ['HOME'] + '/../src/ran', 'w').close()"
    work = worksite.release("first", "org/evil", where(worksite, evil))
    assert list(Path(work.params["environments_dir"]).glob("*/src/ran"))
    assert not [path for path in poisoned(worksite.caches) if "projects/org-evil-" not in str(path)]
    other = worksite.job("second", "org/other")
    other.write({**project(), "requirements.txt": "alpha\n"})
    assert "alpha==1.0" in other.build()["packages"]
    assert not poisoned(other.job_dir)
    stopped_by("a cache for each project, and one of wheels that no build can see")


AGAIN = """
import os, sys
if not os.path.exists('tried'):
    open('tried', 'w').close()
    venv, home = {venv!r}, os.environ['HOME']
    for name in ('requirements.txt', 'constraints.txt'):
        os.path.lexists(home + '/' + name) and os.unlink(home + '/' + name)
        os.symlink({outside!r}, home + '/' + name)
    python = venv + '/bin/python'
    real = os.path.realpath(python)
    os.unlink(python)
    with open(python, 'w') as file:
        file.write('#!' + real + '\\n' + {poison!r} + '\\nspread()\\nimport sys\\n')
        file.write('os.execv(%r, [%r, *sys.argv[1:]])\\n' % (real, python))
    os.chmod(python, 0o755)
raise SystemExit("error: Multiple top-level packages discovered in a flat-layout: ['one', 'two'].")
"""


@pytest.mark.parametrize("kind", ["change", "release"])
def test_a_build_says_that_it_is_none_and_is_installed_again(
    worksite: Site, kind: str, stopped_by: Callable[[str], None]
) -> None:
    """Given what it leaves for the second attempt: links in the place of our files, another interpreter."""
    outside = worksite.root / "outside"
    outside.write_text("untouched")
    files = {**project(), "requirements.txt": "alpha\n"}
    if kind == "change":
        work = worksite.job("again")
        evil = AGAIN.format(venv=str(work.job_dir / "venv"), outside=str(outside), poison=worksite.poison)
        work.write({**files, **project(evil=evil)})
        assert work.build()["packages"] == ["alpha==1.0"]
        assert (work.src / "tried").exists()
    else:
        evil = AGAIN.format(venv="../venv", outside=str(outside), poison=worksite.poison).replace(
            "venv, home = '../venv'", "venv, home = os.path.abspath('../venv')"
        )
        work = worksite.release("again", "org/evil", {**files, **project(evil=evil)})
        assert list(Path(work.params["environments_dir"]).glob("*/src/tried"))
    assert outside.read_text() == "untouched"
    assert not [path for path in poisoned(worksite.caches) if "projects/org-evil-" not in str(path)]
    other = worksite.job("next", "org/other")
    other.write({**project(), "requirements.txt": "alpha\n"})
    assert "alpha==1.0" in other.build()["packages"]
    assert not poisoned(other.job_dir)
    stopped_by("every attempt beginning with nothing")


def test_an_index_gives_another_wheel_than_its_page_says(worksite: Site, stopped_by: Callable[[str], None]) -> None:
    """Given a hash on the page of the index, as PyPI has, and none in the requirements."""
    page = worksite.index / "simple" / "alpha" / "index.html"
    good = page.read_text()
    page.write_text(good.replace('.whl">', f'.whl#sha256={"0" * 64}">'))
    work = worksite.job("mismatch")
    work.write({**project(), "requirements.txt": "alpha\n"})
    work.fails("environment_failed", "Hash mismatch for `alpha==1.0`")
    page.write_text(good)
    assert not list(worksite.caches.glob("archive-v*/*"))
    stopped_by("a hash that is checked as a wheel is fetched")

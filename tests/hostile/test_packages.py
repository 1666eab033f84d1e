# SPDX-License-Identifier: Apache-2.0
"""Builds that try to reach what other builds install, or to make their failure look like somebody else's."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible.module_utils.th_step import StepError

from tests.library import boxes
from tests.library.gitserver import Repository, git
from tests.library.packages import add_sdist, add_wheel, project, serve
from tests.library.workplace import Workplace

POISON = """
import os
def spread():
    for start in (os.environ.get('UV_CACHE_DIR', ''), CACHES):
        for folder, _, names in os.walk(start):
            for name in [*(name for name in names if name.endswith('.py')), 'poison']:
                try:
                    with open(os.path.join(folder, name), 'ab') as file:
                        file.write(b'\\nPOI' + b'SON = True\\n')
                except OSError:
                    pass
"""


class Site:
    """An index, and projects that share the caches of one worker."""

    def __init__(self, root: Path) -> None:
        self.root, self.index = root, root / "index"
        self.caches = root / "cache"
        add_wheel(self.index, "alpha", "1.0")
        add_wheel(self.index, "beta", "1.0")

    @property
    def poison(self) -> str:
        return POISON.replace("CACHES", repr(str(self.caches)))

    def job(self, name: str, project: str = "org/project") -> Workplace:
        """A job that is about to be built."""
        job_dir = self.root / "jobs" / name
        for folder in ("src", "artifacts", "results"):
            (job_dir / folder).mkdir(mode=0o700, parents=True)
        work = Workplace(self.root, job_dir)
        work.params["job"] |= {"project": project}
        return work

    def release(self, name: str, project: str, files: dict[str, str]) -> Workplace:
        """Build a release of a project that merged these files."""
        repository = Repository(self.root / "served" / project)
        commit = repository.commit(files)
        mirror = self.root / "mirrors" / f"{project}.git"
        if not mirror.exists():
            mirror.parent.mkdir(parents=True, exist_ok=True)
            git(self.root, "clone", "--quiet", "--mirror", str(repository.folder), str(mirror))
        git(mirror, "fetch", "--quiet", str(repository.folder), "+refs/heads/*:refs/heads/*")
        work = self.job(name, project)
        work.build("stable-1", "release", commit)
        return work


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for name in [name for name in os.environ if name.lower().endswith("_proxy") or name[:3] in ("UV_", "PIP")]:
        monkeypatch.delenv(name)
    made = Site(tmp_path)
    with serve(made.index) as url:
        monkeypatch.setenv("PIP_INDEX_URL", url)
        monkeypatch.setenv("UV_HTTP_RETRIES", "0")
        monkeypatch.setenv("UV_HTTP_TIMEOUT", "2")
        yield made


def poisoned(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and b"POISON = True" in path.read_bytes()]


def in_the_backend(site: Site, code: str) -> dict[str, str]:
    return {**project(evil=code), "requirements.txt": "alpha\n"}


def in_a_dependency(site: Site, code: str) -> dict[str, str]:
    other = {name: text.replace('"thing"', '"dependency"') for name, text in project(evil=code).items()}
    add_sdist(site.index, "dependency", "1.5", other)
    return {**project(), "requirements.txt": "alpha\ndependency\n"}


def in_a_wheel(site: Site, code: str) -> dict[str, str]:
    add_wheel(site.index, "with_pth", "1.0", beside={"with_pth.pth": "import of_pth\n", "of_pth.py": code})
    starting = "import os, subprocess\nsubprocess.run([os.path.abspath('../venv/bin/python'), '-c', ''])"
    return {**project(evil=starting), "requirements.txt": "alpha\nwith-pth\n"}


@pytest.mark.parametrize("where", [in_the_backend, in_a_dependency, in_a_wheel], ids=lambda where: where.__name__)
def test_a_release_poisons_what_other_projects_install(
    site: Site, where: Callable[[Site, str], dict[str, str]], stopped_by: Callable[[str], None]
) -> None:
    """Given all that merged code may run while its release is built, and a package that everybody uses."""
    evil = f"{site.poison}\nspread()\nopen(os.environ['HOME'] + '/../src/ran', 'w').close()"
    work = site.release("first", "org/evil", where(site, evil))
    assert list(Path(work.params["environments_dir"]).glob("*/src/ran"))
    assert not [path for path in poisoned(site.caches) if "projects/org-evil-" not in str(path)]
    other = site.job("second", "org/other")
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
    site: Site, kind: str, stopped_by: Callable[[str], None]
) -> None:
    """Given what it leaves for the second attempt: links in the place of our files, another interpreter."""
    outside = site.root / "outside"
    outside.write_text("untouched")
    files = {**project(), "requirements.txt": "alpha\n"}
    if kind == "change":
        work = site.job("again")
        evil = AGAIN.format(venv=str(work.job_dir / "venv"), outside=str(outside), poison=site.poison)
        work.write({**files, **project(evil=evil)})
        assert work.build()["packages"] == ["alpha==1.0"]
        assert (work.src / "tried").exists()
    else:
        evil = AGAIN.format(venv="../venv", outside=str(outside), poison=site.poison).replace(
            "venv, home = '../venv'", "venv, home = os.path.abspath('../venv')"
        )
        work = site.release("again", "org/evil", {**files, **project(evil=evil)})
        assert list(Path(work.params["environments_dir"]).glob("*/src/tried"))
    assert outside.read_text() == "untouched"
    assert not [path for path in poisoned(site.caches) if "projects/org-evil-" not in str(path)]
    other = site.job("next", "org/other")
    other.write({**project(), "requirements.txt": "alpha\n"})
    assert "alpha==1.0" in other.build()["packages"]
    assert not poisoned(other.job_dir)
    stopped_by("every attempt beginning with nothing")


def test_an_index_gives_another_wheel_than_its_page_says(site: Site, stopped_by: Callable[[str], None]) -> None:
    """Given a hash on the page of the index, as PyPI has, and none in the requirements."""
    page = site.index / "simple" / "alpha" / "index.html"
    good = page.read_text()
    page.write_text(good.replace(".whl\">", f".whl#sha256={'0' * 64}\">"))
    work = site.job("mismatch")
    work.write({**project(), "requirements.txt": "alpha\n"})
    work.fails("environment_failed", "Hash mismatch for `alpha==1.0`")
    page.write_text(good)
    assert not list(site.caches.glob("archive-v*/*"))
    stopped_by("a hash that is checked as a wheel is fetched")


FAKE = """
import os, signal, sys
words = {words!r}
for number in (1, 2):
    for place in ('/proc/%d/fd/%d' % (os.getppid(), number), '/proc/self/fd/%d' % number):
        try:
            with open(place, 'w') as stream:
                stream.write(words + '\\n')
        except OSError:
            pass
os.kill(os.getppid(), signal.SIGKILL)
"""

REFUSED = "error: Failed to fetch: `{url}/alpha/`\n  cause: error sending request\n  cause: tcp connect error"
CLAIMS = {
    "the index refuses": REFUSED,
    "the index says 503": "error: Failed to fetch: `{url}/alpha/`\n  cause: HTTP status server error (503)",
    "there is no network": "error: network was disabled",
    "the index has no days": "warning: alpha-1.0.whl is missing an upload date, but user provided one\nerror: x",
    "the profile names nothing": "error: No solution\n  cause: Because beta was not found in the package registry and",
    "the disk is full": "error: Failed to write\n  cause: No space left on device (os error 28)",
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_build_says_on_behalf_of_uv_that_somebody_else_is_to_blame(
    site: Site, claim: str, stopped_by: Callable[[str], None]
) -> None:
    work = site.job("fake")
    words = CLAIMS[claim].format(url=os.environ["PIP_INDEX_URL"])
    work.write(project(evil=FAKE.format(words=words)))
    work.install["packages"] = ["beta"]
    with pytest.raises(StepError) as caught:
        work.build()
    assert words.splitlines()[0] in work.log.read_text()  # it has been said
    assert caught.value.code in ("environment_failed", "over_limit"), caught.value.detail
    stopped_by("the same question being asked without the project")


def a_name(site: Site) -> list[str]:
    return ["pytest-timeout==99"]


def a_wheel(site: Site) -> list[str]:
    add_wheel(site.index, "sly", "1.0", requires=["beta (tcp connect error: connection refused, timed out"])
    return ["sly"]


@pytest.mark.parametrize("saying", [a_name, a_wheel], ids=lambda saying: saying.__name__)
def test_a_package_is_called_what_uv_says_of_an_index_that_fails(
    site: Site, saying: Callable[[Site], list[str]], stopped_by: Callable[[str], None]
) -> None:
    """Given words that uv only quotes, while no code of the project runs."""
    work = site.job("quoted")
    work.write({**project(), "requirements.txt": "\n".join(saying(site)) + "\n"})
    with pytest.raises(StepError) as caught:
        work.build()
    assert caught.value.code == "environment_failed", caught.value.detail
    stopped_by("the same question being asked without the project")


def test_a_build_says_so_without_being_installed_twice(site: Site, stopped_by: Callable[[str], None]) -> None:
    """Given requirements that are more than names, so that all is installed where the change's code runs."""
    work = site.job("git")
    words = REFUSED.format(url=os.environ["PIP_INDEX_URL"])
    work.write({**project(evil=FAKE.format(words=words)), "requirements.txt": "-e .\n"})
    work.params["sandbox"] = boxes.given()
    work.fails("environment_failed", "error sending request")
    shutil.rmtree(work.job_dir)
    stopped_by("the proxy having seen no index fail")

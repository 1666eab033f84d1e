# SPDX-License-Identifier: Apache-2.0
"""Changes that try to get out while they are installed: by their build backend, by a setup.py, by what they have
installed into the environment. One build tries everything, each thing in a process of its own."""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyseccomp
import pytest
from ansible.module_utils.th_core.remove import remove
from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_environment import uv
from ansible.module_utils.th_environment.recipe import find_python
from ansible.module_utils.th_sandbox.box import Box
from ansible.module_utils.th_sandbox.capped_log import CappedLog
from ansible.module_utils.th_sandbox.contain import run_contained

from tests.kit import boxes
from tests.kit.git_server import Repository, git
from tests.kit.packages import add_sdist, add_wheel, project, serve
from tests.kit.workplace import Workplace

from .attacks import ATTACKS, Attack
from .build_attacks import ALL, BUILDING, RUNNER
from .test_walk import GOT, KEY, left_behind, targets
from .world import GUARDED, TOKEN, World

ENVIRONMENT_NAMES = ["PIP_INDEX_URL", "UV_HTTP_RETRIES", "UV_HTTP_TIMEOUT"]


class Site:
    """A world with an index, in which changes are built."""

    def __init__(self, world: World, index: Path) -> None:
        self.world, self.index = world, index
        self.python = find_python("python3")

    def job(self, name: str, kind: str = "bubblewrap") -> Workplace:
        """A job that is about to be built, its folder as that of any other."""
        job_dir = self.world.root / "jobs" / f"{name}-{os.getpid()}"  # a name that is in no other run of these tests
        for folder in (job_dir, job_dir / "src", job_dir / "artifacts", job_dir / "results", job_dir / "db" / "toy"):
            folder.mkdir(mode=0o700, parents=True)
        (job_dir / "job.yaml").write_text(TOKEN)
        (job_dir / "artifacts" / "environment.json").write_text("{}")
        (job_dir / "artifacts" / "walk-toy.jsonl").touch()
        (job_dir / "db" / "toy" / "admin.cnf").write_text(TOKEN)
        work = Workplace(self.world.root, job_dir)
        cache = self.world.root / "cache"
        work.params |= {
            "cache_dir": str(cache / "packages"),
            "environments_dir": str(cache / "environments"),
            "mirrors_dir": str(cache / "git"),
            "sandbox": boxes.given(kind=kind),
        }
        return work

    def told(self, work: Workplace) -> dict[str, Any]:
        """What an attack knows."""
        world, folder = self.world, str(work.job_dir)
        number = pyseccomp.resolve_syscall
        calls = {"add_key": "add_key", "bpf": "bpf", "perf": "perf_event_open", "setsockopt": "setsockopt"}
        return {
            "root": str(world.root), "pid": world.neighbour.pid, "file": world.neighbour_file,
            "mark": work.job_dir.name, "tcp": world.tcp, "tcp6": world.tcp6, "udp": world.udp,
            "gearman": world.gearman, "key": KEY, "abstract": world.abstract,
            "folder": folder, "src": f"{folder}/src", "venv": f"{folder}/venv",
            "programs": work.params["programs"], "prefix": self.python.prefix, "uv": uv.uv_path(),
            **{name: number(pyseccomp.Arch.NATIVE, call) for name, call in calls.items()},
        }  # fmt: skip

    def trying(self, work: Workplace, attacks: Sequence[Attack]) -> str:
        """Code that tries everything; it runs once, however often it is reached."""
        bodies = [textwrap.dedent(attack.body).strip() for attack in attacks]
        said = str(work.src / "said")
        return f"{RUNNER}\nrun({said!r}, {bodies!r}, {self.told(work)!r})\n"

    def warm_up(self) -> None:
        """Have what every build uses in the shared cache."""
        work = self.job("first")
        work.write({**project(), "requirements.txt": "alpha\n"})
        assert self.ends(work) == ""
        shutil.rmtree(work.job_dir)

    def trees(self, besides: Workplace) -> dict[str, tuple[int, bytes]]:
        """All files that are guarded, but for those of one job: their modes and contents."""
        found = {}
        for name in GUARDED:
            for path in (self.world.root / name).rglob("*"):
                if path.is_file() and not path.is_relative_to(besides.job_dir):
                    place = str(path.relative_to(self.world.root))
                    found[place] = (path.lstat().st_mode, path.read_bytes())
        return found

    def ends(self, work: Workplace) -> str:
        """Build the change; the code of its failure, or ""."""
        try:
            work.build()
        except StepError as error:
            return error.code
        return ""


def altered(before: dict[str, tuple[int, bytes]], after: dict[str, tuple[int, bytes]]) -> list[str]:
    """What a build has changed. To the shared cache uv itself adds what it knows of the interpreter of a new place."""
    added = [name for name in after.keys() - before.keys() if not name.startswith("cache/packages/interpreter-")]
    return sorted([*added, *(name for name, what in before.items() if after.get(name) != what)])


def said(work: Workplace) -> list[str]:
    """What the attacks have said."""
    folder = work.src / "said"
    return [(folder / str(number)).read_text() for number in range(len(list(folder.iterdir())))]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    index = tmp_path_factory.mktemp("index")
    add_wheel(index, "alpha", "1.0")
    world = World(tmp_path_factory.mktemp("world"))
    with world.living(), serve(index) as url, pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.lower().endswith("_proxy") or name[:3] in ("UV_", "PIP")]:
            patch.delenv(name)
        for name, value in zip(ENVIRONMENT_NAMES, (url, "0", "2"), strict=True):
            patch.setenv(name, value)
        site = Site(world, index)
        site.warm_up()
        yield site


@pytest.fixture(scope="module")
def plainly(site: Site) -> dict[str, str]:
    """What attacks of builds say as a program of this user, by what they try."""
    shown = [attack for attack in BUILDING if targets(attack)]
    work = site.job("open")
    (work.job_dir / "venv").mkdir()
    subprocess.run([sys.executable, "-c", site.trying(work, shown)], cwd=work.src, check=True, timeout=300)
    found = dict(zip([attack.tries for attack in shown], said(work), strict=True))
    shutil.rmtree(work.job_dir)
    return found


@pytest.fixture(scope="module")
def boxed(site: Site) -> Iterator[dict[str, str]]:
    """What all attacks say when a change's build backend makes them."""
    work = site.job("boxed")
    work.write(project(evil=site.trying(work, ALL)))
    before = site.trees(work)
    mine = {path: path.read_text() for path in (work.job_dir / "artifacts").iterdir()}
    assert site.ends(work) == ""
    assert left_behind(site.world, work.job_dir) == []
    assert site.world.unharmed()
    assert altered(before, site.trees(work)) == []
    artifacts = {path: path.read_text() for path in (work.job_dir / "artifacts").iterdir()}
    document = json.loads(artifacts.pop(written := work.job_dir / "artifacts" / "environment.json"))
    assert document == {"schema": 1, "environments": [work.entry]}
    assert artifacts == {path: text for path, text in mine.items() if path != written}
    assert not [path for path in work.src.rglob("*") if path.lstat().st_mode & 0o6000]
    for folder in (work.src, work.job_dir / "venv"):
        assert folder.is_dir() and not folder.is_symlink()
    yield dict(zip([attack.tries for attack in ALL], said(work), strict=True))
    shutil.rmtree(work.job_dir)


@pytest.mark.parametrize("attack", ALL, ids=lambda attack: attack.tries)
def test_a_build_tries(
    boxed: dict[str, str], plainly: dict[str, str], attack: Attack, stopped_by: Callable[[str], None]
) -> None:
    """Those of walks are shown to work in test_walk.py."""
    if attack in BUILDING and targets(attack):
        assert GOT.search(plainly[attack.tries]), f"it does not work at all: {plainly[attack.tries]}"
    assert not GOT.search(boxed[attack.tries]), boxed[attack.tries]
    assert TOKEN not in boxed[attack.tries]
    stopped_by(attack.stopped)


PROBES = [
    attack
    for attack in ALL
    if attack.tries
    in (
        "to read the worker's configuration",
        "to read another job's arguments",
        "to read the worker's environment",
        "to connect out by TCP",
        "to connect to an abstract unix socket",
        "to give orders to the Gearman server through the proxy",
        "to write into the cache of packages",
        "to make a program that runs as the worker",
        "to outlive the job by forking twice and setsid",
    )
]


def _backend_hook(site: Site, work: Workplace, code: str) -> None:
    inner = textwrap.indent(code, "    ")
    hook = f"def get_requires_for_build_editable(config_settings=None):\n{inner}\n    return []\n"
    work.write(project(evil=hook))


def _setup_py(site: Site, work: Workplace, code: str) -> None:
    work.write({"setup.py": f"{code}\nfrom setuptools import setup\nsetup(name='thing', version='1.5')\n"})
    folder = site.index / "simple" / "setuptools"
    folder.mkdir(exist_ok=True)
    found = importlib.metadata.distribution("setuptools")
    wheel = folder / f"setuptools-{found.version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        for path in found.files or ():
            if ".." not in path.parts and path.suffix != ".pyc" and not path.name.startswith("RECORD"):
                file.write(str(path.locate()), str(path))
        file.writestr(f"setuptools-{found.version}.dist-info/RECORD", "")
    (folder / "index.html").write_text(f'<a href="{wheel.name}">{wheel.name}</a>')


def _pth(site: Site, work: Workplace, code: str) -> None:
    work.write({**project(), "trying.py": code, "requirements.txt": "with-pth\n"})
    line = f"import os, runpy; os.path.exists({str(work.src)!r}) and runpy.run_path({str(work.src / 'trying.py')!r})\n"
    add_wheel(site.index, "with_pth", "1.0", beside={"with_pth.pth": line})


def _sitecustomize(site: Site, work: Workplace, code: str) -> None:
    work.write({**project(), "trying.py": code, "requirements.txt": "with-sitecustomize\n"})
    text = f"import os, runpy\nif os.path.exists({str(work.src)!r}): runpy.run_path({str(work.src / 'trying.py')!r})\n"
    add_wheel(site.index, "with_sitecustomize", "1.0", beside={"sitecustomize.py": text})


def _sdist(site: Site, work: Workplace, code: str) -> None:
    other = {name: text.replace('"thing"', '"dependency"') for name, text in project(evil=code).items()}
    add_sdist(site.index, "dependency", "1.5", other)
    work.write({**project(), "requirements.txt": "dependency\n"})


def _local_package(site: Site, work: Workplace, code: str) -> None:
    other = {name: text.replace('"thing"', '"plugin"') for name, text in project(evil=code).items()}
    work.write({**project(), "requirements.txt": "./plugin\n", **{f"plugin/{name}": other[name] for name in other}})


@pytest.mark.parametrize(
    "arrange",
    [_backend_hook, _setup_py, _pth, _sitecustomize, _sdist, _local_package],
    ids=lambda arrange: arrange.__name__[1:],
)
def test_code_in_other_places_of_a_change(
    site: Site, arrange: Callable[[Site, Workplace, str], None], stopped_by: Callable[[str], None]
) -> None:
    """Given code that runs when uv asks for more, reads an old setup.py, starts the environment's Python, or builds
    what is depended on."""
    work = site.job(arrange.__name__)
    arrange(site, work, site.trying(work, PROBES))
    site.ends(work)
    log = work.log.read_text()
    assert len(said(work)) == len(PROBES), log
    assert not [text for text in said(work) if GOT.search(text) or TOKEN in text]
    assert left_behind(site.world, work.job_dir) == []
    assert site.world.unharmed()
    assert (site.world.root / "cache/packages/wheels/index/thing.whl").read_text() == TOKEN
    shutil.rmtree(work.job_dir)
    stopped_by("the same box")


def test_a_build_tries_to_kill_everything_that_it_can(site: Site, stopped_by: Callable[[str], None]) -> None:
    (attack,) = [attack for attack in ATTACKS if attack.tries == "to kill everything that it can"]
    work = site.job("killer")
    # never without a box around it
    guard = "assert open('/proc/1/comm').read() == 'bwrap\\n'\n"
    work.write(project(evil=guard + attack.body.replace("SIGTERM", "SIGKILL")))
    assert site.ends(work) == "environment_failed"
    assert site.world.unharmed()
    shutil.rmtree(work.job_dir)
    stopped_by(attack.stopped)


def test_a_build_takes_away_where_the_walk_begins(site: Site, stopped_by: Callable[[str], None]) -> None:
    """Given a link to a folder that is there outside, and not in the box."""
    work = site.job("homeless")
    elsewhere = site.world.root / "etc"
    evil = f"import os\nif os.path.isdir('db'): os.rmdir('db'); os.symlink({str(elsewhere)!r}, 'db')"
    work.write(project(evil=evil))
    (work.src / "db").mkdir()
    assert site.ends(work) == ""
    assert (work.src / "db").resolve() == elsewhere
    box = Box(boxes.settings(), [work.job_dir / "venv"], [work.src])
    log = CappedLog(work.job_dir / "results" / "walk.log", 10_000)
    begun = run_contained(["/bin/ls"], cwd=work.src / "db", env={}, box=box, log=log, time_limit=300)
    assert begun.exit not in (0, None)  # the change's, and not a box that cannot be made
    assert "config.yaml" not in log.path.read_text()
    shutil.rmtree(work.job_dir)
    stopped_by("its mount namespace")


POISON = """
import os
def poison(root):
    for folder, _, names in os.walk(root):
        for name in [*names, 'poison']:
            try:
                with open(os.path.join(folder, name), 'ab') as file:
                    file.write(b'poison')
            except OSError:
                pass
for place in {places!r} + [os.environ['UV_CACHE_DIR'], os.environ['HOME'], os.environ['TMPDIR']]:
    poison(place)
"""


def test_a_build_tries_to_poison_every_cache_that_it_can_find(site: Site, stopped_by: Callable[[str], None]) -> None:
    def job(name: str, kind: str = "bubblewrap", evil: str = "") -> Workplace:
        work = site.job(name, kind)
        work.write({**project(evil=evil), "requirements.txt": "alpha\n"})
        return work

    root = site.world.root
    evil = POISON.format(places=[str(root / "cache"), str(root / "datasets"), str(root / "jobs" / "other")])
    for kind, reached in (("bubblewrap", False), ("none", True)):
        work = job("poisoner", kind, evil)
        before = site.trees(work)
        assert site.ends(work) == ""
        found = {place.split("/")[1] for place in altered(before, site.trees(work)) if place.startswith("cache/")}
        assert found == ({"packages", "environments", "git", "snapshots", "poison"} if reached else set())
        shutil.rmtree(work.job_dir)
        if not reached:  # the next job is unharmed
            work = job("next")
            assert "alpha==1.0" in work.build()["packages"]
            assert not [path for path in work.job_dir.rglob("*") if path.is_file() and b"poison" in path.read_bytes()]
            shutil.rmtree(work.job_dir)
    shutil.rmtree(root / "cache")
    site.world.restore()
    site.warm_up()
    stopped_by("a cache of its own, and a mount namespace")


FORGE = """
import os
folder = os.path.dirname(os.getcwd())
for name in ('complete.json', 'forged'):
    try:
        open(os.path.join(folder, name), 'w').write('{}')
    except OSError:
        pass
"""


@pytest.mark.parametrize("kind", ["none", "bubblewrap"])
def test_a_merged_commit_tries_to_forge_what_is_known_of_its_environment(
    site: Site, tmp_path: Path, kind: str, stopped_by: Callable[[str], None]
) -> None:
    repository = Repository(tmp_path / "served" / "org" / "project")
    commit = repository.commit(project(evil=FORGE))
    work = site.job(f"kept-{kind}", kind)
    work.params |= {"environments_dir": str(tmp_path / "environments"), "mirrors_dir": str(tmp_path / "mirrors")}
    (tmp_path / "mirrors" / "org").mkdir(parents=True)
    git(tmp_path, "clone", "--quiet", "--mirror", str(repository.folder), str(tmp_path / "mirrors/org/project.git"))
    folder = Path(work.build("stable-1", "release", commit)["venv"]).parent
    names = {path.name for path in folder.iterdir()}
    assert names == {"src", "venv", "complete.json"} | ({"forged"} if kind == "none" else set())
    shutil.rmtree(work.job_dir)
    stopped_by("its folder not being a mount" if kind == "bubblewrap" else "nothing, without a box")


LITTER = """
import os

def litter():
    here = os.getcwd()
    def deep(folder):
        os.chdir(folder)
        for _ in range(1100):
            os.mkdir('d' * 20)
            os.chdir('d' * 20)
        os.chdir(here)
    for folder in ({venv!r}, os.environ['HOME']):
        os.mkdir(folder + '/closed')
        open(folder + '/closed/file', 'w').close()
        os.chmod(folder + '/closed', 0)
        os.symlink({outside!r}, folder + '/link')
    deep({venv!r})
    packages = {packages!r}
    for number in range(150):
        os.mkdir(packages + '/many%d-1.0.dist-info' % number)
    for name in ('evil\\nname-1.0', 'evil\\x1b[31m-1.0', 'evil\\u202e-1.0', '-1.0', 'x-'):
        os.mkdir(packages + '/' + name + '.dist-info')
    os.symlink({outside!r}, {venv!r} + '/lib/python3.99')

if not os.path.lexists({venv!r} + '/closed'):
    litter()
"""


def test_a_build_leaves_what_is_hard_to_read_and_to_remove(
    site: Site,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    stopped_by: Callable[[str], None],
) -> None:
    work = site.job("litter")
    work.params["sandbox"] = boxes.given(disk=0)  # which has a limit to the depth of folders
    outside = tmp_path / "outside"
    (outside / "site-packages" / "leak-1.0.dist-info").mkdir(parents=True)
    (outside / "kept").write_text("x")
    venv = work.job_dir / "venv"
    packages = venv / "lib" / f"python{'.'.join(site.python.version.split('.')[:2])}" / "site-packages"
    monkeypatch.setattr(uv, "PACKAGES_SHOWN", 100)
    request.addfinalizer(lambda: remove(work.job_dir))  # pytest itself cannot remove it
    work.write(project(evil=LITTER.format(venv=str(venv), outside=str(outside), packages=str(packages))))
    found = work.build()["packages"]
    assert list(venv.glob("lib/python3*/site-packages/leak-1.0.dist-info"))  # who follows links finds it
    assert len(found) == 100 and "leak==1.0" not in found
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.]+", name) for name in found)
    assert not (work.job_dir / "build").exists()
    work.write(project())
    assert work.build()["packages"] == ["thing==1.5"]  # nothing is left of the first
    assert (outside / "kept").exists() and (outside / "site-packages" / "leak-1.0.dist-info").exists()
    stopped_by("no link that is followed, and names that are checked")


def test_a_build_tries_to_have_a_secret_quoted(site: Site, stopped_by: Callable[[str], None]) -> None:
    """Given a build that puts links in the place of files which are read for the words about its failure."""
    work = site.job("quoting")
    secret = site.world.root / "etc" / "config.yaml"
    evil = (
        "import os\nfor name in ('requirements.txt', 'setup.cfg', 'setup.py'):\n"
        f"    os.path.lexists(name) and os.unlink(name)\n    os.symlink({str(secret)!r}, name)\n"
        "raise RuntimeError('Because zuul_server was not found')"
    )
    work.write({**project(evil=evil), "requirements.txt": "alpha\n"})
    detail = work.fails("environment_failed", "zuul_server was not found")
    assert (work.src / "requirements.txt").read_text() == secret.read_text()  # who follows links reads it
    assert TOKEN not in detail
    shutil.rmtree(work.job_dir)
    stopped_by("no link that leads out of the checkout being followed")

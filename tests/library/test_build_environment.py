# SPDX-License-Identifier: Apache-2.0
"""The environments, built by the real uv from a package index on loopback."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_environment.kept import find, keep, prune
from ansible.module_utils.th_environment.uv import uv_path

from tests.kit import ROOT, boxes
from tests.kit.git_server import Repository, git
from tests.kit.packages import add_sdist, add_wheel, project, serve
from tests.kit.proxies import CompanyProxy
from tests.kit.waiting import free_port
from tests.kit.workplace import Workplace


@pytest.fixture
def index(tmp_path: Path) -> Iterator[str]:
    add_wheel(tmp_path / "index", "alpha", "1.0", ["beta>=2"])
    add_wheel(tmp_path / "index", "alpha", "2.0", ["beta>=2"])
    add_wheel(tmp_path / "index", "beta", "2.0")
    add_wheel(tmp_path / "index", "gamma_delta", "3.0")
    with serve(tmp_path / "index") as url:
        yield url


@pytest.fixture
def work(tmp_path: Path, job_dir: Path, index: str, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    for name in list(os.environ):
        if name.startswith(("UV_", "PIP_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_INDEX_URL", index)
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("UV_HTTP_TIMEOUT", "2")
    return Workplace(tmp_path, job_dir)


def python(entry: dict[str, Any], code: str) -> str:
    argv = [f"{entry['venv']}/bin/python", "-c", code]
    return subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def test_the_change_with_its_requirements(work: Workplace) -> None:
    work.write({**project(["alpha"]), "requirements.txt": "gamma-delta==3.0\n"})
    entry = work.build()
    assert entry["packages"] == ["alpha==2.0", "beta==2.0", "gamma-delta==3.0", "thing==1.5"]
    assert (entry["stage"], entry["cached"]) == ("change", False)
    assert entry["python"] == python(entry, "import platform; print(platform.python_version())")
    assert python(entry, "import sys; print([p for p in sys.path if p.endswith('src')][0])") == str(work.src)
    assert "alpha==2.0" in work.log.read_text()


def test_constraints_packages_and_no_project(work: Workplace) -> None:
    work.write({"limits.txt": "alpha<2\n"})
    work.install.update(constraints=["limits.txt", "missing.txt"], packages=["alpha"], project="none")
    assert work.build()["packages"] == ["alpha==1.0", "beta==2.0"]


def test_a_regular_install(work: Workplace) -> None:
    work.write(project())
    work.install["project"] = "regular"
    entry = work.build()
    assert python(entry, "import thing; print(thing.__file__)").startswith(entry["venv"])


def test_dependencies_that_only_the_build_knows(work: Workplace) -> None:
    work.write(project(["alpha<2"], dynamic=True))
    assert work.build()["packages"] == ["alpha==1.0", "beta==2.0", "thing==1.5"]


def test_a_build_gets_the_profiles_environment_and_nothing_of_ours(
    work: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_WORKER", "s3cret")
    work.install["environment"] = {"PBR_VERSION": "7.7"}
    seen_file = work.src / "seen"
    dump = f"import os, json; open({str(seen_file)!r}, 'w').write(json.dumps(dict(os.environ)))"
    work.write(project(evil=dump))
    work.build()
    seen = json.loads(seen_file.read_text())
    assert seen["PBR_VERSION"] == "7.7"
    assert "SECRET_OF_THE_WORKER" not in seen
    assert seen["HOME"].startswith(str(work.job_dir))


def test_what_a_change_builds_does_not_reach_the_shared_cache(work: Workplace, tmp_path: Path) -> None:
    work.write({**project(["alpha"]), "requirements.txt": "./other\n"})
    work.write({f"other/{name}": text.replace("thing", "other") for name, text in project().items()})
    assert "other==1.5" in work.build()["packages"]
    cache = Path(work.params["cache_dir"])
    names = [path.name for path in cache.rglob("*")]
    assert not [name for name in names if name.startswith(("other", "thing"))]
    files = {path.stat().st_ino for path in cache.rglob("*") if path.is_file()}
    assert not files & {path.stat().st_ino for path in (work.job_dir / "venv").rglob("*") if path.is_file()}


def test_a_second_build_downloads_nothing_again(work: Workplace, tmp_path: Path) -> None:
    work.write({**project(), "requirements.txt": "alpha\n"})
    work.build()
    (tmp_path / "index" / "simple" / "alpha" / "alpha-2.0-py3-none-any.whl").unlink()
    assert "alpha==2.0" in work.build()["packages"]


def test_a_requirement_that_does_not_exist(work: Workplace) -> None:
    work.write({**project(), "requirements.txt": "alpha\n# no-such-thing-at-all\nNo_such.thing-at-all>=1  # a word\n"})
    detail = work.fails("environment_failed", "requirements.txt:3: No_such.thing-at-all>=1: error: ")
    assert len(detail) < 2100
    assert work.place == {"file": "requirements.txt", "line": 3}


MISMATCH = f"gamma-delta==3.0 \\\n    --hash=sha256:{'0' * 64}\n"


@pytest.mark.parametrize(
    ("files", "place"),
    [
        ({"requirements.txt": "alpha\ngamma-delta==99\n"}, "requirements.txt:2: gamma-delta==99"),
        ({"requirements.txt": "-r more/base.txt\n", "more/base.txt": "\n\nnope\n"}, "more/base.txt:3: nope"),
        (
            {"requirements.txt": "alpha>=2\n", "limits.txt": "beta==2.0\nalpha==1.0\n"},
            "requirements.txt:1: alpha>=2; limits.txt:2: alpha==1.0",
        ),
        ({"requirements.txt": f"alpha\n{MISMATCH}"}, "requirements.txt:2: gamma-delta==3.0"),
        ({"requirements.txt": "alpha\nomega\n"}, "requirements.txt:2: omega"),
        ({"requirements.txt": "alpha\nbeta two\n"}, "requirements.txt:2: beta two"),
        ({"requirements.txt": "alpha\n./not/there\n"}, "requirements.txt:2: ./not/there"),
        ({"requirements.txt": "alpha\nbroken>=1\n"}, "requirements.txt:2: broken>=1"),
        ({"requirements.txt": "alpha\nneeds-broken\n"}, "requirements.txt:2: needs-broken"),
        ({"requirements.txt": "alpha\nneeds-python; python_version > '3'\n"}, "requirements.txt:2: needs-python"),
        ({"requirements.txt": "alpha\n-r gone.txt\n"}, "requirements.txt:2: -r gone.txt"),
        ({"requirements.txt": "alpha\n--bogus x\n"}, "requirements.txt:2: --bogus x"),
        (project(["alpha", "nope==1"]), "pyproject.toml:8: dependencies = "),
        ({"pyproject.toml": '[project]\nname = "thing\n'}, 'pyproject.toml:2: name = "thing'),
    ],
)
def test_what_cannot_be_installed_is_named_with_its_line(
    work: Workplace, tmp_path: Path, files: dict[str, str], place: str
) -> None:
    index = tmp_path / "index"
    add_wheel(index, "omega", "1.0", ["no-such-dependency>=2"])
    add_sdist(index, "broken", "1.0", project(evil="raise RuntimeError('broken on purpose')"))
    add_wheel(index, "needs_broken", "1.0", ["broken"])
    add_wheel(index, "needs_python", "1.0", ["alpha", "python-of-old; python_version < '3'", "gone==1"])
    work.install["constraints"] = ["limits.txt"]
    work.write({**project(), **files})
    detail = work.fails("environment_failed", place)
    assert detail.startswith(place)
    file, line = place.split(":")[:2]
    assert work.place == {"file": file, "line": int(line)}


def test_a_package_of_the_profile_that_is_not_there_is_not_the_changes_fault(work: Workplace) -> None:
    work.write(project(["alpha"]))
    work.install["packages"] = ["beta", "no-such-thing>=1"]
    work.fails("profile_wrong", "install.packages: no-such-thing>=1: ")


def test_requirements_that_contradict_each_other(work: Workplace) -> None:
    work.write({**project(["alpha<2"]), "requirements.txt": "alpha>=2\n"})
    work.fails("environment_failed", "requirements.txt:1: alpha>=2; pyproject.toml:8: dependencies = ['alpha<2']: ")


def test_packages_as_they_were_on_a_day(work: Workplace, tmp_path: Path) -> None:
    for version, day in (("1.0", "2022-01-14"), ("2.0", "2022-01-15"), ("3.0", "2024-01-01")):
        add_wheel(tmp_path / "index", "dated", version, uploaded=day)
    work.write({**project(["dated"]), "requirements.txt": ""})
    found = {}
    for day in ("", "2022-01-15", "2022-01-16"):
        work.params["profile"]["exclude_newer"] = day
        entry = work.build()
        assert entry["exclude_newer"] == day
        found[day] = entry["packages"][0]
    assert found == {"": "dated==3.0", "2022-01-15": "dated==1.0", "2022-01-16": "dated==2.0"}
    work.params["profile"]["exclude_newer"] = "2021-01-01"
    work.fails("environment_failed", "pyproject.toml:8: dependencies = ['dated']: ")


def test_packages_of_a_day_from_the_real_index(tmp_path: Path, job_dir: Path) -> None:
    work = Workplace(tmp_path, job_dir)
    defaults = yaml.safe_load((ROOT / "roles" / "build_environment" / "defaults" / "main.yaml").read_text())
    work.params["pass_environment"] = defaults["build_environment_pass_environment"]
    work.params["profile"]["exclude_newer"] = "2022-01-15"
    work.install |= {"packages": ["requests"], "project": "none"}
    work.src.mkdir()
    assert {"requests==2.27.1", "urllib3==1.26.8", "certifi==2021.10.8"} <= {*work.build()["packages"]}


def test_an_index_without_days(work: Workplace) -> None:
    work.params["profile"]["exclude_newer"] = "2022-01-15"
    work.write(project(["alpha"]))
    detail = work.fails("profile_wrong", "exclude_newer: the package index does not say when")
    assert "alpha-" in detail


def test_a_build_that_fails(work: Workplace) -> None:
    evil = "raise RuntimeError('broken on purpose and alpha, too')"
    work.write({**project(evil=evil), "requirements.txt": "alpha\n"})
    work.fails("environment_failed", "broken on purpose")
    assert work.place == {}  # it is the project itself


@pytest.mark.parametrize(
    "files",
    [{"README": "x"}, {"pyproject.toml": "[project\n", "backend.py": ""}],
)
def test_a_checkout_that_is_no_project(work: Workplace, files: dict[str, str]) -> None:
    work.write(files)
    work.fails("environment_failed", "pyproject.toml")


def test_an_index_that_is_not_there_is_not_the_changes_fault(work: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{free_port()}/simple")
    work.write({**project(), "requirements.txt": "alpha\n"})
    work.fails("index_unreachable", "refused")


def test_a_server_that_the_change_names_is_its_own_fault(work: Workplace) -> None:
    port = free_port()
    work.params["sandbox"] = boxes.given(build_hosts=[f"localhost:{port}"])
    work.write({**project(), "requirements.txt": f"evil @ http://localhost:{port}/evil-1.0-py3-none-any.whl\n"})
    work.fails("environment_failed", "requirements.txt names a server")


def test_what_was_refused_is_told(work: Workplace) -> None:
    port = free_port()
    wheel = f"http://127.0.0.1:{port}/evil-1.0-py3-none-any.whl"
    work.write({**project(), "requirements.txt": f"evil @ {wheel}\n"})
    line = f"refused: 127.0.0.1:{port} (neither port 80 nor 443; sandbox_build_hosts)"
    work.fails("environment_failed", line)
    assert work.log.read_text().count(line) == 1
    assert "The shared cache is not used: requirements.txt:1: a URL\n" in work.log.read_text()


def test_a_failure_is_the_changes_though_an_https_server_was_refused(work: Workplace) -> None:
    """Given uv's words of a tunnel, which are those of an index that cannot be reached, and a host that no file of the
    checkout names as uv does."""
    work.write({**project(), "requirements.txt": "evil @ https://127.1/evil-1.0-py3-none-any.whl\n"})
    work.fails("environment_failed", "refused: 127.0.0.1:443 (127.0.0.1 is not outside; sandbox_build_hosts)")


def test_a_requirement_in_git_from_a_host_that_is_named(work: Workplace, tmp_path: Path) -> None:
    other = Repository(tmp_path / "index" / "other")
    other.commit({name: text.replace("thing", "other") for name, text in project().items()})
    other.git("update-server-info")
    host = os.environ["PIP_INDEX_URL"].split("/")[2].replace("127.0.0.1", "localhost")
    work.write({**project(), "requirements.txt": f"other @ git+http://{host}/other/.git\n"})
    work.fails("environment_failed", f"refused: {host} (neither port 80 nor 443; sandbox_build_hosts)")
    work.params["sandbox"] = boxes.given(build_hosts=[host])
    assert work.build()["packages"] == ["other==1.5", "thing==1.5"]


def test_without_a_network_folders_of_packages_are_taken(
    work: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work.params["sandbox"] = boxes.given(build_network=False)
    work.write({**project(), "requirements.txt": "alpha\n"})
    work.fails("index_unreachable", "the network was disabled")
    work.params["pass_environment"] = ["UV_FIND_LINKS", "UV_INDEX"]
    monkeypatch.setenv("UV_FIND_LINKS", str(tmp_path / "index" / "simple" / "alpha"))
    monkeypatch.setenv("UV_INDEX", f"file://{tmp_path}/index/simple")
    assert work.build()["packages"] == ["alpha==2.0", "beta==2.0", "thing==1.5"]


def test_a_company_proxy_is_gone_through_and_its_password_stays_outside(
    work: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    dump = "import os; open('seen', 'w').write(repr(dict(os.environ)))"
    work.write({**project(evil=dump), "requirements.txt": "alpha\n"})
    work.params["pass_environment"] += ["http_proxy", "HTTPS_PROXY", "NO_PROXY"]
    with CompanyProxy().running() as company:
        for name in ("http_proxy", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://user:s3cret@127.0.0.1:{company.port}")
        monkeypatch.setenv("NO_PROXY", "elsewhere.example")
        assert "alpha==2.0" in work.build()["packages"]
    assert [head for head in company.heads if "/simple/alpha/" in head and "Proxy-Authorization: Basic " in head]
    seen = (work.src / "seen").read_text()
    assert "'no_proxy': ''" in seen and "'http_proxy': 'http://127.0.0.1:" in seen
    assert "s3cret" not in seen and str(company.port) not in seen


def test_hashes_are_verified_from_the_index_and_from_the_cache(work: Workplace, tmp_path: Path) -> None:
    folder = tmp_path / "index" / "simple" / "gamma-delta"
    (file,) = folder.glob("*.whl")
    good = hashlib.sha256(file.read_bytes()).hexdigest()
    line = f"gamma-delta==3.0 --hash=sha256:{good}\n"
    add_wheel(tmp_path / "index", "gamma_delta", "3.0", more="evil = True")
    for named in ("gamma-delta\n", line):  # without a hash it is taken, and is in the shared cache from then on
        work.write({**project(), "requirements.txt": named})
        if named == line:
            work.fails("environment_failed", "requirements.txt:1: gamma-delta==3.0")
        else:
            assert "gamma-delta==3.0" in work.build()["packages"]
    shutil.rmtree(work.params["cache_dir"])
    work.fails("environment_failed", "requirements.txt:1: gamma-delta==3.0")
    add_wheel(tmp_path / "index", "gamma_delta", "3.0")
    line = f"gamma-delta==3.0 --hash=sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}\n"
    work.write({"requirements.txt": line})
    assert "gamma-delta==3.0" in work.build()["packages"]


def test_requirements_that_lead_out_of_the_checkout_are_left_out(work: Workplace, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.txt").write_text("no-such-thing-at-all\n")
    work.write(project())
    (work.src / "requirements.txt").symlink_to(tmp_path / "elsewhere.txt")
    assert work.build()["packages"] == ["thing==1.5"]


def test_a_build_without_end(work: Workplace) -> None:
    evil = "import subprocess, time; subprocess.Popen(['sleep', '98765'], start_new_session=True); time.sleep(3600)"
    work.write(project(evil=evil))
    work.params["time_limit"] = 2
    begun = time.monotonic()
    work.fails("environment_failed", "not ended after 2 s (build_environment_time_limit)")
    assert time.monotonic() - begun < 300
    assert not [one for one in psutil.process_iter(["cmdline"]) if one.info["cmdline"] == ["sleep", "98765"]]


def test_a_build_that_takes_more_than_it_may(work: Workplace) -> None:
    work.write(project(evil="kept = bytearray(b'x') * (700 << 20)"))
    work.params["sandbox"] = boxes.given(memory="512M")
    work.fails("over_limit", "memory, 512 MiB (sandbox_memory)")


def test_an_interpreter_that_is_not_there(work: Workplace) -> None:
    work.write(project())
    work.params["profile"]["python"] = "python3.99"
    with pytest.raises(StepError) as caught:
        work.build()
    assert caught.value.code == "profile_wrong"
    assert "python3.99" in caught.value.detail


@pytest.fixture
def commits(tmp_path: Path, work: Workplace) -> list[str]:
    """Merged commits, in the mirror as the role checkout leaves it."""
    repository = Repository(tmp_path / "served" / "org" / "project")
    made = [repository.commit({**project([f"alpha=={version}.0"]), "number": str(version)}) for version in (1, 2)]
    made.append(repository.commit({"backend.py": "raise RuntimeError('broken on purpose')\n"}))
    mirror = Path(work.params["mirrors_dir"]) / "org" / "project.git"
    mirror.parent.mkdir(parents=True)
    git(tmp_path, "clone", "--quiet", "--mirror", str(repository.folder), str(mirror))
    return made


def test_a_release_is_kept_for_the_next_job(work: Workplace, commits: list[str]) -> None:
    first = work.build("stable-1", "release", commits[0])
    again = work.build("stable-1", "release", commits[0])
    other = work.build("master", "tip", commits[1])
    assert (first["cached"], again["cached"], other["cached"]) == (False, True, False)
    assert first["venv"] == again["venv"] != other["venv"]
    assert first["packages"] == ["alpha==1.0", "beta==2.0", "thing==1.5"]
    assert (Path(first["src"]) / "number").read_text() == "1"


def test_another_profile_makes_another_environment(work: Workplace, commits: list[str]) -> None:
    first = work.build("stable-1", "release", commits[0])
    work.install["packages"] = ["gamma-delta"]
    second = work.build("stable-1", "release", commits[0])
    assert not second["cached"] and first["venv"] != second["venv"]


def test_each_release_has_its_own_recipe(work: Workplace, commits: list[str], tmp_path: Path) -> None:
    for version, day in (("1.0", "2022-01-01"), ("2.0", "2024-01-01")):
        add_wheel(tmp_path / "index", "dated", version, uploaded=day)
    own = tmp_path / "own"
    venv.create(own, with_pip=False)
    usual = {"python": "python3", "exclude_newer": "", "install": {**work.install, "packages": ["dated"]}}
    work.params["profile"] |= {**usual, "releases": [{**usual, "name": name, "ref": name} for name in ("one", "two")]}
    two = work.params["profile"]["releases"][1]
    two |= {"ref": "stable/2", "exclude_newer": "2023-01-01", "install": {**usual["install"], "project": "none"}}
    two |= {"python": str(own / "bin" / "python")}
    stages = [{"slug": "slug-of-one", "name": "one"}, {"slug": "slug-of-two", "name": "two"}]
    artifact = work.job_dir / "artifacts" / "checkout.json"
    artifact.write_text(json.dumps({"branch": "master", "stages": stages}))
    built = {slug: work.build(slug, "release", commits[0]) for slug in ("slug-of-one", "slug-of-two")}
    assert built["slug-of-one"]["packages"] == ["alpha==1.0", "beta==2.0", "dated==2.0", "thing==1.5"]
    assert built["slug-of-two"]["packages"] == ["dated==1.0"]
    assert not built["slug-of-two"]["cached"]
    work.write(project())
    assert "dated==2.0" in work.build()["packages"]
    for branch in ("two", "stable/2"):  # a change to it, and its tip
        artifact.write_text(json.dumps({"branch": branch, "stages": stages}))
        assert work.build()["packages"] == ["dated==1.0"]
        assert work.build("two", "tip", commits[0])["cached"]
    two["python"] = "python3.99"
    with pytest.raises(StepError, match=r"^releases: two: python: there is no interpreter python3\.99") as caught:
        work.build("slug-of-two", "release", commits[0])
    assert caught.value.code == "profile_wrong"


@pytest.fixture
def based(work: Workplace, commits: list[str], tmp_path: Path) -> Workplace:
    """A change to a project that names its packages in files, checked out."""
    repository = Repository(tmp_path / "served" / "org" / "project")
    files = {"requirements.txt": "alpha  # the first\n-r more/needs.txt\n", "more/needs.txt": "gamma-delta>=3\n"}
    base = repository.commit(files)
    mirror = Path(work.params["mirrors_dir"]) / "org" / "project.git"
    git(mirror, "fetch", "--quiet", str(repository.folder), "+refs/heads/*:refs/heads/*")
    (work.job_dir / "artifacts" / "checkout.json").write_text(json.dumps({"branch": "master", "base": base}))
    work.install["project"] = "none"
    work.write(files)
    return work


def test_a_change_that_asks_for_the_same_packages_shares_an_environment(based: Workplace) -> None:
    first = based.build()
    based.write({"another.py": ""})
    again = based.build()
    assert (first["cached"], again["cached"]) == (False, True)
    assert first["venv"] == again["venv"] and again["src"] == str(based.src)
    assert Path(first["venv"]).is_relative_to(based.params["environments_dir"])
    assert Path(first["bytecode"]).is_relative_to(based.params["environments_dir"])
    assert again["packages"] == ["alpha==2.0", "beta==2.0", "gamma-delta==3.0"]
    assert not (based.job_dir / "venv").exists() and not (based.job_dir / "build").exists()


@pytest.mark.parametrize(
    "files", [{"requirements.txt": "alpha\n"}, {"more/needs.txt": "gamma-delta\n"}], ids=["a file", "what it includes"]
)
def test_a_change_that_asks_for_others_has_one_of_its_own(based: Workplace, files: dict[str, str]) -> None:
    shared = based.build()["venv"]
    based.write(files)
    for _ in range(2):
        entry = based.build()
        assert entry["venv"] == str(based.job_dir / "venv") != shared and not entry["cached"]


def test_what_is_not_known_to_be_merged_is_not_shared(based: Workplace) -> None:
    """A tag has no base; and a mirror that lost a commit says nothing of it."""
    for base in (None, "1" * 40):
        (based.job_dir / "artifacts" / "checkout.json").write_text(json.dumps({"base": base}))
        assert based.build()["venv"] == str(based.job_dir / "venv")


def test_what_has_to_be_built_is_built_by_the_job(based: Workplace, tmp_path: Path) -> None:
    add_sdist(tmp_path / "index", "thing", "1.5", project())
    based.install["packages"] = ["thing"]
    entry = based.build()
    assert "thing==1.5" in entry["packages"]
    assert entry["venv"] == str(based.job_dir / "venv")
    assert not list(Path(based.params["environments_dir"]).glob("*/complete.json"))


def test_python_has_compiled_what_a_walk_begins_with(based: Workplace, tmp_path: Path) -> None:
    add_wheel(tmp_path / "index", "pymysql", "1.0", beside={"alembic/__init__.py": "", "alembic/command.py": ""})
    based.install["packages"] = ["pymysql"]
    based.params["profile"]["databases"] = [{"tool": "alembic", "url_scheme": "mysql+pymysql"}]
    entry = based.build()
    packages = next(Path(entry["venv"]).glob("lib/python3*/site-packages"))
    assert list(Path(f"{entry['bytecode']}{packages}").rglob("command.*.pyc"))


def test_half_an_environment_is_built_anew(work: Workplace, commits: list[str]) -> None:
    first = work.build("stable-1", "release", commits[0])
    folder = Path(first["venv"]).parent
    (folder / "complete.json").unlink()
    (folder / "venv" / "bin" / "python").unlink()
    assert not work.build("stable-1", "release", commits[0])["cached"]


def test_a_release_that_cannot_be_built_says_which(work: Workplace, commits: list[str]) -> None:
    with pytest.raises(StepError) as caught:
        work.build("master", "tip", commits[2])
    assert caught.value.code == "environment_failed"
    assert caught.value.more == {"stage": "master"}
    with pytest.raises(StepError):
        work.build("master", "tip", commits[2])


BUILD = """
import json, sys
from tests.kit.workplace import build
print(build(json.loads(sys.argv[1]), "stable-1", "release", sys.argv[2])["cached"])
"""


def test_two_jobs_build_one_environment_once(work: Workplace, commits: list[str], tmp_path: Path) -> None:
    """Given processes of their own, as jobs are."""
    folders = [tmp_path / "jobs" / str(number) for number in range(3)]
    for folder in folders:
        (folder / "artifacts").mkdir(parents=True)
    running = [
        subprocess.Popen(
            [sys.executable, "-c", BUILD, json.dumps({**work.params, "job_dir": str(folder)}), commits[0]],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for folder in folders
    ]
    assert sorted(one.communicate(timeout=300)[0].strip() for one in running) == ["False", "True", "True"]


def test_environments_that_nobody_used_for_long_are_removed(tmp_path: Path) -> None:
    root = tmp_path / "environments"
    hours = {"now": 0, "yesterday": 23, "old": 30, "older": 40, "oldest": 50}
    for name, age in hours.items():
        (root / name / "venv").mkdir(parents=True)
        (root / name / "complete.json").write_text("{}")
        moment = time.time() - age * 3600
        os.utime(root / name / "complete.json", (moment, moment))
    (root / ".removed-x-1").mkdir()
    prune(root, 3)
    assert sorted(path.name for path in root.iterdir()) == ["now", "old", "yesterday"]
    prune(root, 0)
    assert sorted(path.name for path in root.iterdir()) == ["now", "yesterday"]


def test_an_environment_that_is_being_built_is_not_removed(tmp_path: Path) -> None:
    root = tmp_path / "environments"
    folder, there = find(root, "held", 60)
    assert not there
    os.utime(folder, (1, 1))
    prune(root, 0)
    assert folder.is_dir()
    (folder / "claim.json").unlink()
    prune(root, 0)
    assert not folder.exists()


CLAIM = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import tests.kit
from ansible.module_utils.th_environment.kept import find
print(find(Path(sys.argv[1]), "key", float(sys.argv[2]))[0], flush=True)
sys.stdin.read()
"""


def test_nobody_waits_for_a_build_whose_run_is_gone_or_whose_time_is_up(tmp_path: Path) -> None:
    root, words = tmp_path / "environments", [sys.executable, "-c", CLAIM, str(tmp_path / "environments")]
    first = subprocess.Popen([*words, "900"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert first.stdout and first.stdin
    left = Path(first.stdout.readline().strip())
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(find, root, "key", 0.0)
        with pytest.raises(TimeoutError):
            waiting.result(0.5)
        first.kill()
        first.communicate()
        mine, there = waiting.result(30)
    assert mine != left and not there
    other, there = find(root, "key", 900.0)  # the time of that one is up
    assert other != mine and not there
    (other / "venv" / "bin").mkdir(parents=True)
    (other / "venv" / "bin" / "python").touch()
    keep(other, {})
    assert find(root, "key", 900.0) == (other, True)


def test_a_machine_without_uv_is_not_the_changes_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python3"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StepError, match="uv is not installed") as caught:
        uv_path()
    assert caught.value.code == "playbook_failed"

# SPDX-License-Identifier: Apache-2.0
"""The caches of packages: what is fetched once, what no two projects share, and what is removed when."""

import http.server
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_environment.package_caches import Cache, Caches

from tests.kit.git_server import Repository, git
from tests.kit.packages import add_sdist, add_wheel, project, serve
from tests.kit.waiting import free_port
from tests.kit.workplace import Workplace


@pytest.fixture
def work(tmp_path: Path, job_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workplace]:
    for name in list(os.environ):
        if name.startswith(("UV_", "PIP_")):
            monkeypatch.delenv(name)
    for name in ("alpha", "tool"):
        add_wheel(tmp_path / "index", name, "1.0")
    other = {name: text.replace('"thing"', '"dependency"') for name, text in project().items()}
    add_sdist(tmp_path / "index", "dependency", "1.5", other)
    with serve(tmp_path / "index") as url:
        monkeypatch.setenv("PIP_INDEX_URL", url)
        monkeypatch.setenv("UV_HTTP_RETRIES", "0")
        yield Workplace(tmp_path, job_dir)


def merged(tmp_path: Path, name: str, number: int) -> str:
    """A commit of a project that needs a wheel, a wheel for its build, and a package that has to be built."""
    files = {**project(["alpha"]), "requirements.txt": "dependency\n", "number": str(number)}
    files["pyproject.toml"] = files["pyproject.toml"].replace("requires = []", 'requires = ["tool"]')
    repository = Repository(tmp_path / "served" / name)
    commit = repository.commit(files)
    mirror = tmp_path / "mirrors" / f"{name}.git"
    if not mirror.exists():
        git(tmp_path, "clone", "--quiet", "--mirror", str(repository.folder), str(mirror))
    git(mirror, "fetch", "--quiet", str(repository.folder), "+refs/heads/*:refs/heads/*")
    return commit


def test_a_release_fetches_nothing_that_its_project_has_fetched(work: Workplace, tmp_path: Path) -> None:
    """Given another release of the same project, and all packages gone from the index but for their pages."""
    (tmp_path / "mirrors" / "org").mkdir(parents=True)
    first = work.build("stable-1", "release", merged(tmp_path, "org/project", 1))
    for path in [*(tmp_path / "index").rglob("*.whl"), *(tmp_path / "index").rglob("*.tar.gz")]:
        path.unlink()
    second = work.build("stable-2", "release", merged(tmp_path, "org/project", 2))
    assert not second["cached"] and second["venv"] != first["venv"]
    assert first["packages"] == second["packages"] == ["alpha==1.0", "dependency==1.5", "thing==1.5"]
    work.params["job"]["project"] = "org/other"  # what a project has built is not given to another one
    with pytest.raises(StepError, match="dependency"):
        work.build("stable-1", "release", merged(tmp_path, "org/other", 1))
    caches = Caches(Path(work.params["cache_dir"]))
    assert caches.of_project("org/project").parts() and caches.of_project("org/other").parts()


class _Unavailable(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(503)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def unavailable() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Unavailable)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/simple"
    server.shutdown()
    server.server_close()


def test_an_index_that_fails_while_a_project_is_built_is_not_the_changes_fault(
    work: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a project that names no package but one for its build, so that only then the index is asked."""
    files = project()
    files["pyproject.toml"] = files["pyproject.toml"].replace("requires = []", 'requires = ["tool"]')
    work.write(files)
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{free_port()}/simple")
    work.fails("index_unreachable", "Connection refused")
    assert "another request" not in work.log.read_text()
    with unavailable() as url:
        monkeypatch.setenv("PIP_INDEX_URL", url)
        work.fails("index_unreachable", "503")
    assert "This is checked by another request, without the project" in work.log.read_text()


def aged(cache: Cache, size: int, begun: float = 0, used: float = 0) -> Path:
    """Put a file into a cache that was begun and used so many days ago."""
    with cache.held() as folder:
        file = folder / "wheels-v1" / "alpha" / "file"
        file.parent.mkdir(parents=True)
        file.write_bytes(b"x" * size)
    now = time.time()
    os.utime(cache.lock, (now - used * 86400, now - begun * 86400))
    return file


def test_caches_are_removed_by_their_age(tmp_path: Path) -> None:
    caches = Caches(tmp_path / "cache")
    shared = aged(caches.shared, 100, begun=31)
    old, new = (aged(caches.of_project(name), 100, begun) for name, begun in (("org/old", 40), ("org/new", 29)))
    (caches.root / "http-v2").mkdir()  # pip's
    (caches.root / "mine").mkdir()
    assert caches.prune(0, 0) == []
    assert caches.prune(30, 0) == [str(caches.root), str(old.parents[2])]
    assert not shared.exists() and not old.exists() and new.exists()
    assert sorted(path.name for path in caches.root.iterdir()) == [
        ".pruned", ".shared.lock", "http-v2", "mine", "projects"
    ]  # fmt: skip
    assert caches.prune(30, 0) == []  # they have been begun anew
    aged(caches.shared, 100)
    assert caches.prune(30, 0) == []


def test_caches_are_removed_by_their_size_and_use(tmp_path: Path) -> None:
    caches = Caches(tmp_path / "cache")
    files = [aged(caches.shared, 2 << 20)]
    files += [aged(caches.of_project(name), 2 << 20, used=used) for name, used in (("a", 1), ("b", 3), ("c", 2))]
    assert caches.prune(0, 9 << 20) == []
    assert caches.prune(0, 5 << 20) == [str(files[2].parents[2]), str(files[3].parents[2])]
    assert [file.exists() for file in files] == [True, True, False, False]
    assert caches.prune(0, 1) == [str(files[1].parents[2]), str(caches.root)]


def test_a_cache_in_use_is_left_for_the_next_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ansible.module_utils.th_environment.package_caches.PATIENCE", 0.1)
    caches = Caches(tmp_path / "cache")
    files = [aged(one, 100, begun=50) for one in (caches.shared, caches.of_project("org/project"))]
    with caches.of_project("org/project").held(), caches.shared.held():
        assert caches.prune(30, 1) == []
        assert all(file.exists() for file in files)
    assert len(caches.prune(30, 1)) == 2
    assert not any(file.exists() for file in files)


def test_what_was_left_of_pruning_is_removed_by_the_next(tmp_path: Path) -> None:
    caches = Caches(tmp_path / "cache")
    (caches.root / ".removed-1-1" / "wheels-v1").mkdir(parents=True)
    caches.prune(30, 0)
    assert sorted(path.name for path in caches.root.iterdir()) == [".pruned"]


def test_pruning_is_due_once_a_day(tmp_path: Path) -> None:
    caches = Caches(tmp_path)
    assert [caches.due(), caches.due()] == [False, False]
    os.utime(tmp_path / ".pruned", (1, 1))
    assert caches.due()
    caches.prune(30, 0)
    assert not caches.due()


def test_no_two_projects_share_a_cache(tmp_path: Path) -> None:
    caches = Caches(tmp_path)
    names = ["org/a", "org-a", "org/a/", "Org/a", "..", ".", "", "a" * 300, "a" * 301, "org/ä", "org/ö"]
    folders = {caches.of_project(name).folder for name in names}
    assert len(folders) == len(names)
    assert all(folder.parent.parent == tmp_path / "projects" and len(folder.parent.name) < 100 for folder in folders)

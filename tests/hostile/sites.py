# SPDX-License-Identifier: Apache-2.0
"""An index, and projects that share the caches of one worker."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.git_server import Repository, git
from tests.kit.packages import add_wheel, serve
from tests.kit.workplace import Workplace

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
def worksite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for name in [name for name in os.environ if name.lower().endswith("_proxy") or name[:3] in ("UV_", "PIP")]:
        monkeypatch.delenv(name)
    made = Site(tmp_path)
    with serve(made.index) as url:
        monkeypatch.setenv("PIP_INDEX_URL", url)
        monkeypatch.setenv("UV_HTTP_RETRIES", "0")
        monkeypatch.setenv("UV_HTTP_TIMEOUT", "2")
        yield made

# SPDX-License-Identifier: Apache-2.0
"""What is published is enough to do a job again: as another user, from another clone, with nothing but the datasets."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit import ROOT, machine
from tests.kit.installation import JOB, PATIENCE, TIP, World

NO_PATH = {"PATH": "/usr/bin:/bin"}


class Published:
    """A job that was run here, as somebody else has got hold of it: its folder, the datasets, a clone."""

    def __init__(self, world: World, home: Path) -> None:
        self.world, self.home = world, home
        given = world.change({"migrations/versions/d4_.py": BAD})
        (home / "params.json").write_text(json.dumps(given))
        words = ["run", "-c", str(world.configure()), "--job", JOB, "--params", str(home / "params.json"), "--json"]
        done = world.th(*words)
        assert done.returncode == 1, done.stdout + done.stderr
        self.document: dict[str, Any] = json.loads(done.stdout)
        self.results = home / "got"
        shutil.copytree(self.document["url"].removeprefix("file://"), self.results)
        shutil.copytree(world.root / "datasets", home / "data")
        self.clone = home / "clone"
        files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
        for name in filter(None, files.decode().split("\0")):
            if name.split("/")[0] in ("playbooks", "roles", "inventory", "worker", "ansible.cfg"):
                (self.clone / name).parent.mkdir(parents=True, exist_ok=True)
                if (ROOT / name).is_file():
                    shutil.copy2(ROOT / name, self.clone / name)

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run what is published, as it is."""
        return subprocess.run(
            ["sh", str(self.results / "reproduce.sh"), *words],
            capture_output=True, text=True, cwd=self.home, timeout=PATIENCE, stdin=subprocess.DEVNULL,
            env={**os.environ, "HOME": str(self.home), **environment},
        )  # fmt: skip


BAD = """
revision = 'd4'
down_revision = 'c3'
from alembic import op
def upgrade():
    op.execute("ALTER TABLE t ADD UNIQUE KEY u (name)")
def downgrade():
    pass
"""


@pytest.fixture(scope="module")
def published(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    world.dataset("first", dump=TIP.encode())
    yield Published(world, tmp_path_factory.mktemp("home"))
    world.dataset("first")


def test_another_user_with_another_clone_comes_to_the_same_verdict(published: Published) -> None:
    """Nothing of the worker's own folders is there for that user, neither profiles nor caches."""
    words = ["sh", str(published.results / "reproduce.sh"), "--datasets", str(published.home / "data"),
             "--clone", str(published.clone), "--folder", str(published.home / "again")]  # fmt: skip
    for own in ("jobs", "git", "environments", "snapshots", "projects", "datasets"):
        if (published.world.root / own).exists():
            (published.world.root / own).chmod(0o700)
    for path in published.home.rglob("*"):
        if os.geteuid() == 0 and not path.is_symlink():
            os.chown(path, machine.USER, machine.USER)
    command = machine.command(published.home, *words) if os.geteuid() == 0 else words
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    result = published.home / "again" / "results" / "result.json"
    assert result.is_file(), done.stdout[-3000:] + done.stderr
    again = json.loads(result.read_text())
    before = published.document
    assert again["result"] == before["result"] and again["fault"] == before["fault"] == "change"
    keys = ("code", "text", "dataset", "from", "to", "file", "line", "fault")
    messages = [[{key: item[key] for key in keys} for item in one["messages"]] for one in (before, again)]
    assert messages[0] == messages[1]


def test_what_is_missing_is_said_all_at_once(published: Published) -> None:
    done = published.run("--clone", "/nowhere", "--check", **NO_PATH)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    lines = done.stderr.splitlines()
    assert all(line.startswith("reproduce.sh: ") and "; " in line for line in lines)
    assert "datasets: the job tests first; name their folder: --datasets DIR" in done.stderr
    assert "there is no playbooks/gate_real_db_upgrade/run.yaml in /nowhere" in done.stderr


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        ("data/first/seed.sql", "data/first/seed.sql cannot be read (No such file or directory)"),
        ("data/first", "first: neither "),
        ("data", "there is no folder "),
        ("got/job.yaml", "job.yaml: "),
        ("got/profile.yaml", "profile: "),
        ("clone/playbooks", "playbooks: "),
    ],
)
def test_each_thing_that_is_missing_is_named(published: Published, lost: str, said: str) -> None:
    path, aside = published.home / lost, published.home / "aside"
    path.rename(aside)
    try:
        done = published.run("--check", "--clone", str(published.clone), TH_DATASETS_DIR=str(published.home / "data"))
    finally:
        aside.rename(path)
    assert done.returncode == 2 and said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_repository_that_cannot_be_reached_says_why(published: Published) -> None:
    words = ["--check", "--clone", str(published.clone), "--datasets", str(published.home / "data")]
    assert published.run(*words).returncode == 0
    done = published.run(*words, "--url", "file:///nowhere")
    assert done.returncode == 2 and "does not " in done.stderr and "--url URL" in done.stderr
    published.world.repository.git("update-ref", "-d", published.document["job"]["ref"])
    done = published.run(*words)
    assert done.returncode == 2 and published.document["job"]["ref"] in done.stderr

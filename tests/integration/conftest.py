# SPDX-License-Identifier: Apache-2.0
"""One installation and one worker for most of the tests: a job must never spoil the next."""

import fcntl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit import installation as worlds
from tests.kit.git_server import daemon
from tests.kit.packages import fill
from tests.kit.waiting import free_port

from .recorded import Installation


@pytest.fixture(scope="session")
def packages(shared_folder: Path) -> Path:
    """A cache of packages, one for all processes of the tests, with what the projects here are migrated by."""
    with open(shared_folder / "packages.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared_folder / "packages-rest").exists():
            fill(shared_folder / "packages", worlds.PROFILE["install"]["packages"])
    return shared_folder / "packages"


@pytest.fixture(scope="session")
def kept(packages: Path) -> Path:
    """A folder of environments, one for all processes of the tests, as workers on one machine share them."""
    folder = packages.with_name("kept")
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, packages: Path, kept: Path) -> Iterator[worlds.World]:
    with worlds.made(tmp_path_factory.mktemp("world"), packages, kept) as made:
        yield made


@pytest.fixture(scope="module")
def worker(world: worlds.World) -> Iterator[worlds.Worker]:
    with worlds.working(world, metrics={"port": free_port()}) as running:
        yield running


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory, packages: Path, kept: Path) -> Iterator[Installation]:
    root = tmp_path_factory.mktemp("recorded")
    (root / "served").mkdir()
    with daemon(root / "served") as url:
        made = Installation(root, url, packages, kept / "environments")
        yield made
        made.close()

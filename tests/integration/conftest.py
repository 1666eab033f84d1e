# SPDX-License-Identifier: Apache-2.0
"""One installation and one worker for most of the tests: a job must never spoil the next."""

from collections.abc import Iterator

import pytest

from . import world as worlds


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[worlds.World]:
    with worlds.made(tmp_path_factory.mktemp("world")) as made:
        yield made


@pytest.fixture(scope="module")
def worker(world: worlds.World) -> Iterator[worlds.Worker]:
    with worlds.working(world) as running:
        yield running

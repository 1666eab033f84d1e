# SPDX-License-Identifier: Apache-2.0
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.functional.support import Gearmand, GearServer, Jobs, Zuul, free_port, write_config
from worker import account, config
from worker.service import Service


@pytest.fixture(params=[GearServer, Gearmand], ids=["gear", "gearmand"])
def server(request: pytest.FixtureRequest) -> Iterator[GearServer | Gearmand]:
    """A Gearman server that runs; each test runs once with either."""
    server: GearServer | Gearmand = request.param(free_port())
    server.start()
    yield server
    server.kill()


@pytest.fixture
def jobs() -> Jobs:
    return Jobs()


@pytest.fixture
def service(
    server: GearServer | Gearmand, jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Service]:
    """The service, in this process, with jobs that a test controls."""
    monkeypatch.setattr(account, "TELL_SECONDS", 0.05)
    service = Service(config.load(write_config(tmp_path, server.port)), jobs)
    service.start()
    yield service
    service.stop()


@pytest.fixture
def zuul(server: GearServer | Gearmand) -> Iterator[Zuul]:
    client = Zuul(server.port)
    yield client
    client.shutdown()

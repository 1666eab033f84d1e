# SPDX-License-Identifier: Apache-2.0
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.kit import ROOT
from tests.kit.service import Gearmand, GearServer, Jobs, Zuul, write_config
from tests.kit.waiting import free_port
from worker.config import config
from worker.gearman import reporter
from worker.service import Service

Worker = subprocess.Popen[str]
REAL = "from worker.cli.main import th_worker; import sys; sys.exit(th_worker())"


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
    monkeypatch.setattr(reporter, "SEND_SECONDS", 0.05)
    service = Service(config.load(write_config(tmp_path, server.port)), jobs)
    service.start()
    yield service
    service.stop()


@pytest.fixture
def zuul(server: GearServer | Gearmand) -> Iterator[Zuul]:
    client = Zuul(server.port)
    yield client
    client.shutdown()


@pytest.fixture
def spawn() -> Iterator[Callable[..., Worker]]:
    """Start Python with some words, and end it with the test."""
    started: list[Worker] = []

    def spawn(*words: str, **environment: str) -> Worker:
        process = subprocess.Popen(
            [sys.executable, *words],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield spawn
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def start(tmp_path: Path, spawn: Callable[..., Worker]) -> Callable[..., Worker]:
    """Start a th-worker; by default one with jobs that wait (see `fake_worker`)."""

    def start(*options: str, real: bool = False, config: str = "config.json", **environment: str) -> Worker:
        program = ["-c", REAL] if real else ["-m", "tests.functional.fake_worker"]
        return spawn(*program, "-c", str(tmp_path / config), *options, **environment)

    return start

# SPDX-License-Identifier: Apache-2.0
"""A Gearman server that goes away and comes back, with both servers."""

import contextlib
import json
import threading
import time
from pathlib import Path
from typing import Any

import gear
import psutil
import pytest

from tests.kit.service import Gearmand, GearServer, Jobs, Zuul, write_config
from tests.kit.waiting import HOST, PATIENCE, free_port, wait_until
from worker.config import config
from worker.gearman import connection
from worker.gearman.client import Receiver
from worker.observe import status_socket
from worker.progress import Progress
from worker.service import Service


@pytest.fixture
def restarted(server: GearServer | Gearmand) -> object:
    def restart() -> None:
        server.kill()
        server.start()

    return restart


def test_functions_are_registered_again(service: Service, jobs: Jobs, zuul: Zuul, restarted: object) -> None:
    wait_until(lambda: zuul.serves("build:job"))
    restarted()  # type: ignore[operator]
    wait_until(lambda: zuul.serves(f"stop:{service.manager}"))
    zuul.launch("build:job2")
    first = zuul.begun()
    jobs.next()
    zuul.stop(first["manager"], {"number": first["number"]})
    assert zuul.ended()[-1].kind == "fail"


def test_a_job_goes_on_and_its_answer_reaches_nobody_else(
    service: Service, jobs: Jobs, zuul: Zuul, restarted: object, server: GearServer | Gearmand
) -> None:
    """Both servers hand the same job handles out again after a restart."""
    zuul.launch("build:job", unique="old")
    old = jobs.next()
    handle = service_handle(zuul)
    restarted()  # type: ignore[operator]
    # Another worker takes the job that has the old one's handle now.
    other = gear.Worker("other")
    other.addServer("127.0.0.1", server.port)
    other.waitForServer(PATIENCE)
    other.registerFunction("build:other")
    zuul.launch("build:other", unique="new")
    taken = other.getJob()
    assert taken.handle == handle
    wait_until(lambda: zuul.serves("build:job"))
    old.observer(Progress("x", 77, "from before"))
    time.sleep(0.3)
    assert old.canceled == []
    old.end("FAILURE - from before")
    time.sleep(0.5)
    assert zuul.packets.get("new", []) == []
    taken.sendWorkComplete(b"{}")
    assert [packet.kind for packet in zuul.ended("new")] == ["complete"]
    other.shutdown()
    # And the worker takes jobs again.
    zuul.launch("build:job", unique="next")
    jobs.next(1).end("SUCCESS")
    assert zuul.ended("next")[-1].kind == "complete"


def service_handle(zuul: Zuul) -> bytes:
    """The handle of the only job that runs."""
    (handle,) = zuul.active_connections[0].related_jobs
    return bytes(handle)


def test_a_job_that_ends_while_the_server_is_away(
    service: Service, jobs: Jobs, zuul: Zuul, server: GearServer | Gearmand, caplog: pytest.LogCaptureFixture
) -> None:
    zuul.launch("build:job", unique="old")
    job = jobs.next()
    server.kill()
    for percent in range(10, 60, 10):
        job.observer(Progress("x", percent, f"{percent}"))
        time.sleep(0.1)
    job.end("SUCCESS")
    wait_until(lambda: not service.builds.count)
    assert caplog.text.count("its Gearman connection is gone") == 1
    server.start()
    zuul.launch("build:job", unique="new")
    jobs.next(1).end("SUCCESS")
    assert zuul.ended("new")[-1].kind == "complete"


def test_the_service_ends_while_the_server_is_away(
    service: Service, jobs: Jobs, zuul: Zuul, server: GearServer | Gearmand
) -> None:
    launched = time.monotonic()
    zuul.launch("build:job")
    job = jobs.next()
    server.kill()
    begun = time.monotonic()
    service.stop()
    assert time.monotonic() - begun < max(20, 20 * (begun - launched))
    assert job.canceled == ["shutdown"]


def test_a_restart_costs_seconds(service: Service, zuul: Zuul, server: GearServer | Gearmand) -> None:
    """All connections, on a worker that was connected for long."""
    wait_until(lambda: zuul.serves("build:job"))
    time.sleep(connection.CALM)
    killed = time.monotonic()
    server.kill()
    wait_until(lambda: not service.snapshot().gearman.connected)
    server.start()
    begun, clock = time.monotonic(), time.time()
    state = wait_until(lambda: service.snapshot().gearman.connected and service.snapshot().gearman)
    # the longer it is away, the more seldom is it tried
    assert time.monotonic() - begun < 3 + 3 * (begun - killed)
    assert state.trouble == "" and clock <= state.since <= time.time()


def test_all_come_back_once_one_has_found_the_server(
    jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They wait for long, each for himself."""
    monkeypatch.setattr(connection, "FIRST", 3600.0)
    monkeypatch.setattr(connection, "LONGEST", 3600.0)
    connect, tried = connection.Link.connect, []

    def counted(link: connection.Link) -> None:
        try:
            connect(link)
        finally:
            tried.append(link)

    monkeypatch.setattr(connection.Link, "connect", counted)
    server = GearServer(free_port())
    service = Service(config.load(write_config(tmp_path, server.port, slots=4)), jobs)
    service.start()
    wait_until(lambda: len(tried) == 5)  # the slots, and the one for stops
    server.start()
    assert not service.snapshot().gearman.connected
    first = Receiver("first", HOST, server.port, ["build:other"], pace=service._pace)
    threading.Thread(target=first.take, daemon=True).start()
    wait_until(lambda: service.snapshot().gearman.connected)
    first.close()
    service.stop()
    server.kill()


def test_a_worker_without_a_server_costs_nothing(start: Any, tmp_path: Path) -> None:
    """The first seconds, in which it tries most often."""
    path = write_config(tmp_path, free_port(), slots=4, status_socket="s")
    worker = psutil.Process(start().pid)

    def connected() -> bool:
        document = json.loads(status_socket.ask(config.load(path).status_socket))
        return bool(document["gearman"]["connected"])

    def spent() -> float:
        times = worker.cpu_times()
        return times.user + times.system

    def serves() -> bool:
        with contextlib.suppress(status_socket.NoWorkerError):
            return not connected()
        return False

    wait_until(serves)
    time.sleep(0.5)
    before = spent()
    time.sleep(4)
    # what its start has cost, about 0.6 s, says how quick the machine is
    assert spent() - before < max(0.2, before / 3)
    assert not connected()


def test_absence_is_logged_once(
    service: Service, server: GearServer | Gearmand, zuul: Zuul, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("worker.gearman.server_health.ABSENT_SECONDS", 0.2)
    caplog.set_level("INFO")
    wait_until(lambda: zuul.serves("build:job"))
    service.check()
    server.kill()

    def absent() -> bool:
        service.check()
        return "no Gearman server at" in caplog.text

    wait_until(absent)
    for _ in range(3):
        service.check()
    assert caplog.text.count("no Gearman server at") == 1
    server.start()

    def told() -> bool:
        service.check()
        return "is there again" in caplog.text

    wait_until(told)

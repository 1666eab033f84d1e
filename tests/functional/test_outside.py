# SPDX-License-Identifier: Apache-2.0
"""A real worker as Prometheus, systemd and logrotate see it."""

import json
import logging
import math
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import gear
import pytest

from tests.kit.certificates import Authority
from tests.kit.service import ARGUMENTS, Gearmand, GearServer, Jobs, Zuul, scrape, write_config
from tests.kit.waiting import HOST, PATIENCE, free_port, wait_until
from worker import logs
from worker.cli import surroundings
from worker.config import config
from worker.gearman import queue
from worker.observe.systemd import Manager
from worker.service import Service

Worker = subprocess.Popen[str]


def checked(folder: Path) -> list[tuple[bool, str]]:
    """What `th check` says of the metrics."""
    return [(one.ok, one.text) for one in surroundings.metrics(config.load(folder / "config.json"))]


class TestMetrics:
    def test_a_worker_with_a_job(self, start: Any, tmp_path: Path) -> None:
        gearman, port = free_port(), free_port()
        write_config(tmp_path, gearman, host="embedded", metrics={"port": port})
        worker = start()
        client: Zuul = wait_until(lambda: Zuul(gearman))
        client.launch("build:job")
        build = client.begun()
        client.launch("build:job", unique="build2")

        def seen(**expected: float) -> dict[tuple[str, ...], float]:
            values: dict[tuple[str, ...], float] = {}

            def match() -> bool:
                values.update(scrape(port))
                return all(values.get((f"turbo_hipster_{name}",)) == value for name, value in expected.items())

            wait_until(match)
            return values

        values = seen(slots_busy=1, gearman_connected=1, taking_jobs=1)
        assert checked(tmp_path) == [(True, f"a worker serves http://{HOST}:{port}/metrics")]
        assert values["turbo_hipster_jobs_waiting", "job"] == 1
        assert values["turbo_hipster_jobs_waiting", "job2"] == 0
        assert values["turbo_hipster_jobs_running", "job"] == 1
        assert values["turbo_hipster_free_bytes", "jobs_working_dir"] > 0
        assert values["turbo_hipster_jobs_total", "job", "CANCELED"] == 0
        assert [key for key in values if key[0] == "turbo_hipster_worker_info" and build["manager"] in key]
        client.stop(build["manager"], {"name": "job", "number": build["number"]})
        client.ended()
        wait_until(lambda: scrape(port)["turbo_hipster_jobs_total", "job", "CANCELED"] == 1)
        wait_until(lambda: scrape(port)["turbo_hipster_builds_canceled_total", "stop"] == 1)
        assert scrape(port)["turbo_hipster_job_seconds_count", "job", "CANCELED"] == 1
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(PATIENCE) == 0
        client.shutdown()

    @pytest.mark.parametrize("options", [(), ("-b",)])
    def test_a_port_that_is_taken_is_named(
        self, start: Any, tmp_path: Path, options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(surroundings, "_METRICS_SECONDS", 0.1)
        with socket.create_server((HOST, 0)) as taken:
            port = taken.getsockname()[1]
            write_config(tmp_path, 0, "embedded", metrics={"port": port}, debug_log=str(tmp_path / "log/debug.log"))
            worker = start(*options)
            _, errors = worker.communicate(timeout=PATIENCE)
            assert [ok for ok, _ in checked(tmp_path)] == [False]
        assert checked(tmp_path) == [(True, f"http://{HOST}:{port}/metrics: the port is free for a worker")]
        assert worker.returncode == 2
        problem = f"metrics: {HOST}:{port} cannot be listened to (Address already in use)"
        remedy = "use another port or host, or port 0 for no metrics"
        assert errors == f"th-worker: {tmp_path}/config.json: {problem}; {remedy}\n"

    def test_jobs_that_wait_at_either_server(self, server: GearServer | Gearmand, zuul: Zuul) -> None:
        assert queue.ask(HOST, server.port, None, PATIENCE) == {}

        for number in range(3):
            zuul.submitJob(gear.Job("build:job", b"{}", unique=str(number)))
        wait_until(lambda: queue.ask(HOST, server.port, None, PATIENCE) == {"build:job": 3})

    def test_jobs_that_wait_are_asked_for_by_tls(self, tmp_path: Path) -> None:
        authority = Authority(tmp_path)
        server = GearServer(free_port(), authority.issue("server"))
        server.start()
        try:
            assert queue.ask(HOST, server.port, authority.issue("worker", ()), PATIENCE) == {}
        finally:
            server.kill()

    @pytest.mark.parametrize("answer", [b"", b"build:job\t1\t", b"x" * 100])
    def test_a_server_that_answers_something_else(self, answer: bytes) -> None:
        with socket.create_server((HOST, 0)) as listening:
            listening.settimeout(PATIENCE)

            def serve() -> None:
                channel, _ = listening.accept()
                channel.recv(100)
                channel.sendall(answer)
                channel.close()

            thread = threading.Thread(target=serve)
            thread.start()
            with pytest.raises(OSError):
                queue.ask(HOST, listening.getsockname()[1], None, PATIENCE)
            thread.join()


class NotifySocket:
    """The manager's end of sd_notify(3)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.heard: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(0.02)

    def listen(self) -> list[str]:
        try:
            while True:
                self.heard += self._socket.recv(4096).decode().split("\n")
        except TimeoutError:
            return self.heard

    def count(self, word: str) -> int:
        return self.listen().count(word)


class TestSystemd:
    def test_a_worker_tells_its_manager_how_it_is(self, start: Any, tmp_path: Path) -> None:
        manager = NotifySocket(tmp_path / "notify")
        gearman = free_port()
        write_config(tmp_path, gearman, host="embedded")
        worker = start(NOTIFY_SOCKET=str(manager.path), WATCHDOG_USEC="400000")
        wait_until(lambda: manager.count("READY=1"))
        wait_until(lambda: manager.count("STATUS=0 of 1 slots busy"))
        begun = time.monotonic()
        told = manager.count("WATCHDOG=1")
        wait_until(lambda: manager.count("WATCHDOG=1") >= told + 5)
        assert time.monotonic() - begun > 0.7, "every 0.2 s, and no more often"
        client: Zuul = wait_until(lambda: Zuul(gearman))
        client.launch("build:job")
        wait_until(lambda: manager.count("STATUS=1 of 1 slots busy"))
        assert manager.heard.count("READY=1") == 1
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(PATIENCE) == 0
        heard = manager.listen()
        assert heard[-2:] == ["STOPPING=1", "WATCHDOG=1"]
        client.shutdown()

    def test_a_worker_whose_slot_has_died_is_silent(self, start: Any, tmp_path: Path) -> None:
        manager = NotifySocket(tmp_path / "notify")
        write_config(tmp_path, 0, host="embedded")
        worker = start(NOTIFY_SOCKET=str(manager.path), WATCHDOG_USEC="100000", TH_TEST_DEAD_SLOT="1")
        wait_until(lambda: manager.count("STATUS=0 of 1 slots busy"))
        # the loop has come round, as it tells that it reads the configuration
        for times in (1, 2):
            worker.send_signal(signal.SIGHUP)
            wait_until(lambda times=times: manager.count("READY=1") == 1 + times)
        assert manager.count("WATCHDOG=1") == 0
        assert worker.poll() is None

    def test_a_reload(self, start: Any, tmp_path: Path) -> None:
        manager = NotifySocket(tmp_path / "notify")
        write_config(tmp_path, 0, host="embedded")
        worker = start(NOTIFY_SOCKET=str(manager.path))
        wait_until(lambda: manager.count("READY=1"))
        worker.send_signal(signal.SIGHUP)
        wait_until(lambda: manager.count("READY=1") == 2)
        words = [word.partition("=")[0] for word in manager.heard]
        assert words[words.index("RELOADING") :][:3] == ["RELOADING", "MONOTONIC_USEC", "READY"]
        assert "WATCHDOG" not in words, "nobody asks for it"

    def test_no_process_of_a_job_hears_of_the_manager(self, caplog: pytest.LogCaptureFixture) -> None:
        environment = {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "PATH": "/bin"}
        manager = Manager(environment)
        assert environment == {"PATH": "/bin"}
        assert manager.interval == math.inf, "another process is watched"
        manager.ready()
        manager.stopping()
        assert caplog.messages == ["systemd cannot be notified: [Errno 2] No such file or directory"]

    def test_an_abstract_socket(self) -> None:
        name = f"th-test-{os.getpid()}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
            listening.bind(f"\0{name}")
            listening.settimeout(PATIENCE)
            begun = time.monotonic()
            manager = Manager({"NOTIFY_SOCKET": f"@{name}"})
            manager.status("one\ntwo")
            manager.status("one\ntwo")
            manager.reloading()
            assert listening.recv(100) == b"STATUS=one two"
            first, second = listening.recv(100).decode().split("\n")
        assert first == "RELOADING=1"
        assert begun <= int(second.removeprefix("MONOTONIC_USEC=")) / 1e6 + 1e-6 <= time.monotonic() + 1e-6


def test_every_line_of_a_build_has_its_id(service: Service, jobs: Jobs, zuul: Zuul, tmp_path: Path) -> None:
    root, before = logging.getLogger(), list(logging.getLogger().handlers)
    stream = logs.set_up(tmp_path / "log", logs.JSON)
    try:
        zuul.launch("build:job", {**ARGUMENTS, "ZUUL_UUID": "b1"}, unique="u1")
        begun = zuul.begun("u1")
        jobs.next()
        wait_until(lambda: service.builds.states()[0].build == "b1")
        zuul.stop(begun["manager"], {"name": "job", "number": begun["number"]})
        zuul.ended("u1")
        wait_until(lambda: "ended: CANCELED" in (tmp_path / "log").read_text())
        lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    finally:
        root.handlers[:] = before
        stream.close()
    assert {line["build"] for line in lines if line["message"].startswith(("begins", "ended", "canceling"))} == {"b1"}
    assert len(lines) >= 3

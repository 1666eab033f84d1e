# SPDX-License-Identifier: Apache-2.0
"""th-worker as a process: signals, pid file, background, memory, leftovers."""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.kit.service import Gearmand, GearServer, Zuul, write_config
from tests.kit.waiting import PATIENCE, free_port, gone, wait_until
from worker.config import load
from worker.observe import status_socket
from worker.service import STOP_PATIENCE


@contextlib.contextmanager
def background(pid_path: Path) -> Iterator[psutil.Process]:
    process = psutil.Process(int(wait_until(lambda: pid_path.exists() and pid_path.read_text())))
    try:
        yield process
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_gives_the_running_build_back(
    start: Any, tmp_path: Path, server: GearServer | Gearmand, zuul: Zuul, number: signal.Signals
) -> None:
    write_config(tmp_path, server.port)
    worker = start("-p", str(tmp_path / "pid"))
    launched = time.monotonic()
    zuul.launch("build:job")
    zuul.begun()
    assert (tmp_path / "pid").read_text() == f"{worker.pid}\n"
    begun = time.monotonic()
    worker.send_signal(number)
    assert worker.wait(PATIENCE) == 0, worker.communicate()
    # far sooner than it would wait for a job; what it took to start says how quick the machine is
    assert time.monotonic() - begun < max(STOP_PATIENCE, 5 * (begun - launched))
    packets = zuul.ended()
    assert [packet.kind for packet in packets if packet.kind in ("complete", "fail")] == ["fail"]
    assert not any("result" in packet.data for packet in packets)
    assert not (tmp_path / "pid").exists()


def test_a_second_signal_ends_a_worker_whose_job_does_not_end(
    start: Any, tmp_path: Path, server: GearServer | Gearmand, zuul: Zuul
) -> None:
    path = load(write_config(tmp_path, server.port)).status_socket
    worker = start(TH_TEST_DEAF="3600")
    zuul.launch("build:job")
    # from here on the job runs: one that is canceled before that is not begun
    wait_until(lambda: [packet for packet in zuul.packets.get("build1", []) if packet.data.get("progress") == "deaf"])
    worker.send_signal(signal.SIGTERM)
    wait_until(lambda: json.loads(status_socket.ask(path))["state"] == "stopping")
    with pytest.raises(subprocess.TimeoutExpired):
        worker.wait(0.5)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(PATIENCE) == -signal.SIGTERM


def test_a_worker_whose_job_does_not_end_ends_without_it(
    start: Any, tmp_path: Path, server: GearServer | Gearmand, zuul: Zuul
) -> None:
    write_config(tmp_path, server.port)
    worker = start(TH_TEST_DEAF="1")
    zuul.launch("build:job")
    wait_until(lambda: [packet for packet in zuul.packets.get("build1", []) if packet.data.get("progress") == "deaf"])
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(PATIENCE) == 0


def test_a_second_worker_on_the_same_pid_file_is_refused(start: Any, tmp_path: Path) -> None:
    write_config(tmp_path, 0, host="embedded")
    pid_path = tmp_path / "pid"
    first = start("-p", str(pid_path), real=True)
    wait_until(lambda: pid_path.exists() and pid_path.read_text())
    second = start("-p", str(pid_path), real=True)
    _, errors = second.communicate(timeout=PATIENCE)
    assert second.returncode == 2
    assert errors == f"th-worker: -p: {pid_path} belongs to process {first.pid}, which runs; stop that first\n"
    assert pid_path.read_text() == f"{first.pid}\n"
    first.send_signal(signal.SIGTERM)
    assert first.wait(PATIENCE) == 0


def test_the_pid_file_of_a_worker_that_died_is_taken_over(start: Any, tmp_path: Path) -> None:
    write_config(tmp_path, 0, host="embedded")
    pid_path = tmp_path / "pid"
    first = start("-p", str(pid_path), real=True)
    wait_until(lambda: pid_path.exists() and pid_path.read_text())
    first.kill()
    first.wait()
    second = start("-p", str(pid_path), real=True)
    wait_until(lambda: pid_path.read_text() == f"{second.pid}\n")


def test_the_background(start: Any, tmp_path: Path, zuul: Zuul, server: GearServer | Gearmand) -> None:
    write_config(tmp_path, server.port, debug_log=str(tmp_path / "log/debug.log"))
    pid_path = tmp_path / "pid"
    shell = start("-b", "-p", str(pid_path))
    output, errors = shell.communicate(timeout=PATIENCE)
    assert (shell.returncode, output, errors) == (0, "", "")
    with background(pid_path) as worker:
        assert worker.pid != shell.pid
        assert os.getsid(worker.pid) != os.getsid(0)
        assert worker.terminal() is None
        zuul.launch("build:job")
        zuul.begun()
        # The lock has survived the forks.
        second = start("-b", "-p", str(pid_path))
        assert second.wait(PATIENCE) == 2
        assert f"belongs to process {worker.pid}" in second.communicate()[1]
        worker.terminate()
        assert zuul.ended()[-1].kind == "fail"
        wait_until(lambda: gone(worker))
        assert not pid_path.exists()
    assert f"takes build:job build:job2 from 127.0.0.1:{server.port}" in (tmp_path / "log/debug.log").read_text()


@pytest.mark.parametrize("options", [(), ("-b",)])
def test_errors_are_shown_before_it_goes_to_the_background(
    start: Any, tmp_path: Path, options: tuple[str, ...]
) -> None:
    write_config(tmp_path, 1, debug_log=str(tmp_path / "config.json/debug.log"))
    worker = start(*options, real=True)
    _, errors = worker.communicate(timeout=PATIENCE)
    assert worker.returncode == 2
    assert errors.startswith(f"th-worker: {tmp_path}/config.json: debug_log: the folder ")
    assert errors.count("\n") == 1


def test_the_background_needs_a_log(start: Any, tmp_path: Path) -> None:
    write_config(tmp_path, 0, host="embedded")
    worker = start("-b", real=True)
    _, errors = worker.communicate(timeout=PATIENCE)
    assert worker.returncode == 2
    assert "debug_log: is missing" in errors


def test_the_embedded_server(start: Any, tmp_path: Path) -> None:
    port = free_port()
    write_config(tmp_path, port, host="embedded")
    worker = start()
    client: Zuul = wait_until(lambda: Zuul(port))
    client.launch("build:job")
    client.begun()
    listening = [each.laddr for each in psutil.Process(worker.pid).net_connections() if each.status == "LISTEN"]
    assert listening == [("127.0.0.1", port)], "reachable from this machine only"
    worker.send_signal(signal.SIGTERM)
    assert client.ended()[-1].kind == "fail"
    assert worker.wait(PATIENCE) == 0
    client.shutdown()


def test_a_port_that_is_taken_is_named(
    start: Any, tmp_path: Path, server: GearServer | Gearmand
) -> None:
    write_config(tmp_path, server.port, host="embedded")
    worker = start(real=True)
    _, errors = worker.communicate(timeout=PATIENCE)
    assert worker.returncode == 2
    assert errors.splitlines()[-1].startswith(
        f"th-worker: zuul_server.gearman_port: port {server.port} of 127.0.0.1 is not free"
    )


def test_an_idle_worker_is_small(start: Any, tmp_path: Path) -> None:
    """Under 80 MB of resident memory, with its own Gearman server and before any job."""
    port = free_port()
    write_config(tmp_path, port, host="embedded")
    worker = start(real=True)
    client: Zuul = wait_until(lambda: Zuul(port))
    wait_until(lambda: client.serves("build:job"))
    client.shutdown()
    assert psutil.Process(worker.pid).memory_info().rss < 80 * 1024 * 1024


def test_without_a_sandbox_it_warns(start: Any, tmp_path: Path) -> None:
    """It is not even there; what happens then when it is wanted is in tests/unit/test_sandbox.py."""
    write_config(tmp_path, 0, host="embedded", sandbox="none")
    worker = start(real=True, PATH="/nowhere")
    said = [next(worker.stderr) for _ in range(2 if os.geteuid() == 0 else 1)]
    assert said[-1].count("WARNING") == 1
    assert "sandbox: none: the code of every change under test runs unconfined, as this user" in said[-1]


def test_leftovers_of_a_worker_that_died_are_removed(start: Any, tmp_path: Path) -> None:
    write_config(tmp_path, 0, host="embedded")
    leftover = tmp_path / "th/jobs/dead"
    leftover.mkdir(parents=True)
    (leftover / ".owner").write_text("1\n")
    start(real=True)
    wait_until(lambda: not leftover.exists())

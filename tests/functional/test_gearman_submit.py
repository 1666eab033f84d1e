# SPDX-License-Identifier: Apache-2.0
"""`th submit` against both servers."""

import json
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.kit.service import Gearmand, GearServer, Jobs
from tests.kit.waiting import HOST, PATIENCE, free_port, read_until, wait_until
from worker.gearman import queue
from worker.gearman.client import Submitter
from worker.progress import Progress
from worker.service import Service

JOB = ["--project", "org/project", "--url", "http://zuul.example.org/p", "--ref", "refs/zuul/master/Z1"]
CODE = "import sys; from worker.cli.main import th; sys.exit(th())"


@pytest.fixture
def submit(server: GearServer | Gearmand, spawn: Callable[..., Any]) -> Callable[..., Any]:
    """Start `th submit` as a process; returns it."""

    def start(*options: str, port: int = server.port) -> "subprocess.Popen[str]":
        process: subprocess.Popen[str] = spawn(
            "-c", CODE, "submit", "--gearman", f"127.0.0.1:{port}", *options, PYTHONWARNINGS="ignore"
        )
        return process

    return start


def test_success_with_progress(service: Service, jobs: Jobs, submit: Any) -> None:
    process = submit("--job", "job", *JOB, "--change", "7", "--patchset", "1", "--branch", "master")
    job = jobs.next()
    assert job.request.log_path.startswith("7/7/1/check/job/")
    assert job.request.zuul["ZUUL_CHANGES"] == "org/project:master:refs/zuul/master/Z1"
    job.observer(Progress("checkout", 10, "fetching"))
    read_until(process.stderr, "fetching")
    job.end("SUCCESS", "http://logs/7/")
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert output == "http://logs/7/\nSUCCESS\n"


def test_failure(service: Service, jobs: Jobs, submit: Any) -> None:
    process = submit("--job", "build:job", *JOB, "--json")
    jobs.next().end("WARNING - Migration a->b took too long", "http://logs/7/", ("one", "two"))
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert json.loads(output) == {
        "result": "WARNING - Migration a->b took too long",
        "url": "http://logs/7/",
        "messages": ["one", "two"],
    }


def test_no_result(service: Service, jobs: Jobs, submit: Any) -> None:
    process = submit("--job", "job", *JOB)
    jobs.next().end(None, "", ("FAILURE - No space",))
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 3
    assert output.startswith("FAILURE - No space\n")


def test_wrong_arguments_are_the_workers_to_judge(service: Service, submit: Any) -> None:
    process = submit("--job", "job", *JOB, "--branch", "a..b")
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "Wrong job argument ZUUL_BRANCH" in output


def test_an_interrupt_stops_the_build(service: Service, jobs: Jobs, submit: Any) -> None:
    process = submit("--job", "job", *JOB)
    job = jobs.next()
    # It knows the build once it has the first packet; until then an interrupt takes the job back.
    job.observer(Progress("checkout", 10, "fetching"))
    read_until(process.stderr, "fetching")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert job.canceled == ["stop"]
    assert output.endswith("CANCELED\n")


def test_an_interrupt_takes_a_waiting_job_back(
    service: Service, jobs: Jobs, submit: Any, server: GearServer | Gearmand
) -> None:
    first = submit("--job", "job", *JOB)
    running = jobs.next()
    second = submit("--job", "job", *JOB)
    read_until(second.stderr, "waiting for a worker")  # from here on an interrupt is its to handle
    wait_until(lambda: queue.ask(HOST, server.port, None, PATIENCE)["build:job"] == 1)
    second.send_signal(signal.SIGINT)
    assert second.wait(PATIENCE) == 130
    running.end("SUCCESS")
    assert first.wait(PATIENCE) == 0
    time.sleep(0.5)
    assert len(jobs.made) == 1


def test_nobody_serves_the_job(service: Service, submit: Any, server: GearServer | Gearmand) -> None:
    begun = time.monotonic()
    Submitter(HOST, server.port, PATIENCE).close()
    # it is for each, the server and the worker; the server is there
    patience = max(0.5, 20 * (time.monotonic() - begun))
    process = submit("--job", "none", *JOB, "--timeout", str(patience))
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert "--job: no worker at" in errors
    assert errors.count("\n") == 1


def test_no_server(submit: Any) -> None:
    port = free_port()
    process = submit("--job", "job", *JOB, "--timeout", "1", port=port)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert errors == (
        f"th: no Gearman server at 127.0.0.1:{port}: none within 1 s; is it running, and is the address right?\n"
    )


def test_a_server_whose_name_is_not_known(submit: Any) -> None:
    process = submit("--job", "job", *JOB, "--timeout", "1", "--gearman", "nosuch.invalid:4730")
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert errors.startswith("th: ") and errors.count("\n") == 1


@pytest.mark.parametrize("address", ["localhost", ":4730", "host:0", "host:x"])
def test_what_is_no_address(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    from worker.cli import main

    assert main.th(["submit", "--gearman", address, "--job", "job", *JOB]) == 2
    assert "is not HOST:PORT" in capsys.readouterr().err


def test_the_server_goes_away(
    service: Service, jobs: Jobs, submit: Any, server: GearServer | Gearmand
) -> None:
    process = submit("--job", "job", *JOB)
    job = jobs.next()
    job.observer(Progress("checkout", 10, "fetching"))
    read_until(process.stderr, "fetching")
    server.kill()
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 3
    assert "the Gearman server went away" in errors
    job.end("SUCCESS")
    wait_until(lambda: not service.builds.count)

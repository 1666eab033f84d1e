# SPDX-License-Identifier: Apache-2.0
"""How a start is told: to who calls `th-worker -b`, to who starts a second one, to who waits for a worker."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit import ROOT
from tests.kit.service import Gearmand, GearServer, Jobs, Zuul, write_config
from tests.kit.waiting import HOST, free_port, wait_until
from worker.cli import main
from worker.config import load
from worker.service import Service

WORKER = "import sys; from worker.cli.main import th_worker; sys.exit(th_worker())"
# a worker that dies in the middle of its start, by unhandled exceptions
DIES = "from worker import service\nservice.Service.start = lambda self: {}\n" + WORKER


@pytest.fixture
def call(tmp_path: Path) -> Iterator[Callable[..., "subprocess.CompletedProcess[str]"]]:
    """Call th-worker -b with a configuration; what it leaves running is ended."""

    def run(*options: str, code: str = WORKER, **keys: Any) -> "subprocess.CompletedProcess[str]":
        config = write_config(tmp_path, keys.pop("port", 0), keys.pop("host", "embedded"),
                              debug_log=str(tmp_path / "log" / "debug.log"), **keys)  # fmt: skip
        words = [sys.executable, "-c", code, "-c", str(config), "-p", str(tmp_path / "pid"), *options]
        return subprocess.run(words, capture_output=True, text=True, timeout=60, cwd=ROOT, stdin=subprocess.DEVNULL)

    yield run
    for file in tmp_path.glob("*pid"):
        if number := file.read_text().strip():
            os.kill(int(number), signal.SIGKILL)


def test_b_returns_when_the_worker_is_up(call: Any, tmp_path: Path) -> None:
    done = call("-b")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    pid = int((tmp_path / "pid").read_text())
    os.kill(pid, 0)
    assert main.th(["status", "-c", str(tmp_path / "config.json"), "--json"]) == 0
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not (tmp_path / "pid").exists(), 30)


def test_b_tells_what_is_wrong_after_it_has_gone_to_the_background(call: Any, tmp_path: Path) -> None:
    """The port of the embedded server is taken: that is found when the terminal is gone already."""
    with socket.create_server((HOST, 0)) as taken:
        done = call("-b", port=taken.getsockname()[1])
    assert done.returncode == 2
    assert done.stderr.startswith("th-worker: zuul_server.gearman_port: port ") and done.stderr.count("\n") == 1
    assert not (tmp_path / "pid").exists()


OS = "__import__('os')"


@pytest.mark.parametrize("how", ["1 / 0", f"{OS}._exit(0)", f"{OS}.kill({OS}.getpid(), 9)"])
def test_b_tells_of_a_start_that_nobody_has_thought_of(call: Any, tmp_path: Path, how: str) -> None:
    done = call("-b", code=DIES.format(how))
    assert done.returncode == 1
    assert re.fullmatch(r"th-worker: it (could not start|ended before it was up).*debug.?log\S*\n", done.stderr)
    (tmp_path / "pid").unlink(missing_ok=True)


def test_a_second_worker_is_told_of_the_first_and_leaves_nothing(call: Any, tmp_path: Path) -> None:
    port = free_port()
    assert call("-b", metrics={"port": port}).returncode == 0
    pid = (tmp_path / "pid").read_text()
    for options in (["-b"], []):
        done = call(*options, metrics={"port": port})
        assert done.returncode == 2 and f"belongs to process {pid.strip()}, which runs" in done.stderr
        done = call("-p", str(tmp_path / "other"), *options, metrics={"port": port})
        assert done.returncode == 2 and "metrics" not in done.stderr
        assert f"belongs to a worker that runs, process {pid.strip()}" in done.stderr
        assert not (tmp_path / "other").exists(), "an empty pid file is none"
        assert (tmp_path / "pid").read_text() == pid


def test_submit_says_that_nobody_takes_the_job(
    service: Service, jobs: Jobs, zuul: Zuul, server: GearServer | Gearmand
) -> None:
    service._admit(["the disk is full"])
    code = "import sys; from worker.cli import main, submit; submit.QUEUED_SECONDS = 0.2; sys.exit(main.th())"
    words = ["submit", "--gearman", f"{HOST}:{server.port}", "--job", "job", "--project", "org/p", "--url", "/srv"]
    with subprocess.Popen(
        [sys.executable, "-c", code, *words], cwd=ROOT, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stderr
        said = wait_until(lambda: (line := process.stderr.readline()).find("queued") > 0 and line)
        assert "build:job: 1 waiting, 0 running, 1 workers registered" in said and "`th status`" in said
        service._admit([])
        jobs.next().end("SUCCESS")
        assert process.wait(30) == 0
        process.stdout.read() if process.stdout else None


@pytest.mark.parametrize("command", [main.th, main.th_worker])
def test_the_version(command: Callable[[list[str]], int], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command(["--version"])
    assert ended.value.code == 0 and re.fullmatch(r"turbo-hipster \S+\n", capsys.readouterr().out)


WRONG = [
    ("publish_log", "publish_logs", ["publish_logs"]),
    ("zuul_servr", "zuul_server", ["zuul_server"]),
    ("slot", "slots", ["slots", "publish_logs"]),
    ("ansible_dirs", "ansible_dir", ["ansible_dir"]),
]


@pytest.mark.parametrize(("given", "meant", "gone"), WRONG)
def test_a_misspelled_key_is_told_before_one_that_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], given: str, meant: str, gone: list[str]
) -> None:
    path = write_config(tmp_path, 1)
    document = json.loads(path.read_text())
    value = document.get(meant, 1)
    for name in gone:
        document.pop(name, None)
    path.write_text(json.dumps({**document, given: value}))
    assert main.th(["check", "--configuration", "-c", str(path)]) == 2
    said = capsys.readouterr().out
    assert f"{path}: {given}: is not a known key; did you mean {meant}?" in said


@pytest.mark.parametrize(
    ("section", "given", "meant"),
    [("publish_logs", "paths", "path"), ("zuul_server", "gearman_hosts", "gearman_host"), ("jobs", "plugn", "plugin")],
)
def test_a_misspelled_key_of_a_section(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], section: str, given: str, meant: str
) -> None:
    path = write_config(tmp_path, 1)
    document = json.loads(path.read_text())
    place = document[section][0] if section == "jobs" else document[section]
    place[given] = place.pop(meant)
    path.write_text(json.dumps(document))
    assert main.th(["check", "--configuration", "-c", str(path)]) == 2
    assert f".{given}: is not a known key; did you mean {meant}?" in capsys.readouterr().out


def test_the_known_keys_are_those_that_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from worker.config import config, zuul_server
    from worker.inputs import documents

    asked: dict[documents.Key, frozenset[str]] = {}

    def done(section: documents.Section) -> None:
        asked[section._key] = section.known

    monkeypatch.setattr(documents.Section, "done", done)
    load(write_config(tmp_path, 1))
    assert asked[()] == set(config.KEYS)
    assert asked["zuul_server",] == set(zuul_server.KEYS)
    assert asked["publish_logs",] == {"type", "path", "prepend_url"}

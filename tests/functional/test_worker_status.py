# SPDX-License-Identifier: Apache-2.0
"""The status socket and `th status`, with real workers, and with what is none."""

import json
import os
import signal
import socket
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.service import ARGUMENTS, GearServer, Zuul, write_config
from tests.kit.waiting import PATIENCE, free_port, wait_until
from worker.cli import main
from worker.config import load
from worker.observe import status_socket
from worker.observe.status_socket import NoWorkerError, StatusSocket


@pytest.fixture
def server() -> Iterator[GearServer]:
    server = GearServer(free_port())
    server.start()
    yield server
    server.kill()


def answer(path: Path) -> bytes:
    try:
        return status_socket.ask(path)
    except NoWorkerError:
        return b""


def test_what_it_says(
    start: Any, tmp_path: Path, server: GearServer, zuul: Zuul, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path, server.port, slots=2, sensors={"disk_free": "100T", "memory_free": 0, "load": 0})
    path = load(config).status_socket
    arguments = ["status", "-c", str(config)]
    assert main.th(arguments) == 1
    assert capsys.readouterr().err == f"th: no worker runs at {path}: there is no such socket\n"
    started = time.time()
    worker = start()
    document = json.loads(wait_until(lambda: answer(path)))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert (document["state"], document["taking"], document["pid"]) == ("running", False, worker.pid)
    config.write_text(config.read_text().replace('"100T"', '"1K"'))
    worker.send_signal(signal.SIGHUP)
    zuul.launch("build:job", {**ARGUMENTS, "ZUUL_CHANGE": "7", "ZUUL_PATCHSET": "2"}, unique="u")
    # a slot's connection may still be registering its functions when another one has been given the job
    wait_until(lambda: b'"waiting"' in answer(path) and json.loads(answer(path))["gearman"]["connected"])
    assert main.th([*arguments, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    begun = zuul.begun("u")
    (job,) = document["jobs"]
    since = job.pop("since")
    assert started <= document["since"] <= since <= time.time()
    assert job == {
        "build": "build1", "number": begun["number"], "name": "job", "project": "org/project", "change": "7,2",
        "stage": "run_migrations", "text": "waiting", "percent": 50, "slot": job["slot"], "canceled": "",
    }  # fmt: skip
    assert document["manager"] == begun["manager"]
    assert (document["gearman"]["port"], document["gearman"]["connected"]) == (server.port, True)
    assert document["functions"] == ["build:job", "build:job2"]
    assert [slot["busy"] for slot in document["slots"]].count(True) == 1
    assert main.th(arguments) == 0
    said = capsys.readouterr().out
    for part in (
        "worker    running, started ", f"process {worker.pid}", "jobs      are taken", "serves    build:job2",
        f"gearman   127.0.0.1:{server.port}, connected for ", "slots     1 of 2 busy", "org/project  7,2",
        "run_migrations: waiting", "sensors   ok: disk jobs_working_dir, sandbox",
    ):  # fmt: skip
        assert part in said
    worker.terminate()
    assert worker.wait(PATIENCE) == 0
    assert not path.exists()


def test_two_workers(start: Any, tmp_path: Path, server: GearServer) -> None:
    """Each configuration has a socket; that of a living worker is not taken, that of a dead one is."""
    config = write_config(tmp_path, server.port)
    path = load(config).status_socket
    first = start()
    wait_until(lambda: answer(path))
    second = start()
    _, errors = second.communicate(timeout=PATIENCE)
    assert second.returncode == 2
    problem = f"status_socket: {path} belongs to a worker that runs, process {first.pid}; "
    assert errors == f"th-worker: {config}: {problem}stop that first, or give this one another\n"
    assert json.loads(answer(path))["pid"] == first.pid
    other = tmp_path / "other.json"
    other.write_text(config.read_text())
    third = start(config="other.json")
    wait_until(lambda: answer(load(other).status_socket))
    assert third.poll() is None
    first.kill()
    first.wait()
    assert path.is_socket()
    assert main.th(["status", "-c", str(config)]) == 1
    last = start("-b", "-p", str(tmp_path / "pid"))
    assert last.wait(PATIENCE) == 2, "-b needs a log"
    config.write_text(json.dumps({**json.loads(config.read_text()), "debug_log": str(tmp_path / "log")}))
    last = start("-b", "-p", str(tmp_path / "pid"))
    assert last.wait(PATIENCE) == 0
    pid = json.loads(wait_until(lambda: answer(path)))["pid"]
    try:
        assert (tmp_path / "pid").read_text() == f"{pid}\n"
        assert start().wait(PATIENCE) == 2, "the lock has survived the forks"
    finally:
        os.kill(pid, signal.SIGKILL)


class Talk:
    """A status socket in this process."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / ("x" * 90) / "status.sock"  # longer than an address may be
        self.path.parent.mkdir()
        self.told = StatusSocket(folder / "config.json", self.path)


@pytest.fixture
def talk(tmp_path: Path) -> Iterator[Talk]:
    talk = Talk(tmp_path)
    yield talk
    talk.told.close()


class Large:
    """A snapshot that is larger than what the kernel takes without a reader."""

    def document(self) -> dict[str, str]:
        return {"state": "x" * 3_000_000}


def connected(talk: Talk) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    with status_socket._short(talk.path) as address:
        client.connect(address)
    return client


def test_clients_that_do_not_read_or_go_away(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_socket, "READ_SECONDS", 0.3)
    monkeypatch.setattr(status_socket, "ASK_SECONDS", PATIENCE)
    talk.told.serve(Large)  # type: ignore[arg-type]
    asked = time.monotonic()
    assert len(status_socket.ask(talk.path)) > 3_000_000
    begun = time.monotonic()
    slow = [connected(talk) for _ in range(2)]
    connected(talk).close()
    assert len(status_socket.ask(talk.path)) > 3_000_000
    assert 0.5 < time.monotonic() - begun < max(4, 20 * (begun - asked))
    for client in slow:
        client.close()


def test_a_snapshot_that_fails_does_not_end_the_thread(talk: Talk) -> None:
    answers: list[Any] = [Large()]
    talk.told.serve(lambda: answers.pop())
    assert len(status_socket.ask(talk.path)) > 3_000_000
    assert status_socket.ask(talk.path) == b""
    answers.append(Large())
    assert len(status_socket.ask(talk.path)) > 3_000_000


HOSTILE = {
    "state": "run\x1b[31mning", "since": "x", "pid": 1e400, "gearman": [], "functions": [5, "build:\u202ejob"],
    "slots": "no", "sensors": [{"name": 7, "ok": False, "reason": "full\nworker    running"}],
    "jobs": [{"project": "a\x1b]0;x\x07b", "text": "[bold]x[/bold]", "percent": "9", "slot": None}, 5],
    "totals": [{}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (b"", "is not a worker"),
        (b"[]", "is not a worker"),
        (b"[" * 100_000, "is not a worker"),
        (b"x" * 5_000_000, "says too much"),
        (None, "does not answer within"),
    ],
)
def test_what_is_no_worker(
    talk: Talk, said: bytes | None, wanted: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(status_socket, "ASK_SECONDS", 0.5 if said is None else PATIENCE)
    if said is not None:
        monkeypatch.setattr(StatusSocket, "_loop", saying(said))
        talk.told.serve(Large)  # type: ignore[arg-type]
    assert main.th(["status", "--socket", str(talk.path)]) == 1
    error = capsys.readouterr().err
    assert wanted in error and str(talk.path) in error and error.count("\n") == 1


def saying(data: bytes) -> Callable[..., None]:
    def loop(self: StatusSocket, snapshot: object) -> None:
        client, _ = self._socket.accept()
        with client:
            try:
                client.sendall(data)
            except OSError:
                pass

    return loop


@pytest.mark.parametrize("terminal", [False, True])
def test_a_document_that_is_hostile(
    talk: Talk, terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    monkeypatch.setattr(StatusSocket, "_loop", saying(json.dumps(HOSTILE).encode()))
    talk.told.serve(Large)  # type: ignore[arg-type]
    assert main.th(["status", "--socket", str(talk.path)]) == 0
    output = capsys.readouterr().out
    text = output.replace("\x1b[1m", "").replace("\x1b[0m", "")  # rich's own
    assert "\x1b" not in text and "\x07" not in text and "\u202e" not in text
    assert "jobs      are not taken: full worker    running" in text
    assert "[bold]x[/bold]" in text


def test_a_file_in_the_way(tmp_path: Path, start: Any, server: GearServer) -> None:
    config = write_config(tmp_path, server.port, status_socket="taken")
    (tmp_path / "taken").write_text("mine")
    worker = start()
    _, errors = worker.communicate(timeout=PATIENCE)
    assert worker.returncode == 2
    assert errors.startswith(f"th-worker: {config}: status_socket: {tmp_path}/taken cannot be made (")
    assert (tmp_path / "taken").read_text() == "mine"

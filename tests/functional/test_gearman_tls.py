# SPDX-License-Identifier: Apache-2.0
"""TLS with gear's own server, as Zuul embeds it. (Debian's gearmand takes the option --ssl, and speaks plain.)"""

import contextlib
import json
import logging
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gear
import pytest

from tests.kit import ROOT
from tests.kit.certificates import Authority
from tests.kit.service import ARGUMENTS, Gearmand, GearServer, Jobs, write_config
from tests.kit.waiting import HOST, PATIENCE, free_port, wait_until
from worker.cli import check
from worker.config import Config, config, tls
from worker.errors import UsageError
from worker.gearman.client import Receiver, Submitter
from worker.gearman.connection import Link
from worker.service import Service


class Scene:
    """A server with TLS, and the files of all who speak with it: `worker`'s are right, `other`'s of another CA."""

    def __init__(self, folder: Path) -> None:
        ours, theirs = Authority(folder / "ours"), Authority(folder / "theirs")
        self.ours, self.server = ours, ours.issue("server")
        self.worker = ours.issue("worker", ())
        self.wrong = {
            "its certificate is refused: self-signed": replace(self.worker, ca=theirs.ca),
            "it refuses our certificate or our TLS (tlsv1 alert unknown ca)": replace(theirs.issue("w"), ca=ours.ca),
            "is not valid for 'elsewhere'": replace(self.worker, name="elsewhere"),
            "it closed the connection without an answer; perhaps it wants TLS": None,
        }

    def gear(self) -> GearServer:
        """A server of its own for each that it does not take: after a handshake that fails, gear's sleeps for 1 s."""
        return GearServer(free_port(), self.server)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return Scene(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def port(scene: Scene) -> Iterator[int]:
    """That of a server with TLS."""
    with started(scene.gear()) as server:
        yield server.port


def configured(folder: Path, port: int, files: tls.Files | None) -> Config:
    path = write_config(folder, port)
    document = json.loads(path.read_text())
    if files:
        document["zuul_server"] |= {f"gearman_ssl_{part}": str(getattr(files, part)) for part in tls.PARTS}
        document["zuul_server"] |= {"gearman_ssl_name": files.name} if files.name else {}
    path.write_text(json.dumps(document))
    return config.load(path)


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Start the service, in this process, with jobs that a test controls."""
    started: list[Service] = []

    def start(port: int, files: tls.Files | None, jobs: Jobs | None = None) -> Service:
        service = Service(configured(tmp_path, port, files), jobs or Jobs())
        started.append(service)
        service.start()
        return service

    yield start
    for service in started:
        service.stop()


@pytest.fixture
def tries(monkeypatch: pytest.MonkeyPatch) -> Counter[Link]:
    """How often each Link has tried to connect or to read."""
    tries: Counter[Link] = Counter()

    def counted(name: str) -> Callable[[Link], Any]:
        real = getattr(Link, name)

        def count(link: Link) -> Any:
            tries[link] += 1
            return real(link)

        return count

    for name in ("connect", "readPacket"):
        monkeypatch.setattr(Link, name, counted(name))
    return tries


@contextlib.contextmanager
def started(server: Any) -> Iterator[Any]:
    server.start()
    try:
        yield server
    finally:
        # not waited for: gear's may be in a sleep
        threading.Thread(target=server.kill).start()


@contextlib.contextmanager
def answering(answer: bytes) -> Iterator[int]:
    """A server that ends each connection, with these bytes; yields its port."""
    with socket.create_server((HOST, 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    with listener.accept()[0] as channel:
                        channel.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def test_a_build_and_its_submission(scene: Scene, port: int, serving: Any) -> None:
    jobs = Jobs()
    service = serving(port, scene.worker, jobs)
    words = ["--gearman", f"{HOST}:{port}", "--job", "job", "--project", "p", "--url", "/p", "--json"]
    files = [word for part in tls.PARTS for word in (f"--ssl-{part}", str(getattr(scene.worker, part)))]
    code = "import sys; from worker.cli.main import th; sys.exit(th())"
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    with subprocess.Popen(
        [sys.executable, "-c", code, "submit", *words, *files],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        # longer than a TLS record, and than what gear reads at once
        jobs.next().end("SUCCESS", "http://logs/7/", tuple("x" * 500 for _ in range(90)))
        output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert json.loads(output)["messages"] == ["x" * 500] * 90
    service.check()
    assert service.builds.count == 0


def test_what_comes_in_one_record_is_read_to_its_end(scene: Scene) -> None:
    """The first packet ends where gear stops reading; poll() knows nothing of the second."""
    packets = [gear.Packet(gear.constants.RES, gear.constants.ECHO_RES, b"x" * size) for size in (4096 - 12, 5)]
    context = gear.create_ssl_context()
    context.load_cert_chain(scene.server.cert, scene.server.key)
    link = Link(HOST, 0, "test", scene.worker)
    with socket.create_server((HOST, 0)) as listener:
        link.port = listener.getsockname()[1]

        def serve() -> None:
            with context.wrap_socket(listener.accept()[0], server_side=True) as channel:
                channel.sendall(b"".join(bytes(packet.toBinary()) for packet in packets))
                channel.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        link.connect()
        assert link.readPacket().data == packets[0].data
        assert link.hasPendingData()
        assert link.readPacket().data == packets[1].data
        assert not link.hasPendingData()
        link.disconnect()
        thread.join()


def test_who_is_not_taken_knows_why_and_waits(
    scene: Scene, tries: Counter[Link], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A wrong CA, another's certificate, another name, no TLS, a server without TLS, and what is no server at all."""
    ended = "it closed the connection without an answer"
    strange = "what answers is not a Gearman server"
    with contextlib.ExitStack() as stack:
        plain = [stack.enter_context(started(kind(free_port()))).port for kind in (GearServer, Gearmand)]
        connect = tls.connect

        def patient(host: str, port: int, files: tls.Files | None, _: float) -> socket.socket:
            # only one without TLS leaves a handshake without an answer
            return connect(host, port, files, 1.0 if port in plain else PATIENCE)

        monkeypatch.setattr(tls, "connect", patient)
        cases = [
            (stack.enter_context(started(scene.gear())).port, files, said) for said, files in scene.wrong.items()
        ]
        cases += [(port, scene.worker, "TLS") for port in plain]
        for answer, said in ((b"", ended), (b"HTTP/1.1 400\r\n\r\n", strange), (b"\0RES" * 9, ended)):
            cases.append((stack.enter_context(answering(answer)), None, said))
        receivers = [Receiver("test", HOST, port, ["build:job"], files) for port, files, _ in cases]
        for receiver, (_, _, said) in zip(receivers, cases, strict=True):
            wait_until(lambda receiver=receiver: receiver.trouble)
            assert said in receiver.trouble
            stack.callback(receiver.close)
        begun, before = time.monotonic(), tries.copy()
        time.sleep(0.7)
        assert not [said for receiver, (_, _, said) in zip(receivers, cases, strict=True) if receiver.connected]
        assert len(tries) == len(cases)
        most = 2 + 2 * (time.monotonic() - begun)
        assert {link.port: count for link, count in (tries - before).items() if count > most} == {}
        for port, files, said in (cases[0], cases[3], cases[5]):
            with pytest.raises(UsageError, match=re.escape(said)):
                ask(port, files)
    # gear's servers tell of each handshake that fails, our side does not
    assert {record.name for record in caplog.records if record.levelno >= logging.WARNING} == {"gear.Server"}


def ask(port: int, files: tls.Files | None) -> bool:
    submitter = Submitter(HOST, port, PATIENCE, files)
    try:
        return submitter.registered("build:job", 5)
    finally:
        submitter.close()


def test_it_is_logged_once_and_that_it_is_over(
    scene: Scene, tries: Counter[Link], serving: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    port = free_port()
    with started(GearServer(port, scene.server)):
        service = serving(port, None)

        def logged(text: str) -> list[str]:
            service.check()
            return [record.getMessage() for record in caplog.records if text in record.getMessage()]

        wait_until(lambda: logged("it closed the connection"))
        service.check()
        wanted = "it closed the connection without an answer; perhaps it wants TLS"
        (line,) = logged("no Gearman server at")
        assert line.startswith(f"no Gearman server at {HOST}:{port}: {wanted}; trying again with ")
    with started(GearServer(port)):
        wait_until(lambda: logged("is there again"))
        service.check()
        assert len(logged("no Gearman server at")) == len(logged("is there again")) == 1


def test_a_server_that_is_restarted(scene: Scene, serving: Any) -> None:
    jobs, port = Jobs(), free_port()
    with started(GearServer(port, scene.server)):
        service = serving(port, scene.worker, jobs)
        wait_until(lambda: service.snapshot().gearman.connected)
    wait_until(lambda: not service.snapshot().gearman.connected)
    with started(GearServer(port, scene.server)):
        wait_until(lambda: service.snapshot().gearman.connected)
        submitter = Submitter(HOST, port, PATIENCE, scene.worker)
        assert submitter.registered("build:job2", PATIENCE)
        submitter.submit("build:job2", "u", {**ARGUMENTS})
        jobs.next().end("SUCCESS")
        wait_until(lambda: (event := submitter.next_event(1)) and event.kind == "complete")
        submitter.close()


def test_renewed_files_are_used_by_the_next_connection(scene: Scene, port: int, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    files = tls.Files(folder / "key", folder / "cert", folder / "ca")

    def put(found: tls.Files) -> None:
        for part in tls.PARTS:
            shutil.copyfile(getattr(found, part), getattr(files, part))

    put(scene.worker)
    tls.connect(HOST, port, files, PATIENCE).close()
    put(next(found for said, found in scene.wrong.items() if found and "unknown ca" in said))
    with pytest.raises(tls.RefusedError, match="unknown ca"):
        tls.connect(HOST, port, files, PATIENCE)
    files.key.unlink()
    with pytest.raises(tls.RefusedError, match="our key: "):
        tls.connect(HOST, port, files, PATIENCE)


def test_check_shakes_hands(scene: Scene, port: int, tmp_path: Path) -> None:
    def lines(files: tls.Files | None, port: int = port) -> list[check.Check]:
        path = configured(tmp_path, port, files).path
        return [one for one in check.check(path) if one.name == "gearman"]

    theirs, ours = lines(scene.worker)
    assert (theirs.level, ours.level) == ("ok", "ok")
    assert f"{HOST}:{port}; TLS, certificate of 127.0.0.1 until 20" in theirs.text
    assert ours.text.startswith(f"our own certificate, {scene.worker.cert}, until 20")
    ending = replace(scene.ours.issue("ending", (), days=9.5), name="127.0.0.1")
    _, ours = lines(ending)
    assert (ours.level, ours.remedy) == ("warn", f"renew {ending.cert}") and ours.text.endswith(": 9 days are left")
    (plain,) = lines(None)
    assert plain.text.endswith("without TLS")
    nobody, _ = lines(scene.worker, free_port())
    assert nobody.level == "fail" and nobody.text.startswith("no server at")
    ended, own = lines(scene.ours.issue("ended", (), days=-1))
    assert (ended.level, own.level) == ("fail", "fail") and "certificate expired" in ended.text

# SPDX-License-Identifier: Apache-2.0
"""Gearman as it really is: both servers, a client that sees what Zuul sees, and a job that needs no playbooks."""

import collections
import json
import queue
import shutil
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gear
from prometheus_client.parser import text_string_to_metric_families

from tests.kit.waiting import HOST, PATIENCE, listening, wait_until
from worker.config import Config, JobEntry, tls
from worker.progress import Progress
from worker.request import Request

ARGUMENTS = {
    "ZUUL_UUID": "build1",
    "ZUUL_PROJECT": "org/project",
    "ZUUL_PIPELINE": "check",
    "ZUUL_URL": "http://zuul.example.org/p",
    "ZUUL_VOTING": "1",
    "ZUUL_REF": "refs/zuul/master/Z1",
    "BASE_LOG_PATH": "7/7/1",
    "LOG_PATH": "7/7/1/check/job/build1",
}


def scrape(port: int) -> dict[tuple[str, ...], float]:
    """The values, by the metric's name and its labels' values."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(f"http://{HOST}:{port}/metrics", timeout=PATIENCE) as answer:
        text = answer.read().decode()
    families = text_string_to_metric_families(text)
    return {(one.name, *one.labels.values()): one.value for family in families for one in family.samples}


class GearServer:
    """gear's own server; with `files`, it speaks TLS and wants a certificate of the same CA."""

    def __init__(self, port: int, files: tls.Files | None = None) -> None:
        self.port = port
        self._files = [str(path) for path in (files.key, files.cert, files.ca)] if files else []

    def start(self) -> None:
        def started() -> bool:
            try:
                self._server = gear.Server(self.port, *self._files, host=HOST)
            except Exception:  # the port is not free again yet
                return False
            return True

        wait_until(started)

    def kill(self) -> None:
        # gear leaves its listening socket open, where clients would find nobody.
        self._server.socket.close()
        if self._server.running:
            self._server.shutdown()


class Gearmand:
    """The C server, as a process. `retries`: how many workers a job may lose before it has failed; 0: any number."""

    def __init__(self, port: int) -> None:
        self.port, self.retries = port, 1
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = shutil.which("gearmand", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
        assert program, "gearmand is needed (Debian: gearman-job-server)"

        def started() -> bool:
            if self._process is None or self._process.poll() is not None:
                words = ["--listen", HOST, "--port", str(self.port), "--log-file", "none"]
                self._process = subprocess.Popen(
                    [program, *words, "--job-retries", str(self.retries)],
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            return listening(self.port)

        wait_until(started)

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None


@dataclass
class Packet:
    """What a client saw: `kind` is data, status, complete, fail or exception."""

    kind: str
    data: dict[str, Any] = field(default_factory=dict)
    raw: bytes = b""
    at: float = field(default_factory=time.monotonic)


class Zuul(gear.Client):  # type: ignore[misc]
    """A client that keeps the packets of each job, by the job's unique name."""

    def __init__(self, port: int) -> None:
        self.packets: dict[str, list[Packet]] = collections.defaultdict(list)
        # a try of gear's that finds nobody is followed by the next one after 2 s
        wait_until(lambda: listening(port))
        super().__init__("zuul")
        self.addServer(HOST, port)
        self.waitForServer(PATIENCE)

    def _keep(self, kind: str, packet: Any, job: Any) -> None:
        raw = packet.getArgument(1, True) if kind in ("data", "complete", "exception") else b""
        data = json.loads(raw) if kind == "data" else {}
        if kind == "status":
            data = {"done": int(packet.getArgument(1)), "of": int(packet.getArgument(2))}
        self.packets[job.unique.decode()].append(Packet(kind, data, raw))

    def handleWorkData(self, packet: Any) -> None:  # noqa: N802
        self._keep("data", packet, super().handleWorkData(packet))

    def handleWorkStatus(self, packet: Any) -> None:  # noqa: N802
        self._keep("status", packet, super().handleWorkStatus(packet))

    def handleWorkComplete(self, packet: Any) -> None:  # noqa: N802
        self._keep("complete", packet, super().handleWorkComplete(packet))

    def handleWorkFail(self, packet: Any) -> None:  # noqa: N802
        self._keep("fail", packet, super().handleWorkFail(packet))

    def handleWorkException(self, packet: Any) -> None:  # noqa: N802
        self._keep("exception", packet, super().handleWorkException(packet))

    def launch(self, function: str, arguments: Mapping[str, Any] | bytes = b"", unique: str = "build1") -> None:
        """Submit a job, once somebody serves it."""
        if isinstance(arguments, bytes):
            payload = arguments or json.dumps({**ARGUMENTS, "ZUUL_UUID": unique}).encode()
        else:
            payload = json.dumps(arguments).encode()
        wait_until(lambda: self.serves(function))
        self.submitJob(gear.Job(function, payload, unique=unique))

    def serves(self, function: str) -> bool:
        request = gear.StatusAdminRequest()
        try:
            self.getConnection().sendAdminRequest(request, 5)  # the connection may be one that is about to be lost
        except (gear.NoConnectedServersError, gear.TimeoutError, OSError, AttributeError):
            return False
        lines = [line.split("\t") for line in request.response.decode().splitlines()]
        return any(line[0] == function and line[-1] != "0" for line in lines)

    def stop(self, manager: str, arguments: Mapping[str, Any] | bytes, unique: str = "stop1") -> list[Packet]:
        """Submit a `stop:` job as Zuul does, and wait for its answer."""
        payload = arguments if isinstance(arguments, bytes) else json.dumps(arguments).encode()
        job = gear.Job(f"stop:{manager}", payload, unique=unique)
        self.submitJob(job, precedence=gear.PRECEDENCE_HIGH)
        return self.ended(unique)

    def begun(self, unique: str = "build1") -> dict[str, Any]:
        """The first packet of a job."""
        wait_until(lambda: self.packets.get(unique))
        return self.packets[unique][0].data

    def ended(self, unique: str = "build1", patience: float = PATIENCE) -> list[Packet]:
        """All packets of a job, once the final one has come."""
        final = ("complete", "fail", "exception")
        wait_until(lambda: any(packet.kind in final for packet in self.packets.get(unique, [])), patience)
        return self.packets[unique]


class FakeJob:
    """Stands in for worker.job.Job: a test tells it when to end, and how."""

    def __init__(self, request: Request, observer: Callable[[Progress], None]) -> None:
        self.request = request
        self.observer = observer
        self.canceled: list[str] = []
        self._orders: queue.Queue[Any] = queue.Queue()

    def run(self) -> Any:
        order = self._orders.get()
        if isinstance(order, Exception):
            raise order
        return order

    def cancel(self, reason: str) -> None:
        self.canceled.append(reason)
        self.end("CANCELED" if reason == "stop" else None)

    def end(self, result: str | None, url: str = "http://logs/7/", messages: tuple[str, ...] = ()) -> None:
        verdict = SimpleNamespace(
            outcome=SimpleNamespace(name=result or "NONE"),
            gearman_result=lambda: result,
            messages=(),
            datasets=(),
            artifacts=None,
        )
        told = {"url": url, "folder": None, "summary_lines": list(messages), "upload_seconds": 0.0}
        self._orders.put(SimpleNamespace(verdict=verdict, **told))

    def fail(self, error: Exception) -> None:
        self._orders.put(error)


class Jobs:
    """The factory of FakeJobs; keeps those it made."""

    def __init__(self) -> None:
        self.made: list[FakeJob] = []
        self._lock = threading.Lock()

    def __call__(
        self, config: Config, entry: JobEntry, request: Request, observer: Callable[[Progress], None]
    ) -> FakeJob:
        job = FakeJob(request, observer)
        with self._lock:
            self.made.append(job)
        return job

    def next(self, index: int = 0) -> FakeJob:
        """The job of that number, once it runs."""
        job: FakeJob = wait_until(lambda: len(self.made) > index and self.made[index])
        return job


def write_config(folder: Path, port: int, host: str = HOST, **keys: Any) -> Path:
    """A configuration with two jobs, and the playbook that it wants."""
    plugin = folder / "ansible/playbooks/shell_script"
    plugin.mkdir(parents=True, exist_ok=True)
    (plugin / "run.yaml").write_text("[]")
    settings = {
        "zuul_server": {"gearman_host": host, "gearman_port": port},
        "ansible_dir": "ansible",
        "jobs_working_dir": "th/jobs",
        "publish_logs": {"path": "logs"},
        "slots": 1,
        "sensors": {"disk_free": 0, "memory_free": 0, "load": 0},
        "jobs": [{"name": name, "plugin": "shell_script"} for name in ("job", "job2")],
        **keys,
    }
    path = folder / "config.json"
    path.write_text(json.dumps(settings))
    return path

# SPDX-License-Identifier: Apache-2.0
"""Gearman: with `gearlink` and `gearworker`, the only module that knows the library `gear`.

A `Receiver` is one connection that takes jobs, a `Task` is a job taken, a `Submitter` hands jobs in (`th submit`), and
`EmbeddedServer` is a whole Gearman server inside this process.

Two facts of gear's own code shape this module. gear's Connection object outlives the socket: after a reconnect the
same object speaks to a server that may use the same handles for other jobs. So a Task keeps the socket that it came
in on, and speaks to nothing else. And a job goes on while the server is away, so a send that fails is no error.
"""

import json
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import gear

from worker.config import tls
from worker.errors import TurboHipsterError, UsageError
from worker.gearman.connection import Pace, Returning, link
from worker.gearman.worker import AssignedJob, GearWorker

log = logging.getLogger(__name__)

_CLOSE_PATIENCE = 2.0


class Task:
    """A job taken from Gearman. Thread-safe; gets one final packet (`complete` or `fail`) and nothing after it.

    When the connection is lost, what is sent goes nowhere: the server has given the job up, or given it to another.
    """

    def __init__(self, job: AssignedJob) -> None:
        self.function: str = job.name
        self.unique: str = (job.unique or b"").decode("utf-8", "replace")
        self.arguments: bytes = bytes(job.arguments)
        self._job = job
        self._lock = threading.Lock()
        self._ended = False
        self._lost = False

    @property
    def ended(self) -> bool:
        """Whether the final packet was sent, or would have been, had the server been there."""
        return self._ended

    @property
    def lost(self) -> bool:
        """Whether a packet could not be sent, so that this connection has no client of this job any more."""
        return self._lost

    def data(self, payload: Mapping[str, Any]) -> None:
        """WORK_DATA with a JSON object."""
        self._send(gear.constants.WORK_DATA, json.dumps(payload).encode())

    def status(self, done: int, total: int) -> None:
        """WORK_STATUS."""
        self._send(gear.constants.WORK_STATUS, str(done).encode(), str(total).encode())

    def complete(self) -> None:
        """WORK_COMPLETE without data: the end."""
        # An empty part, as WORK_COMPLETE has two: the handle and the data.
        self._send(gear.constants.WORK_COMPLETE, b"", final=True)

    def fail(self) -> None:
        """WORK_FAIL: the end."""
        self._send(gear.constants.WORK_FAIL, final=True)

    def _send(self, kind: int, *parts: bytes, final: bool = False) -> None:
        with self._lock:
            if self._ended:
                return
            self._ended = final
            if self._lost:
                return
            packet = gear.Packet(gear.constants.REQ, kind, b"\0".join((self._job.handle, *parts)))
            try:
                # The lock is shared with gear, which sends on the same socket.
                with self._job.connection.send_lock:
                    self._job.channel.sendall(packet.toBinary())
            except (OSError, AttributeError) as error:
                self._lost = True
                log.warning("%s: its Gearman connection is gone, nothing more is sent: %s", self.unique, error)


class Receiver:
    """One connection that serves functions, the first one last. It connects, and connects again, by itself.

    `files` are those for TLS; None is a connection without. `pace` is for those of the same server.
    """

    def __init__(
        self,
        client_id: str,
        host: str,
        port: int,
        functions: Iterable[str],
        files: tls.Files | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._worker = GearWorker(client_id, functions)
        self._link = link(self._worker, host, port, files, pace)

    @property
    def connected(self) -> bool:
        """Whether the server is there at the moment."""
        return bool(self._worker.active_connections) and not self.trouble

    @property
    def trouble(self) -> str:
        """Why a server that is there does not serve us ("it" is the server); "": there is none, or all is well."""
        return self._link.trouble

    def take(self) -> Task | None:
        """Wait for a job; None when there will be no more. For one thread."""
        job = self._worker.take()
        return Task(job) if job else None

    def hold(self, held: bool) -> None:
        """Ask for no more jobs, but keep the functions; or ask again. A job that is on its way still comes."""
        self._worker.hold(held)

    def offer(self, functions: Iterable[str]) -> None:
        """Serve other functions from now on, or from the end of the job that runs."""
        self._worker.offer(functions)

    def stop_taking(self) -> None:
        """Let every `take` end with None. Waits up to 5 s for an answer of the server that is under way."""
        self._worker.end()

    def close(self) -> None:
        """Close the connection."""
        _shutdown(self._worker)


def _shutdown(client: Any) -> None:
    # gear waits for its own threads, and one of those may be connecting to a host that never answers.
    thread = threading.Thread(target=client.shutdown, daemon=True)
    thread.start()
    thread.join(_CLOSE_PATIENCE)


class EmbeddedServer:
    """gear's own Gearman server in this process, for demos and laptops; reachable from this machine only."""

    HOST = "127.0.0.1"

    def __init__(self, port: int) -> None:
        """Listen on `port`, 0 for any free one; UsageError when it is taken."""
        try:
            self._server = gear.Server(port, host=self.HOST)
        except Exception as error:  # gear raises no other class
            problem = f"zuul_server.gearman_port: port {port} of {self.HOST} is not free ({error})"
            raise UsageError(f"{problem}; use another, or 0 for any") from error
        self.port: int = self._server.port

    def close(self) -> None:
        """Stop serving."""
        _shutdown(self._server)


@dataclass(frozen=True)
class Event:
    """What happened to a submitted job. `kind`: "data", "status", "complete", "fail" or "lost" (the server is gone).

    `data` is the JSON object of a WORK_DATA, `percent` that of a WORK_STATUS.
    """

    kind: str
    data: Mapping[str, Any]
    percent: int = 0

    @property
    def final(self) -> bool:
        """Whether nothing follows."""
        return self.kind in ("complete", "fail", "lost")


class _GearClient(Returning, gear.Client):  # type: ignore[misc]
    """gear's client, which puts what happens to the one job into a queue."""

    def __init__(self, client_id: str) -> None:
        self.events: queue.Queue[Event] = queue.Queue()
        super().__init__(client_id)

    def handleWorkData(self, packet: Any) -> None:  # noqa: N802
        self._put("data", packet, super().handleWorkData(packet))

    def handleWorkStatus(self, packet: Any) -> None:  # noqa: N802
        job = super().handleWorkStatus(packet)
        self._put("status", packet, job, int(100 * (job.fraction_complete or 0)))

    def handleWorkComplete(self, packet: Any) -> None:  # noqa: N802
        self._put("complete", packet, super().handleWorkComplete(packet))

    def handleWorkFail(self, packet: Any) -> None:  # noqa: N802
        self._put("fail", packet, super().handleWorkFail(packet))

    def handleWorkException(self, packet: Any) -> None:  # noqa: N802
        self._put("fail", packet, super().handleWorkException(packet))

    def handleDisconnect(self, job: Any) -> None:  # noqa: N802
        self.events.put(Event("lost", {}))

    def _put(self, kind: str, packet: Any, job: Any, percent: int = 0) -> None:
        if job.name.startswith("stop:"):
            return
        payload = packet.getArgument(1, True) if kind in ("data", "complete") else b""
        try:
            data = json.loads(payload) if payload else {}
        except ValueError:
            data = {}
        self.events.put(Event(kind, data if isinstance(data, dict) else {}, percent))


class Submitter:
    """A client that hands in one job, as Zuul does, and follows it."""

    def __init__(self, host: str, port: int, timeout: float, files: tls.Files | None = None) -> None:
        """Connect within `timeout` seconds, with TLS where there are files for it; UsageError when that fails."""
        self._client = _GearClient("th-submit")
        self._link = link(self._client, host, port, files)
        self._address = f"{host}:{port}"
        deadline = time.monotonic() + timeout
        while not self._client.active_connections:
            if self._link.trouble or time.monotonic() > deadline:
                self.close()
                why = self._link.trouble or f"none within {timeout:g} s; is it running, and is the address right?"
                raise UsageError(f"no Gearman server at {self._address}: {why}")
            time.sleep(0.02)

    def registered(self, function: str, timeout: float) -> bool:
        """Whether a worker serves the function; waits up to `timeout` seconds for one."""
        deadline = time.monotonic() + timeout
        while True:
            queue = self.queue(function)
            if queue and queue[2]:
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(0.2)

    def queue(self, function: str) -> tuple[int, int, int] | None:
        """How many jobs of a function wait and run, and how many workers serve it; None when it is not known."""
        request = gear.StatusAdminRequest()
        self._call(partial(self._ask, request))
        for line in request.response.decode("utf-8", "replace").splitlines():
            name, *numbers = line.split("\t")
            if name == function and len(numbers) == 3 and all(one.isdecimal() and len(one) < 19 for one in numbers):
                total, running, workers = map(int, numbers)
                return max(total - running, 0), running, workers
        return None

    def submit(self, function: str, unique: str, arguments: Mapping[str, str]) -> None:
        """Hand in the job."""
        self._job = gear.Job(function, json.dumps(arguments).encode(), unique=unique)
        self._call(lambda: self._client.submitJob(self._job))

    def cancel(self) -> bool:
        """Take the job back that no worker has taken yet; returns whether the server agreed."""
        request = gear.CancelJobAdminRequest(self._job.handle)
        self._call(partial(self._ask, request))
        return bytes(request.response).startswith(b"OK")

    def stop(self, manager: str, name: str, number: str) -> None:
        """Ask the worker `manager` to stop its build `number`, as Zuul does when it wants the build no more."""
        arguments = json.dumps({"name": name, "number": number}).encode()
        job = gear.Job(f"stop:{manager}", arguments, unique=f"stop-{number}")
        self._call(lambda: self._client.submitJob(job, precedence=gear.PRECEDENCE_HIGH))

    def next_event(self, timeout: float) -> Event | None:
        """The next event, or None when there is none within `timeout` seconds."""
        try:
            return self._client.events.get(timeout=timeout)
        except queue.Empty:
            return None

    def close(self) -> None:
        """Close the connection."""
        _shutdown(self._client)

    def _ask(self, request: Any) -> None:
        self._client.getConnection().sendAdminRequest(request, 10)

    def _call(self, action: Callable[[], None]) -> None:
        try:
            action()
        except (gear.GearmanError, gear.NoConnectedServersError, gear.TimeoutError, OSError, AttributeError) as error:
            if self._link.trouble:
                raise UsageError(f"no Gearman server at {self._address}: {self._link.trouble}") from error
            raise TurboHipsterError(f"the Gearman server does not answer: {error}") from error

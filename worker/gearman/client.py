# SPDX-License-Identifier: Apache-2.0
"""Gearman: besides `connection` and `worker`, the only module that uses the library `gear`.

A `Receiver` is a connection that takes jobs, a `Task` is a job that was taken, a `Submitter` submits jobs
(`th submit`), and `EmbeddedServer` is a complete Gearman server inside this process.

Two facts shape this module. First, gear's Connection object outlives the socket: after a reconnect, the server may use
the same handles for other jobs. So a Task keeps the socket that it was received on, and sends on no other. Second, a
job continues while the server is away, so a failure to send is not an error.
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
    """A job taken from Gearman. Thread-safe; sends one final packet (`complete` or `fail`) and nothing after it.

    Packets are dropped once the connection is lost: the server has abandoned the job, or given it to another worker.
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
        """Whether the final packet was sent, or dropped because the connection was lost."""
        return self._ended

    @property
    def lost(self) -> bool:
        """Whether a packet could not be sent: the job's client can no longer be reached on this connection."""
        return self._lost

    def data(self, payload: Mapping[str, Any]) -> None:
        """Send WORK_DATA with a JSON object."""
        self._send(gear.constants.WORK_DATA, json.dumps(payload).encode())

    def status(self, done: int, total: int) -> None:
        """Send WORK_STATUS."""
        self._send(gear.constants.WORK_STATUS, str(done).encode(), str(total).encode())

    def complete(self) -> None:
        """Send the final packet, WORK_COMPLETE without data."""
        # WORK_COMPLETE has two parts, the handle and the data; the data is empty.
        self._send(gear.constants.WORK_COMPLETE, b"", final=True)

    def fail(self) -> None:
        """Send the final packet, WORK_FAIL."""
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
                # gear uses the same lock to send on this socket.
                with self._job.connection.send_lock:
                    self._job.channel.sendall(packet.toBinary())
            except (OSError, AttributeError) as error:
                self._lost = True
                log.warning("%s: its Gearman connection is gone, nothing more is sent: %s", self.unique, error)


class Receiver:
    """A connection that serves functions, the first one with the lowest priority. It (re)connects automatically.

    `files` are the files for TLS, None without TLS. `pace` is shared by the connections to the same server.
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
        """Whether the server is connected at the moment."""
        return bool(self._worker.active_connections) and not self.trouble

    @property
    def trouble(self) -> str:
        """Why a reachable server does not serve this worker; "" otherwise. The text calls the server "it"."""
        return self._link.trouble

    def take(self) -> Task | None:
        """Wait for a job; returns None after `stop_taking`. Call it from one thread only."""
        job = self._worker.take()
        return Task(job) if job else None

    def hold(self, held: bool) -> None:
        """Stop asking for jobs but keep the functions registered, or ask again. A job on its way still comes."""
        self._worker.hold(held)

    def offer(self, functions: Iterable[str]) -> None:
        """Serve these functions instead, from now on or from the end of the running job."""
        self._worker.offer(functions)

    def stop_taking(self) -> None:
        """Make every `take` return None. Waits up to 5 s for a pending answer of the server."""
        self._worker.end()

    def close(self) -> None:
        """Close the connection."""
        _shutdown(self._worker)


def _shutdown(client: Any) -> None:
    # gear waits for its own threads, one of which may be connecting to a host that never answers.
    thread = threading.Thread(target=client.shutdown, daemon=True)
    thread.start()
    thread.join(_CLOSE_PATIENCE)


class EmbeddedServer:
    """gear's Gearman server in this process, for demos and laptops; reachable from this machine only."""

    HOST = "127.0.0.1"

    def __init__(self, port: int) -> None:
        """Listen on `port`, 0 for any free one. Raises UsageError if it is taken."""
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
    """An event of a submitted job. `kind` is "data", "status", "complete", "fail" or "lost" (the server is gone).

    `data` is the JSON object in a WORK_DATA; `percent` is computed from a WORK_STATUS.
    """

    kind: str
    data: Mapping[str, Any]
    percent: int = 0

    @property
    def final(self) -> bool:
        """Whether this is the job's last event."""
        return self.kind in ("complete", "fail", "lost")


class _GearClient(Returning, gear.Client):  # type: ignore[misc]
    """gear's client, extended to put the events of its only job into a queue."""

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
    """A client that submits one job, as Zuul does, and follows it."""

    def __init__(self, host: str, port: int, timeout: float, files: tls.Files | None = None) -> None:
        """Connect within `timeout` seconds, with TLS if `files` is given. Raises UsageError if that fails."""
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
        """Whether a worker has registered the function; waits up to `timeout` seconds for one."""
        deadline = time.monotonic() + timeout
        while True:
            queue = self.queue(function)
            if queue and queue[2]:
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(0.2)

    def queue(self, function: str) -> tuple[int, int, int] | None:
        """The numbers of waiting jobs, running jobs and workers for a function; None if unknown."""
        request = gear.StatusAdminRequest()
        self._call(partial(self._ask, request))
        for line in request.response.decode("utf-8", "replace").splitlines():
            name, *numbers = line.split("\t")
            if name == function and len(numbers) == 3 and all(one.isdecimal() and len(one) < 19 for one in numbers):
                total, running, workers = map(int, numbers)
                return max(total - running, 0), running, workers
        return None

    def submit(self, function: str, unique: str, arguments: Mapping[str, str]) -> None:
        """Submit the job."""
        self._job = gear.Job(function, json.dumps(arguments).encode(), unique=unique)
        self._call(lambda: self._client.submitJob(self._job))

    def cancel(self) -> bool:
        """Cancel the job if no worker has taken it yet; returns whether the server has canceled it."""
        request = gear.CancelJobAdminRequest(self._job.handle)
        self._call(partial(self._ask, request))
        return bytes(request.response).startswith(b"OK")

    def stop(self, manager: str, name: str, number: str) -> None:
        """Ask the worker `manager` to stop its build `number`, as Zuul does when it no longer needs the build."""
        arguments = json.dumps({"name": name, "number": number}).encode()
        job = gear.Job(f"stop:{manager}", arguments, unique=f"stop-{number}")
        self._call(lambda: self._client.submitJob(job, precedence=gear.PRECEDENCE_HIGH))

    def next_event(self, timeout: float) -> Event | None:
        """Wait for the next event; returns None if there is none within `timeout` seconds."""
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

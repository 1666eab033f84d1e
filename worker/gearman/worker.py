# SPDX-License-Identifier: Apache-2.0
"""gear's worker, adapted for a slot: one connection, one job at a time, and no function starves another.

gearmand prefers jobs of the function that a connection has registered last, however long others wait (gear's own server
prefers the job that has waited longest). So the functions are registered again before each job, with the function just
served first, which gives it the lowest priority. This must not happen while a job is running or may be on its way:
gearmand (1.1.20) takes the job away from a connection that resets its functions, and hands it out again.

A held worker keeps its functions registered but asks for no jobs; they stay in the queue, as if the worker were busy.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Any

import gear

from worker.gearman.connection import Returning


class AssignedJob(gear.WorkerJob):  # type: ignore[misc]
    """gear's job, which remembers the socket that it was received on (gear sets `connection` as it reads the job)."""

    channel: socket.socket

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "connection" and value is not None:
            self.channel = value.conn
        super().__setattr__(name, value)


class GearWorker(Returning, gear.Worker):  # type: ignore[misc]
    """A worker that serves `functions`, the first one with the lowest priority. Thread-safe, except for `take`, which
    may be called from one thread only."""

    job_class = AssignedJob

    def __init__(self, client_id: str, functions: Iterable[str]) -> None:
        self._held = self._ended = False
        self._wanted = tuple(name.encode() for name in functions)
        super().__init__(client_id)
        self.functions = _records(self._wanted)

    def take(self) -> AssignedJob | None:
        """Wait for a job; returns None after `end`."""
        with self.job_lock:
            if self._ended or not self.running:
                return None
            self.waiting_for_jobs += 1
            self._updateStateMachines()
        job: AssignedJob | None = self.job_queue.get()
        if job:
            with self.job_lock:
                self._wanted = tuple(sorted(self._wanted, key=lambda name: name != job.binary_name))
        return job

    def hold(self, held: bool) -> None:
        """Stop asking for jobs, or ask again. A job that is already on its way still comes."""
        with self.job_lock:
            self._held = held
            self._look_again()

    def offer(self, functions: Iterable[str]) -> None:
        """Serve these functions only, the first one with the lowest priority, from the end of any running job."""
        with self.job_lock:
            self._wanted = tuple(name.encode() for name in functions)
            self._look_again()

    def end(self) -> None:
        """Make `take` return None. Waits up to 5 s for a pending answer of the server."""
        with self.job_lock:
            self._held = self._ended = True
        self.stopWaitingForJobs()

    def handleNoop(self, packet: Any) -> None:  # noqa: N802
        """The server says that there may be a job."""
        if not self._held:
            super().handleNoop(packet)

    def handleNoJob(self, packet: Any) -> None:  # noqa: N802
        """The server has no job. Register functions offered meanwhile, before the connection goes to sleep."""
        with self.job_lock:
            if self.waiting_for_jobs:
                self._register()
        super().handleNoJob(packet)

    def _look_again(self) -> None:
        for connection in self.active_connections[:]:
            if connection.state == "SLEEP":
                connection.changeState("IDLE")
        self._updateStateMachines()

    def _updateStateMachines(self) -> None:  # noqa: N802
        """Called by gear, with `job_lock` held, to ask for a job if a thread waits for one."""
        asked = any(connection.state == "GRAB_WAIT" for connection in self.active_connections[:])
        if self.waiting_for_jobs and not asked:
            self._register()
        if not (self._held and self.waiting_for_jobs):
            super()._updateStateMachines()

    def _register(self) -> None:
        if not self.active_connections or tuple(self.functions) == self._wanted:
            return
        self.functions = _records(self._wanted)
        packets = [gear.Packet(gear.constants.REQ, gear.constants.RESET_ABILITIES, b"")]
        packets += [gear.Packet(gear.constants.REQ, gear.constants.CAN_DO, name) for name in self._wanted]
        for connection in self.active_connections[:]:
            try:
                connection.sendRaw(b"".join(packet.toBinary() for packet in packets))
            except (OSError, AttributeError):
                self._lostConnection(connection)


def _records(names: Iterable[bytes]) -> dict[bytes, Any]:
    # Without a timeout, because Zuul's Gearman server does not support CAN_DO_TIMEOUT.
    return {name: gear.FunctionRecord(name) for name in names}

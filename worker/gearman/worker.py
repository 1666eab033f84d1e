# SPDX-License-Identifier: Apache-2.0
"""gear's worker, as one slot has it: one connection, one job at a time, no function before another for ever.

gearmand hands out the jobs of that function first which a connection has registered last, however long others wait
(gear's own server: the job that has waited longest). So the functions are registered again before each job, what was
just served first, and so last in turn. Never while a job runs or may be on its way: gearmand (1.1.20) takes it away
from a connection that resets its functions, and hands it out once more.

A worker that is held keeps its functions and asks for no job: jobs wait in their queue, as for one that is busy.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Any

import gear

from worker.gearman.connection import Returning


class AssignedJob(gear.WorkerJob):  # type: ignore[misc]
    """gear's job, which remembers the socket that it came in on (gear sets `connection` as it reads the job)."""

    channel: socket.socket

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "connection" and value is not None:
            self.channel = value.conn
        super().__setattr__(name, value)


class GearWorker(Returning, gear.Worker):  # type: ignore[misc]
    """A worker that serves `functions`, the first one last. `take` is for one thread, all else for any."""

    job_class = AssignedJob

    def __init__(self, client_id: str, functions: Iterable[str]) -> None:
        self._held = self._ended = False
        self._wanted = tuple(name.encode() for name in functions)
        super().__init__(client_id)
        self.functions = _records(self._wanted)

    def take(self) -> AssignedJob | None:
        """Wait for a job; None once there will be no more."""
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
        """Ask for no job any more, or for jobs again. One that is on its way still comes."""
        with self.job_lock:
            self._held = held
            self._look_again()

    def offer(self, functions: Iterable[str]) -> None:
        """Serve these functions and no others, the first one last; after the job that runs, if one does."""
        with self.job_lock:
            self._wanted = tuple(name.encode() for name in functions)
            self._look_again()

    def end(self) -> None:
        """Let `take` end with None. Waits up to 5 s for an answer of the server that is on its way."""
        with self.job_lock:
            self._held = self._ended = True
        self.stopWaitingForJobs()

    def handleNoop(self, packet: Any) -> None:  # noqa: N802
        """There may be a job."""
        if not self._held:
            super().handleNoop(packet)

    def handleNoJob(self, packet: Any) -> None:  # noqa: N802
        """There is no job. Now, before it sleeps, is the time to register what was offered meanwhile."""
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
        """gear asks for a job in here, when a thread waits for one; with `job_lock` held."""
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
    # Without a timeout: Zuul's server does not know CAN_DO_TIMEOUT.
    return {name: gear.FunctionRecord(name) for name in names}

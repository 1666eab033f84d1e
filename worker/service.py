# SPDX-License-Identifier: Apache-2.0
"""The th-worker service: the order in which it starts, runs and stops."""

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from worker import jobdir, logs, monitoring, process, sandbox, status, systemd, waiting
from worker.account import version
from worker.builds import Builds, JobFactory, make_job
from worker.config import Config
from worker.errors import ConfigError
from worker.gearman import EmbeddedServer, Receiver, Task
from worker.status import GearmanState, SlotState, Snapshot

log = logging.getLogger(__name__)

SLOTS = 1
"""How many jobs run at once."""

STOP_PATIENCE = 25.0
"""Seconds that canceled jobs get to answer before the worker ends without them."""

_ABSENT_SECONDS = 10.0
_CHECK_SECONDS = 2.0
_STATUS_SECONDS = 2.0


class Service:
    """Everything of the process that runs: Gearman connections and the threads that serve them."""

    def __init__(self, config: Config, factory: JobFactory = make_job) -> None:
        self._config = config
        # Unique, because `stop:` and a restarted worker must never be taken for another's.
        self.manager = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self.builds = Builds(config, self.manager, factory)
        self._server: EmbeddedServer | None = None
        self._control: Receiver | None = None
        self._receivers: list[Receiver] = []
        self._slots: list[threading.Thread] = []
        self._since = self._gearman_since = time.time()
        self._state = status.RUNNING
        self._close_metrics: Callable[[], None] = lambda: None
        self._absent_since = time.monotonic()
        self._told: str | None = None  # what was logged of its absence

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the Gearman server; of the embedded one, the port that it has got."""
        if self._server:
            return EmbeddedServer.HOST, self._server.port
        return self._config.zuul_server.gearman_host, self._config.zuul_server.gearman_port

    def start(self) -> None:
        """Start taking jobs."""
        if self._config.zuul_server.embedded:
            self._server = EmbeddedServer(self._config.zuul_server.gearman_port)
            log.info("the embedded Gearman server is at %s:%d", *self.address)
        self._serve_metrics()
        # `stop:` before the jobs, so that whatever has begun can be stopped; and on a connection of its own,
        # as one that runs jobs answers late.
        files = self._config.zuul_server.ssl
        self._control = Receiver(f"{self.manager}-stop", *self.address, [f"stop:{self.manager}"], files)
        self._serve("stop", self._control, self.builds.stop)
        functions = [f"build:{entry.name}" for entry in self._config.jobs]
        for slot in range(SLOTS):
            # A connection a slot: losing one loses one job.
            receiver = Receiver(f"{self.manager}-{slot}", *self.address, functions, files)
            self._receivers.append(receiver)
            self._slots.append(self._serve(f"slot-{slot}", receiver, self._run))
        by = " by TLS" if files else ""
        log.info("%s takes %s from %s:%d%s", self.manager, " ".join(functions), *self.address, by)

    def stop(self) -> None:
        """Stop taking jobs, cancel those that run, and wait for their answers."""
        # 1. No new work. This comes first, else a job could begin while the others are being ended.
        for receiver in self._receivers:
            receiver.stop_taking()
        # 2. End what runs. It is not the change's fault, so these builds get no result and Zuul launches them again.
        self.builds.close()
        # 3. Their threads answer while the connections are still there.
        deadline = time.monotonic() + STOP_PATIENCE
        for thread in self._slots:
            thread.join(max(0.0, deadline - time.monotonic()))
        if self.builds.count:
            log.error("%d jobs did not end in time; they are cleaned up at the next start", self.builds.count)
        # 4. Stops were answered until here, also those for builds that were ending anyway.
        if self._control:
            self._control.stop_taking()
        # 5. Gearman last: closing earlier would lose the answers.
        for connection in (*self._receivers, self._control, self._server):
            if connection:
                connection.close()
        self._close_metrics()
        log.info("%s has ended", self.manager)

    def check(self) -> None:
        """Log when the Gearman server is not there or does not serve us, once, and when it is there again."""
        receivers = [receiver for receiver in (self._control, *self._receivers) if receiver]
        trouble = next((receiver.trouble for receiver in receivers if receiver.trouble), "")
        if all(receiver.connected for receiver in receivers):
            if self._told is not None:
                log.info("the Gearman server %s:%d is there again", *self.address)
            self._absent_since, self._told = time.monotonic(), None
            return
        absent = time.monotonic() - self._absent_since > _ABSENT_SECONDS
        if trouble not in ("", self._told) or (absent and self._told is None):
            why = f": {trouble}" if trouble else ""
            log.error("no Gearman server at %s:%d%s; trying again every 2 s", *self.address, why)
            self._told = trouble

    def snapshot(self) -> Snapshot:
        """What it is doing at this moment. From any thread."""
        jobs = self.builds.states()
        busy = {job.slot for job in jobs}
        receivers = [receiver for receiver in (self._control, *self._receivers) if receiver]
        host, port = self.address
        return Snapshot(
            version=version(),
            pid=os.getpid(),
            manager=self.manager,
            config=str(self._config.path),
            since=self._since,
            state=self._state,
            taking=self._state == status.RUNNING,
            gearman=GearmanState(
                host=host,
                port=port,
                tls=self._config.zuul_server.ssl is not None,
                connected=all(receiver.connected for receiver in receivers),
                trouble=next((receiver.trouble for receiver in receivers if receiver.trouble), ""),
                since=self._gearman_since,
            ),
            functions=tuple(f"build:{entry.name}" for entry in self._config.jobs),
            slots=tuple(
                SlotState(number, number in busy, receiver.connected, False)
                for number, receiver in enumerate(self._receivers)
            ),
            jobs=jobs,
            sensors=(),
            totals=self.builds.totals(),
        )

    @property
    def alive(self) -> bool:
        """Whether every thread that takes jobs does so still."""
        return all(thread.is_alive() for thread in self._slots)

    def summary(self) -> str:
        """What it is doing, in a few words."""
        now = self.snapshot()
        words = [f"{sum(slot.busy for slot in now.slots)} of {len(now.slots)} slots busy"]
        if now.state != status.RUNNING:
            words.insert(0, now.state)
        if not now.gearman.connected:
            words.append(f"no Gearman server at {now.gearman.host}:{now.gearman.port}")
        return "; ".join([*words, *(sensor.reason for sensor in now.sensors if not sensor.ok)])

    def _serve_metrics(self) -> None:
        keys = self._config.monitoring
        if keys.metrics_port:
            # Not for a worker without metrics: the library takes some megabytes.
            from worker.metrics import Metrics, Sources

            metrics = Metrics(Sources(self.snapshot, self._waiting, self._folders))
            self.builds.on_end = metrics.ended
            self._close_metrics = metrics.serve(self._config.path, keys.metrics_host, keys.metrics_port)

    def _waiting(self) -> Mapping[str, int]:
        return waiting.ask(*self.address, self._config.zuul_server.ssl, _STATUS_SECONDS)

    def _folders(self) -> Mapping[str, Path]:
        return {key: folder for key, (folder, _) in self._config.writable_dirs().items()}

    def _serve(self, name: str, receiver: Receiver, action: Callable[[Task], None]) -> threading.Thread:
        def loop() -> None:
            while task := receiver.take():
                action(task)

        thread = threading.Thread(target=loop, name=name, daemon=True)
        thread.start()
        return thread

    def _run(self, task: Task) -> None:
        self.builds.run(task)
        if not self.builds.count:
            process.reap_orphans()


def serve(config: Config, pid_path: Path | None, background: bool, factory: JobFactory = make_job) -> int:
    """Run the service until SIGTERM or SIGINT; returns the exit status.

    Raises UsageError for what is wrong before it runs, and that while there still is a terminal to show it on.
    """
    if background and not config.debug_log:
        raise ConfigError(config.path, "debug_log", "is missing", "-b needs a log: without one nobody sees errors")
    config.prepare()
    sandbox.demand(config)
    monitoring.demand(config.path, config.monitoring)
    pid_file = process.PidFile(pid_path) if pid_path else None
    log_file = logs.set_up(config.debug_log, config.monitoring.log_format, config.monitoring.log_max_bytes)
    if background:
        process.go_to_background([log_file, *([pid_file.file] if pid_file else [])])
    signals, manager = process.Signals(), systemd.Manager()
    try:
        if pid_file:
            pid_file.write()
        process.adopt_orphans()
        if os.geteuid() == 0:
            log.warning("running as root, which nothing here needs; use an unprivileged user")
        if not config.confined:
            log.warning("sandbox: none: the code of every change under test runs unconfined, as this user")
        for name in jobdir.remove_leftovers(config.jobs_working_dir):
            log.warning("removed what a worker that died has left of job %s", name)
        service = Service(config, factory)
        service.start()
        manager.ready()
        while not signals.stop:
            manager.status(service.summary())
            signals.wait(min(_CHECK_SECONDS, manager.interval or _CHECK_SECONDS))
            service.check()
            if service.alive:
                manager.alive()
        manager.stopping()
        service.stop()
    except Exception:
        if background:
            log.exception("the worker ends")
        raise
    finally:
        # The very last: whoever waits for it to go may start the next worker.
        if pid_file:
            pid_file.remove()
    return 0

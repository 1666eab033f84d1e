# SPDX-License-Identifier: Apache-2.0
"""The th-worker service: the order in which it starts, runs and stops."""

import contextlib
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from worker import job_dir, logs, process, sandbox
from worker.builds import Builds, JobFactory, make_job
from worker.config import Config, load, monitoring
from worker.errors import ConfigError, TurboHipsterError
from worker.gearman import queue
from worker.gearman.client import EmbeddedServer, Receiver
from worker.gearman.connection import Pace
from worker.gearman.server_health import Presence
from worker.gearman.slots import Slots
from worker.observe import sensors
from worker.observe.status_socket import StatusSocket
from worker.observe.systemd import Manager
from worker.status import DRAINING, RUNNING, STOPPING, WorkerStatus
from worker.version import version

log = logging.getLogger(__name__)

STOP_PATIENCE = 25.0
"""Seconds that canceled jobs have to send their answers before the worker exits without them."""

_CHECK_SECONDS = 2.0
_STATUS_SECONDS = 2.0
_DRAIN_SECONDS = 0.2
_ORPHAN_SECONDS = 30.0


class Service:
    """The running service: its Gearman connections, and the threads that serve them."""

    def __init__(self, config: Config, factory: JobFactory = make_job) -> None:
        self._config = config
        # Unique, so that a `stop:` job never reaches another worker, or this one after a restart.
        self.manager = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self.builds = Builds(config, self.manager, factory)
        self._since = time.time()
        self._state = RUNNING
        self._pace = Pace()
        self._server: EmbeddedServer | None = None
        self._control: Receiver | None = None
        self._presence: Presence | None = None
        self._slots = Slots(self._connect, self.builds.run)
        self._watch = sensors.SensorWatch(sensors.of(config), self._admit)
        self._reasons: list[str] = []
        self._close_metrics: Callable[[], None] = lambda: None
        self._gate = threading.Lock()  # the threads of the sensors and of the signals both start and stop taking jobs
        self._orphans, self._orphans_at = process.OrphanReaper(), time.monotonic()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the Gearman server; for the embedded one, the port that it actually listens on."""
        if self._server:
            return EmbeddedServer.HOST, self._server.port
        return self._config.zuul_server.gearman_host, self._config.zuul_server.gearman_port

    @property
    def functions(self) -> tuple[str, ...]:
        """The Gearman functions that it serves, except for its own `stop:`."""
        return tuple(f"build:{entry.name}" for entry in self._config.jobs)

    @property
    def drained(self) -> bool:
        """Whether it is draining and no job is running any more."""
        return self._state == DRAINING and not self.builds.count

    def start(self) -> None:
        """Start taking jobs."""
        if self._config.zuul_server.embedded:
            self._server = EmbeddedServer(self._config.zuul_server.gearman_port)
            log.info("the embedded Gearman server is at %s:%d", *self.address)
        files = self._config.zuul_server.ssl
        self._presence = Presence(*self.address, tls=files is not None)
        self._serve_metrics()
        # Sensors come before jobs, so that no job begins on a full disk.
        self._watch.start()
        # `stop:` comes before jobs, so that every job can be stopped; it has a separate connection, because one that
        # runs jobs would answer late.
        stop = f"stop:{self.manager}"
        self._control = Receiver(f"{self.manager}-stop", *self.address, [stop], files, self._pace)
        threading.Thread(target=self._serve_stops, args=(self._control,), name="stop", daemon=True).start()
        self._slots.serve(self._config.slots, self.functions)
        by = f"{' by TLS' if files else ''}, up to {self._config.slots} at once"
        log.info("%s takes %s from %s:%d%s", self.manager, " ".join(self.functions), *self.address, by)

    def run(self, signals: process.Signals, manager: Manager) -> None:
        """Serve until a signal ends it, and report to `manager`. What each signal does, in order of precedence:"""
        manager.ready()
        # 1. SIGTERM, SIGINT: end. It comes first, because its sender waits for it; `stop` cancels running jobs. A
        #    second one is not handled here: `process.Signals` ends the process, whatever this thread is doing.
        while not signals.stop:
            manager.status(self.snapshot().summary)
            if self._slots.alive:
                manager.alive()
            signals.wait(min(_DRAIN_SECONDS if self._state == DRAINING else _CHECK_SECONDS, manager.interval))
            # 2. SIGUSR1: take no more jobs, and end once none is running; `stop:` is served until then. It cannot be
            #    undone, because its sender waits for the end.
            if signals.drain and self._state == RUNNING:
                self.drain()
            if self.drained:
                break
            # 3. SIGHUP: reload the configuration. It comes last, because a worker that ends does not need it.
            if signals.take_reload():
                manager.reloading()
                self.reload()
                manager.ready()
            self.check()
        manager.stopping()
        self.stop()

    def drain(self) -> None:
        """Take no more jobs, and let running ones finish. The functions stay registered: new jobs wait in the queue."""
        with self._gate:
            self._state = DRAINING
            self._slots.hold(True)
        log.info("draining: no job is taken any more, %d are left to end", self.builds.count)

    def reload(self) -> None:
        """Reload the configuration. An invalid one is logged and changes nothing; running jobs are not affected."""
        if self._state != RUNNING:
            log.warning("the configuration is not read again: the worker is %s", self._state)
            return
        logs.reopen()
        try:
            found = load(self._config.path)
            config, at_restart = found.while_running(self._config)
            config.prepare()
            sandbox.demand(config)
        except TurboHipsterError as error:
            log.error("the configuration is wrong, the old one stays in force: %s", error)
            return
        self._config = config
        _warn(config)
        # Before the functions, so that jobs of new functions find their configuration.
        self.builds.reconfigure(config)
        self._slots.serve(config.slots, self.functions)
        self._watch.replace(sensors.of(config))
        log.info("%s was read again: %s; %d slots", config.path, " ".join(self.functions), config.slots)
        if at_restart:
            log.warning("not changed before the worker is restarted: %s", ", ".join(at_restart))

    def stop(self) -> None:
        """Stop taking jobs, cancel running ones, and wait for their answers."""
        # 1. Take no more jobs. Otherwise, one could begin while the others are being canceled.
        self._watch.stop()
        with self._gate:
            self._state = STOPPING
            self._slots.stop_taking()
        # 2. Cancel running jobs. It is not the change's fault, so they get no result, and Zuul launches them again.
        self.builds.close()
        # 3. Wait for their threads, which send the answers while the connections are still open.
        self._slots.join(STOP_PATIENCE)
        if self.builds.count:
            log.error("%d jobs did not end in time; they are cleaned up at the next start", self.builds.count)
        # 4. Close the connections last, because closing them earlier would lose the answers. `stop:` jobs were answered
        #    until here, even for builds that were ending anyway.
        self._close([receiver for receiver in (*self._slots.receivers, self._control) if receiver])
        if self._server:
            self._server.close()
        self._close_metrics()
        log.info("%s has ended", self.manager)

    def check(self) -> None:
        """Periodic work: log changes of the server's availability, and reap orphans."""
        if self._presence:
            self._presence.check(self._receivers())
        if time.monotonic() - self._orphans_at > _ORPHAN_SECONDS:
            self._orphans.reap()
            self._orphans_at = time.monotonic()

    def snapshot(self) -> WorkerStatus:
        """The current status. Can be called from any thread, once the service has started."""
        assert self._presence, "it has started"
        return WorkerStatus(
            version=version(),
            pid=os.getpid(),
            manager=self.manager,
            config=str(self._config.path),
            since=self._since,
            state=self._state,
            taking=self._state == RUNNING and not self._reasons,
            gearman=self._presence.state(self._receivers()),
            functions=self.functions,
            slots=self._slots.states(),
            jobs=self.builds.states(),
            sensors=self._watch.states,
            totals=self.builds.totals(),
        )

    def _serve_metrics(self) -> None:
        keys = self._config.monitoring
        if keys.metrics_port:
            # Not imported by a worker without metrics, because the library needs some megabytes.
            from worker.observe.metrics import Metrics, Sources

            metrics = Metrics(Sources(self.snapshot, self._waiting, self._folders))
            self.builds.on_end = metrics.ended
            self._close_metrics = metrics.serve(self._config.path, keys.metrics_host, keys.metrics_port)

    def _waiting(self) -> Mapping[str, int]:
        return queue.ask(*self.address, self._config.zuul_server.ssl, _STATUS_SECONDS)

    def _folders(self) -> Mapping[str, Path]:
        return {key: folder for key, (folder, _) in self._config.writable_dirs().items()}

    def _connect(self, number: int, functions: Sequence[str]) -> Receiver:
        files = self._config.zuul_server.ssl
        return Receiver(f"{self.manager}-{number}", *self.address, functions, files, self._pace)

    def _receivers(self) -> list[Receiver]:
        return [receiver for receiver in (self._control, *self._slots.receivers) if receiver]

    def _serve_stops(self, control: Receiver) -> None:
        while task := control.take():
            self.builds.stop(task)

    def _admit(self, reasons: list[str]) -> None:
        """Take jobs, or none while the sensors have `reasons` not to."""
        if reasons and not self._reasons:
            log.warning("no job is taken for now: %s", "; ".join(reasons))
        elif self._reasons and not reasons:
            log.info("jobs are taken again")
        with self._gate:
            self._reasons = reasons
            self._slots.hold(self._state != RUNNING or bool(reasons))

    def _close(self, receivers: Sequence[Receiver]) -> None:
        # in parallel, because closing takes a moment if the server is away
        threads = [threading.Thread(target=receiver.close, daemon=True) for receiver in receivers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def _warn(config: Config) -> None:
    if not config.confined:
        log.warning("sandbox: none: the code of every change under test runs unconfined, as this user")


def serve(config: Config, pid_path: Path | None, background: bool, factory: JobFactory = make_job) -> int:
    """Run the service until a signal ends it; returns the exit status. Raises UsageError if it cannot start."""
    if background and not config.debug_log:
        raise ConfigError(config.path, "debug_log", "is missing", "-b needs a log: without one, errors are lost")
    config.prepare()
    sandbox.demand(config)
    with contextlib.ExitStack() as owned:
        pid_file = process.PidFile(pid_path) if pid_path else None
        if pid_file:
            # removed last, because another program may then start the next worker
            owned.callback(pid_file.remove)
        status = StatusSocket(config.path, config.status_socket)
        owned.callback(status.close)
        # after the pid file and the socket: if a worker is already running, their error is clearer than a taken port
        monitoring.demand(config.path, config.monitoring)
        log_file = logs.set_up(config.debug_log, config.monitoring.log_format, config.monitoring.log_max_bytes)
        logs.of_threads()
        kept = [log_file, *status.files, *([pid_file.file] if pid_file else [])]
        starter = process.go_to_background(kept) if background else process.Starter(-1)
        try:
            _run(config, factory, status, pid_file, starter)
        except Exception as error:
            if background:
                log.exception("the worker ends")
            known = isinstance(error, TurboHipsterError)
            reason = error if known else f"it could not start ({error}): see {config.debug_log}"
            starter.report(getattr(error, "exit_code", 1), f"th-worker: {reason}")
            raise
    return 0


def _run(
    config: Config, factory: JobFactory, state: StatusSocket, pid_file: process.PidFile | None, starter: process.Starter
) -> None:
    """Start, report that to `starter`, and serve."""
    signals, manager = process.Signals(service=True), Manager()
    if pid_file:
        pid_file.write()
    process.adopt_orphans()
    if os.geteuid() == 0:
        log.warning("running as root, which nothing here needs; use an unprivileged user")
    _warn(config)
    for name in job_dir.remove_leftovers(config.jobs_working_dir):
        log.warning("removed what a worker that died has left of job %s", name)
    service = Service(config, factory)
    service.start()
    state.serve(service.snapshot)
    starter.report()
    service.run(signals, manager)

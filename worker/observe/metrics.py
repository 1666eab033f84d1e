# SPDX-License-Identifier: Apache-2.0
"""The worker's metrics for Prometheus (docs/metrics.md describes every metric).

Label values come from the configuration, from fixed lists, or are dataset names. They never come from a change, so that
no change can create time series. What is counted comes from the artifacts and the verdict, after a job has ended.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric

from worker.builds import BuildEnd
from worker.config import monitoring
from worker.config.limits import AROUND, DATA, DOWNGRADE, SCHEMA
from worker.status import DRAINING, RUNNING, STOPPING, WorkerStatus
from worker.verdict import CODES, DatasetResult, Outcome, times
from worker.verdict.artifacts import Artifacts

log = logging.getLogger(__name__)

OUTCOMES = (*(outcome.name for outcome in Outcome), "REFUSED", "LOST")
METHODS = ("reflink", "copy", "import", "reload", "reset")
SNAPSHOTS = ("hit", "made", "none")
RESULTS = ("ok", "warning", "failure", "unfinished")
OTHER = "other"
"""The label value for unknown values."""

_LONG = (1, 3, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400)
_SHORT = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60, 120, 300, 600, 1800, 3600)


@dataclass(frozen=True)
class Sources:
    """Functions that return current values.

    `waiting` returns the number of jobs waiting at the Gearman server, by function; it raises OSError if the server
    does not answer. `folders` returns the worker's folders, by configuration key.
    """

    snapshot: Callable[[], WorkerStatus]
    waiting: Callable[[], Mapping[str, int]]
    folders: Callable[[], Mapping[str, Path]]


class Metrics:
    """The metrics of one worker: those that are counted as builds end, and those that are computed on request."""

    def __init__(self, sources: Sources) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.registry.register(_Now(sources))
        self._jobs = self._histogram("job", "a job, from taking it to its answer", _LONG, "job", "outcome")
        self._stages = self._histogram("stage", "a stage of a job", _LONG, "stage")
        self._parts = self._histogram("part", "a part of a job; the parts add up to the job", _LONG, "part")
        self._migrations = self._histogram("migration", "a migration that has ended", _SHORT, "dataset", "kind")
        self._results = self._counter("migrations", "Migrations by what became of them", "dataset", "kind", "result")
        self._restores = self._counter("restores", "Datasets that were made ready", "method", "snapshot")
        self._environments = self._counter("environments", "Virtual environments that jobs needed", "cached")
        self._messages = self._counter("messages", "Messages of verdicts that count", "code")
        self._canceled = self._counter("builds_canceled", "Builds that were ended before their time", "reason")
        self._uploads = self._counter("uploads_failed", "Jobs whose results could not be published")
        self._retries = self._counter("second_tries", "Jobs that were tried once more")
        for reason in ("stop", "shutdown"):
            self._canceled.labels(reason)

    def ended(self, end: BuildEnd) -> None:
        """Count a build that has ended. Called in the thread of the build."""
        self._jobs.labels(end.name, _known(end.outcome, OUTCOMES)).observe(end.seconds)
        if end.canceled:
            self._canceled.labels(_known(end.canceled, ("stop", "shutdown"))).inc()
        if end.verdict is None:
            return
        for message in end.verdict.messages:
            if message.counts:
                self._messages.labels(_known(message.code, CODES)).inc()
            if message.code == "upload_failed":
                self._uploads.inc()
        if end.verdict.artifacts:
            self._stages_before(end.verdict.artifacts)
        if spent := times.of(end.verdict.artifacts, end.seconds, end.upload_seconds):
            for part in spent.parts:
                self._parts.labels(part.name).observe(part.seconds)
        for result in end.verdict.datasets:
            self._dataset(result)

    def serve(self, path: Path, host: str, port: int) -> Callable[[], None]:
        """Serve the metrics; returns a function that stops this. Raises ConfigError, about the file at `path`."""
        try:
            server, thread = start_http_server(port, host, self.registry)
        except OSError as error:
            raise monitoring.taken(path, host, port, error) from error
        log.info("metrics are at %s", monitoring.url(host, server.server_port))

        def close() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return close

    def _stages_before(self, found: Artifacts) -> None:
        if found.first_try:
            self._retries.inc()
        if found.checkout:
            self._stages.labels("checkout").observe(found.checkout.seconds)
        for environment in found.environments:
            self._environments.labels(str(environment.cached).lower()).inc()
        if found.environments:
            seconds = sum(environment.seconds for environment in found.environments)
            self._stages.labels("build_environment").observe(seconds)

    def _dataset(self, result: DatasetResult) -> None:
        walk = result.walk
        if walk is None:
            return
        if walk.restored:
            self._restores.labels(_known(walk.method, METHODS), _known(walk.snapshot, SNAPSHOTS)).inc()
            self._stages.labels("restore_datasets").observe(sum(walk.seconds.values()))
        seconds = 0.0
        for row in result.migrations:
            kind = _known(row.migration.kind, (SCHEMA, DATA, DOWNGRADE, AROUND))
            self._results.labels(result.name, kind, _known(row.result, RESULTS)).inc()
            if row.migration.ended and row.migration.seconds is not None:
                self._migrations.labels(result.name, kind).observe(row.migration.seconds)
                seconds += row.migration.seconds
        if result.migrations:
            self._stages.labels("run_migrations").observe(seconds)

    def _histogram(self, what: str, text: str, buckets: Iterable[float], *labels: str) -> Histogram:
        name = f"turbo_hipster_{what}_seconds"
        return Histogram(name, f"Seconds of {text}", labels, registry=self.registry, buckets=tuple(buckets))

    def _counter(self, what: str, text: str, *labels: str) -> Counter:
        return Counter(f"turbo_hipster_{what}", text, labels, registry=self.registry)


class _Now:
    """The metrics that are computed on request."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def describe(self) -> Iterable[Metric]:
        """Nothing, because a worker that is still starting has no state to report."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """All current metrics."""
        now = self._sources.snapshot()
        names = [function.removeprefix("build:") for function in now.functions]
        yield _info(now)
        yield _gauge("start_time_seconds", "When the worker started, in seconds since 1970", now.since)
        states = {state: now.state == state for state in (RUNNING, DRAINING, STOPPING)}
        yield _gauges("state", "What the worker is up to: 1 for the state that it is in", "state", states)
        yield _gauge("taking_jobs", "Whether it takes jobs", now.taking)
        yield _gauge("gearman_connected", "Whether the Gearman server is there and serves us", now.gearman.connected)
        slots = [slot for slot in now.slots if not slot.ending]
        yield _gauge("slots", "How many jobs may run at once", len(slots))
        yield _gauge("slots_busy", "How many jobs run", sum(slot.busy for slot in now.slots))
        running = {name: sum(job.name == name for job in now.jobs) for name in names}
        yield _gauges("jobs_running", "Jobs that run", "job", running)
        yield _ended(now, names)
        sensors = {sensor.name: sensor.ok for sensor in now.sensors}
        yield _gauges("sensor_ok", "Whether a sensor lets the worker take jobs", "sensor", sensors)
        yield _gauges("free_bytes", "Bytes that are free where a folder of the worker is", "folder", self._free())
        queued = self._waiting(now, names)
        yield _gauges("jobs_waiting", "Jobs at the Gearman server that no worker has taken", "job", queued)

    def _free(self) -> dict[str, float]:
        free: dict[str, float] = {}
        for key, folder in self._sources.folders().items():
            try:
                free[key] = shutil.disk_usage(folder).free
            except OSError:
                pass  # the folder is missing: it has no metric, which an alert on `absent` detects
        return free

    def _waiting(self, now: WorkerStatus, names: Iterable[str]) -> dict[str, float]:
        if not now.gearman.connected:
            return {}
        try:
            waiting = self._sources.waiting()
        except OSError:
            return {}
        return {name: waiting.get(f"build:{name}", 0) for name in names}


def _info(now: WorkerStatus) -> Metric:
    labels = {"version": now.version, "manager": now.manager}
    return InfoMetricFamily("turbo_hipster_worker", "The worker: its version, and its name for Zuul", value=labels)


def _ended(now: WorkerStatus, names: Iterable[str]) -> Metric:
    family = CounterMetricFamily("turbo_hipster_jobs", "Jobs that have ended", labels=("job", "outcome"))
    counts = {(name, outcome): 0 for name in names for outcome in OUTCOMES}
    counts |= {(total.name, total.outcome): total.count for total in now.totals}
    for key, count in counts.items():
        family.add_metric(key, count)
    return family


def _gauge(what: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"turbo_hipster_{what}", text, value=float(value))


def _gauges(what: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"turbo_hipster_{what}", text, labels=(label,))
    for name, value in values.items():
        family.add_metric((name,), float(value))
    return family


def _known(value: str, known: Iterable[str]) -> str:
    return value if value in known else OTHER

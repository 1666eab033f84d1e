# SPDX-License-Identifier: Apache-2.0
"""The builds of this worker: running them, canceling them, and counting their outcomes."""

import json
import logging
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from worker import logs, publish
from worker.config import Config, JobEntry
from worker.errors import RequestError
from worker.gearman.client import Task
from worker.gearman.reporter import Account, worker_facts
from worker.inputs import git_url, untrusted
from worker.progress import Progress
from worker.request import Request
from worker.status import JobState, Total

if TYPE_CHECKING:
    from worker.job import JobResult
    from worker.verdict import Verdict

log = logging.getLogger(__name__)

_CANCELED = "CANCELED"


class Runnable(Protocol):
    """What a build runs: `worker.job.Job`, or a stand-in in a test."""

    on_answer: Callable[["JobResult"], None]
    """Called with the result of a job that is canceled, while `run` still publishes it."""

    def run(self) -> "JobResult":
        """Run to the end; must not raise."""

    def cancel(self, reason: str) -> None:
        """End soon; `reason` is "stop" or "shutdown". May be called from any thread."""


JobFactory = Callable[[Config, JobEntry, Request, Callable[[Progress], None]], Runnable]


def make_job(
    config: Config, entry: JobEntry, request: Request, observer: Callable[[Progress], None]
) -> Runnable:
    """The factory of real jobs."""
    # Imported by the first job: an idle worker should not hold Ansible and templates in memory.
    from worker.job import Job

    return Job(config, entry, request, observer)


class _Build:
    """A running build: its progress, its job once that was created, and whether it was canceled."""

    def __init__(self, task: Task, number: str, name: str, slot: int) -> None:
        self.unique, self.number, self.name, self.slot = task.unique, number, name, slot
        self.since = time.time()
        self.reason = ""
        self.job: Runnable | None = None
        self.request: Request | None = None
        self.progress = Progress("", 0, "")

    def state(self) -> JobState:
        """Its state, for the worker's status."""
        request, progress = self.request, self.progress
        return JobState(
            build=request.id if request else untrusted.name(self.unique),
            number=self.number,
            name=self.name,
            project=request.project if request else "",
            change=_change(request) if request else "",
            stage=progress.stage,
            text=progress.text,
            percent=progress.percent,
            since=self.since,
            slot=self.slot,
            canceled=self.reason,
        )


class _End(NamedTuple):
    """How a build ends: its outcome for the totals, its result or None, the URL of its logs, its messages; its verdict
    and how long its upload took, for metrics."""

    outcome: str
    result: str | None = None
    url: str = ""
    messages: Sequence[str] = ()
    verdict: "Verdict | None" = None
    upload_seconds: float = 0.0


@dataclass(frozen=True)
class BuildEnd:
    """A build that has ended, for metrics. `seconds` is the time since it was taken; `verdict` is None without a job.

    `outcome` is the same as in the totals; `canceled` is "", "stop" or "shutdown". `upload_seconds` of its `seconds`
    went into its report and the upload.
    """

    name: str
    outcome: str
    seconds: float
    canceled: str
    verdict: "Verdict | None"
    upload_seconds: float = 0.0


def _change(request: Request) -> str:
    return f"{request.change},{request.patchset}" if request.change else request.ref or request.branch


class Builds:
    """The running builds of this worker. Thread-safe: `run` is called by as many threads as there are slots."""

    def __init__(self, config: Config, manager: str, factory: JobFactory = make_job) -> None:
        self._config = config
        self._facts = worker_facts(manager)
        self._factory = factory
        self._lock = threading.Lock()
        self._running: dict[str, _Build] = {}
        self._totals: Counter[tuple[str, str]] = Counter()
        self._closing = False
        self.on_end: Callable[[BuildEnd], None] = lambda end: None
        """Called with each finished build, in the thread that has run it."""

    @property
    def count(self) -> int:
        """The number of running builds."""
        return len(self._running)

    def states(self) -> tuple[JobState, ...]:
        """The running builds, in the order of their start."""
        with self._lock:
            return tuple(build.state() for build in self._running.values())

    def totals(self) -> tuple[Total, ...]:
        """The number of finished builds by job and outcome."""
        with self._lock:
            return tuple(Total(*key, count) for key, count in sorted(self._totals.items()))

    def reconfigure(self, config: Config) -> None:
        """Use this configuration for builds that begin from now on; running ones keep theirs."""
        self._config = config

    def run(self, task: Task, slot: int = 0) -> None:
        """Run the build of `task`, and answer it. Never raises."""
        with logs.about(task.unique):
            self._run(task, slot)

    def _run(self, task: Task, slot: int) -> None:
        number = uuid.uuid4().hex
        name = task.function.removeprefix("build:")
        account = Account(task, {"number": number, "name": name, "url": "", **self._facts})
        build = _Build(task, number, name, slot)
        end, begun = _End("INFRASTRUCTURE"), time.monotonic()
        with self._lock:
            self._running[number] = build
            if self._closing:
                build.reason = "shutdown"
        try:
            asked = self._request(task, name)
            account.begin(self._url(asked))
            if task.lost:
                log.warning("its server went away before it began: not run")
                end = _End("LOST")
            else:
                end = self._end(task, build, account, asked)
                account.end(end.result, end.url, end.messages)
        except Exception:
            log.exception("the build ended with an unhandled exception")
            account.end(None, "", ["FAILURE - The worker failed"])
        finally:
            with self._lock:
                del self._running[number]
                self._totals[name, end.outcome] += 1
            seconds = time.monotonic() - begun
            self._report_end(BuildEnd(name, end.outcome, seconds, build.reason, end.verdict, end.upload_seconds))

    def _report_end(self, end: BuildEnd) -> None:
        try:
            self.on_end(end)
        except Exception:
            log.exception("the end of a build could not be counted")

    def _request(self, task: Task, name: str) -> Request | RequestError | None:
        """The request of a build, or the error in it; None if its job does not exist."""
        if self._config.job(name) is None:
            return None
        try:
            return Request.parse(name, task.unique, task.arguments)
        except RequestError as error:
            return error

    def _url(self, asked: Request | RequestError | None) -> str:
        """The URL at which results will be published. It is reported at the start, because a build that is given back
        never gets another."""
        prepend = self._config.publish_logs.prepend_url
        return publish.url_of(prepend, asked.log_path) if isinstance(asked, Request) else ""

    def _end(self, task: Task, build: _Build, account: Account, asked: Request | RequestError | None) -> _End:
        """Run the job to its end."""
        config = self._config
        entry = config.job(build.name)
        if asked is None or entry is None:
            # the job was removed from the configuration while the server assigned the build
            log.warning("there is no job %s any more: given back", build.name)
            return _End("INFRASTRUCTURE")
        if isinstance(asked, RequestError):
            log.warning("wrong argument of %s: %s", build.name, asked)
            text = git_url.mask(f"FAILURE - Wrong job argument {asked}")
            return _End("REFUSED", text, "", [text])
        request = build.request = asked

        def observe(progress: Progress) -> None:
            build.progress = progress
            account.progress(progress)

        with logs.about(request.id):
            log.info("begins: %s for %s %s", build.name, request.project, request.ref or request.branch)
            return self._job(self._factory(config, entry, request, observe), build, task, account)

    def _job(self, job: Runnable, build: _Build, task: Task, account: Account) -> _End:
        def answer(result: "JobResult") -> None:
            log.info("answered before its results are published: %s", result.verdict.outcome.name)
            account.end(result.verdict.gearman_result(), result.url, result.summary_lines)

        job.on_answer = answer
        with self._lock:
            build.job = job
            reason = build.reason
        if reason:
            log.info("canceled (%s) before it began", reason)
            return _End(_CANCELED, None if reason == "shutdown" else _CANCELED)
        result = job.run()
        outcome: str = result.verdict.outcome.name
        log.info("ended: %s %s", outcome, result.url)
        if task.lost:
            log.warning("the Gearman server went away in the meantime: the answer cannot be sent")
        answered = result.verdict.gearman_result()
        return _End(outcome, answered, result.url, result.summary_lines, result.verdict, result.upload_seconds)

    def stop(self, task: Task) -> None:
        """Answer a `stop:` job, and cancel the build that it names, if it is running. Never raises."""
        try:
            arguments = json.loads(task.arguments)
            number = str(arguments["number"])
        except (ValueError, KeyError, TypeError, RecursionError):
            log.warning("a stop without a usable number is ignored: %.200r", task.arguments)
            number = ""
        # At once and without data, even if the build is unknown: Zuul waits for the end of the build itself.
        task.complete()
        if number:
            with self._lock:
                build = self._running.get(number)
            if build:
                self._cancel(build, "stop")
            else:
                log.info("stop of build %s: not running here", number)

    def close(self) -> None:
        """Cancel all builds, because the worker ends; builds that arrive later are given back."""
        with self._lock:
            self._closing = True
            builds = list(self._running.values())
        for build in builds:
            self._cancel(build, "shutdown")

    def _cancel(self, build: _Build, reason: str) -> None:
        with self._lock:
            build.reason = build.reason or reason
            job, request = build.job, build.request
        with logs.about(request.id if request else build.unique):
            log.info("canceling (%s)", reason)
            try:
                if job:
                    job.cancel(reason)
            except Exception:
                log.exception("the job could not be canceled")

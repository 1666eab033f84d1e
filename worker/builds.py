# SPDX-License-Identifier: Apache-2.0
"""The builds of this worker, and what Zuul is told of them (docs/zuul.md says what it demands, and why).

For each build: WORK_DATA with what identifies it, WORK_STATUS, both again as something changes, at the end
WORK_DATA with the result and then exactly one WORK_COMPLETE or WORK_FAIL, whatever happens.
"""

import contextvars
import json
import logging
import socket
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any, Protocol

from worker import giturl, logs
from worker.config import Config, JobEntry
from worker.errors import RequestError
from worker.gearman import Task
from worker.progress import Progress
from worker.request import Request

if TYPE_CHECKING:
    from worker.job import JobResult

log = logging.getLogger(__name__)

TELL_SECONDS = 1.0
"""Changes of a build are told at most this often, so that a job with many short steps floods nobody."""

_LONGEST_RESULT = 250  # Zuul's SQL reporter keeps 255 characters
_MOST_MESSAGES = 100
_SUCCESS = "SUCCESS"
_CANCELED = "CANCELED"


class Runnable(Protocol):
    """What a build runs: `worker.job.Job`, or a stand-in in a test."""

    def run(self) -> "JobResult":
        """Run to the end; must not raise."""

    def cancel(self, reason: str) -> None:
        """End soon; `reason` is "stop" or "shutdown". From any thread."""


JobFactory = Callable[[Config, JobEntry, Request, Callable[[Progress], None]], Runnable]


def make_job(
    config: Config, entry: JobEntry, request: Request, observer: Callable[[Progress], None]
) -> Runnable:
    """The factory of real jobs."""
    # Imported by the first job: an idle worker should not hold Ansible and templates in memory.
    from worker.job import Job

    return Job(config, entry, request, observer)


def worker_facts(manager: str) -> dict[str, str]:
    """What Zuul shows of a worker. `manager` is the name under which its stop function is registered."""
    host = socket.gethostname()
    return {
        "manager": manager,
        "worker_name": manager,
        "worker_hostname": host,
        "worker_program": "turbo-hipster",
        "worker_version": _version(),
    }


def _version() -> str:
    try:
        return metadata.version("turbo-hipster")
    except metadata.PackageNotFoundError:
        return ""


class Account:
    """What is told of one build. A thread of its own tells it, so that a slow server never holds up the job."""

    def __init__(self, task: Task, facts: Mapping[str, str]) -> None:
        self._task = task
        self._data: dict[str, Any] = dict(facts)
        self._percent = 0
        self._told: tuple[dict[str, Any], int] | None = None
        self._lock = threading.Lock()
        self._ended = threading.Event()

    def begin(self) -> None:
        """Send the first packets, and go on with every change."""
        self._tell()
        context = contextvars.copy_context()  # what it logs is about this build
        threading.Thread(target=context.run, args=(self._keep_telling,), name="account", daemon=True).start()

    def progress(self, progress: Progress) -> None:
        """The job has come this far."""
        with self._lock:
            self._data["progress"] = progress.text or progress.stage
            self._percent = max(self._percent, min(progress.percent, 100))

    def end(self, result: str | None, url: str, messages: Sequence[str]) -> None:
        """Send the result and the final packet. `result` None is no result: Zuul then launches the build again."""
        with self._lock:
            self._data.update(url=url, messages=list(messages)[:_MOST_MESSAGES])
            self._data.pop("progress", None)
            self._percent = 100
            if result:  # an empty one would leave Zuul waiting for ever
                self._data["result"] = result
        self._ended.set()
        self._tell()
        if result == _SUCCESS:
            self._task.complete()
        else:
            self._task.fail()

    def _keep_telling(self) -> None:
        while not self._ended.wait(TELL_SECONDS):
            self._tell()

    def _tell(self) -> None:
        with self._lock:
            told, now = self._told, (dict(self._data), self._percent)
            self._told = now
            # Sent with the lock held, so that an older packet never overtakes a newer one. Data comes first:
            # a build whose first packet is WORK_STATUS is started twice by Zuul.
            if told is None or told[0] != now[0]:
                self._task.data(now[0])
            if told is None or told[1] != now[1]:
                self._task.status(now[1], 100)


class _Build:
    """A build that runs: its job, once there is one, and whether it was canceled before that."""

    def __init__(self) -> None:
        self.reason = ""
        self.job: Runnable | None = None


class Builds:
    """The builds that this worker runs now. Thread-safe: `run` is called by as many threads as jobs may run at once."""

    def __init__(self, config: Config, manager: str, factory: JobFactory = make_job) -> None:
        self._config = config
        self._facts = worker_facts(manager)
        self._factory = factory
        self._lock = threading.Lock()
        self._running: dict[str, _Build] = {}
        self._closing = False

    @property
    def count(self) -> int:
        """How many builds run now."""
        return len(self._running)

    def run(self, task: Task) -> None:
        """Run the build that `task` asks for, and answer it. Never raises."""
        with logs.about(task.unique):
            self._run(task)

    def _run(self, task: Task) -> None:
        number = uuid.uuid4().hex
        name = task.function.removeprefix("build:")
        account = Account(task, {"number": number, "name": name, "url": "", **self._facts})
        build = _Build()
        with self._lock:
            self._running[number] = build
            if self._closing:
                build.reason = "shutdown"
        try:
            account.begin()
            if task.lost:
                log.warning("%s: its server went away before it began: not run", task.unique)
            else:
                account.end(*self._outcome(task, name, build, account))
        except Exception:
            log.exception("%s: the build ended in a way that nobody has thought of", task.unique)
            account.end(None, "", ["FAILURE - The worker failed"])
        finally:
            with self._lock:
                del self._running[number]

    def _outcome(
        self, task: Task, name: str, build: _Build, account: Account
    ) -> tuple[str | None, str, list[str]]:
        """Run the job; returns the result (None: none), the URL of the logs, and the messages."""
        entry = self._config.job(name)
        if entry is None:
            raise LookupError(f"no job {name}")
        try:
            request = Request.parse(name, task.unique, task.arguments)
        except RequestError as error:
            log.warning("%s: wrong argument of %s: %s", task.unique, name, error)
            text = giturl.mask(f"FAILURE - Wrong job argument {error}")[:_LONGEST_RESULT]
            return text, "", [text]
        log.info("%s: begins: %s for %s %s", request.id, name, request.project, request.ref or request.branch)
        job = self._factory(self._config, entry, request, account.progress)
        with self._lock:
            build.job = job
            reason = build.reason
        if reason:
            log.info("%s: canceled (%s) before it began", request.id, reason)
            return (None if reason == "shutdown" else _CANCELED), "", []
        with logs.about(request.id):
            result = job.run()
        log.info("%s: ended: %s %s", request.id, result.verdict.outcome.name, result.url)
        if task.lost:
            log.warning("%s: the Gearman server went away meanwhile: nobody is told", request.id)
        return result.verdict.gearman_result(), result.url, result.told

    def stop(self, task: Task) -> None:
        """Answer a `stop:` job, and cancel the build that it names, if that runs. Never raises."""
        try:
            arguments = json.loads(task.arguments)
            number = str(arguments["number"])
        except (ValueError, KeyError, TypeError, RecursionError):
            log.warning("a stop without a usable number is ignored: %.200r", task.arguments)
            number = ""
        # At once and without data, known or not: what Zuul waits for is the end of the build itself.
        task.complete()
        if number:
            with self._lock:
                build = self._running.get(number)
            log.info("stop of build %s: %s", number, "canceling" if build else "not running here")
            if build:
                self._cancel(build, "stop")

    def close(self) -> None:
        """Cancel all builds, because the worker ends; those that would begin later are given back."""
        with self._lock:
            self._closing = True
            builds = list(self._running.values())
        for build in builds:
            self._cancel(build, "shutdown")

    def _cancel(self, build: _Build, reason: str) -> None:
        with self._lock:
            build.reason = build.reason or reason
            job = build.job
        if job:
            try:
                job.cancel(reason)
            except Exception:
                log.exception("a job could not be canceled")

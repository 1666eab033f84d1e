# SPDX-License-Identifier: Apache-2.0
"""One job, from the request to the verdict and the published results. Each job is a new object; `run` never raises."""

from __future__ import annotations

import datetime
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from worker import job_end, publish, runner, sandbox
from worker.config import Config, JobEntry, datasets, job_datasets
from worker.errors import InfrastructureError
from worker.job_dir import MARKER, JobDir
from worker.job_end import STOP, Cancellation
from worker.progress import Progress, ProgressReader
from worker.report import render, summary
from worker.request import Request
from worker.verdict import Message, Problem, Verdict, artifacts, decide
from worker.verdict.artifacts import Artifacts

log = logging.getLogger(__name__)

RETRY_PAUSE = 5.0
"""Seconds between a first try that ended with an infrastructure failure and the second: a service may be restarting."""

UPLOAD_PLAYBOOK = Path("playbooks") / "upload-logs.yaml"


@dataclass(frozen=True)
class JobResult:
    """The result of a job: its verdict, the URL of its results ("" for none), its folder if kept, and its times.

    `upload_seconds` are those of the `seconds` that writing the report and publishing the results took.
    """

    verdict: Verdict
    url: str
    folder: Path | None = None
    started: str = ""
    seconds: float = 0.0
    upload_seconds: float = 0.0

    @property
    def summary_lines(self) -> list[str]:
        """The outcome and all messages, one line each."""
        return summary.lines(self.verdict)


class Job:
    """A job, before, while and after it runs.

    `observer` is called with each `Progress` in the thread of `run`; `cancel` may be called from any thread.
    """

    def __init__(
        self, config: Config, entry: JobEntry, request: Request, observer: Callable[[Progress], None]
    ) -> None:
        self._config, self._entry, self._request, self._observer = config, entry, request, observer
        self._canceled = Cancellation()
        self._answered, self._unwritten = False, list[Problem]()
        self.on_answer: Callable[[JobResult], None] = lambda result: None
        """Called in the thread of `run` with the result of a canceled job, before its results are published."""
        self._started = datetime.datetime.now(datetime.UTC)
        self._begun = time.monotonic()
        self._percent = 0

    def cancel(self, reason: str) -> None:
        """End the job soon: `job_end.STOP` if Zuul has canceled it, `job_end.SHUTDOWN` if the worker ends."""
        self._canceled.cancel(reason)

    def run(self) -> JobResult:
        """Run the job. Whatever happens leads to a verdict, and no process is left behind."""
        return replace(self._run_all(), started=job_end.stamp(self._started), seconds=time.monotonic() - self._begun)

    def _run_all(self) -> JobResult:
        result = None
        try:
            with JobDir(
                self._config.jobs_working_dir, self._request.id, self._config.keep_job_dirs == "always"
            ) as folder:
                result = self._execute(folder)
                return replace(result, folder=folder.root if folder.keep else None)
        except InfrastructureError as error:
            return result or _failed(Message.of(error.code, detail=error.detail))
        except Exception as error:
            log.exception("the job failed with an unhandled exception")
            return result or _failed(job_end.failure_of(error))

    def _execute(self, folder: JobDir) -> JobResult:
        """Compute a verdict and publish the results. Never raises; later failures do not change the verdict."""
        variables, found = self._decide(folder)
        if self._config.keep_job_dirs == "failed" and found.outcome.exit_code:
            folder.keep = True
        url = publish.url_of(self._config.publish_logs.prepend_url, self._request.log_path)
        if self._canceled.is_set():
            self._answer(found, url)
        begun = time.monotonic()
        try:
            found = job_end.write(folder, variables, self._entry.plugin, found, lambda: self._header(variables, url))
            self._report_progress(Progress("publish", 96, "publishing the results"))
            found, url = self._upload(folder, found, url)
        except Exception as error:
            log.exception("the results could not be published")
            found, url = job_end.add(found, [Message.of("upload_failed", detail=job_end.failure_of(error).detail)]), ""
        return JobResult(found, url, upload_seconds=time.monotonic() - begun)

    def _decide(self, folder: JobDir) -> tuple[dict[str, Any], Verdict]:
        """Run the playbooks; returns their variables and the verdict."""
        try:
            variables, found = self._try(folder, self._config.job_time_limit, "job_timed_out")
            return self._try_again(folder, variables, found) if found.may_retry else (variables, found)
        except InfrastructureError as error:
            message = Message.of(error.code, detail=error.detail)
        except Exception as error:
            log.exception("the job could not be done")
            message = job_end.failure_of(error)
        folder.end_processes()
        return self._variables(folder), decide.of_messages([message])

    def _answer(self, found: Verdict, url: str) -> None:
        """Answer before the results are published, because nobody waits for the results of a canceled job."""
        self._answered = True
        try:
            self.on_answer(JobResult(found, url, None))
        except Exception:
            log.exception("the answer could not be given before the results are published")

    def _try(self, folder: JobDir, time_limit: int, timeout_code: str) -> tuple[dict[str, Any], Verdict]:
        """Run the playbook once; `timeout_code` is the error code if the time limit (seconds) is exceeded."""
        chosen = self._datasets(folder)
        variables = self._variables(folder)
        names = None if chosen is None else [selected.name for selected in chosen]
        if chosen is not None:
            variables["th_datasets"] = [selected.item for selected in chosen]
        folder.write_job_yaml(variables)
        if self._config.confined and (why := sandbox.problem()):
            self._report(folder, "sandbox_unavailable", why)
        elif names != []:
            self._play(folder, names, time_limit, timeout_code)
        return variables, decide.decide(self._read(folder), names)

    def _try_again(
        self, folder: JobDir, variables: dict[str, Any], first: Verdict
    ) -> tuple[dict[str, Any], Verdict]:
        """Try a second time, in the same folder, if the time limit allows it."""
        took = time.monotonic() - self._begun
        left = int(self._config.job_time_limit - took - RETRY_PAUSE)
        reasons = ", ".join(dict.fromkeys(message.code for message in first.messages))
        if left < took:
            log.warning("%s: not tried again, %d s are left", reasons, left)
            return variables, first
        log.warning("%s: trying once more", reasons)
        self._report_progress(Progress("retry", 0, f"trying once more: {reasons}"))
        self._unwritten = []
        if self._canceled.wait(RETRY_PAUSE):
            self._report(folder, self._canceled.code, "")
            names = [item["name"] for item in variables["th_datasets"]] if "th_datasets" in variables else None
            return variables, decide.decide(self._read(folder), names)
        try:
            render.write(folder.begin_again(), first, self._header(variables, ""))
            job_end.write_first_try(folder, first, took)
        except OSError as error:
            return variables, decide.with_message(first, job_end.failure_of(error))
        return self._try(folder, left, "retry_timed_out")

    def _header(self, variables: dict[str, Any], url: str) -> render.Header:
        took = time.monotonic() - self._begun
        return render.Header(publish.public(variables)["th_job"], url, job_end.stamp(self._started), took)

    def _datasets(self, folder: JobDir) -> list[datasets.Selected] | None:
        return job_datasets.choose(self._config, self._entry, self._request, partial(self._report, folder))

    def _variables(self, folder: JobDir) -> dict[str, Any]:
        """The playbooks' variables except the datasets: docs/artifacts.md, "job.yaml"."""
        config, request = self._config, self._request
        facts = {**asdict(request), "zuul": dict(request.zuul), "name": request.job_name}
        del facts["job_name"]
        return {
            "th_job": {**facts, "plugin": self._entry.plugin},
            "th_plugin": dict(self._entry.options),
            "th_job_dir": str(folder.root),
            "th_git_origin": config.zuul_server.origin,
            **{f"th_{key}": str(folder) for key, folder in config.job_dirs().items()},
            **publish.variables(config.publish_logs),
            "sandbox": config.sandbox,
        }

    def _report(self, folder: JobDir, code: str, detail: str, dataset: str = "") -> None:
        """Add an error that only the worker knows to the artifacts; if that fails, keep it in memory."""
        try:
            folder.report(code, detail, dataset)
        except OSError as error:
            log.warning("%s: %s cannot be written to the artifacts: %s", code, detail, error)
            self._unwritten.append(Problem(code, detail, dataset))

    def _read(self, folder: JobDir) -> Artifacts:
        found = artifacts.read(folder.artifacts)
        return replace(found, problems=(*found.problems, *self._unwritten))

    def _play(self, folder: JobDir, names: Sequence[str] | None, time_limit: int, timeout_code: str) -> None:
        """Run the plugin's playbook, and add the errors that its artifacts do not contain."""
        playbook = Path("playbooks") / self._entry.plugin / "run.yaml"
        reader = ProgressReader(folder.artifacts, names or (), self._report_progress)
        try:
            end = self._run(folder, playbook, time_limit, self._canceled.is_set, reader)
        except OSError as error:
            # the artifacts have the results up to then
            end = runner.PlaybookRun("broken", 1)
            self._report(folder, (message := job_end.failure_of(error)).code, message.detail)
        folder.end_processes()
        job_end.write_times(folder, end)
        detail = f"{end.task}: {end.message}".strip(": ")
        if end.status == "canceled":
            self._report(folder, self._canceled.code, "")
        elif end.status == "timeout":
            self._report(folder, timeout_code, f"the job was ended after {time_limit} s")
        elif names is None and end.rc == runner.TASK_FAILED:
            if not job_end.explained(artifacts.read(folder.artifacts)):
                self._report(folder, "test_failed", detail)
        elif names is None and not reader.tasks:
            self._report(folder, "playbook_failed", f"{playbook} has run no task")
        elif end.status != "successful" and not job_end.explained(artifacts.read(folder.artifacts)):
            self._report(folder, "playbook_failed", detail or f"{playbook} ended as {end.status} ({end.rc})")

    def _upload(self, folder: JobDir, found: Verdict, url: str) -> tuple[Verdict, str]:
        """Publish the results, in up to two tries; returns the verdict, with any failures added, and their URL.

        A job that is canceled meanwhile is answered at once; its upload is abandoned only when the worker ends.
        """

        def given_up() -> bool:
            nonlocal found
            if self._canceled.is_set() and not self._answered:
                if self._canceled.reason == STOP:
                    found = decide.with_message(found, Message.of("canceled"))
                self._answer(found, url)
            return self._canceled.too_late

        limit = self._config.upload_time_limit
        publish.forget_url(folder)
        end = self._run(folder, UPLOAD_PLAYBOOK, limit, given_up, None)
        if end.status == "failed" and not self._canceled.wait(RETRY_PAUSE):
            publish.forget_url(folder)
            end = self._run(folder, UPLOAD_PLAYBOOK, limit, given_up, None)
        folder.end_processes()
        failed, where = job_end.published(folder, end, limit, url)
        return job_end.add(found, failed), where

    def _run(
        self,
        folder: JobDir,
        playbook: Path,
        time_limit: int,
        canceled: Callable[[], bool],
        reader: ProgressReader | None,
    ) -> runner.PlaybookRun:
        def poll() -> bool:
            if reader:
                reader.poll()
            return canceled()

        log.info("running %s", playbook)
        end = runner.run(
            self._config.ansible_dir / playbook,
            ansible_dir=self._config.ansible_dir,
            job_yaml=folder.job_yaml,
            private_dir=folder.runner(),
            environment={MARKER: str(folder.root)},
            temporary=folder.temporary,
            log=folder.results / "task_output.log",
            time_limit=time_limit,
            canceled=poll,
            on_task=reader.task if reader else lambda role, name: None,
        )
        log.info("%s: %s %s %s", playbook, end.status, end.task, end.message)
        return end

    def _report_progress(self, progress: Progress) -> None:
        # the percentage never decreases, so a second try stays at that of the first one for a while
        self._percent = max(self._percent, progress.percent)
        try:
            self._observer(replace(progress, percent=self._percent))
        except Exception:
            log.exception("the progress could not be reported")


def _failed(message: Message) -> JobResult:
    return JobResult(decide.of_messages([message]), "")

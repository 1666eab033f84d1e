# SPDX-License-Identifier: Apache-2.0
"""One job, from the request to the verdict and its link. One fresh object a job; `run` never raises."""

from __future__ import annotations

import datetime
import json
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from worker import artifacts, datasets, publish, report, runner, sandbox, summary, verdict
from worker.config import Config, JobEntry
from worker.errors import DatasetError, InfrastructureError
from worker.jobdir import MARKER, JobDir
from worker.outcome import Message
from worker.progress import Progress, ProgressReader
from worker.request import Request
from worker.verdict import Verdict

log = logging.getLogger(__name__)

STOP = "stop"
SHUTDOWN = "shutdown"
RETRY_PAUSE = 5.0
"""Seconds between a first try that trouble of ours has ended and the second: what is restarted needs a moment."""

CANCELED_SECONDS = 7.0
"""Seconds after which nobody waits any more for the results of a canceled job to be published: all of it has to be gone
in ten."""

UPLOAD_PLAYBOOK = Path("playbooks") / "upload-logs.yaml"


@dataclass(frozen=True)
class JobResult:
    """A job's end: its verdict, where its results can be read ("" when nowhere), and its folder where it is kept."""

    verdict: Verdict
    url: str
    folder: Path | None

    @property
    def told(self) -> list[str]:
        """What it comes to, and all messages, one line each."""
        return summary.told(self.verdict)


class Job:
    """A job that is about to run, runs, or has ended.

    `observer` is called with each progress, from the thread of `run`; `cancel` may be called from any thread.
    """

    def __init__(
        self, config: Config, entry: JobEntry, request: Request, observer: Callable[[Progress], None]
    ) -> None:
        self._config, self._entry, self._request, self._observer = config, entry, request, observer
        self._canceled = threading.Event()
        self._reason = ""
        self._canceled_at = math.inf
        self._started = datetime.datetime.now(datetime.UTC)
        self._begun = time.monotonic()
        self._percent = 0

    def cancel(self, reason: str) -> None:
        """End the job soon: `STOP` when Zuul wants it no more, `SHUTDOWN` when the worker ends."""
        self._reason = self._reason or reason
        self._canceled_at = min(self._canceled_at, time.monotonic())
        self._canceled.set()

    def run(self) -> JobResult:
        """Do the job. Whatever happens ends in a verdict, and leaves no process behind."""
        try:
            with JobDir(
                self._config.jobs_working_dir, self._request.id, self._config.keep_job_dirs == "always"
            ) as folder:
                result = self._execute(folder)
                if self._config.keep_job_dirs == "failed" and result.verdict.outcome.exit_code:
                    folder.keep = True
                return JobResult(result.verdict, result.url, folder.root if folder.keep else None)
        except InfrastructureError as error:
            return self._failed(Message.of(error.code, detail=error.detail))
        except Exception as error:
            log.exception("the job failed in a way that nobody has thought of")
            return self._failed(Message.of("worker_failed", detail=f"{type(error).__name__}: {error}"))

    def _execute(self, folder: JobDir) -> JobResult:
        variables, found = self._try(folder, self._config.job_time_limit, "job_timed_out")
        if found.may_retry:
            variables, found = self._try_again(folder, variables, found)
        url = publish.url_of(self._config.publish_logs.prepend_url, self._request.log_path)
        publish.collect(folder, variables, self._entry.plugin)
        report.write(folder.results, found, self._header(variables, url))
        self._tell(Progress("publish", 96, "publishing the results"))
        if late := self._upload(folder):
            url = ""
            if late.code not in [message.code for message in found.messages]:
                found = verdict.with_message(found, late)
        return JobResult(found, url, None)

    def _try(self, folder: JobDir, time_limit: int, at_the_end: str) -> tuple[dict[str, Any], Verdict]:
        """Run the playbook once; returns what it was told, and the verdict.

        `at_the_end` is the code for a job that its time limit (seconds) has ended.
        """
        chosen = self._datasets(folder)
        variables = self._variables(folder)
        names = None
        if chosen is not None:
            names = [dataset.name for dataset in chosen]
            variables["th_datasets"] = [{"name": item.name, "config": str(item.config_path)} for item in chosen]
        folder.write_job_yaml(variables)
        if self._config.confined and (why := sandbox.problem()):
            folder.report("sandbox_unavailable", why)
        elif names != []:
            self._play(folder, names, time_limit, at_the_end)
        return variables, verdict.decide(artifacts.read(folder.artifacts), names)

    def _try_again(
        self, folder: JobDir, variables: dict[str, Any], first: Verdict
    ) -> tuple[dict[str, Any], Verdict]:
        """Try a second time, in the same folder afresh, where the time limit leaves room for it."""
        took = time.monotonic() - self._begun
        left = int(self._config.job_time_limit - took - RETRY_PAUSE)
        reasons = ", ".join(dict.fromkeys(message.code for message in first.messages))
        if left < took:
            log.warning("%s: not tried again, %d s are left", reasons, left)
            return variables, first
        log.warning("%s: trying once more", reasons)
        self._tell(Progress("retry", 0, f"trying once more: {reasons}"))
        if self._canceled.wait(RETRY_PAUSE):
            folder.report(self._end_code, "")
            names = [item["name"] for item in variables["th_datasets"]] if "th_datasets" in variables else None
            return variables, verdict.decide(artifacts.read(folder.artifacts), names)
        report.write(folder.begin_again(), first, self._header(variables, ""))
        messages = [
            {"code": message.code, "dataset": message.dataset, "detail": message.detail} for message in first.messages
        ]
        document = {"schema": 1, "seconds": round(took, 3), "messages": messages}
        (folder.artifacts / "first-try.json").write_text(json.dumps(document, indent=1) + "\n", "utf-8")
        return self._try(folder, left, "retry_timed_out")

    def _header(self, variables: dict[str, Any], url: str) -> report.Header:
        return report.Header(
            job=publish.public(variables)["th_job"],
            url=url,
            started=_stamp(self._started),
            seconds=time.monotonic() - self._begun,
        )

    def _datasets(self, folder: JobDir) -> list[datasets.Dataset] | None:
        """The datasets that the job has to test, without those that cannot be read; None when it tests none."""
        if self._entry.datasets_dir is None:
            return None
        profile = self._config.projects_dir / f"{self._request.project}.yaml"
        if not profile.is_file():
            folder.report("no_profile", f"{profile} is not there")
            return []
        try:
            wanted = self._entry.wanted(self._request.pipeline)
            chosen, errors = datasets.select(self._entry.datasets_dir, self._request.project, wanted)
            unknown = datasets.unknown(self._entry.datasets_dir, wanted)
        except DatasetError as error:
            folder.report("no_dataset", str(error))
            return []
        for broken in errors:
            folder.report("seed_broken", str(broken), datasets.name_of(broken.path))
        for word in unknown:
            where = f"{word!r}, which the job {self._entry.name} asks for, is neither a name nor a tag of a dataset"
            folder.report("no_dataset", f"{where} in {self._entry.datasets_dir}")
        if not chosen and not errors and not unknown:
            where = f"no dataset in {self._entry.datasets_dir} is for the project {self._request.project}"
            if wanted is not None:
                pipeline = self._request.pipeline or "no pipeline"
                where += f" and has one of the names and tags {', '.join(wanted)} (job {self._entry.name}, {pipeline})"
            folder.report("no_dataset", where)
        return chosen

    def _variables(self, folder: JobDir) -> dict[str, Any]:
        """What the playbooks are told beside the datasets: docs/artifacts.md, "job.yaml"."""
        config, request = self._config, self._request
        facts = {**asdict(request), "zuul": dict(request.zuul), "name": request.job_name}
        del facts["job_name"]
        return {
            "th_job": {**facts, "plugin": self._entry.plugin},
            "th_plugin": dict(self._entry.options),
            "th_job_dir": str(folder.root),
            "th_git_origin": config.zuul_server.origin,
            "th_git_working_dir": str(config.git_working_dir),
            "th_environments_dir": str(config.environments_dir),
            "th_snapshots_dir": str(config.snapshots_dir),
            "th_pip_download_cache": str(config.pip_download_cache),
            "th_projects_dir": str(config.projects_dir),
            "th_publish_path": str(config.publish_logs.path),
            "th_publish_url": config.publish_logs.prepend_url,
            "sandbox": config.sandbox,
        }

    @property
    def _end_code(self) -> str:
        """The code for a job that is canceled."""
        return "worker_stopped" if self._reason == SHUTDOWN else "canceled"

    def _play(self, folder: JobDir, names: Sequence[str] | None, time_limit: int, at_the_end: str) -> None:
        """Run the plugin's playbook, and put what its artifacts do not tell beside them."""
        playbook = Path("playbooks") / self._entry.plugin / "run.yaml"
        reader = ProgressReader(folder.artifacts, names or (), self._tell)
        end = self._run(folder, playbook, time_limit, self._canceled.is_set, reader)
        folder.end_processes()
        detail = f"{end.task}: {end.message}".strip(": ")
        if end.status == "canceled":
            folder.report(self._end_code, "")
        elif end.status == "timeout":
            folder.report(at_the_end, f"the job was ended after {time_limit} s")
        elif names is None and end.rc == runner.TASK_FAILED:
            folder.report("test_failed", detail)
        elif names is None and not reader.tasks:
            folder.report("playbook_failed", f"{playbook} has run no task")
        elif end.status != "successful" and not _explained(artifacts.read(folder.artifacts)):
            folder.report("playbook_failed", detail or f"{playbook} ended as {end.status} ({end.rc})")

    def _upload(self, folder: JobDir) -> Message | None:
        """Publish the results, in up to two tries with a time limit of their own, whatever has become of the job.

        Of a canceled job they are published as far as that is done in time.
        """
        limit = self._config.upload_time_limit
        end = self._run(folder, UPLOAD_PLAYBOOK, limit, self._waited_for_long, None)
        if end.status == "failed" and not self._canceled.wait(RETRY_PAUSE):
            # what was found out may have taken hours: it is not given up for a moment's trouble
            end = self._run(folder, UPLOAD_PLAYBOOK, limit, self._waited_for_long, None)
        folder.end_processes()
        if end.status == "successful":
            return None
        if end.status == "canceled":
            log.warning("the results were not published before the end")
            return Message.of(self._end_code)
        detail = end.message or f"the upload ended as {end.status} after at most {limit} s"
        log.error("the results could not be published: %s", detail)
        return Message.of("upload_failed", detail=detail)

    def _waited_for_long(self) -> bool:
        return time.monotonic() > self._canceled_at + CANCELED_SECONDS

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

    def _tell(self, progress: Progress) -> None:
        # a second try begins where the first has ended: for who looks on, a job never goes back
        self._percent = max(self._percent, progress.percent)
        try:
            self._observer(replace(progress, percent=self._percent))
        except Exception:
            log.exception("the progress could not be told")

    def _failed(self, message: Message) -> JobResult:
        return JobResult(verdict.of_messages([message]), "", None)


def _explained(found: artifacts.Artifacts) -> bool:
    return bool(found.problems) or any(walk.problems for walk in found.walks.values())


def _stamp(moment: datetime.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"

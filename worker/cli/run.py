# SPDX-License-Identifier: Apache-2.0
"""`th run`: one job here and now, without Gearman."""

import argparse
import dataclasses
import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worker import process, sandbox
from worker.builds import JobFactory, Runnable, make_job
from worker.cli import arguments
from worker.cli.display import display
from worker.config import Config, JobEntry, config
from worker.errors import INTERRUPTED, RequestError, UsageError
from worker.report import render
from worker.request import Request

if TYPE_CHECKING:
    from worker.job import JobResult



def add_parser(subparsers: Any) -> None:
    """Add the command's parser."""
    parser = subparsers.add_parser("run", help="run one job here and now, without Gearman")
    parser.add_argument("-c", metavar="PATH", default=str(config.DEFAULT_PATH), help="the configuration")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--profile", action="store_true", help="print after the verdict where the time went")
    parser.add_argument("--keep", action="store_true", help="keep the job's folder, and say where it is")
    arguments.add_options(parser, job_required=False)


def run(args: argparse.Namespace, factory: JobFactory = make_job) -> int:
    """Run the command; returns the exit status."""
    settings = config.load(Path(args.c))
    entry = _entry(settings, args.job)
    given = arguments.zuul_arguments(args, entry.name)
    # a merged commit is in the repository that has the branches and tags
    given["ZUUL_URL"] = given.get("ZUUL_URL") or settings.zuul_server.origin
    try:
        request = Request.parse(entry.name, "", given)
    except RequestError as error:
        raise arguments.named(error) from error
    settings.prepare()
    sandbox.demand(settings)
    if args.keep:
        settings = dataclasses.replace(settings, keep_job_dirs="always")
    process.adopt_orphans()
    with display() as progress:
        job = factory(settings, entry, request, lambda now: progress.show(now.percent, now.text or now.stage))
        result, interrupted = _run(job)
    if args.json:
        print(json.dumps(_document(result, request), indent=1))
    else:
        print(_text(result))
        if args.profile:
            print(f"\n{render.profile(result.verdict, _header(result, request))}")
    return INTERRUPTED if interrupted else result.verdict.outcome.exit_code


def _entry(settings: Config, name: str | None) -> JobEntry:
    if name is None and len(settings.jobs) == 1:
        return settings.jobs[0]
    entry = settings.job((name or "").removeprefix("build:"))
    if entry is None:
        there = ", ".join(job.name for job in settings.jobs)
        raise UsageError(f"--job: {f'there is no job {name!r}' if name else 'is missing'}; there are: {there}")
    return entry


def _run(job: Runnable) -> "tuple[JobResult, bool]":
    # In a thread, as in the service, so that this one can handle signals.
    results: list[JobResult] = []
    signals = process.Signals()
    thread = threading.Thread(target=lambda: results.append(job.run()))
    thread.start()
    while thread.is_alive():
        thread.join(0.1)
        if signals.stop:
            job.cancel("stop")
            thread.join()
    return results[0], signals.stop


def _header(result: "JobResult", request: Request) -> render.Header:
    job = {**dataclasses.asdict(request), "name": request.job_name}
    return render.Header(job, result.url, result.started, result.seconds, result.upload_seconds)


def _document(result: "JobResult", request: Request) -> dict[str, Any]:
    """The content of `result.json`, plus the path of the job's folder if it is kept."""
    document = render.as_document(result.verdict, _header(result, request))
    return {**document, "folder": str(result.folder) if result.folder else None}


def _text(result: "JobResult") -> str:
    kept = f"The job's folder is kept: {result.folder}\n" if result.folder else ""
    return kept + render.render_text(result.verdict, result.url)

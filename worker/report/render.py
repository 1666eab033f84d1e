# SPDX-License-Identifier: Apache-2.0
"""A verdict for people and scripts: `result.json`, `index.html`, and text for a terminal.

Pure functions like the verdict: the same verdict and header give the same bytes. `result.json` is described in
docs/artifacts.md.
"""

from __future__ import annotations

import functools
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from worker.counters import COUNTERS, MEASURED, SECONDS
from worker.inputs import documents, text
from worker.report import formatting, own_files, result_json, summary, time_table
from worker.verdict import DatasetResult, Fault, Message, Verdict, times
from worker.verdict.comparison import FACTOR, FLOORS
from worker.verdict.judge import MigrationResult
from worker.verdict.problems import FirstTry
from worker.verdict.times import Times
from worker.version import version

SCHEMA = 1
JOB_FIELDS = (
    "id", "name", "project", "branch", "change", "patchset", "ref", "commit", "pipeline",
)  # fmt: skip
# The files linked from a page, in the order that readers want, with their descriptions.
FILES = {
    "task_output.log": "what Ansible printed",
    "git_prep.log": "the checkout: every git command, and what it said",
    "environment.log": "the build of the virtual environments",
    "artifacts/checkout.json": "the commits, and what the change touches",
    "artifacts/environment.json": "the packages of each environment",
    "artifacts/errors.jsonl": "what could not be done",
    "artifacts/times.json": "how long each task took",
    "result.json": "this report for scripts",
    "profile.yaml": "how the project is installed and migrated",
    "job.yaml": "what the job was given",
    "reproduce.sh": "does it again",
}
OWN = "of a step of the job's own"
MAX_MESSAGES = 100
MAX_ROWS = 1000
"""How many of each a page shows at most; `result.json` has them all."""


@dataclass(frozen=True)
class Header:
    """What a report has besides the verdict: th_job, its URL, when the job started, how many seconds it took, and how
    many of them for the report and its upload: 0 in the report itself, which is written before."""

    job: Mapping[str, Any]
    url: str = ""
    started: str = ""
    seconds: float = 0.0
    upload: float = 0.0


@dataclass(frozen=True)
class File:
    """A file linked from the page: its name, its description, and its size in bytes."""

    name: str
    what: str
    size: int


def write(results: Path, verdict: Verdict, header: Header) -> None:
    """Write `result.json` and `index.html` to the folder of results; the page links to the files that are there."""
    document = as_document(verdict, header)
    documents.write_anew(results / "result.json", json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    documents.write_anew(results / "index.html", as_page(verdict, header, _files(results, verdict)))


def as_document(verdict: Verdict, header: Header) -> dict[str, Any]:
    """The content of `result.json`."""
    first = _first_try(verdict)
    return {
        "schema": SCHEMA,
        "result": verdict.outcome.name,
        "fault": verdict.fault.value,
        "ours": verdict.fault.infrastructure,
        "job": _job(header),
        "url": header.url,
        "started": header.started,
        "seconds": round(header.seconds, 3),
        "summary": summary.line(verdict),
        "notes": summary.notes(verdict),
        "first_try": [result_json.of_problem(problem) for problem in first.problems] if first else [],
        "messages": [result_json.of_message(message) for message in verdict.messages],
        "datasets": [result_json.of_dataset(result) for result in verdict.datasets],
        "comparisons": [result_json.of_comparison(comparison) for comparison in verdict.comparisons],
        "times": time_table.as_document(_times(verdict, header)),
        "worker": {"version": version() or "not installed", "host": platform.node()},
    }


def as_page(verdict: Verdict, header: Header, files: Sequence[File] = ()) -> str:
    """The report page; it links to `files`."""
    spent = _times(verdict, header)
    return _template().render(
        verdict=verdict,
        headline=summary.headline(verdict),
        reason=summary.reason(verdict),
        fault=summary.FAULTS[verdict.fault],
        notes=summary.notes(verdict),
        job=_job(header),
        started=text(header.started),
        seconds=header.seconds,
        messages=verdict.messages[:MAX_MESSAGES],
        datasets=[_View.of(result) for result in verdict.datasets],
        comparisons=verdict.comparisons,
        factor=FACTOR,
        floors=FLOORS,
        max_rows=MAX_ROWS,
        measured=MEASURED,
        counters=COUNTERS,
        time=SECONDS,
        checkout=verdict.artifacts.checkout if verdict.artifacts else None,
        environments={item.stage: item for item in verdict.artifacts.environments} if verdict.artifacts else {},
        parts=time_table.parts(spent) if spent else [],
        largest=time_table.largest(spent) if spent else [],
        files=files,
        version=version() or "not installed",
    )


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(formatting.FILTERS, whose=_whose)
    return environment.get_template("report.html")


def render_text(verdict: Verdict, url: str = "") -> str:
    """A verdict for a terminal: every message with detail and remedy, the link, and the verdict as the last line."""
    lines = [summary.line(verdict), ""] if verdict.messages else []
    for message in verdict.messages:
        about = [f"[{message.dataset}]"] if message.dataset else []
        lines.append("  ".join((message.text, *about, f"({_whose(message)})")))
        place = f"{message.file}:{message.line}" if message.file and message.line else message.file
        lines += [f"    {line}" for line in (*message.detail.splitlines(), message.rows, place) if line]
        lines += [f"    {message.explanation}", f"    {message.remedy}", ""]
    lines += summary.notes(verdict)
    if url:
        lines.append(f"Report: {url}")
    lines.append(summary.line(verdict))
    return "\n".join(lines)


def profile(verdict: Verdict, header: Header) -> str:
    """Where the time of a job went, for a terminal."""
    return "\n".join(time_table.lines(_times(verdict, header)))


def _times(verdict: Verdict, header: Header) -> Times | None:
    return times.of(verdict.artifacts, header.seconds, header.upload)


def _whose(message: Message) -> str:
    """Whose fault a message is, in words."""
    if not message.counts:
        # nobody is at fault for a limit that only warns, or an excess that was waived
        return f"the {message.fault.value}'s, does not count" if message.blame else "does not count"
    if message.fault.infrastructure:
        return f"not the change's fault, but the {message.fault.value}'s"
    return "the change's fault" if message.fault is Fault.CHANGE else "nobody's fault"


def _first_try(verdict: Verdict) -> FirstTry | None:
    return verdict.artifacts.first_try if verdict.artifacts else None


@dataclass(frozen=True)
class _View:
    """A dataset as shown on the page: `fine` are the migrations that need no attention."""

    result: DatasetResult
    notable: Sequence[MigrationResult]
    fine: Sequence[MigrationResult]
    slowest: float
    total: float
    fine_total: float
    fine_slowest: float
    start_up: float
    remarks: Mapping[str, str]

    @classmethod
    def of(cls, result: DatasetResult) -> _View:
        fine = [row for row in result.migrations if not row.notable]
        seconds = [row.migration.seconds or 0.0 for row in result.migrations]
        remarks = result.walk.remarks if result.walk else {}
        shown = {key for row in result.migrations for key in row.remarks}
        return cls(
            result,
            notable=[row for row in result.migrations if row.notable],
            fine=fine,
            slowest=max((*seconds, 0.001)),
            total=sum(seconds),
            fine_total=sum(row.migration.seconds or 0.0 for row in fine),
            fine_slowest=max((row.migration.seconds or 0.0 for row in fine), default=0.0),
            start_up=sum(row.migration.start_up or 0.0 for row in result.migrations),
            remarks={key: remark for key, remark in remarks.items() if key not in shown},
        )


def _job(header: Header) -> dict[str, str]:
    # a job.yaml written by hand may contain numbers and dates
    values = {name: header.job.get(name) for name in JOB_FIELDS}
    return {name: "" if value is None else text(str(value)) for name, value in values.items()}


def _files(results: Path, verdict: Verdict) -> list[File]:
    names = {"first-try/index.html": "the report of the first try"} if _first_try(verdict) else {}
    for result in verdict.datasets:
        names[f"{result.name}.log"] = f"the walk of {result.name}, line by line"
        names[f"{result.name}-control.log"] = "the walk without the change, for comparison"
        names[f"{result.name}-server.log"] = "its database server's error log"
        names[f"{result.name}-slow.log"] = "its database server's log of slow statements"
        names[f"artifacts/walk-{result.name}.jsonl"] = "its walk as measured, for scripts"
    found = []
    for name, what in {**names, **FILES}.items():
        path = results / name
        if path.is_file() and not path.is_symlink():
            found.append(File(name, what, path.stat().st_size))
    known = {file.name for file in found} | {"index.html", "left-out.txt"}
    return found + [File(name, OWN, size) for name, size in own_files.find(results) if name not in known]

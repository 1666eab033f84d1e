# SPDX-License-Identifier: Apache-2.0
"""A verdict as people and scripts read it: `result.json`, `index.html`, and text for a terminal.

Pure like the verdict: the same verdict and header give the same bytes. docs/artifacts.md describes `result.json`.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import jinja2

from worker.artifacts import Migration
from worker.judge import LIMITS, MigrationResult
from worker.outcome import Fault, Message, Outcome
from worker.untrusted import text
from worker.verdict import DatasetResult, Verdict

SCHEMA = 1
JOB_FIELDS = (
    "id", "name", "project", "branch", "change", "patchset", "ref", "commit", "pipeline",
)  # fmt: skip
HEADLINES = {
    Outcome.SUCCESS: "The migrations run on every dataset, within all limits.",
    Outcome.WARNING: "The migrations run, but go over a limit.",
    Outcome.FAILURE: "The migrations do not run on real data.",
    Outcome.INFRASTRUCTURE: "The change could not be tested. This is not the change's fault.",
    Outcome.CANCELED: "The job was canceled before its end.",
}
# The messages that the headlines of WARNING and FAILURE are about; the others say it better themselves.
_TYPICAL = ("migration_unfinished", "migration_too_long", "migration_changed_rows", "migration_read_rows")
FAULTS = {
    Fault.NONE: "",
    Fault.CHANGE: "The fault is the change's: its author can mend it.",
    Fault.DATASET: "The fault is the dataset's: whoever keeps the datasets can mend it.",
    Fault.OPERATOR: "The fault is in the set-up: the operator of this worker can mend it.",
    Fault.MACHINE: "The fault is the machine's: the job may be run again as it is.",
}
# The files beside a page, in the order in which a reader wants them, and what they are.
FILES = {
    "task_output.log": "what Ansible printed",
    "git_prep.log": "the checkout: every git command, and what it said",
    "environment.log": "the build of the virtual environments",
    "artifacts/checkout.json": "the commits, and what the change touches",
    "artifacts/environment.json": "the packages of each environment",
    "artifacts/errors.jsonl": "what could not be done",
    "result.json": "this report for scripts",
    "job.yaml": "what the job was told",
    "reproduce.sh": "does it again",
}
MAX_MESSAGES = 100
MAX_ROWS = 1000
"""What a page shows at most of either; `result.json` has them all."""


@dataclass(frozen=True)
class Header:
    """What a report says beside the verdict: th_job, where it will be read, when it began, seconds it took."""

    job: Mapping[str, Any]
    url: str = ""
    started: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class File:
    """A file beside the page, and its bytes."""

    name: str
    what: str
    size: int


def write(results: Path, verdict: Verdict, header: Header) -> None:
    """Write `result.json` and `index.html` to the folder of results; the page links to the files that are there."""
    document = as_document(verdict, header)
    (results / "result.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")
    (results / "index.html").write_text(as_page(verdict, header, _files(results, verdict)), "utf-8")


def as_document(verdict: Verdict, header: Header) -> dict[str, Any]:
    """What `result.json` holds."""
    return {
        "schema": SCHEMA,
        "result": verdict.outcome.name,
        "fault": verdict.fault.value,
        "job": _job(header),
        "url": header.url,
        "started": header.started,
        "seconds": round(header.seconds, 3),
        "messages": [_message(message) for message in verdict.messages],
        "datasets": [_dataset(result) for result in verdict.datasets],
        "worker": {"version": _version(), "host": platform.node()},
    }


def as_page(verdict: Verdict, header: Header, files: Sequence[File] = ()) -> str:
    """The report page; it links to `files`."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(bytes=_bytes, seconds=_seconds, count=_count, ending=_ending, moment=_moment)
    return environment.get_template("report.html").render(
        verdict=verdict,
        headline=headline(verdict),
        fault=FAULTS[verdict.fault],
        job=_job(header),
        started=text(header.started),
        seconds=header.seconds,
        messages=verdict.messages[:MAX_MESSAGES],
        datasets=[_View.of(result) for result in verdict.datasets],
        max_rows=MAX_ROWS,
        limits=LIMITS,
        checkout=verdict.artifacts.checkout if verdict.artifacts else None,
        environments={item.stage: item for item in verdict.artifacts.environments} if verdict.artifacts else {},
        files=files,
        version=_version(),
    )


def headline(verdict: Verdict) -> str:
    """The verdict in one sentence."""
    if verdict.outcome in (Outcome.WARNING, Outcome.FAILURE):
        weighty = [message for message in verdict.messages if message.kind.outcome is verdict.outcome]
        if not any(message.code in _TYPICAL for message in weighty):
            return weighty[0].kind.explanation
    return HEADLINES[verdict.outcome] if verdict.datasets or verdict.messages else "The test succeeded."


def render_text(verdict: Verdict, url: str = "") -> str:
    """A verdict for a terminal: every message with detail and remedy, the link, and the verdict as the last line."""
    lines = []
    for message in verdict.messages:
        lines.append(message.text + (f"  [{message.dataset}]" if message.dataset else ""))
        place = f"{message.file}:{message.line}" if message.file and message.line else message.file
        lines += [f"    {line}" for line in (*message.detail.splitlines(), place) if line]
        lines += [f"    {message.explanation}", f"    {message.kind.remedy}", ""]
    if url:
        lines.append(f"Report: {url}")
    fault = "" if verdict.outcome in (Outcome.SUCCESS, Outcome.CANCELED) else f" ({verdict.fault.value}'s fault)"
    lines.append(f"{verdict.outcome.name}{fault}: {headline(verdict)}")
    return "\n".join(lines)


def _message(message: Message) -> dict[str, Any]:
    return {
        "level": message.level,
        "code": message.code,
        "text": message.text,
        "dataset": message.dataset,
        "detail": message.detail,
        "fault": message.fault.value,
        "explanation": message.explanation,
        "remedy": message.kind.remedy,
        "stage": message.stage,
        "from": message.from_,
        "to": message.to,
        "file": message.file,
        "line": message.line,
    }


def _dataset(result: DatasetResult) -> dict[str, Any]:
    walk = result.walk
    return {
        "name": result.name,
        "result": result.outcome.name,
        "server": walk.server if walk else "",
        "version": walk.version if walk else "",
        "expected": walk.expected if walk else None,
        "final": walk.final if walk else None,
        "migrations": [_migration(row) for row in result.migrations],
    }


def _migration(row: MigrationResult) -> dict[str, Any]:
    step = row.migration
    return {
        "stage": step.stage,
        "from": step.from_,
        "to": step.to,
        "file": row.file,
        "seconds": step.seconds,
        "rows_changed": step.rows_changed,
        "rows_read": step.rows_read,
        "redo_bytes": step.redo_bytes,
        "data_bytes": step.data_bytes,
        "result": row.result,
        "by_change": row.by_change,
        "limits": dict(row.limits),
    }


@dataclass(frozen=True)
class _View:
    """A dataset as the page shows it: `fine` are the migrations that nobody has to look at."""

    result: DatasetResult
    notable: Sequence[MigrationResult]
    fine: Sequence[MigrationResult]
    slowest: float
    total: float
    fine_total: float
    fine_slowest: float

    @classmethod
    def of(cls, result: DatasetResult) -> _View:
        fine = [row for row in result.migrations if row.result == "ok" and not row.by_change]
        seconds = [row.migration.seconds or 0.0 for row in result.migrations]
        return cls(
            result,
            notable=[row for row in result.migrations if row.result != "ok" or row.by_change],
            fine=fine,
            slowest=max((*seconds, 0.001)),
            total=sum(seconds),
            fine_total=sum(row.migration.seconds or 0.0 for row in fine),
            fine_slowest=max((row.migration.seconds or 0.0 for row in fine), default=0.0),
        )


def _job(header: Header) -> dict[str, str]:
    # by hand, job.yaml may hold numbers and dates
    values = {name: header.job.get(name) for name in JOB_FIELDS}
    return {name: "" if value is None else text(str(value)) for name, value in values.items()}


def _files(results: Path, verdict: Verdict) -> list[File]:
    names = {}
    for result in verdict.datasets:
        names[f"{result.name}.log"] = f"the walk of {result.name}, line by line"
        names[f"{result.name}-mariadbd.log"] = "its database server's error log"
        names[f"{result.name}-slow.log"] = "its database server's log of slow statements"
        names[f"artifacts/walk-{result.name}.jsonl"] = "its walk as measured, for scripts"
    found = []
    for name, what in {**names, **FILES}.items():
        path = results / name
        if path.is_file() and not path.is_symlink():
            found.append(File(name, what, path.stat().st_size))
    return found


def _version() -> str:
    try:
        return metadata.version("turbo-hipster")
    except metadata.PackageNotFoundError:
        return "not installed"


def _bytes(value: float | None) -> str:
    """A size for people: ``1.2 MB``."""
    if value is None:
        return "–"
    size = float(value)
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size) < 1000 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError("unreachable")


def _seconds(value: float | None) -> str:
    """Seconds for people."""
    if value is None:
        return "–"
    if value < 60 or value >= 1e7:
        return f"{value:.2f} s" if value < 60 else f"{value:.3g} s"
    minutes, seconds = divmod(int(value), 60)
    return f"{minutes} min {seconds} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _count(value: float | None) -> str:
    """A number with separators."""
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.15g}"


def _ending(migration: Migration) -> str:
    """How a migration ended that did not end well."""
    if not migration.ended:
        return "no end was seen"
    if migration.exit is None:
        return "ended by the worker"
    return f"killed by signal {-migration.exit}" if migration.exit < 0 else f"exit status {migration.exit}"


def _moment(instant: str) -> str:
    """An instant of ISO 8601 for people: ``2026-11-23 23:39:24 UTC``."""
    return f"{instant[:10]} {instant[11:19]} UTC"

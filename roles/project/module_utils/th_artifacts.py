# SPDX-License-Identifier: Apache-2.0
"""Writing the artifact files: whole or not at all, and one event a line (docs/artifacts.md)."""

from __future__ import annotations

import datetime
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

SCHEMA = 1
ENDINGS = frozenset(
    ("canceled", "worker_stopped", "job_timed_out", "retry_timed_out", "playbook_failed", "test_failed")
)
"""Codes with which a worker writes down how a run of the playbooks has ended."""


def now() -> str:
    """The instant, UTC, ISO 8601 with milliseconds and ``Z``."""
    stamp = datetime.datetime.now(datetime.UTC)
    return stamp.strftime("%Y-%m-%dT%H:%M:%S.") + f"{stamp.microsecond // 1000:03d}Z"


def write_text(path: Path | str, text: str, mode: int = 0o644) -> None:
    """Write a file under a temporary name and rename it, so that readers see it whole or not at all."""
    path = Path(path)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def write_json(path: Path | str, document: dict[str, Any]) -> None:
    """Write an artifact document with its schema number; atomic like `write_text`."""
    text = json.dumps({"schema": SCHEMA, **document}, indent=1, ensure_ascii=False)
    write_text(path, text + "\n")


def read_json(path: Path | str) -> dict[str, Any]:
    """Read an artifact document; ``{}`` where it is not there yet."""
    try:
        with open(path, encoding="utf-8") as stream:
            document = json.load(stream)
    except FileNotFoundError:
        return {}
    if not isinstance(document, dict):
        raise TypeError(f"{path} does not hold a JSON object")
    return document


def append_event(path: Path | str, event: dict[str, Any]) -> None:
    """Append one event as one line, with its instant, in a single write."""
    path = Path(path)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    line = json.dumps({**event, "at": event.get("at") or now()}, ensure_ascii=False) + "\n"
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        os.write(handle, line.encode("utf-8", "replace"))
    finally:
        os.close(handle)


def report_error(
    job_dir: Path | str, role: str, code: str, detail: str, dataset: str = "", **more: Any
) -> None:
    """Append to ``artifacts/errors.jsonl`` what a role could not do, before it fails its task."""
    append_event(
        Path(job_dir) / "artifacts" / "errors.jsonl",
        {"event": "error", "role": role, "code": code, "detail": detail, "dataset": dataset, **more},
    )


def forget_errors(
    job_dir: Path | str, role: str, dataset: str = "", about: Callable[[dict[str, Any]], bool] = lambda event: True
) -> None:
    """Drop what an earlier run of the same role in the same folder had reported, of that what `about` says.

    How a worker has ended that run, which it writes down last, goes with it.
    """
    path = Path(job_dir) / "artifacts" / "errors.jsonl"
    try:
        lines = path.read_text("utf-8", "replace").splitlines(keepends=True)
    except FileNotFoundError:
        return
    kept = [line for line in lines if not _is_of(line, role, dataset, about)]
    if len(kept) != len(lines):
        write_text(path, "".join(kept))


def forget_walks(job_dir: Path | str) -> None:
    """Keep of all walks only that their datasets were restored: they walked through something else."""
    for path in sorted((Path(job_dir) / "artifacts").glob("walk-*.jsonl")):
        forget_walk(path)


def forget_walk(events: Path) -> None:
    """Keep of a dataset's events only its restore: what follows is another walk."""
    try:
        lines = events.read_text("utf-8", "replace").splitlines(keepends=True)
    except FileNotFoundError:
        return
    kept = [line for line in lines if '"restored"' in line[:40]]
    if kept != lines:
        write_text(events, "".join(kept))


def _is_of(line: str, role: str, dataset: str, about: Callable[[dict[str, Any]], bool]) -> bool:
    try:
        event = json.loads(line)
        if event["role"] == "worker":
            return event["code"] in ENDINGS
        return event["role"] == role and event["dataset"] == dataset and about(event)
    except (ValueError, KeyError, TypeError, RecursionError):
        return False

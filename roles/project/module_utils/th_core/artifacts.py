# SPDX-License-Identifier: Apache-2.0
"""Writing the artifact files: whole or not at all, and one event a line (docs/artifacts.md)."""

from __future__ import annotations

import datetime
import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

SCHEMA = 1
NO_SPACE = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
"""What a file that cannot grow is refused with."""
TEXT_LIMIT, NAME_LIMIT, VERSION_LIMIT = 4_000, 400, 20_000
"""Characters of a text, a name and a version; the same as `worker.inputs.untrusted` reads of them."""
ITEMS_LIMIT = 1000
LINE_LIMIT = 255 * 1024
"""Bytes of an event."""
DOCUMENT_LIMIT = 32 * 1024 * 1024
"""Bytes of a document that names and texts of a change are in; twice as much is read."""
_VERSIONS = frozenset(("from", "to", "version", "expected", "target"))
RESERVE = "reserve"
RESERVE_BYTES = 64 << 10
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


def as_text(document: Mapping[str, Any]) -> str:
    """An artifact document with its schema number."""
    return json.dumps({"schema": SCHEMA, **document}, indent=1, ensure_ascii=False) + "\n"


def write_json(path: Path | str, document: dict[str, Any]) -> None:
    """Write an artifact document with its schema number; atomic like `write_text`."""
    write_text(path, as_text(document))


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


def cut(text: str, limit: int = TEXT_LIMIT) -> str:
    """A text of at most so many characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def cut_version(version: str, limit: int = VERSION_LIMIT) -> str:
    """A version of at most so many characters; one that had to be cut has the digest of the whole at its end, so that
    two that differ stay different."""
    if len(version) <= limit:
        return version
    digest = hashlib.sha256(version.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{version[:NAME_LIMIT]}…#{digest[:32]}"


def bounded(event: Mapping[str, Any], text: int = TEXT_LIMIT, version: int = VERSION_LIMIT) -> dict[str, Any]:
    """An event, or a part of one, none of whose values is longer than what is read of it."""
    return {cut(str(key), NAME_LIMIT): _bounded(str(key), value, text, version) for key, value in event.items()}


def _bounded(key: str, value: Any, text: int, version: int) -> Any:
    if isinstance(value, str):
        return cut_version(value, version) if key in _VERSIONS else cut(value, text)
    if isinstance(value, Mapping):
        return bounded(value, text, version)
    if isinstance(value, list | tuple):
        return [_bounded(key, one, text, version) for one in value[:ITEMS_LIMIT]]
    return None if isinstance(value, int) and abs(value) >= 1 << 63 else value


def _lines(event: Mapping[str, Any]) -> list[bytes]:
    """An event as a line, or as several where one would be longer than what is read: of many migrations of packages."""
    line = (json.dumps(event, ensure_ascii=False) + "\n").encode("utf-8", "replace")
    if len(line) <= LINE_LIMIT:
        return [line]
    migrations = event.get("migrations")
    if isinstance(migrations, Mapping) and len(migrations) > 1:
        items = list(migrations.items())
        half = len(items) // 2
        parts = ({**event, "migrations": dict(part)} for part in (items[:half], items[half:]))
        return [one for part in parts for one in _lines(part)]
    least = {key: value for key, value in event.items() if not isinstance(value, Mapping | list)}
    return [(json.dumps(bounded(least, NAME_LIMIT, NAME_LIMIT), ensure_ascii=False) + "\n").encode("utf-8", "replace")]


def append_event(path: Path | str, event: dict[str, Any]) -> None:
    """Append one event as one line, with its instant, in a single write: all of it, or OSError and nothing.

    What is longer than what is read of it is cut (`bounded`), so that nothing which was written is dropped later. An
    error is not lost on a full disk: it takes the room that was kept for it (`keep_reserve`).
    """
    path = Path(path)
    raw = b"".join(_lines({**bounded(event), "at": event.get("at") or now()}))
    try:
        _append(path, raw)
    except OSError as error:
        reserve = path.parent.parent / RESERVE
        if error.errno not in NO_SPACE or event.get("event") != "error" or not reserve.exists():
            raise
        reserve.unlink(missing_ok=True)
        _append(path, raw)


def _append(path: Path, raw: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        before = os.fstat(handle).st_size
        written = os.write(handle, raw)
        if written < len(raw):  # half a line would be read as damage
            os.ftruncate(handle, before)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    finally:
        os.close(handle)


def keep_reserve(job_dir: Path | str) -> None:
    """Keep some room on the disk for a job's last words, in a file that is removed when they need it."""
    path = Path(job_dir) / RESERVE
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(handle, 0, RESERVE_BYTES)
    finally:
        os.close(handle)


def unrecorded(job_dir: Path | str, error: OSError) -> str:
    """What to say where an error could not be written down."""
    return f"This could not be recorded in {job_dir}: {error.strerror}."


def full(error: OSError) -> str:
    """What to say of a disk that was full; "" for other errors."""
    if error.errno not in NO_SPACE:
        return ""
    where = f" ({error.filename})" if error.filename else ""
    return f"The disk is full{where}: free some space."


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

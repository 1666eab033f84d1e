# SPDX-License-Identifier: Apache-2.0
"""Writing artifact files: atomically, with one event per line where they hold events (docs/artifacts.md)."""

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
"""The errors of a write to a file that cannot grow."""
TEXT_LIMIT, NAME_LIMIT, VERSION_LIMIT = 4_000, 400, 20_000
"""Maximum characters of a text, a name and a version: as many as `worker.inputs.untrusted` reads."""
ITEMS_LIMIT = 1000
LINE_LIMIT = 255 * 1024
"""Maximum bytes of an event."""
DOCUMENT_LIMIT = 32 * 1024 * 1024
"""Maximum bytes of a document that holds names and texts of a change; the reader accepts twice as much."""
_VERSIONS = frozenset(("from", "to", "version", "expected", "target"))
RESERVE = "reserve"
RESERVE_BYTES = 64 << 10
ENDINGS = frozenset(
    ("canceled", "worker_stopped", "job_timed_out", "retry_timed_out", "playbook_failed", "test_failed")
)
"""The codes by which a worker records how a run of the playbooks ended."""


def now() -> str:
    """The current time in UTC, ISO 8601 with milliseconds and ``Z``."""
    stamp = datetime.datetime.now(datetime.UTC)
    return stamp.strftime("%Y-%m-%dT%H:%M:%S.") + f"{stamp.microsecond // 1000:03d}Z"


def write_text(path: Path | str, text: str, mode: int = 0o644) -> None:
    """Write a file atomically: under a temporary name, which is then renamed."""
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
    """Read an artifact document; ``{}`` when it does not exist yet."""
    try:
        with open(path, encoding="utf-8") as stream:
            document = json.load(stream)
    except FileNotFoundError:
        return {}
    if not isinstance(document, dict):
        raise TypeError(f"{path} does not hold a JSON object")
    return document


def cut(text: str, limit: int = TEXT_LIMIT) -> str:
    """The text, truncated to `limit` characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def cut_version(version: str, limit: int = VERSION_LIMIT) -> str:
    """The version, truncated if it is longer than `limit`. A truncated one ends with a digest of the whole, so that
    versions that differ stay different."""
    if len(version) <= limit:
        return version
    digest = hashlib.sha256(version.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{version[:NAME_LIMIT]}…#{digest[:32]}"


def bounded(event: Mapping[str, Any], text: int = TEXT_LIMIT, version: int = VERSION_LIMIT) -> dict[str, Any]:
    """An event, or a part of one, with every value truncated to the length that is read."""
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
    """An event as one line; as several when it lists so many migrations that one line would be too long to be read."""
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
    """Append one event as a line with a timestamp, in a single write: all of it, or OSError and nothing.

    Values are truncated to the length that is read (`bounded`), so that readers drop nothing. An error event is not
    lost on a full disk: it uses the space that `keep_reserve` has set aside.
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
        if written < len(raw):  # readers would take a partial line for a damaged file
            os.ftruncate(handle, before)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    finally:
        os.close(handle)


def keep_reserve(job_dir: Path | str) -> None:
    """Set some disk space aside for a job's last error, in a file that is removed when the error needs it."""
    path = Path(job_dir) / RESERVE
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(handle, 0, RESERVE_BYTES)
    finally:
        os.close(handle)


def not_recorded_message(job_dir: Path | str, error: OSError) -> str:
    """The sentence for an error that could not be recorded."""
    return f"This could not be recorded in {job_dir}: {error.strerror}."


def disk_full_message(error: OSError) -> str:
    """The sentence for an error that a full disk has caused; "" for any other error."""
    if error.errno not in NO_SPACE:
        return ""
    where = f" ({error.filename})" if error.filename else ""
    return f"The disk is full{where}: free some space."


def report_error(
    job_dir: Path | str, role: str, code: str, detail: str, dataset: str = "", **more: Any
) -> None:
    """Record in ``artifacts/errors.jsonl`` what a role could not do, before it fails its task."""
    append_event(
        Path(job_dir) / "artifacts" / "errors.jsonl",
        {"event": "error", "role": role, "code": code, "detail": detail, "dataset": dataset, **more},
    )


def forget_errors(
    job_dir: Path | str, role: str, dataset: str = "", about: Callable[[dict[str, Any]], bool] = lambda event: True
) -> None:
    """Drop the errors that an earlier run of the same role reported in the same folder and that `about` selects.

    The worker's own record of how that run ended is dropped, too.
    """
    path = Path(job_dir) / "artifacts" / "errors.jsonl"
    try:
        lines = path.read_text("utf-8", "replace").splitlines(keepends=True)
    except FileNotFoundError:
        return
    kept = [line for line in lines if not _is_of(line, role, dataset, about)]
    if len(kept) != len(lines):
        write_text(path, "".join(kept))


def reported_errors(job_dir: Path | str, role: str) -> list[dict[str, Any]]:
    """The errors that a role has recorded; a line that is not an event is left out."""
    path = Path(job_dir) / "artifacts" / "errors.jsonl"
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return []
    return [event for event in map(_event, lines) if event.get("role") == role]


def forget_walks(job_dir: Path | str) -> None:
    """Drop all events of all walks except the restores: those walks were about other code."""
    for path in sorted((Path(job_dir) / "artifacts").glob("walk-*.jsonl")):
        forget_walk(path)


def forget_walk(events: Path) -> None:
    """Drop all events of a dataset except its restore, before another walk."""
    try:
        lines = events.read_text("utf-8", "replace").splitlines(keepends=True)
    except FileNotFoundError:
        return
    kept = [line for line in lines if '"restored"' in line[:40]]
    if kept != lines:
        write_text(events, "".join(kept))


def _is_of(line: str, role: str, dataset: str, about: Callable[[dict[str, Any]], bool]) -> bool:
    event = _event(line)
    try:
        if event["role"] == "worker":
            return event["code"] in ENDINGS
        return event["role"] == role and event["dataset"] == dataset and about(event)
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def _event(line: str) -> dict[str, Any]:
    """The event on a line; {} if there is none."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return event if isinstance(event, dict) else {}

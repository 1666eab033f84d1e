# SPDX-License-Identifier: Apache-2.0
"""The worker's log: one line per event, with the id of its build; written to a file, to stderr, or to the journal.

Any event may contain text from outside, so characters that are not printable are written as escapes, as in Python or
JSON strings.
"""

import contextlib
import datetime
import json
import logging
import logging.handlers
import os
import sys
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import IO, Any

from worker.errors import UsageError
from worker.inputs import untrusted

log = logging.getLogger(__name__)

TEXT, JSON = "text", "json"
FORMS = (TEXT, JSON)

KEPT_FILES = 5
"""The number of rotated files that are kept, besides the current one."""

_LONGEST = 4_000  # characters, of a message and of a traceback; journald and syslog cut longer lines
_NO_BUILD = "-"
_PRIORITIES = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6, logging.DEBUG: 7}

_build: ContextVar[str] = ContextVar("build", default=_NO_BUILD)


@contextlib.contextmanager
def about(build: str) -> Iterator[None]:
    """A context manager in which the events that this thread logs have the id of this build.

    A thread that is started meanwhile must be run in a copy of the context (`contextvars.copy_context`).
    """
    token = _build.set(build)
    try:
        yield
    finally:
        _build.reset(token)


class Formatter(logging.Formatter):
    """Formats an event as one line. For the `journal`, it has a priority prefix (see sd-daemon(3)), and no time."""

    def __init__(self, form: str, journal: bool) -> None:
        super().__init__()
        self._form, self._journal = form, journal

    def format(self, record: logging.LogRecord) -> str:
        """The line of an event."""
        line = self._json(record) if self._form == JSON else self._text(record)
        return f"<{_PRIORITIES.get(record.levelno, 6)}>{line}" if self._journal else line

    def _text(self, record: logging.LogRecord) -> str:
        time = "" if self._journal else f"{self.formatTime(record)} "
        build = untrusted.escaped(_build.get())
        words = [_cut(untrusted.escaped(text)) for text in (record.getMessage(), self._traceback(record)) if text]
        return f"{time}{record.levelname} {record.name} [{build}] {' '.join(words)}"

    def _json(self, record: logging.LogRecord) -> str:
        event = {
            "time": _rfc3339(record.created),
            "level": record.levelname,
            "logger": record.name,
            "build": None if _build.get() == _NO_BUILD else _build.get(),
            "message": _cut(record.getMessage()),
        }
        if traceback := self._traceback(record):
            event["exception"] = _cut(traceback)
        # DEL is the only non-printable character that json.dumps does not escape
        return json.dumps(event).replace("\x7f", "\\u007f")

    def _traceback(self, record: logging.LogRecord) -> str:
        return self.formatException(record.exc_info) if record.exc_info and record.exc_info[1] else ""


def _cut(text: str) -> str:
    half = _LONGEST // 2
    return text if len(text) <= _LONGEST else f"{text[:half]} … {text[-half:]}"


def _rfc3339(seconds: float) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _ToStderr:
    """Mixin for handlers: if the log's file cannot be written, print the event to stderr instead of raising."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        with contextlib.suppress(Exception):
            print(f"the log cannot be written ({sys.exc_info()[1]}): {record.getMessage()!r}", file=sys.stderr)


class _MovedFile(_ToStderr, logging.handlers.WatchedFileHandler):
    """Writes to a file that another program, such as logrotate, may move away at any time."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the event, to a new file if the old one was moved away."""
        try:
            super().emit(record)
        except OSError:  # the library does not catch errors when it reopens the file
            self.handleError(record)


class _OwnFile(_ToStderr, logging.handlers.RotatingFileHandler):
    """Writes to a file that the worker rotates itself when it reaches its maximum size."""


def _without_traceback(record: logging.LogRecord) -> bool:
    # gear logs a traceback after each failed attempt to connect, and there may be many
    if record.name.startswith("gear") and record.exc_info and record.exc_info[1]:
        record.msg, record.args = f"{record.getMessage()} {record.exc_info[1]!r}", ()
        record.exc_info = record.exc_text = None
    return True


def set_up(path: Path | None, form: str = TEXT, max_bytes: int = 0) -> IO[str]:
    """Log to the file at `path`, or to stderr if it is None, in one of FORMS; returns the open file.

    If `max_bytes` is not 0, the file is rotated at that size, and KEPT_FILES old ones are kept; otherwise, it is
    reopened after another program (logrotate) has moved it away. Raises UsageError if it cannot be written.
    """
    handler = _handler(path, max_bytes)
    handler.setFormatter(Formatter(form, journal=path is None and to_journal()))
    handler.addFilter(_without_traceback)
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.getLogger("gear").setLevel(logging.WARNING)
    stream: IO[str] | None = handler.stream
    assert stream, "opened when the handler is made"
    return stream


def _handler(path: Path | None, max_bytes: int) -> logging.StreamHandler[Any]:
    if path is None:
        return logging.StreamHandler()
    try:
        if max_bytes:
            return _OwnFile(path, maxBytes=max_bytes, backupCount=KEPT_FILES, encoding="utf-8")
        return _MovedFile(path, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"debug_log: {path} cannot be written ({error.strerror}); change the key") from error


def of_threads() -> None:
    """Log uncaught exceptions of threads; Python prints them to stderr only, which a background worker lacks."""

    def log_uncaught(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
            name = args.thread.name if args.thread else "?"
            log.critical("the thread %s has died", name, exc_info=args.exc_value)

    threading.excepthook = log_uncaught


def to_journal() -> bool:
    """Whether stderr goes to the journal: JOURNAL_STREAM has its device and inode then (systemd.exec(5))."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        found = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return (device, inode) == (str(found.st_dev), str(found.st_ino))


def reopen() -> None:
    """Reopen the log's file if it was moved away, now instead of at the next event. Called on SIGHUP."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _MovedFile):
            with handler.lock or contextlib.nullcontext():
                try:
                    handler.reopenIfNeeded()
                except OSError as error:
                    print(f"debug_log: {handler.baseFilename}: {error.strerror}", file=sys.stderr)

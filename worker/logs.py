# SPDX-License-Identifier: Apache-2.0
"""The worker's log: one line an event, with the build that it is about; to a file, to stderr, or to the journal.

What comes from outside can be in any event, so no line has a character that is not printable: such a one is written as
an escape, as Python's and JSON's texts have them.
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
"""How many files of `max_bytes` are kept beside the one that is written."""

_LONGEST = 4_000  # of a message, and of a traceback: less than journald and syslog cut a line at
_NO_BUILD = "-"
_PRIORITIES = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6, logging.DEBUG: 7}

_build: ContextVar[str] = ContextVar("build", default=_NO_BUILD)


@contextlib.contextmanager
def about(build: str) -> Iterator[None]:
    """Whatever this thread logs meanwhile is about the build of this id.

    A thread that is started meanwhile has to be handed the context (`contextvars.copy_context`).
    """
    token = _build.set(build)
    try:
        yield
    finally:
        _build.reset(token)


class Formatter(logging.Formatter):
    """An event as a line. `journal`: with the event's priority in front, as sd-daemon(3) has it, and no time."""

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
        # DEL is the one character that is neither printable nor escaped by this
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
    """Lets no event get lost, and raise nothing, when the log's file cannot be written: it is reported on stderr."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        with contextlib.suppress(Exception):
            print(f"the log cannot be written ({sys.exc_info()[1]}): {record.getMessage()!r}", file=sys.stderr)


class _MovedFile(_ToStderr, logging.handlers.WatchedFileHandler):
    """A file that may be moved away at any time, as logrotate does."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the event, to a new file where the old one is gone."""
        try:
            super().emit(record)
        except OSError:  # reopening the file is outside of what the library guards
            self.handleError(record)


class _OwnFile(_ToStderr, logging.handlers.RotatingFileHandler):
    """A file that is put aside by ourselves, as soon as it is large."""


def _without_traceback(record: logging.LogRecord) -> bool:
    # gear logs a traceback each time that it cannot reach its server, and tries every 2 s
    if record.name.startswith("gear") and record.exc_info and record.exc_info[1]:
        record.msg, record.args = f"{record.getMessage()} {record.exc_info[1]!r}", ()
        record.exc_info = record.exc_text = None
    return True


def set_up(path: Path | None, form: str = TEXT, max_bytes: int = 0) -> IO[str]:
    """Log to the file at `path`, or to stderr, in one of FORMS; returns the open file.

    A file that was moved away (logrotate) is reopened by itself; one of `max_bytes`, where that is not 0, is put
    aside, and KEPT_FILES such files are kept. Raises UsageError when it cannot be written.
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
    """Log what a thread dies of: Python writes it to stderr alone, which a worker in the background does not have."""

    def log_uncaught(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
            name = args.thread.name if args.thread else "?"
            log.critical("the thread %s has died", name, exc_info=args.exc_value)

    threading.excepthook = log_uncaught


def to_journal() -> bool:
    """Whether stderr goes to the journal: then systemd says which device and inode that is (systemd.exec(5))."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        found = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return (device, inode) == (str(found.st_dev), str(found.st_ino))


def reopen() -> None:
    """Reopen the log's file, where it was moved away: at once, not with the next event. For SIGHUP."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _MovedFile):
            with handler.lock or contextlib.nullcontext():
                try:
                    handler.reopenIfNeeded()
                except OSError as error:
                    print(f"debug_log: {handler.baseFilename}: {error.strerror}", file=sys.stderr)

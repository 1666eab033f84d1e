# SPDX-License-Identifier: Apache-2.0
"""What a migration's error means and what to do about it, where the detail is more specific than the code."""

from __future__ import annotations

import re
from typing import NamedTuple

from worker.verdict import sql_detail
from worker.verdict.sql_errors import ERRORS, WRITTEN

_SIGNAL = re.compile(r"\bkilled by (SIG[A-Z0-9]{2,10})\b")
_MEMORY = re.compile(r"out of memory|cannot allocate memory|oom[- ]kill", re.IGNORECASE)
_CRASHES = ("SIGSEGV", "SIGBUS", "SIGILL", "SIGABRT", "SIGFPE", "SIGTRAP", "SIGSYS")


class Advice(NamedTuple):
    """What it means, and what to do."""

    explanation: str
    remedy: str


EXIT = Advice(
    "The migration's process ended in its middle without an error, as exit() in a migration does.",
    "Raise an error instead of ending the process; where the work is done, return.",
)
_OF_MEMORY = Advice(
    "The migration's process was ended because memory ran out.",
    "Let the migration read rows in batches instead of all at once.",
)
_KILLED = Advice(
    "The migration's process was ended by SIGKILL. It was not for a limit of the sandbox: that would be named.",
    "Look for what sends the signal: the migration itself, or a program that it starts. Only where the log of the "
    "worker's kernel says that the process was killed for memory, read rows in batches.",
)
_CRASHED = Advice(
    "The migration's process crashed in compiled code, such as a database driver or another extension of Python.",
    "Look at the last lines of the dataset's log for what was called; use another release of that package.",
)
_INDEX = Advice(
    "A package index refuses access, so that its packages look as if they did not exist.",
    "Let the worker read that index without a password, which the change would see, or name another one in the "
    "worker's environment; sandbox_build_hosts says which servers a build may reach.",
)
_REVISION_ID = Advice(
    "The migration's revision id is longer than the column of the version table.",
    "Give the migration a shorter id, or make that column wider in a migration before it.",
)
_SYNTAX = Advice(
    "A file that is imported with the migrations is no Python to the interpreter that the project runs with.",
    "Correct the file, or write it in that version of Python; the project's profile says which one that is (python).",
)
_OF_THE_DATABASE = (
    (
        re.compile(r"the project's code has left a transaction|what the project's code had not committed"),
        Advice(
            "The project's code did not commit all that it did before its process ended: a database would not keep "
            "it, and the version may be part of it.",
            "Commit what a migration does before its process ends; end XA PREPARE with XA COMMIT.",
        ),
    ),
    (
        re.compile(r".{1,200}: a version is read from a base table"),
        Advice(
            "The version would not be what the migration tool has written.",
            "Leave the version table as the migration tool makes it, without triggers and computed columns.",
        ),
    ),
    (
        re.compile(r"INSERT DELAYED lets the server write"),
        Advice("The migration's rows are written when it has ended.", "Write INSERT in place of INSERT DELAYED."),
    ),
)
"""Problems that the walk itself finds in the database, by its messages."""
_SENT = Advice(
    "The migration's process was ended by a signal.",
    "Look for what sends it: the migration itself, or a program that it starts.",
)


def of(code: str, detail: str, rows: str = "") -> Advice | None:
    """The advice for a message with this code and detail; None where the code's own is enough.

    `rows` describes the rows that caused the error.
    """
    if code == "migration_killed":
        return _of_signal(detail)
    if code == "environment_failed":
        return _INDEX if sql_detail.index_refuses(detail) else None
    if code not in ("migration_raised", "walk_failed"):
        return None
    if code == "migration_raised" and re.match(r"SystemExit\b", detail):
        return EXIT
    if re.match(r"(?:SyntaxError|IndentationError|TabError)\b", detail):
        return _SYNTAX
    if code == "walk_failed" and (found := next((a for words, a in _OF_THE_DATABASE if words.match(detail)), None)):
        return found
    if sql_detail.revision_id_too_long(detail):
        return _REVISION_ID
    server_error = sql_detail.find(detail)
    if server_error is None:
        return None
    null = server_error.number == 1265 and sql_detail.null_found(rows)
    number = 1138 if null else server_error.number
    error = (WRITTEN.get(number) if sql_detail.writes_rows(detail) else None) or ERRORS.get(number)
    return Advice(error.explanation, error.remedy) if error else None


def _of_signal(detail: str) -> Advice | None:
    match = _SIGNAL.search(detail)
    if _MEMORY.search(detail):
        return _OF_MEMORY
    if match is None:
        return None
    return _KILLED if match[1] == "SIGKILL" else _CRASHED if match[1] in _CRASHES else _SENT

# SPDX-License-Identifier: Apache-2.0
"""The error log of a private server: its end, and what ended the server."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ansible.module_utils.th_core.text import printable

TAIL_LINES = 20
TAIL_BYTES = 64 << 10
_CRASH_REPORT = ("Writing a core file", "The manual page at ")
"""The lines of a crash report, of MariaDB and of MySQL, that come after its errors."""
_ERROR_LINE = re.compile(
    r"^\d{4}-\d\d-\d\d[ T][\d: .]{1,30}(?:Z|[+-]\d\d:\d\d)? (?:\d{1,10} )?\[ERROR\]"
    r"|Assertion failure|got signal|std::bad_alloc"
)
_NO_SPACE = re.compile(r"\[ERROR\].{0,400}(?:with error 28\b|No space left|[Dd]isk is full|[Ee]rrcode: 28)")
_NO_MEMORY = re.compile(r"\[ERROR\].{0,100}(?:Out of memory|[Cc]annot allocate)|std::bad_alloc")
_STATEMENT = re.compile(r"\bthread id \d{1,20}, OS thread handle\b")
"""How the server introduces the statement that an error came from, whose text follows on the line."""


def last_words(log: Path) -> str:
    """The end of a log; after a crash, the errors before the crash report."""
    try:
        with open(log, "rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - TAIL_BYTES))
            lines = stream.read(TAIL_BYTES).decode("utf-8", "replace").splitlines()
    except OSError:
        return "(no error log)"
    ended = next((at for at, line in enumerate(lines) if line.startswith(_CRASH_REPORT)), None)
    if ended is not None:
        lines = [line for line in lines[:ended] if _ERROR_LINE.search(line)] or lines
    return "\n".join(map(printable, lines[-TAIL_LINES:]))


def has_no_space(words: str) -> bool:
    """Whether the server says there that its disk is full."""
    return _says(_NO_SPACE, words)


def has_no_memory(words: str) -> bool:
    """Whether the server says there that it gets no more memory."""
    return _says(_NO_MEMORY, words)


def _says(pattern: re.Pattern[str], words: str) -> bool:
    return any(pattern.search(line) for line in words.splitlines() if not _STATEMENT.search(line))

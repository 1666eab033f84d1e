# SPDX-License-Identifier: Apache-2.0
"""Parses one line of a walk's text log: its timestamp, and what it says about the walk.

The format is that of the first turbo-hipster, and of this version's `<dataset>.log`:

    2013-11-22 21:42:45,908 [output] 141 -> 142...

`[output]` is output of the process that runs the migrations; `[sqlerr]`, `[sqlslo]` and `[syslog]` are lines from other
logs; `[heartbeat]` shows that the worker is alive. Lines of the worker itself have no tag.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable
from typing import NamedTuple

from worker.inputs import untrusted

_STAMP = re.compile(rb"(?:(\d{4})-)?(\d\d)-(\d\d)[ T](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,6}))?Z? ?")
_REST_OF_STAMP = re.compile(rb"[0-5]\d,\d{3} ")
_SYSLOG_STAMP = re.compile(rb"([A-Z][a-z]{2}) ([ \d]\d) (\d\d):(\d\d):(\d\d) ")
_MAX_TEXT = 4000
_HOUR = 3600.0
_YEAR = 366 * 86400.0
_BEAT = 100.0  # seconds; more than the interval between two heartbeats
_MONTHS = b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
_TAG = re.compile(rb" *\[([A-Za-z][\w.-]{0,40})\](?: |$)")
# A line that begins in the middle of another, as two processes wrote to the file.
_TORN = re.compile(rb"(?<!^)(?=\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} \[[a-z]{3,10}[\] ])")
# Every relevant line contains one of these; a quick test that skips most lines.
_TELLING = (
    b" -> ", b"done", b"Innodb_rows_", b"Innodb_os_log_w", b"Number of rows", b"returned exit code", b"chema version",
    b"*****", b"commit ", b".py", b"Error", b"Exception", b"Migrations present", b"Test will", b"Restarting mysql",
    b"counters before", b"ERROR 10", b"Version: ",
)  # fmt: skip
# The project's loggers put their own timestamp, level and name before the message.
_LOGGER = re.compile(
    r"(?:\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[.,]\d{3} )?(?:\d+ )?"
    r"(?:DEBUG|INFO|AUDIT|WARNING|ERROR|CRITICAL|TRACE)(?: +[A-Za-z\[][\w.\[\]-]*(?: \[[^\]]*\])? |:[\w.-]+:)"
)
# No replacement character: different revisions must not look the same.
_REVISION = r"([^\s:>\ufffd](?:[^\s>\ufffd]{0,398}[^\s>.\ufffd])?)"
_ROWS = re.compile(r"Number of rows inserted (\d{1,18}), updated (\d{1,18}), deleted (\d{1,18}), read (\d{1,18})$")
_OUTPUT = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        ("step", rf"{_REVISION} -> {_REVISION}\.\.\.\s*(done)?$"),
        ("done", r"(done)$"),
        ("counter", r"(Innodb_\w+)\s+(\d{1,18})$"),
        ("rows", _ROWS),
        ("exit", r"\S+ returned exit code (-?\d{1,5})$"),
        ("final", rf"Final schema version is {_REVISION}$"),
        ("version", rf"Schema version is {_REVISION}$"),
        ("stage", r"\*{5} Start DB upgrade to state of (\S{1,100}) \*{5}$"),
        ("stage_end", r"\*{5} (Finished) DB upgrade to state of \S{1,100} \*{5}$"),
        ("commit", r"commit ([0-9a-f]{40})$"),
        ("present", r"(\d{1,6})_\w*\.py$"),
        ("listing", r"(Migrations present):$"),
        ("will", r"Test will migrate from (\d{1,6}) to (\d{1,6})$"),
        ("restart", r"(Restarting mysql|MySQL counters before upgrade:)$"),
        ("mysql_error", r"(ERROR (?:1045|1049) .*)"),
        ("source", r'\s*File "([^"]{1,1000})", line (\d{1,7})\b'),
        ("exception", r"\(?(?:[A-Za-z_][\w.]*)?(?:Error|Exception)\b.*"),
    )
)
_OURS = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        ("measured", rf"{_REVISION} -> {_REVISION}: (\d{{1,9}}\.\d{{1,6}}) s(?:, ?(.*))?$"),
        ("our_stage", rf"(\S.{{0,200}}) \(([0-9a-f]{{7,40}})\): (\d{{1,6}}) \w+(?: (up|down))? to {_REVISION}$"),
        ("final", rf"Final schema version is {_REVISION}$"),
        ("error", r"([a-z]+(?:_[a-z]+)+): (.*)"),
        ("script", r"\[script exit code = (-?\d{1,10})\]$"),
        ("cut", r"(.*left out.*)"),
        ("nothing", r"(\[running .*|Failed to monitor .*)"),
    )
)


class LogLine(NamedTuple):
    """A parsed line. `kind` is the name of a rule above, with its groups as `words`, or one of

    * ``nothing``: a line in the right format that is not about the walk
    * ``heartbeat``, ``timeout``
    * ``more``: a line without a timestamp, with its text in `words`; it may continue the previous one

    `at` is the timestamp in seconds, read as UTC; None without one. `dated` is whether the timestamp has a year.
    """

    kind: str
    words: tuple[str, ...] = ()
    at: float | None = None
    dated: bool = True


class Clock:
    """Converts the timestamps of a log, which may be in local time, to times that can be subtracted.

    `changes` counts how often the clock was set forward or back by an hour between two lines.
    """

    def __init__(self) -> None:
        self.changes = 0
        self._last: float | None = None
        self._beat: float | None = None
        self._shift = 0.0

    def moment(self, line: LogLine) -> float | None:
        """The time of a line, in seconds that increase steadily; None for a line without a timestamp."""
        if line.at is None:
            return None
        if self._last is not None:
            passed = line.at - self._last
            alive = self._beat is not None and self._last - self._beat < _BEAT
            if not line.dated and passed < -_YEAR / 2:
                self._shift += _YEAR
            elif -_HOUR <= passed < -_HOUR + _BEAT or (alive and _HOUR <= passed < _HOUR + _BEAT):
                self._shift -= _HOUR if passed > 0 else -_HOUR
                self.changes += 1
        self._last = line.at
        if line.kind == "heartbeat":
            self._beat = line.at
        return line.at + self._shift


class LineReader:
    """Parses lines one by one; caches the last minute that it has parsed, as consecutive lines often share it."""

    def __init__(self) -> None:
        self._minute = b""
        self._at = 0.0

    def read(self, line: bytes) -> Iterable[LogLine]:
        """Parse a line; yields several results if other lines were written into it."""
        if line.find(b" [", 28) < 0:
            return (self._one(line),)
        return map(self._one, _TORN.split(line))

    def _one(self, line: bytes) -> LogLine:
        if line[:17] == self._minute and _REST_OF_STAMP.match(line, 17):
            at, dated, rest = self._at + int(line[17:19]) + int(line[20:23]) / 1000, True, line[24:]
        else:
            found = self._stamp(line)
            if found is None:
                text = _text(line)
                return LogLine("cut" if "left out" in text and text.startswith("...") else "more", (text,))
            at, dated, end = found
            rest = line[end:]
        tag = _TAG.match(rest)
        if tag is None:
            return _rule(_OURS, _text(rest), at, dated) or LogLine("unknown", (), at, dated)
        name, message = tag[1], rest[tag.end() :]
        if name in (b"heartbeat", b"timeout"):
            return LogLine(name.decode(), (), at, dated)
        for word in _TELLING:
            if word in message:
                break
        else:
            return LogLine("nothing", (), at, dated)
        text = _text(message).rstrip()
        if name == b"sqlerr" and (version := re.match(r"Version: '([^']{1,80})'(.*)", text)):
            return LogLine("server", (version[1], version[2]), at, dated)
        if name == b"sqlerr" and (rows := _ROWS.match(text)):
            return LogLine("rows", rows.groups(), at, dated)
        if name != b"output":
            return LogLine("nothing", (), at, dated)
        text = text[logger.end() :] if (logger := _LOGGER.match(text)) else text
        return _rule(_OUTPUT, text, at, dated) or LogLine("nothing", (), at, dated)

    def _stamp(self, line: bytes) -> tuple[float, bool, int] | None:
        """The timestamp at the beginning of a line in seconds, whether it has a year, and the offset of the rest."""
        if found := _STAMP.match(line):
            year, *parts = (int(part) if part else None for part in found.groups()[:6])
            month, day, hour, minute, second = (part or 0 for part in parts)
            fraction = int((found[7] or b"0").ljust(6, b"0")) / 1e6
        elif (found := _SYSLOG_STAMP.match(line)) and found[1] in _MONTHS:
            year, month, fraction = None, _MONTHS.index(found[1]) + 1, 0.0
            day, hour, minute, second = (int(part) for part in found.groups()[1:])
        else:
            return None
        try:
            # 2000 is a leap year, so that February 29 is valid in a log without years
            moment = datetime.datetime(year or 2000, month, day, hour, minute, min(second, 59), tzinfo=datetime.UTC)
        except ValueError:
            return None
        at = moment.timestamp()
        if year:
            self._minute, self._at = line[:17], at - min(second, 59)
        return at + fraction, year is not None, found.end()


def _rule(rules: tuple[tuple[str, re.Pattern[str]], ...], text: str, at: float, dated: bool) -> LogLine | None:
    for kind, pattern in rules:
        if found := pattern.match(text):
            words = tuple(word or "" for word in found.groups() or (found[0],))
            return LogLine(kind, words, at, dated)
    return None


def _text(data: bytes) -> str:
    text = data.decode("utf-8", "replace")
    # a shortcut for plain text, as logs are long and most of their lines are plain
    return text if len(text) <= _MAX_TEXT and text.isascii() and text.isprintable() else untrusted.text(text, _MAX_TEXT)

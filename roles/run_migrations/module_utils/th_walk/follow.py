# SPDX-License-Identifier: Apache-2.0
"""Following a log file that another process writes: bounded, line by line, each line with its time."""

from __future__ import annotations

import ctypes
import datetime
import errno
import os
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from ansible.module_utils.th_core.text import printable

LINE_LIMIT = 4096
POLL_LIMIT = 256 << 10
LATE = 60.0
DISK_LIMIT = 64 << 20
_HOLE = 16 << 20
_PUNCH = 3  # FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE (fallocate(2))
_CHUNK = 64 << 10
_WITNESS = 64
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_CLOCK = r"(\d{1,2}):(\d\d):(\d\d)([.,]\d{1,9})?"
# the error logs of MariaDB (local time) and MySQL (with its zone), MySQL's slow log, syslog as in RFC 5424
_ISO = re.compile(
    r"(?:# Time: |<\d{1,3}>\d{0,2} ?)?(\d{4})-(\d\d)-(\d\d)(?:T| {1,2})" + _CLOCK + r" ?(Z|[+-]\d\d:?\d\d)?",
    re.ASCII,
)
# MariaDB's slow log, and its oldest error logs
_SHORT = re.compile(r"(?:# Time: )?(\d\d)(\d\d)(\d\d) {1,2}" + _CLOCK, re.ASCII)
# syslog as in RFC 3164
_BSD = re.compile(r"(?:<\d{1,3}>)?(" + "|".join(_MONTHS) + r") ([ \d]\d) " + _CLOCK, re.ASCII)
_libc = ctypes.CDLL(None, use_errno=True)
_REPLACED = re.compile("\N{REPLACEMENT CHARACTER}{9,}")


class Follower:
    """The lines that are added to a file, `poll` by `poll`, also after the file was rotated or truncated.

    Lines that the file already has are skipped, unless `whole`. One poll reads at most `limit` bytes: of more, the
    beginning and the end, with a line that says how much is left out. Lines are printable, `LINE_LIMIT` bytes at most;
    blank ones are left out. No poll raises: that the file cannot be read is reported in a line, once.

    `own_server` is whether a private server of the job writes the file. It does not buffer, so a line is younger than
    the previous poll. And what was read is punched out of the file, except for the beginning and the end (`DISK_LIMIT`
    bytes together); its size stays the same.
    """

    def __init__(
        self, path: Path | str, *, whole: bool = False, own_server: bool = False, limit: int = POLL_LIMIT
    ) -> None:
        self._path, self._own_server, self._limit = Path(path), own_server, limit
        self._hole = DISK_LIMIT // 2  # up to where the file was punched out
        self._file = -1
        self._offset = 0
        self._witness = b""  # the last bytes that were read: where they differ, it is another file
        self._rest, self._over = b"", 0  # of an incomplete line, and how many bytes of it were dropped
        self._last_problem = ""
        self._seen = self._last = self._changed = 0.0
        self._stated: float | None = None
        if not whole:
            try:
                self._file = self._opened()
                self._offset = os.fstat(self._file).st_size
                self._witness = self._read(max(0, self._offset - _WITNESS), self._offset)
            except OSError:
                pass  # `poll` reports it

    def poll(self, now: float) -> Iterator[tuple[float, str]]:
        """The new lines, each with its time: seconds since the epoch, never decreasing, never after `now`."""
        self._stated = None
        try:
            for text in self._new_lines():
                yield self._time_of(text, now), text
            self._last_problem = ""
        except OSError as error:
            problem = "it is a symbolic link" if error.errno == errno.ELOOP else error.strerror or str(error)
            if problem != self._last_problem:
                yield now, f"{self._path} cannot be read: {problem}"
            self._last_problem = problem
        self._seen = max(self._seen, now)

    def seen(self, now: float) -> None:
        """Assume that no line was added between the last poll and `now`."""
        self._seen = max(self._seen, now)

    def end(self, now: float) -> Iterator[tuple[float, str]]:
        """Poll for the last time, an incomplete line included, and close the file."""
        yield from self.poll(now)
        for text in self._unfinished():
            yield self._time_of(text, now), text
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _new_lines(self) -> Iterator[str]:
        if self._file < 0:
            self._file = self._opened()
        yield from self._added()
        following = self._following()
        if following >= 0:
            yield from self._added()  # between the last poll and the beginning of the new file
            yield from self._unfinished()
            os.close(self._file)
            self._file, self._offset, self._witness, self._hole = following, 0, b"", DISK_LIMIT // 2
            yield from self._added()

    def _opened(self) -> int:
        # a link could lead to a file that its writer may not read; opening a pipe would block
        mode = os.O_RDWR if self._own_server else os.O_RDONLY
        file = os.open(self._path, mode | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise OSError(0, "it is not a regular file")
        return file

    def _following(self) -> int:
        """The file that has replaced the one being followed, once it is not empty; -1 for none."""
        try:
            there, current = os.lstat(self._path), os.fstat(self._file)
        except FileNotFoundError:
            return -1
        if (there.st_dev, there.st_ino) == (current.st_dev, current.st_ino) or there.st_size == 0:
            return -1
        return self._opened()

    def _added(self) -> Iterator[str]:
        facts = os.fstat(self._file)
        size, self._changed = facts.st_size, facts.st_mtime
        if size < self._offset or self._read(self._offset - len(self._witness), self._offset) != self._witness:
            yield from self._unfinished()
            self._offset, self._witness, self._hole = 0, b"", DISK_LIMIT // 2
            yield f"{self._path.name} was truncated and starts over"
        if size - self._offset > self._limit:
            yield from self._lines(self._offset + self._limit // 2)
            yield from self._unfinished()
            start = size - self._limit // 2
            # from the beginning of a line, where there is one
            start += max(0, self._read(start - 1, min(start + _CHUNK, size)).find(b"\n"))
            yield f"... {start - self._offset} bytes of {self._path.name} left out here ..."
            self._offset, self._witness, self._stated = start, b"", None
        yield from self._lines(size)
        if self._own_server:
            self._give_back(self._offset - DISK_LIMIT // 2)

    def _give_back(self, end: int) -> None:
        if end - self._hole >= _HOLE:  # ignored by file systems that cannot do it
            _libc.fallocate(self._file, _PUNCH, ctypes.c_int64(self._hole), ctypes.c_int64(end - self._hole))
            self._hole = end

    def _lines(self, end: int) -> Iterator[str]:
        while chunk := self._read(self._offset, min(end, self._offset + _CHUNK)):
            self._offset += len(chunk)
            self._witness = (self._witness + chunk)[-_WITNESS:]
            *pieces, rest = chunk.split(b"\n")
            for piece in pieces:
                self._extend(piece)
                yield from self._unfinished()
            self._extend(rest)

    def _read(self, start: int, end: int) -> bytes:
        return os.pread(self._file, end - start, start)

    def _extend(self, piece: bytes) -> None:
        taken = piece[: LINE_LIMIT - len(self._rest)]
        self._rest += taken
        self._over += len(piece) - len(taken)

    def _unfinished(self) -> Iterator[str]:
        raw, over = self._rest, self._over
        self._rest, self._over = b"", 0
        text = printable(raw.decode("utf-8", "replace").rstrip())
        if text:
            text = _REPLACED.sub(lambda found: f"\N{REPLACEMENT CHARACTER}×{len(found[0])}", text)
            yield f"{text} … ({over} bytes more)" if over else text

    def _time_of(self, text: str, now: float) -> float:
        """When a line was written: its own timestamp, within the bounds that polling gives."""
        self._stated = moment(text, now) or self._stated
        latest = max(self._seen, min(self._changed, now))
        at = self._stated
        # no timestamp, one of another clock or zone, or (MariaDB's slow log) that of the statement's start
        if at is None or not now - LATE <= at <= now or (self._own_server and at < self._seen):
            at = latest
        self._last = max(self._last, min(at, latest))
        return self._last


def moment(text: str, now: float) -> float | None:
    """The timestamp at the start of a log line, in seconds since the epoch; None where there is none.

    A whole second stands for its end. A time without a zone is local, one without a year is in the past year.
    """
    zone, yearless = None, False
    try:
        if found := _ISO.match(text):
            *parts, fraction, zone = found.groups()
            year, month, day, *clock = map(int, parts)
        elif found := _SHORT.match(text):
            *parts, fraction = found.groups()
            year, month, day, *clock = map(int, parts)
            year += 2000
        elif found := _BSD.match(text):
            name, *parts, fraction = found.groups()
            day, *clock = map(int, parts)
            year, month, yearless = time.localtime(now).tm_year, _MONTHS.index(name) + 1, True
        else:
            return None
        hour, minute, second = clock
        when = datetime.datetime(year, month, day, hour, minute, second)
        if zone:
            when = datetime.datetime.strptime(f"{when.isoformat()}{zone}", "%Y-%m-%dT%H:%M:%S%z")
        if yearless and when.timestamp() > now + 86400:
            when = when.replace(year=year - 1)
        return when.timestamp() + (float("0." + fraction[1:]) if fraction else 0.999)
    except (ValueError, OverflowError, OSError):
        return None

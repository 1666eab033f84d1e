# SPDX-License-Identifier: Apache-2.0
"""A log file that never exceeds its size limit: it keeps the beginning, the end, and important lines in between."""

from __future__ import annotations

import os
import threading
import time
from array import array
from pathlib import Path

from ansible.module_utils.th_core.artifacts import NO_SPACE

_SHARES = 16  # of the limit: 8 for the beginning, 2 for what is kept of the middle, 3 and 3 for the end
_CHUNK = 64 << 10
_NOTE = 48  # maximum bytes of the line about what was left out
_MARKS = 10_000  # important lines that are remembered in one part of the end
_LEAST = 32 << 10  # bytes that can be added to a log that is full already


class CappedLog:
    """A log file of at most `limit` bytes: its beginning and its end are kept, the middle is left out and counted.

    Important lines in the middle are kept, up to an eighth of the limit. The file is always in its final form, so that
    nothing is lost when the process is killed; memory usage does not depend on what is written. What an earlier process
    has written to the file stays, as its beginning.

    `line` may be called from several threads, but only one process may write.
    """

    def __init__(self, path: Path | str, limit: int, stamp: bool = False) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._stamp = stamp
        self._lock = threading.Lock()
        self._end = os.fstat(self._file).st_size
        self._full = max(self._end, limit * 8 // _SHARES)  # where the beginning ends
        self._room = limit * 2 // _SHARES  # left for important lines of the middle
        self._part = max(limit * 3 // _SHARES - _NOTE, 4 * _NOTE)
        # After the beginning, from _cut on: the line about what was left out, then two parts. When the newer one is
        # full, the older one is dropped and the newer one takes its place.
        self._cut: int | None = None
        self._left_out = 0
        self._older = self._newer = 0
        self._older_marks, self._newer_marks = array("Q"), array("Q")

    def line(self, text: str, tag: str = "", *, important: bool = False, at: float | None = None) -> None:
        """Write one line; with `stamp`, after a timestamp in the form ``2013-11-22 21:42:45,908`` (UTC).

        The time is now, or `at` (seconds since the epoch). Each line of a multi-line text gets the timestamp and tag.
        """
        if self._stamp:
            moment = time.time() if at is None else at
            prefix = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(moment)) + f",{int(moment % 1 * 1000):03d} "
            prefix += f"{tag} " if tag else ""
            text = "\n".join(prefix + line for line in text.split("\n"))
        raw = (text + "\n").encode("utf-8", "replace")
        if len(raw) > self._part:
            raw = raw[: self._part - 5].decode("utf-8", "ignore").encode() + " …\n".encode()
        with self._lock:
            if self._file >= 0:
                self._append(raw, important)

    def close(self) -> None:
        """Close the file; later lines are ignored."""
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1

    def _append(self, raw: bytes, important: bool) -> None:
        if self._cut is None:
            if self._end + len(raw) <= self._full:
                self._write(raw)
                return
            self._cut = self._older = self._newer = self._end
        if self._end + len(raw) - self._newer > self._part:
            if self._newer > self._older:
                self._leave_out(self._cut)
            self._newer = self._end
            self._older_marks, self._newer_marks = self._newer_marks, array("Q")
        if important and len(self._newer_marks) < 2 * _MARKS:
            self._newer_marks.extend((self._end, len(raw)))
        self._write(raw)

    def _leave_out(self, cut: int) -> None:
        """Drop the older part except its important lines, and move the newer one to its place."""
        kept, position, left_out = bytearray(), self._older, self._left_out
        for start, length in zip(self._older_marks[::2], self._older_marks[1::2], strict=True):
            if len(kept) + length + _NOTE <= self._room:
                left_out = self._pass_over(kept, left_out, position, start)
                kept += _note(left_out) + self._read(start, length)
                left_out, position = 0, start + length
        left_out = self._pass_over(kept, left_out, position, self._newer)
        self._room -= len(kept)
        self._cut = cut + len(kept)
        # never longer than what it replaces, so no byte is overwritten before it is read
        self._put(bytes(kept) + _note(left_out), cut)
        source, target = self._newer, self._cut + len(_note(left_out))
        for start in range(source, self._end, _CHUNK):
            self._put(self._read(start, min(_CHUNK, self._end - start)), target + start - source)
        shift = source - target
        os.ftruncate(self._file, self._end - shift)
        for index in range(0, len(self._newer_marks), 2):
            self._newer_marks[index] -= shift
        self._end -= shift
        self._older, self._left_out = target, left_out

    def _pass_over(self, kept: bytearray, left_out: int, start: int, end: int) -> int:
        """The number of bytes left out, with those from `start` to `end`; they are kept if they are shorter than the
        line about them would be."""
        if left_out or end - start > _NOTE:
            return left_out + end - start
        kept += self._read(start, end - start)
        return 0

    def _read(self, start: int, length: int) -> bytes:
        return os.pread(self._file, length, start)

    def _write(self, raw: bytes) -> None:
        written = self._put(raw, self._end)
        if written == len(raw):
            self._end += written
        elif written:
            os.ftruncate(self._file, self._end)

    def _put(self, raw: bytes, at: int) -> int:
        try:
            return os.pwrite(self._file, raw, at)
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            return 0  # a full disk is reported by whatever needs the space


def continued_log(path: Path | str, limit: int, stamp: bool = False) -> CappedLog:
    """A log that several processes write one after the other, and that stays below the limit overall."""
    try:
        written = os.stat(path).st_size
    except FileNotFoundError:
        written = 0
    return CappedLog(path, min(limit, max(2 * (limit - written), _LEAST)), stamp)


def _note(left_out: int) -> bytes:
    return f"... {left_out} bytes left out here ...\n".encode() if left_out else b""

# SPDX-License-Identifier: Apache-2.0
"""Copying untrusted files: regular ones with harmless names, within limits, with secrets masked; others are listed.

Every folder and file is opened relative to its open parent folder, and never through a symbolic link, so that nothing
that is swapped meanwhile leads elsewhere. Folders are walked without recursion, however deep they are, and the names of
a folder are read into memory only as far as they may be copied.
"""

from __future__ import annotations

import heapq
import os
import re
import stat
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from ansible.module_utils.th_core.text import printable
from ansible.module_utils.th_mask.mask import Masker, Stream

LEFT_OUT = "left-out.txt"
LEFT_OUT_LINES = 1000
DEPTH_LIMIT = 20
BLOCK = 1024 * 1024

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+@=,-]{0,199}")
FIRST = {"index.html": 0, "result.json": 1}
PAGES = ("index.html", "first-try/index.html")
"""The worker's own pages, which are copied even if their names are refused."""

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


class LeftOutError(Exception):
    """A file or folder is not copied; the text says why."""


@dataclass
class CopyLimits:
    """Limits of a copy: bytes of one file and of all, number of files and folders, and time in seconds."""

    file: int
    total: int
    count: int
    seconds: float


@dataclass
class _Folder:
    """A folder being copied: its two descriptors, its path with a slash, and the remaining names in reverse order."""

    source: int
    target: int
    path: str
    waiting: list[str]

    def close(self) -> None:
        os.close(self.source)
        os.close(self.target)


@dataclass
class Copy:
    """A copy in progress: the remaining limits, and what was left out."""

    limits: CopyLimits
    masker: Masker
    refused: Collection[str] = ()
    left_out: list[str] = field(default_factory=list)

    def run(self, source: Path, target: Path) -> None:
        """Copy everything into an empty folder, and write the list of what was left out. Raises OSError."""
        self._room, self._count = self.limits.total, self.limits.count
        self._deadline = time.monotonic() + self.limits.seconds
        flags = _READ | os.O_DIRECTORY
        stack: list[_Folder] = []
        try:
            self._enter(stack, os.open(source, flags), os.open(target, flags), "")
            while stack:
                if stack[-1].waiting:
                    self._take(stack, stack[-1], stack[-1].waiting.pop())
                else:
                    folder = stack.pop()
                    if not stack:
                        self._write_left_out(folder.target)
                    os.fsync(folder.target)
                    folder.close()
        finally:
            for folder in stack:
                folder.close()

    def _enter(self, stack: list[_Folder], source: int, target: int, path: str) -> None:
        folder = _Folder(source, target, path, [])
        stack.append(folder)
        os.fchmod(target, 0o755)
        # one more than can be copied or listed, so that the list ends with "... and more"
        most = max(self._count, 0) + LEFT_OUT_LINES + 1
        with os.scandir(source) as entries:
            keys = heapq.nsmallest(most, (self._order(entry) for entry in entries))
        folder.waiting = [name for *_, name in reversed(keys)]

    def _order(self, entry: os.DirEntry[str]) -> tuple[bool, int, bool, str]:
        """Allowed names first, and files before folders, so that deep contents cannot displace them."""
        return not NAME.fullmatch(entry.name), FIRST.get(entry.name, 2), _is_folder(entry), entry.name

    def _take(self, stack: list[_Folder], folder: _Folder, name: str) -> None:
        path = folder.path + name
        try:
            if problem := self._problem(name, path):
                raise LeftOutError(problem)
            if self._count <= 0:
                raise LeftOutError("too many files")
            self._count -= 1
            handle = _open(name, folder.source)
        except LeftOutError as reason:
            self._leave(path, str(reason))
            return
        try:
            about = os.fstat(handle)
            if stat.S_ISDIR(about.st_mode):
                if len(stack) > DEPTH_LIMIT:
                    raise LeftOutError("too deep")
                os.mkdir(name, 0o755, dir_fd=folder.target)
                target = os.open(name, _READ | os.O_DIRECTORY, dir_fd=folder.target)
                taken, handle = handle, -1
                self._enter(stack, taken, target, path + "/")
            else:
                self._check(about)
                self._file(handle, folder.target, name, about)
        except LeftOutError as reason:
            self._leave(path, str(reason))
        finally:
            if handle >= 0:
                os.close(handle)

    def _problem(self, name: str, path: str) -> str:
        """Why nothing with this name is published; "" if it may be."""
        if not NAME.fullmatch(name) or path == LEFT_OUT:
            return "its name"
        if path not in PAGES:
            for part in name.lower().split(".")[1:]:
                # a version number may follow, as in php8
                if part in self.refused or part.rstrip("0123456789") in self.refused:
                    return f"its name: a web server may act on .{part}"
        return "its name holds a secret" if self.masker.text(name) != name else ""

    def _check(self, about: os.stat_result) -> None:
        if not stat.S_ISREG(about.st_mode):
            raise LeftOutError("neither a file nor a folder")
        if about.st_nlink != 1:
            raise LeftOutError("a file with several names")
        if about.st_size > self.limits.file:
            raise LeftOutError(f"{about.st_size} bytes, the limit is {self.limits.file}")
        if about.st_size > self._room:
            raise LeftOutError(f"{about.st_size} bytes, and {self._room} are left for the whole")

    def _file(self, source: int, folder: int, name: str, about: os.stat_result) -> None:
        target = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=folder)
        try:
            os.fchmod(target, 0o644)
            stream = Stream(self.masker)
            left = about.st_size  # what is appended later is not part of the copy
            while left and (block := _read(source, min(BLOCK, left))):
                left -= len(block)
                _write(target, stream.feed(block))
                if time.monotonic() > self._deadline:
                    raise LeftOutError(f"there was no time left, of {self.limits.seconds:g} s, to mask secrets in it")
            _write(target, stream.end())
            os.utime(target, ns=(about.st_mtime_ns, about.st_mtime_ns))
            os.fsync(target)
        except LeftOutError:
            os.unlink(name, dir_fd=folder)
            raise
        finally:
            os.close(target)
        self._room -= about.st_size

    def _leave(self, path: str, reason: str) -> None:
        if len(self.left_out) < LEFT_OUT_LINES:
            shown = self.masker.text(printable(os.fsencode(path).decode("utf-8", "replace")))
            self.left_out.append(f"{shown}: {reason}")
        elif len(self.left_out) == LEFT_OUT_LINES:
            self.left_out.append("... and more")

    def _write_left_out(self, folder: int) -> None:
        if not self.left_out:
            return
        handle = os.open(LEFT_OUT, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=folder)
        try:
            os.fchmod(handle, 0o644)
            _write(handle, "".join(f"{line}\n" for line in self.left_out).encode())
            os.fsync(handle)
        finally:
            os.close(handle)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:  # gone meanwhile
        return False


def _open(name: str, folder: int) -> int:
    """Open a file or a folder. Raises LeftOutError for anything else."""
    try:
        # a pipe must not block and a device must not be opened: checked here, and again once it is open
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise LeftOutError("neither a file nor a folder")
        flags = os.O_DIRECTORY if stat.S_ISDIR(mode) else os.O_NONBLOCK
        return os.open(name, _READ | flags, dir_fd=folder)
    except OSError as error:
        raise LeftOutError(error.strerror or "cannot be opened") from error


def _read(handle: int, size: int) -> bytes:
    try:
        return os.read(handle, size)
    except OSError as error:
        raise LeftOutError(f"cannot be read: {error.strerror}") from error


def _write(handle: int, block: bytes) -> None:
    while block:
        block = block[os.write(handle, block) :]

# SPDX-License-Identifier: Apache-2.0
"""Measuring how much disk space the writable folders of a box use, as rarely as possible.

A quota cannot be set without root. So the folders are scanned, as often as that takes only a small part of the time,
and at once when the free space of the file system, which is cheap to read, has fallen far enough. Unnamed (deleted but
open) files are found through the processes that hold them. Free space that has vanished without a trace is attributed
to the box if it has a place to hide it, or has written as much; otherwise other users of the disk may have used it.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

from ansible.module_utils.th_sandbox.unnamed_files import UnnamedFiles
from ansible.module_utils.th_sandbox.usage import BLOCK

LEAST = 4096
"""The minimum bytes that a file or folder counts as: even an empty one takes an inode."""
DEPTH = 200
"""Folders nested deeper than in any project are not scanned, and count as exceeding the limit."""

_INTERVAL = 2.0
_SHARE = 20  # scanning takes at most one part in so many of the time, unless free space has fallen
_SHARE_WHEN_DUE = 5
_PERIOD = 30.0

Look = Callable[[AbstractSet[int]], UnnamedFiles]
"""Finds the unnamed files on some devices."""


class Disk:
    """The disk usage of some folders; of the `shared` ones, only what was written since this object was created.

    One object is kept for all commands that may write to the same folders, so that small amounts add up.
    """

    def __init__(self, folders: Sequence[Path], shared: Sequence[Path], limit: int) -> None:
        self._folders, self._shared, self._limit = folders, shared, limit
        self._since = time.time_ns()
        self._used = self._others = 0
        self._free = self._free_bytes()
        begun = time.monotonic()
        self._most = self._free + self._named()
        """The highest sum of free space and the folders' contents: a lower one means that space has vanished."""
        self._looked = time.monotonic()
        self._took = self._looked - begun

    def exceeded(self, look: Look, final: bool = False) -> bool:
        """Whether the limit is exceeded; to be called often, and once more at the end.

        What is written just before a command ends is counted for the next one.
        """
        fallen = self._free - self._free_bytes()
        since = time.monotonic() - self._looked
        due = fallen > max((self._limit - self._used - self._others) / 4, self._limit / 64) or since > _PERIOD
        wait = (_SHARE_WHEN_DUE if due else _SHARE) * self._took
        if since > (wait if final or due else max(_INTERVAL, wait)):
            return self.scan(look, due)
        return self._used + self._others > self._limit

    def scan(self, look: Look, everything: bool = True) -> bool:
        """Scan the folders now; with `everything`, the shared ones as well."""
        begun = time.monotonic()
        free, named = self._free_bytes(), self._named()
        if everything:
            self._free = free
            others = _Scan(self._limit)
            for folder in self._shared:
                others.folder(folder, self._since)
            self._others = others.used
        left = self._limit - named - self._others
        found = look({os.stat(folder).st_dev for folder in self._folders if folder.is_dir()})
        self._used = named + sum(max(number, LEAST) for number in found.used.values())
        known = free + named + self._others
        missing, self._most = self._most - known, max(self._most, known)
        if missing > left and (found.hidden or found.written > left):
            self._used = max(self._used, named + missing)
        self._looked = time.monotonic()
        self._took = self._looked - begun
        return self._used + self._others > self._limit

    def _named(self) -> int:
        """The disk usage of the box's own folders."""
        own = _Scan(self._limit)
        for folder in self._folders:
            own.folder(folder, 0)
        return own.used

    def _free_bytes(self) -> int:
        """The free space of all file systems together."""
        found = {}
        for folder in (*self._folders, *self._shared):
            with contextlib.suppress(OSError):
                status = os.statvfs(folder)
                found[os.stat(folder).st_dev] = status.f_bfree * status.f_frsize
        return sum(found.values())


class _Scan:
    """One scan of folders, which ends as soon as the limit is exceeded. It follows no symbolic link, enters no other
    file system, and counts a file with several hard links once."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._seen: set[tuple[int, int]] = set()
        self.used = 0

    def add(self, number: int) -> None:
        self.used += max(number, LEAST)

    def folder(self, path: Path, since: int) -> None:
        """Add the contents of a folder that were written since then (ns)."""
        with contextlib.suppress(OSError):
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            self._inside(handle, os.fstat(handle).st_dev, since, 0)

    def _inside(self, handle: int, device: int, since: int, depth: int) -> None:
        """Add the contents of an open folder, and close it."""
        try:
            with os.scandir(handle) as entries:
                for entry in entries:
                    if self.used > self._limit:
                        return
                    with contextlib.suppress(OSError):  # removed in the meantime
                        self._entry(handle, entry, device, since, depth)
        finally:
            os.close(handle)

    def _entry(self, handle: int, entry: os.DirEntry[str], device: int, since: int, depth: int) -> None:
        status = entry.stat(follow_symlinks=False)
        if status.st_dev != device:
            return
        if status.st_ctime_ns >= since:
            identity = (status.st_dev, status.st_ino)
            if status.st_nlink == 1 or stat.S_ISDIR(status.st_mode) or identity not in self._seen:
                self.add(status.st_blocks * BLOCK)
            if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
                self._seen.add(identity)
        if stat.S_ISDIR(status.st_mode):
            if depth == DEPTH:
                self.used = self._limit + 1
                return
            self._inside(_opened(handle, entry.name), device, since, depth + 1)


def _opened(parent: int, name: str) -> int:
    """Open a folder; one that its owner cannot read is made readable, so that nothing can be hidden in it."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(name, flags, dir_fd=parent)
    except PermissionError:
        place = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            os.chmod(f"/proc/self/fd/{place}", 0o700)
        finally:
            os.close(place)
        return os.open(name, flags, dir_fd=parent)


_kept: dict[tuple[tuple[Path, ...], tuple[Path, ...], int], Disk] = {}


def disk(folders: Sequence[Path], shared: Sequence[Path], limit: int) -> Disk | None:
    """The `Disk` object for these folders; None if there is nothing to limit."""
    if not limit or not (folders or shared):
        return None
    key = (tuple(folders), tuple(shared), limit)
    if key not in _kept:
        _kept[key] = Disk(*key)
    return _kept[key]

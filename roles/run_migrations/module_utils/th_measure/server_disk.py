# SPDX-License-Identifier: Apache-2.0
"""How much disk a private database server occupies, with a limit that a thread of its own enforces: the walk may be
waiting for a statement that goes on writing.

Unnamed temporary files, which the server sorts in, count like the others. The kernel enforces the size of each file.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ansible.module_utils.th_sandbox.unnamed_files import unnamed_files
from ansible.module_utils.th_sandbox.usage import BLOCK, Process
from ansible.module_utils.th_server.mariadb import Server

INTERVAL = 0.25
"""Seconds between two measurements; more where one takes long, fewer while free space falls."""
_GLANCE = 0.02
_SHARE = 10
_PATIENCE = 3
"""How often the statements of a growing server are ended before the server itself is."""
_LOG_BYTES = 64 << 10
_TOO_LARGE = re.compile(rb"\[ERROR\].{0,400}\b(?:error (?:number )?|err(?:no|code):? )27\b", re.IGNORECASE)


class ServerDisk:
    """By how much a server has grown since this was created, and the limit on that (bytes).

    `most` is the maximum so far: a server that was over the limit for a moment has exceeded it.
    """

    def __init__(self, server: Server, limit: int) -> None:
        self._server, self.limit = server, limit
        self._folder = Path(server.folder)
        self._first = occupied(self._folder) + self._nameless()
        self._logged = self._log_size()
        self.most = 0
        self._over = threading.Event()

    @property
    def exceeded(self) -> bool:
        """Whether the limit was exceeded in any measurement."""
        return self.most > self.limit

    def look(self) -> None:
        """Measure what the server occupies now."""
        self.most = max(self.most, occupied(self._folder) + self._nameless() - self._first)

    def refused(self) -> bool:
        """Whether the server's log reports since then that the kernel refused it a larger file."""
        with contextlib.suppress(OSError), open(self._server.error_log, "rb") as file:
            file.seek(max(self._logged, self._log_size() - _LOG_BYTES))
            log = file.read(_LOG_BYTES)
            return bool(_TOO_LARGE.search(log))
        return False

    @contextlib.contextmanager
    def enforced(self, end: Callable[[], object]) -> Iterator[None]:
        """Keep measuring in another thread, which calls `end` (it ends the server's statements) above the limit."""
        limits = self._limit_files()
        thread = threading.Thread(target=self._run, args=(end,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()
            if limits is not None:
                with contextlib.suppress(OSError, ValueError):
                    resource.prlimit(self._server.pid, resource.RLIMIT_FSIZE, limits)

    def _limit_files(self) -> tuple[int, int] | None:
        """Let no file grow beyond the largest one plus the limit; returns the previous limit on file size, or None
        where it could not be changed."""
        most = largest(self._folder) + self.limit
        with contextlib.suppress(OSError, ValueError):
            before = resource.prlimit(self._server.pid, resource.RLIMIT_FSIZE)
            if before[0] == resource.RLIM_INFINITY or before[0] > most:
                resource.prlimit(self._server.pid, resource.RLIMIT_FSIZE, (most, before[1]))
            return before
        return None

    def _run(self, end: Callable[[], object]) -> None:
        pause, ended, last = INTERVAL, 0, 0
        while self._waited(pause):
            begun = time.monotonic()
            self.look()
            if self.exceeded:
                ended = ended + 1 if self.most > last else ended
                last = self.most
                if ended > _PATIENCE and self._server.running():
                    os.kill(self._server.pid, signal.SIGKILL)
                    return
                end()
            pause = max(INTERVAL, _SHARE * (time.monotonic() - begun))

    def _waited(self, seconds: float) -> bool:
        """Wait for the next measurement, not as long when the disk fills up; False when the walk is over."""
        free, until = self._free(), time.monotonic() + seconds
        while not self._over.wait(_GLANCE):
            if time.monotonic() >= until or free - self._free() > self.limit / 8:
                return True
        return False

    def _free(self) -> int:
        with contextlib.suppress(OSError):
            status = os.statvfs(self._folder)
            return status.f_bfree * status.f_frsize
        return 0

    def _nameless(self) -> int:
        with contextlib.suppress(OSError):
            process = Process(self._server.pid, 0, 0, 0, 0.0)
            return unnamed_files([process], {os.stat(self._folder).st_dev}).bytes
        return 0

    def _log_size(self) -> int:
        with contextlib.suppress(OSError):
            return os.stat(self._server.error_log).st_size
        return 0


def occupied(folder: Path) -> int:
    """Bytes of disk that the files below a folder occupy, unnamed ones not included."""
    return sum(status.st_blocks * BLOCK for status in _files(folder))


def largest(folder: Path) -> int:
    """The size of the largest file below a folder."""
    return max((status.st_size for status in _files(folder)), default=0)


def _files(folder: Path) -> Iterator[os.stat_result]:
    folders = [str(folder)]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        yield entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            pass  # of a temporary table, or of a table that was dropped meanwhile

# SPDX-License-Identifier: Apache-2.0
"""The log of one dataset's walk: our own lines and the server's own words, merged in order of time."""

from __future__ import annotations

import contextlib
import heapq
import os
import re
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql
from ansible.module_utils.th_sandbox.capped_log import CappedLog
from ansible.module_utils.th_server import mariadb
from ansible.module_utils.th_walk.follow import Follower

HOLD = 2.0
"""Seconds that a line waits for older ones from elsewhere."""

LINGER = 1.0
HELD_BYTES = 1 << 20
OWN_TAGS = ("output", "heartbeat", "sqlerr", "sqlslo")
_LOOK_AGAIN = 0.05
_ENTRY_BYTES = 300
_NO_SUCH_VARIABLE = 1193
_TAG = re.compile(r"[a-z][a-z0-9_-]{0,19}")


@dataclass(frozen=True)
class Watch:
    """What is to be seen in the log beside the walk.

    `heartbeat` is the time between two signs of life, `slow` the duration from which on a statement is a slow one (0:
    none is), both in seconds. `files` are further files to follow, each with the tag that its lines get.
    """

    heartbeat: float = 30.0
    slow: float = 1.0
    files: tuple[tuple[str, str], ...] = ()


def watched(items: Iterable[dict[str, Any]]) -> tuple[tuple[str, str], ...]:
    """The `files` of a `Watch` from mappings with ``tag`` and ``path``. Raises ValueError that names the wrong one."""
    files = []
    for item in items:
        tag, path = str(item["tag"]), str(item["path"])
        if not _TAG.fullmatch(tag) or tag in OWN_TAGS:
            raise ValueError(
                f"the tag {tag!r} cannot be used: a small letter, then at most 19 of a-z, 0-9, _ and -; "
                f"{', '.join(OWN_TAGS)} are taken"
            )
        if not os.path.isabs(path):
            raise ValueError(f"the path {path!r} of [{tag}] does not begin with a slash")
        files.append((tag, path))
    return tuple(files)


class WalkLog:
    """A `CappedLog` of the walk's own lines, of the output and of what other files say meanwhile.

    A line waits `HOLD` seconds at most, so that older ones, which come late, stand before it. Other files are looked
    at when a line of our own is written, when there is output, and at each `tick`: there is no thread and no waiting.
    The methods may be called from several threads.
    """

    def __init__(self, log: CappedLog, watch: Watch = Watch()) -> None:
        self._log = log
        self._heartbeat, self._slow = watch.heartbeat, watch.slow
        self._followers: dict[str, Follower] = {}
        self._held: list[tuple[float, int, str, str, bool]] = []
        self._held_bytes = self._number = 0
        self._last = self._written = 0.0
        self._looked = self._beat = time.monotonic()
        self._linger = LINGER if watch.files else 0.0
        self._lock = threading.Lock()
        for tag, path in watch.files:
            self.follow(tag, path)

    def follow(self, tag: str, path: Path | str, ours: bool = False) -> None:
        """Log what is added to a file from now on, as ``[tag]``; for `ours` see `Follower`."""
        follower = Follower(path, ours=ours)
        follower.seen(time.time())
        with self._lock:
            self._followers[f"[{tag}]"] = follower

    def follow_server(
        self, server: mariadb.Server, connection: Callable[[], contextlib.AbstractContextManager[Any]]
    ) -> None:
        """Follow a private server's error log, and have it write one of slow statements.

        `connection` gives the administrator's. The logs of an external server tell of others, too: nothing is done.
        """
        if not server.private:
            return
        self.follow("sqlerr", server.error_log, ours=True)
        if not self._slow:
            return
        with connection() as admin:
            try:
                log_slow_statements(admin, slow_log(server), self._slow)
            except pymysql.err.MySQLError as error:
                self.line(f"slow statements are not logged: {error}")
                return
        self.follow("sqlslo", slow_log(server), ours=True)

    def line(self, text: str, tag: str = "") -> None:
        """Log a line of the walk itself, after all that the followed files have said until now."""
        with self._lock:
            self._look()
            now = self._now()
            for follower in self._followers.values():
                follower.seen(now)
            # what others have said may have several lines: the later ones do not begin like ours
            self._hold(now, tag, text.replace("\n", "\n    "), True)
            self._release(now - HOLD)

    def output(self, text: str) -> None:
        """Log a line that the other side has printed."""
        with self._lock:
            if time.monotonic() - self._looked >= _LOOK_AGAIN:
                self._look()
            now = self._now()
            self._hold(now, "[output]", text, False)
            self._release(now - HOLD)

    def tick(self) -> None:
        """Look at the followed files, and give a sign of life when it is time; to be called about once a second."""
        with self._lock:
            self._look()
            now = self._now()
            if time.monotonic() - self._beat >= self._heartbeat:
                self._beat = time.monotonic()
                self._hold(now, "[heartbeat]", "still at it", False)
            self._release(now - HOLD)

    def linger(self) -> None:
        """After trouble: give the watched files a moment to say what was behind it, for example the system's log."""
        deadline = time.monotonic() + self._linger
        while time.monotonic() < deadline:
            time.sleep(LINGER / 5)
            self.tick()

    def close(self) -> None:
        """Write all that is still held, and close the log."""
        with self._lock:
            now = self._now()
            for tag, follower in self._followers.items():
                for at, text in follower.end(now):
                    self._hold(at, tag, text, False)
            self._followers = {}
            self._release(float("inf"))
            self._log.close()

    def _now(self) -> float:
        self._last = max(self._last, time.time())
        return self._last

    def _look(self) -> None:
        now = self._now()
        for tag, follower in self._followers.items():
            for at, text in follower.poll(now):
                self._hold(at, tag, text, False)
        self._looked = time.monotonic()

    def _hold(self, at: float, tag: str, text: str, important: bool) -> None:
        self._number += 1
        heapq.heappush(self._held, (max(at, self._written), self._number, tag, text, important))
        self._held_bytes += len(text) + _ENTRY_BYTES
        while self._held_bytes > HELD_BYTES:
            self._release_one()

    def _release(self, until: float) -> None:
        while self._held and self._held[0][0] <= until:
            self._release_one()

    def _release_one(self) -> None:
        at, _, tag, text, important = heapq.heappop(self._held)
        self._held_bytes -= len(text) + _ENTRY_BYTES
        self._written = at
        self._log.line(text, tag, important=important, at=at)


def slow_log(server: mariadb.Server) -> Path:
    """Where a private server writes its slow statements."""
    return server.run_dir / "slow.log"


def log_slow_statements(connection: Any, path: Path, seconds: float) -> None:
    """Have a server write each statement that takes `seconds` or longer to `path`, with how it went about it.

    The file begins anew. Sessions that there are already go on as before.
    """
    mariadb.query(connection, "SET GLOBAL slow_query_log = OFF")
    path.unlink(missing_ok=True)
    for name, value in {
        "slow_query_log_file": str(path),
        "long_query_time": float(seconds),
        "log_slow_verbosity": "query_plan",  # MariaDB, Percona
        "log_slow_extra": "ON",  # MySQL
        "log_slow_admin_statements": "ON",  # ALTER TABLE is one
        "slow_query_log": "ON",
    }.items():
        try:
            mariadb.query(connection, f"SET GLOBAL {name} = %s", value)
        except pymysql.err.MySQLError as error:
            if error.args[0] != _NO_SUCH_VARIABLE:
                raise


def excerpt(source: Path, target: Path, limit: int, needle: str = "") -> None:
    """Copy a log to where it is published: printable, and of more than `limit` bytes the beginning and the end.

    Nothing is published of a log that is not there, or none of whose lines has the `needle`.
    """
    target.unlink(missing_ok=True)
    if not os.path.lexists(source):
        return
    log, found = CappedLog(target, limit), False
    for _, text in Follower(source, whole=True, limit=limit).end(time.time()):
        found = found or needle in text
        log.line(text)
    log.close()
    if not found:
        target.unlink()

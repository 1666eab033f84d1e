# SPDX-License-Identifier: Apache-2.0
"""The log of one dataset's walk: the walk's own lines and those of the server's logs, merged by time."""

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
"""Seconds that a line is held back for older ones from other files."""

LINGER = 1.0
HELD_BYTES = 1 << 20
OWN_TAGS = ("output", "heartbeat", "sqlerr", "sqlslo")
_LOOK_AGAIN = 0.05
_ENTRY_BYTES = 300
_NO_SUCH_VARIABLE = 1193
_TAG = re.compile(r"[a-z][a-z0-9_-]{0,19}")


@dataclass(frozen=True)
class LogOptions:
    """What goes into the log besides the walk itself.

    `heartbeat` is the interval of the "still at it" lines, `slow` the duration from which a statement counts as slow
    (0: none does), both in seconds. `files` are other files to follow, as (tag, path): their lines get the tag.
    """

    heartbeat: float = 30.0
    slow: float = 1.0
    files: tuple[tuple[str, str], ...] = ()


def files_to_follow(items: Iterable[dict[str, Any]]) -> tuple[tuple[str, str], ...]:
    """The `files` of `LogOptions` from mappings with ``tag`` and ``path``. Raises ValueError that names a wrong one."""
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
    """A `CappedLog` of the walk's own lines, the output, and the new lines of the followed files.

    A line is held for up to `HOLD` seconds, so that older lines that arrive late come before it. The followed files
    are polled when a line of the walk is written, when there is output, and at each `tick`: there is no thread and no
    waiting. The methods may be called from several threads.
    """

    def __init__(self, log: CappedLog, options: LogOptions = LogOptions()) -> None:
        self._log = log
        self._heartbeat, self._slow = options.heartbeat, options.slow
        self._followers: dict[str, Follower] = {}
        self._held: list[tuple[float, int, str, str, bool]] = []
        self._held_bytes = self._number = 0
        self._last = self._written = 0.0
        self._looked = self._beat = time.monotonic()
        self._linger = LINGER if options.files else 0.0
        self._lock = threading.Lock()
        for tag, path in options.files:
            self.follow(tag, path)

    def follow(self, tag: str, path: Path | str, own_server: bool = False) -> None:
        """Log what is added to a file from now on, as ``[tag]``; for `own_server` see `Follower`."""
        follower = Follower(path, own_server=own_server)
        follower.seen(time.time())
        with self._lock:
            self._followers[f"[{tag}]"] = follower

    def follow_server(
        self, server: mariadb.Server, connection: Callable[[], contextlib.AbstractContextManager[Any]]
    ) -> None:
        """Follow a private server's error log and its log of slow statements, which is turned on here.

        `connection` opens one of the administrator's. An external server's logs also concern others,
        so they are not followed.
        """
        if not server.private:
            return
        self.follow("sqlerr", server.error_log, own_server=True)
        if not self._slow:
            return
        with connection() as admin:
            try:
                log_slow_statements(admin, slow_log(server), self._slow)
            except pymysql.err.MySQLError as error:
                self.line(f"slow statements are not logged: {error}")
                return
        self.follow("sqlslo", slow_log(server), own_server=True)

    def line(self, text: str, tag: str = "") -> None:
        """Log a line of the walk itself, after all lines that the followed files have so far."""
        with self._lock:
            self._look()
            now = self._now()
            for follower in self._followers.values():
                follower.seen(now)
            # quoted text may have several lines: indented, they cannot pass for lines of the walk
            self._hold(now, tag, text.replace("\n", "\n    "), True)
            self._release(now - HOLD)

    def output(self, text: str) -> None:
        """Log a line that the project's code has printed."""
        with self._lock:
            if time.monotonic() - self._looked >= _LOOK_AGAIN:
                self._look()
            now = self._now()
            self._hold(now, "[output]", text, False)
            self._release(now - HOLD)

    def tick(self) -> None:
        """Poll the followed files, and write a heartbeat when it is due; to be called about once a second."""
        with self._lock:
            self._look()
            now = self._now()
            if time.monotonic() - self._beat >= self._heartbeat:
                self._beat = time.monotonic()
                self._hold(now, "[heartbeat]", "still at it", False)
            self._release(now - HOLD)

    def linger(self) -> None:
        """After an error: give the followed files, such as the system's log, a moment to show its cause."""
        deadline = time.monotonic() + self._linger
        while time.monotonic() < deadline:
            time.sleep(LINGER / 5)
            self.tick()

    def close(self) -> None:
        """Write all lines that are still held, and close the log."""
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
    """Have a server log each statement that takes `seconds` or longer to `path`, with its query plan.

    The file is started afresh. Sessions that are open already are not affected.
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
    """Copy a log for publication: printable, and of more than `limit` bytes only the beginning and the end.

    A log that does not exist, or has no line with the `needle`, is not published.
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

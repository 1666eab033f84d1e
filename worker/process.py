# SPDX-License-Identifier: Apache-2.0
"""The worker as a process: pid file, running in the background, signals, and orphans."""

import contextlib
import ctypes
import fcntl
import json
import os
import select
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import daemon
import psutil

from worker.errors import UsageError

_LONGEST_REASON = 4000  # bytes: less than a pipe takes in one write

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


class PidFile:
    """A file with the process's id, which is locked while the process lives."""

    def __init__(self, path: Path) -> None:
        """Lock the file; raises UsageError if another process has it."""
        self.path = path
        while True:
            try:
                self.file = open(path, "a+", encoding="ascii")  # noqa: SIM115 - stays open, and so locked
            except OSError as error:
                raise UsageError(f"-p: {path} cannot be written ({error.strerror}); use another path") from error
            try:
                fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                self.file.seek(0)
                owner = self.file.read(20).strip() or "unknown"
                self.file.close()
                raise UsageError(f"-p: {path} belongs to process {owner}, which runs; stop that first") from None
            if self._is_still_there():
                return
            self.file.close()

    def _is_still_there(self) -> bool:
        # its previous owner may have removed the file after it was opened here and before it was locked
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self.file.fileno()))
        except FileNotFoundError:
            return False

    def write(self) -> None:
        """Write this process's id."""
        self.file.truncate(0)
        self.file.write(f"{os.getpid()}\n")
        self.file.flush()

    def remove(self) -> None:
        """Remove the file and give up the lock."""
        self.path.unlink(missing_ok=True)
        self.file.close()


class Starter:
    """The process that ran `th-worker -b`. It waits for the outcome of the start, prints it, and exits."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def report(self, status: int = 0, reason: str = "") -> None:
        """Send the outcome of the start: the exit status, and what to print on stderr. Only the first call counts."""
        if self._handle >= 0:
            with contextlib.suppress(OSError):  # that process was killed
                os.write(self._handle, json.dumps([status, reason[:_LONGEST_REASON]]).encode())
            os.close(self._handle)
            self._handle = -1


def go_to_background(keep_open: Sequence[Any]) -> Starter:
    """Continue in a process with its own session and without a terminal; the calling process waits for the outcome."""
    report, handle = os.pipe()
    if os.fork():
        os.close(handle)
        # not sys.exit, which would clean up resources that now belong to the child process
        os._exit(_wait_for_start(report))
    os.close(report)
    keep = [*keep_open, handle]
    daemon.DaemonContext(detach_process=True, umask=0o022, files_preserve=keep, signal_map={}).open()
    return Starter(handle)


def _wait_for_start(handle: int) -> int:
    text = b""
    while block := os.read(handle, 65536):
        text += block
    try:
        status, reason = json.loads(text)
    except ValueError:
        status, reason = 1, "th-worker: it ended before it was up: see debug_log"
    if reason:
        print(reason, file=sys.stderr, flush=True)
    return int(status)


def adopt_orphans() -> None:
    """Become the parent of orphaned descendants, so that no process of a job is reparented to init."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class OrphanReaper:
    """Reaps dead children that no code waits for: adopted orphans of a job's processes."""

    def __init__(self) -> None:
        self._dead: set[psutil.Process] = set()

    def reap(self) -> None:
        """Reap the children that were already dead at the last call.

        Do not call it too often, so that code that waits for its own child gets the exit status first.
        """
        dead = set(filter(_is_dead, psutil.Process().children()))
        for child in dead & self._dead:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child.pid, os.WNOHANG)
        self._dead = dead


def _is_dead(child: psutil.Process) -> bool:
    try:
        return child.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Signals:
    """Turns SIGTERM and SIGINT into a flag (`stop`); a second one ends the process at once.

    For the service, also SIGUSR1 (`drain`) and SIGHUP (`take_reload`).
    """

    def __init__(self, service: bool = False) -> None:
        self.stop = self.drain = False
        self._reload = False
        self._wake_read, wake_write = os.pipe()
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)
        if service:
            signal.signal(signal.SIGUSR1, self._drain)
            signal.signal(signal.SIGHUP, self._hang_up)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self.stop:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.stop = True

    def _drain(self, *_: object) -> None:
        self.drain = True

    def _hang_up(self, *_: object) -> None:
        self._reload = True

    def take_reload(self) -> bool:
        """Whether SIGHUP was received since the last call."""
        came, self._reload = self._reload, False
        return came

    def wait(self, seconds: float) -> None:
        """Wait for a signal, at most this many seconds."""
        if not self.stop and select.select([self._wake_read], [], [], seconds)[0]:
            os.read(self._wake_read, 4096)

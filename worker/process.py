# SPDX-License-Identifier: Apache-2.0
"""What the worker is as a process: pid file, background, signals, orphans."""

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

_LONGEST_REASON = 4000  # of what fits into a pipe at once

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


class PidFile:
    """A file with the process's number, locked as long as the process lives."""

    def __init__(self, path: Path) -> None:
        """Lock it; UsageError when another process has it."""
        self.path = path
        while True:
            try:
                self.file = open(path, "a+", encoding="ascii")  # noqa: SIM115 - open, and so locked, to the end
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
        # Its last owner may have removed it between our opening and locking it.
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self.file.fileno()))
        except FileNotFoundError:
            return False

    def write(self) -> None:
        """Write this process's number."""
        self.file.truncate(0)
        self.file.write(f"{os.getpid()}\n")
        self.file.flush()

    def remove(self) -> None:
        """Remove the file and give up the lock."""
        self.path.unlink(missing_ok=True)
        self.file.close()


class Starter:
    """The process that has called `th-worker -b`: it ends when it has heard how the start went, and says that."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def tell(self, status: int = 0, reason: str = "") -> None:
        """How the start went: the exit status, and what to print on stderr. Only the first time counts."""
        if self._handle >= 0:
            with contextlib.suppress(OSError):  # it was killed meanwhile
                os.write(self._handle, json.dumps([status, reason[:_LONGEST_REASON]]).encode())
            os.close(self._handle)
            self._handle = -1


def go_to_background(keep_open: Sequence[Any]) -> Starter:
    """Go on in a process of its own session, without a terminal. The process that has called waits for the Starter."""
    report, handle = os.pipe()
    if os.fork():
        os.close(handle)
        # not sys.exit: what is open here is the other process's to close
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
    """Become the parent of processes whose own parent dies, so that nothing of a job escapes to init."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Orphans:
    """The dead among our children that no code waits for: those of processes that a job has left behind."""

    def __init__(self) -> None:
        self._dead: set[psutil.Process] = set()

    def reap(self) -> None:
        """Take those out of the process table that were dead already at the last call.

        Code that starts a child waits for it: call this rarely enough, and none is taken from it.
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
    """SIGTERM and SIGINT as a flag (`stop`); the second one ends the process at once.

    For the service also SIGUSR1 (`drain`), and SIGHUP (`take_reload`).
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
        """Whether SIGHUP has come since the last call."""
        came, self._reload = self._reload, False
        return came

    def wait(self, seconds: float) -> None:
        """Wait until a signal has come, at most so long."""
        if not self.stop and select.select([self._wake_read], [], [], seconds)[0]:
            os.read(self._wake_read, 4096)

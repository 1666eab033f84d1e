# SPDX-License-Identifier: Apache-2.0
"""What the worker is as a process: pid file, background, signals, orphans."""

import ctypes
import fcntl
import os
import select
import signal
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import IO

import daemon

from worker.errors import UsageError

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


def go_to_background(keep_open: Sequence[IO[str]]) -> None:
    """Go on in a process of its own session, without a terminal; the process that called ends with status 0."""
    daemon.DaemonContext(detach_process=True, umask=0o022, files_preserve=list(keep_open), signal_map={}).open()


def adopt_orphans() -> None:
    """Become the parent of processes whose own parent dies, so that nothing of a job escapes to init."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap_orphans() -> None:
    """Take the dead orphans out of the process table. Only while no job runs: jobs wait for their own processes."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


class Signals:
    """SIGTERM and SIGINT as a flag. The second one ends the process at once."""

    def __init__(self) -> None:
        self.stop = False
        self._wake_read, wake_write = os.pipe()
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self.stop:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.stop = True

    def wait(self, seconds: float) -> None:
        """Wait until a signal has come, at most so long."""
        if not self.stop:
            select.select([self._wake_read], [], [], seconds)


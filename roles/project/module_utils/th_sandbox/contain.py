# SPDX-License-Identifier: Apache-2.0
"""Running untrusted code in its box, with a clean environment and a capped log, and with no process left afterwards.

Every process that a contained command starts, however it detaches itself, is reparented to the process that used
`Contained` (a child subreaper, prctl(2)), which kills all its new descendants when the command is over.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Self

import psutil
from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_core.text import printable
from ansible.module_utils.th_sandbox.box import Box, BoxedCommand
from ansible.module_utils.th_sandbox.capped_log import CappedLog
from ansible.module_utils.th_sandbox.descendants import KILL_PATIENCE, become_subreaper, kill_descendants, reap
from ansible.module_utils.th_sandbox.limits import QUOTA, Exceeded, limit_in_output, limit_of_signal
from ansible.module_utils.th_sandbox.watch import LimitWatch

PR_SET_PDEATHSIG = 1  # prctl(2)
LINE_LIMIT = 8192
LAST_LINES = 40
"""So many of the last lines of a failed command are searched for the reason."""
WORDS_LIMIT = 4000
"""So many characters of such a line are searched: messages about a limit are short."""
FULL = 32 << 20
"""A disk with no more free bytes than this is full."""

_libc = ctypes.CDLL(None, use_errno=True)


def base_environment(
    home: Path | str, extra: Mapping[str, str] | None = None, passed: Iterable[str] = ()
) -> dict[str, str]:
    """The environment of a contained command: a fixed list, the `passed` variables of this process, and `extra`."""
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONUNBUFFERED": "1",
    }
    environment.update({name: os.environ[name] for name in passed if name in os.environ})
    environment.update(extra or {})
    return environment


@dataclass(frozen=True)
class CommandResult:
    """How a command ended: `exit` status (negative: signal; None: timed out), seconds, its last lines, and the limit
    that it was killed for, or that most likely made it fail."""

    exit: int | None
    timed_out: bool
    seconds: float
    tail: tuple[str, ...]
    exceeded: Exceeded | None = None


def signal_name(number: int) -> str:
    """The name of a signal."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class Contained:
    """One contained command. Use as a context manager: on leaving it, every descendant process is gone.

    `on_line` is called with each line of output (stdout and stderr together), printable and at most
    `LINE_LIMIT` characters, from a reading thread. `pass_fds` stay open in the command.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        cwd: Path | str,
        env: Mapping[str, str],
        box: Box,
        on_line: Callable[[str], None],
        pass_fds: Sequence[int] = (),
    ) -> None:
        self._argv = [str(word) for word in argv]
        self._cwd = cwd
        self._box = box
        self._boxed: BoxedCommand | None = None
        self._env = dict(env)
        self._on_line = on_line
        self._pass_fds = tuple(pass_fds)
        self.tail: deque[str] = deque(maxlen=200)
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._previous: dict[int, Any] = {}
        self._before: list[psutil.Process] = []
        self._watch: LimitWatch | None = None
        self._status: int | None = None

    def __enter__(self) -> Self:
        become_subreaper()
        self._before = psutil.Process().children(recursive=True)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            self._previous[number] = signal.signal(number, _leave)
        parent = os.getpid()

        exempt = frozenset(process.pid for process in self._before)
        watch = self._watch = LimitWatch(self._box, exempt, lambda: kill_descendants(self._before))

        def in_child() -> None:
            watch.in_child()
            _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(127)

        try:
            watch.__enter__()
            self._boxed = self._box.around(self._argv, self._cwd)
            self._process = subprocess.Popen(
                self._boxed.argv,
                cwd=self._boxed.cwd,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(*self._pass_fds, *self._boxed.handles),
                preexec_fn=in_child,
            )
        except BaseException:
            self._close()
            raise
        self._boxed.started()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        kill_descendants(self._before)
        self.process.wait()
        reap(self._before)
        assert self._reader is not None
        self._reader.join(KILL_PATIENCE)
        self._close()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The command's own process, or that of its box."""
        assert self._process is not None
        return self._process

    def wait(self, time_limit: float | None = None) -> int:
        """Wait for the command's exit status, negative if a signal has killed it.

        Raises subprocess.TimeoutExpired after `time_limit` seconds, and StepError if the box could not be made.
        """
        status = self.process.wait(time_limit)
        assert self._boxed is not None
        if status == 1 and not self._boxed.made():
            raise StepError("sandbox_unavailable", f"The box cannot be made: {self.last_line(KILL_PATIENCE)}.")
        self._status = self._boxed.exit_status(status)
        return self._status

    def exceeded(self) -> Exceeded | None:
        """The limit that the command has exceeded so far, if any."""
        assert self._watch is not None
        return self._watch.exceeded() or limit_of_signal(self._box.settings.limits, self._status)

    def limit_behind_failure(self, *words: str) -> Exceeded | None:
        """The limit that a failed command has exceeded, or that its last lines or `words` mention."""
        if found := self.exceeded():
            return found
        lines = [line[:WORDS_LIMIT] for line in (*tuple(self.tail)[-LAST_LINES:], *words)]
        found = limit_in_output(self._box.settings.limits, lines)
        if found is None or self._watch is None or self._watch.counts(found.limit):
            return None
        return found if found.limit != "tmp" else self._full()

    def _full(self) -> Exceeded | None:
        """Whether the folders in memory or the disk quota are full; None if it is the machine's disk."""
        usage = [shutil.disk_usage(path) for path in (*self._box.writable, *self._box.shared) if path.exists()]
        full = [one for one in usage if one.free <= FULL]
        if full and self._box.settings.disk_quota:
            return Exceeded(QUOTA, full[0].total)
        return self._box.settings.limits.exceeded("tmp") if self._box.memory_folders and not full else None

    def last_line(self, patience: float) -> str:
        """The last line that is not empty, once the output has ended or `patience` seconds have passed; "" for none."""
        if self._reader is not None:
            self._reader.join(patience)
        return next((line.strip() for line in reversed(tuple(self.tail)) if line.strip()), "")

    def _read(self) -> None:
        assert self.process.stdout is not None
        rest = b""
        while chunk := os.read(self.process.stdout.fileno(), 65536):
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > LINE_LIMIT:
                lines.append(rest)
                rest = b""
            for line in lines:
                self._take(line)
        if rest:
            self._take(rest)
        self.process.stdout.close()

    def _take(self, raw: bytes) -> None:
        text = printable(raw[:LINE_LIMIT].decode("utf-8", "replace").rstrip("\r"))
        self.tail.append(text)
        self._on_line(text)

    def _close(self) -> None:
        if self._watch is not None:
            self._watch.__exit__()
        if self._boxed is not None:
            self._boxed.close()
        for number, handler in self._previous.items():
            signal.signal(number, handler)


def run_contained(
    argv: Sequence[str],
    *,
    cwd: Path | str,
    env: Mapping[str, str],
    box: Box,
    log: CappedLog,
    time_limit: float,
    pass_fds: Sequence[int] = (),
) -> CommandResult:
    """Run a command until it ends or `time_limit` seconds have passed; afterwards none of its processes is left.

    Raises OSError when the command cannot be started at all, StepError when its box cannot be made.
    """
    begun = time.monotonic()
    timed_out = False
    with Contained(argv, cwd=cwd, env=env, box=box, on_line=log.line, pass_fds=pass_fds) as contained:
        try:
            exit_status: int | None = contained.wait(time_limit)
        except subprocess.TimeoutExpired:
            timed_out, exit_status = True, None
    exceeded = contained.limit_behind_failure() if exit_status else contained.exceeded()
    return CommandResult(exit_status, timed_out, time.monotonic() - begun, tuple(contained.tail), exceeded)


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)

# SPDX-License-Identifier: Apache-2.0
"""One git process and its helpers, ended when it takes too long, says too much, or writes too much."""

from __future__ import annotations

import os
import resource
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

OUTPUT_LIMIT = 128 * 1024 * 1024
"""Bytes of a command's output; a tree can name a million files in a kilobyte."""
ERRORS_LIMIT = 256 * 1024
"""Bytes that are kept of what a command and the server say beside; the rest of it is dropped."""

_CHUNK = 1 << 16
_LOOK = 0.5  # seconds between two looks at how much there is on the disk
_NEARLY = 0.8  # the kernel counts by ticks what it ends a process for
_SHARE = 10  # of the time, at most this part is spent on looking


@dataclass(frozen=True)
class Limits:
    """How much may come of a repository that nobody has merged: files of a commit, bytes on the disk, bytes of memory.

    The first two are for all of `folder`; the memory, and the seconds of processor time, are each process's.
    """

    folder: Path
    files: int
    bytes: int
    memory: int
    cpu: int = 120


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit status (None: at its time limit), output, and why it was ended before ("" if not)."""

    exit: int | None
    output: bytes
    errors: bytes
    over: str = ""


def run_git(
    words: Sequence[str],
    *,
    cwd: Path | None,
    environment: Mapping[str, str],
    given: bytes | None,
    time_limit: float,
    limits: Limits | None,
    output_limit: int = OUTPUT_LIMIT,
) -> Ended:
    """Run git to its end, or to the first of its limits; then all that it has started is ended."""
    begun = _processor_time()
    with tempfile.TemporaryFile() as told:
        if given is not None:
            told.write(given)
            told.seek(0)
        command = ["git", *words]
        process = subprocess.Popen(
            [*_prlimit(limits), *command] if limits else command,
            cwd=cwd,
            env=environment,
            stdin=told,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            # Python ignores SIGXFSZ, and git is to inherit that: then it says "File too large". SIGPIPE, which Python
            # ignores as well, is what git resets by itself.
            restore_signals=not limits,
        )
    try:
        ended = _follow(process, time_limit, limits, output_limit)
    except BaseException:
        _kill(process)
        raise
    finally:
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
    if limits and ended.exit != 0 and not ended.over and _processor_time() - begun > _NEARLY * limits.cpu:
        return replace(ended, over=f"more than {limits.cpu:,} s of processor time (checkout_cpu_limit)")
    return ended


def _processor_time() -> float:
    """The processor time of all processes that this one, and those below it, have started and waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _prlimit(limits: Limits) -> list[str]:
    """The command that git is started by, with its soft limits; a function to call in the child would cost a fork."""
    bounds = (
        ("fsize", resource.RLIMIT_FSIZE, limits.bytes),
        ("data", resource.RLIMIT_DATA, limits.memory),
        ("cpu", resource.RLIMIT_CPU, limits.cpu),
    )
    words = ["/usr/bin/prlimit"]
    for name, kind, most in bounds:
        _, hard = resource.getrlimit(kind)
        words.append(f"--{name}={most if hard == resource.RLIM_INFINITY else min(most, hard)}:")
    return [*words, "--"]


def _follow(
    process: subprocess.Popen[bytes], time_limit: float, limits: Limits | None, output_limit: int
) -> Ended:
    assert process.stdout is not None and process.stderr is not None
    output, errors = bytearray(), bytearray()
    deadline = time.monotonic() + time_limit
    look_at = time.monotonic() + _LOOK
    over = ""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ, output)
        selector.register(process.stderr, selectors.EVENT_READ, errors)
        while selector.get_map() and not over:
            now = time.monotonic()
            if now >= deadline:
                _kill(process)
                return Ended(None, bytes(output), bytes(errors))
            for key, _ in selector.select(min(deadline - now, _LOOK)):
                chunk = os.read(key.fd, _CHUNK)
                if not chunk:
                    selector.unregister(key.fileobj)
                elif key.data is output or len(errors) < ERRORS_LIMIT:
                    key.data.extend(chunk)
            if len(output) > output_limit:
                over = f"more than {output_limit:,} bytes of output"
            elif limits and time.monotonic() >= look_at:
                begun = time.monotonic()
                over = too_much(limits)
                look_at = time.monotonic() + max(_LOOK, _SHARE * (time.monotonic() - begun))
    if over:
        _kill(process)
        return Ended(None, bytes(output), bytes(errors), over)
    try:
        process.wait(max(deadline - time.monotonic(), 0.1))
    except subprocess.TimeoutExpired:
        _kill(process)
        return Ended(None, bytes(output), bytes(errors))
    return Ended(process.returncode, bytes(output), bytes(errors))


def too_much(limits: Limits) -> str:
    """What there is more of in the folder than it may hold; "" when it is fine."""
    size = count = 0
    folders = [str(limits.folder)]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    count += 1
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        size += entry.stat(follow_symlinks=False).st_blocks * 512
        except OSError:
            continue  # gone again
        if size > limits.bytes:
            return f"more than {limits.bytes:,} bytes (checkout_bytes_limit)"
        if count > 2 * limits.files:  # git has files of its own
            return f"more than {limits.files:,} files (checkout_files_limit)"
    return ""


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the command with all of its session."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()

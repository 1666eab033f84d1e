# SPDX-License-Identifier: Apache-2.0
"""One git process and its helpers, killed when it takes too long, prints too much, or writes too much."""

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
"""Maximum bytes of a command's output; a tree object of a kilobyte can list a million files."""
ERRORS_LIMIT = 256 * 1024
"""Bytes of stderr that are kept, the server's messages among them; the rest is dropped."""

_CHUNK = 1 << 16
_LOOK = 0.5  # seconds between two measurements of the folder
_NEARLY = 0.8  # of the limit: the kernel counts processor time in ticks when it enforces one
_SHARE = 10  # measuring may take one part of the time in so many


@dataclass(frozen=True)
class GitLimits:
    """What unmerged code may use of git: files in a commit, bytes on disk, bytes of memory, seconds of processor time.

    Files and bytes on disk are limited for all of `folder`; memory and processor time for each process.
    """

    folder: Path
    files: int
    bytes: int
    memory: int
    cpu: int = 120


@dataclass(frozen=True)
class GitResult:
    """How a command result: exit status (None: it was killed), output, and which limit it exceeded ("" for none or the
    time limit)."""

    exit: int | None
    output: bytes
    errors: bytes
    over: str = ""


def run_git(
    words: Sequence[str],
    *,
    cwd: Path | None,
    environment: Mapping[str, str],
    stdin: bytes | None,
    time_limit: float,
    limits: GitLimits | None,
    output_limit: int = OUTPUT_LIMIT,
) -> GitResult:
    """Run git until it ends or exceeds a limit; then kill its remaining processes."""
    begun = _processor_time()
    with tempfile.TemporaryFile() as stdin_file:
        if stdin is not None:
            stdin_file.write(stdin)
            stdin_file.seek(0)
        command = ["git", *words]
        process = subprocess.Popen(
            [*_prlimit(limits), *command] if limits else command,
            cwd=cwd,
            env=environment,
            stdin=stdin_file,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            # Python ignores SIGXFSZ, and git has to inherit that, so that it reports "File too large". SIGPIPE, which
            # Python ignores as well, is reset by git itself.
            restore_signals=not limits,
        )
    try:
        result = _follow(process, time_limit, limits, output_limit)
    except BaseException:
        _kill(process)
        raise
    finally:
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
    if limits and result.exit != 0 and not result.over and _processor_time() - begun > _NEARLY * limits.cpu:
        return replace(result, over=f"more than {limits.cpu:,} s of processor time (checkout_cpu_limit)")
    return result


def _processor_time() -> float:
    """The processor time of all descendants that were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _prlimit(limits: GitLimits) -> list[str]:
    """The prlimit command, which starts git with soft limits; Python's preexec_fn would cost a fork."""
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
    process: subprocess.Popen[bytes], time_limit: float, limits: GitLimits | None, output_limit: int
) -> GitResult:
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
                return GitResult(None, bytes(output), bytes(errors))
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
                over = _exceeded(limits)
                look_at = time.monotonic() + max(_LOOK, _SHARE * (time.monotonic() - begun))
    if over:
        _kill(process)
        return GitResult(None, bytes(output), bytes(errors), over)
    try:
        process.wait(max(deadline - time.monotonic(), 0.1))
    except subprocess.TimeoutExpired:
        _kill(process)
        return GitResult(None, bytes(output), bytes(errors))
    return GitResult(process.returncode, bytes(output), bytes(errors))


def _exceeded(limits: GitLimits) -> str:
    """Which limit the folder exceeds; "" for none."""
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
            continue  # removed in the meantime
        if size > limits.bytes:
            return f"more than {limits.bytes:,} bytes (checkout_bytes_limit)"
        if count > 2 * limits.files:  # git has files of its own
            return f"more than {limits.files:,} files (checkout_files_limit)"
    return ""


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill all processes of the command's session."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()

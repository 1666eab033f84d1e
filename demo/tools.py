# SPDX-License-Identifier: Apache-2.0
"""What every part of the demo uses: running a command, and keeping what was built."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

Say = Callable[[str], None]
"""Takes one short line about what is being done now."""


class DemoError(Exception):
    """The demo cannot go on; the text is one line for a person."""


def run(
    command: Sequence[str | Path],
    *,
    data: bytes | None = None,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = 600,
) -> bytes:
    """Run a command to its end and return what it printed.

    ``environment`` is added to ours. DemoError with the command's last words when it fails, is missing,
    or takes longer than ``timeout`` seconds.
    """
    name = " ".join(str(word) for word in command[:3])
    try:
        done = subprocess.run(
            [str(word) for word in command],
            input=data if data is not None else b"",
            capture_output=True,
            env={**os.environ, **(environment or {})},
            cwd=cwd,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError:
        raise DemoError(f"{command[0]} is not installed: `make host` installs what the demo needs") from None
    except subprocess.TimeoutExpired:
        raise DemoError(f"{name}: not done after {timeout:g} s") from None
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip().splitlines() or ["(no message)"]
        errors = [line for line in words if "error" in line.lower()]
        raise DemoError(f"{name}: {(errors or words)[-1].strip()} (exit status {done.returncode})")
    return done.stdout


def key_of(*parts: str | bytes) -> str:
    """Name for what is built from these inputs: other inputs, another name."""
    digest = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        digest.update(b"%d:" % len(raw) + raw)
    return digest.hexdigest()


@contextmanager
def built(folder: Path, key: str) -> Iterator[Path | None]:
    """Build ``folder`` once for ``key``: yields an empty folder to fill, or None when it is there already.

    What was filled gets its name by a rename at the end, so a folder is whole or absent.
    """
    mark = folder / ".key"
    if mark.is_file() and mark.read_text() == key:
        yield None
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield fresh
        (fresh / ".key").write_text(key)
        fresh.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


@contextmanager
def alone(work: Path) -> Iterator[None]:
    """Make the work folder and keep others out of it while the block runs; DemoError when one is in there."""
    try:
        work.mkdir(parents=True, exist_ok=True)
        lock = (work / ".lock").open("w")
    except OSError as error:
        raise DemoError(f"--work {work}: {error.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DemoError(f"something else runs in {work}: wait for it, or use another --work") from None
        yield


def gearmand() -> str:
    """The program of the Gearman server in C, which Debian puts where users do not look."""
    found = shutil.which("gearmand", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise DemoError("gearmand is not installed: `make host-development` installs what benchmarks need")
    return found


def listens(port: int) -> bool:
    """Whether somebody listens on a TCP port of the loopback address."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    """Return a TCP port of the loopback address that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

# SPDX-License-Identifier: Apache-2.0
"""The folders of environments that are kept for later jobs."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ansible.module_utils.th_remove import remove
from ansible.module_utils.th_step import StepError

FRESH = 24 * 3600
"""Seconds after its last use for which an environment is never removed: a job may still be in it."""


@contextmanager
def locked_folder(path: Path) -> Iterator[Path]:
    """Make a folder and hold it for oneself; other processes wait, or leave it when it is to be removed."""
    while True:
        path.mkdir(mode=0o700, exist_ok=True)
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            try:
                same = os.path.samestat(os.fstat(handle), path.stat())
            except FileNotFoundError:
                same = False
            if same:  # else it was removed while we waited
                yield path
                return
        finally:
            os.close(handle)


def prune(root: Path, keep: int) -> None:
    """Remove the environments that were not used for the longest time, beyond `keep`; never fresh or held ones."""

    def used(path: Path) -> float:
        complete = path / "complete.json"
        return (complete if complete.is_file() else path).stat().st_mtime

    folders = [path for path in root.iterdir() if path.is_dir() and not path.is_symlink()]
    left_over = [path for path in folders if path.name.startswith(".removed-")]
    kept = sorted((path for path in folders if path not in left_over), key=used, reverse=True)
    for path in kept[keep:]:
        if time.time() - used(path) < FRESH:
            continue
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            removed = root / f".removed-{path.name}-{os.getpid()}"
            path.rename(removed)
            left_over.append(removed)
        except BlockingIOError:
            continue
        finally:
            os.close(handle)
    for path in left_over:
        with suppress(StepError):  # the next job tries again
            remove(path)

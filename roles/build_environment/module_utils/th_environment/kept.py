# SPDX-License-Identifier: Apache-2.0
"""The folders of environments that are kept for later jobs.

An environment cannot be moved, because its scripts name the folder that it was created in. So each is built in its
final folder, ``<key>.<random>``, and others find it once `complete.json` exists, which is written last and atomically.
No lock is held during the build, which takes several tasks that are separate processes. Instead, the folder's
`claim.json` names the run of Ansible that builds it. Others wait until there is a `complete.json`, that run has ended,
or the time limit of a build has passed; then one of them builds the environment in another folder. So nobody waits for
a run that was killed. An expired claim can lead to two builds of the same environment: both are complete, and one is
found. Finding and claiming are one step under a lock on the folder of all environments, and so is removing.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ansible.module_utils.th_core.artifacts import write_json
from ansible.module_utils.th_core.claim import claim, is_claimed, locked, release
from ansible.module_utils.th_core.remove import remove
from ansible.module_utils.th_core.step import StepError

FRESH = 24 * 3600
"""Seconds after its last use for which an environment is never removed: a job may still be in it."""
COMPLETE = "complete.json"
LOOK_SECONDS = 0.2
"""Seconds between two looks whether another run's build has ended."""


def find(root: Path, key: str, time_limit: float) -> tuple[Path, bool]:
    """The folder of the kept environment with this key, and True; or a new folder to build it in, and False.

    Waits while another run builds it, at most for the time limit of a build.
    """
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    while True:
        with locked(root):
            folders = sorted(root.glob(f"{key}.*"))
            for folder in filter(_is_complete, folders):
                os.utime(folder / COMPLETE)
                return folder, True
            if not any(map(_is_claimed, folders)):
                folder = Path(tempfile.mkdtemp(prefix=f"{key}.", dir=root))
                claim(folder, time_limit)
                return folder, False
        time.sleep(LOOK_SECONDS)


def look(root: Path, key: str) -> Path | None:
    """The folder of the kept environment with this key, which is not removed in the next 24 hours; None if there is
    none, or none yet."""
    if not root.is_dir():
        return None
    with locked(root):
        for folder in filter(_is_complete, sorted(root.glob(f"{key}.*"))):
            os.utime(folder / COMPLETE)
            return folder
    return None


def keep(folder: Path, about: Mapping[str, Any]) -> None:
    """Make a finished environment available to others."""
    write_json(folder / COMPLETE, dict(about))
    release(folder)


def abandon(folder: Path) -> None:
    """Remove an environment whose build has failed."""
    release(folder)  # waiting jobs continue at once
    with suppress(StepError):
        remove(folder)


def prune(root: Path, keep: int) -> None:
    """Remove the least recently used environments beyond `keep`, except fresh ones, and unfinished ones that nobody
    builds any more."""

    def used(path: Path) -> float:
        return (path / COMPLETE).stat().st_mtime

    with locked(root):
        folders = [path for path in root.iterdir() if path.is_dir() and not path.is_symlink()]
        left_over = [path for path in folders if path.name.startswith(".removed-")]
        others = [path for path in folders if path not in left_over]
        finished = sorted((path for path in others if (path / COMPLETE).is_file()), key=used, reverse=True)
        gone = [path for path in finished[keep:] if time.time() - used(path) >= FRESH]
        gone += [path for path in others if path not in finished and not _is_claimed(path)]
        for path in gone:
            removed = root / f".removed-{path.name}-{os.getpid()}"
            path.rename(removed)
            left_over.append(removed)
    for path in left_over:
        with suppress(StepError):  # the next job tries again
            remove(path)


def _is_complete(folder: Path) -> bool:
    return (folder / COMPLETE).is_file() and (folder / "venv" / "bin" / "python").exists()


def _is_claimed(folder: Path) -> bool:
    """Whether a live run is building in this folder."""
    return not (folder / COMPLETE).is_file() and is_claimed(folder)

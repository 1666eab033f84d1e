# SPDX-License-Identifier: Apache-2.0
"""The package caches: one of downloaded wheels for all jobs, and one per project for what it builds.

The first is written only by commands during which no code of any project can run, and is not visible in any other box.
Builds of merged code write the cache of their project; a change's build writes one that is removed with the job. uv
cannot read from a cache that it may not write to, so a build downloads into its own cache what the first does not
install for it.

A cache is locked for reading while a command uses it. Pruning takes a whole cache, with a lock for writing, so that
nothing disappears under a build.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ansible.module_utils.th_core.remove import remove
from ansible.module_utils.th_core.step import StepError

DAY = 24 * 3600
PATIENCE = 10.0
"""Seconds to wait for commands that use a cache before it is pruned."""

_BUCKET = re.compile(r"(?!http-)[a-z][a-z-]{0,40}-v\d{1,6}")
"""A folder in uv's cache; that of pip, which an operator may keep in the same folder, is called http-v2."""
_REMOVED = ".removed-"


@dataclass(frozen=True)
class Cache:
    """One cache: its folder, and the file that is locked.

    The times of that file are those of the last use (atime) and of the creation (mtime), both set explicitly.
    """

    folder: Path
    lock: Path
    whole: bool

    @contextmanager
    def held(self) -> Iterator[Path]:
        """The folder, protected from pruning."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_SH)
            os.utime(handle, (time.time(), os.fstat(handle).st_mtime))
            yield self.folder
        finally:
            os.close(handle)

    @property
    def used(self) -> float:
        """When it was last used; 0 for never."""
        return self.lock.stat().st_atime if self.lock.exists() else 0

    @property
    def begun(self) -> float:
        """When its oldest entry may have been written; now for a cache that does not exist."""
        return self.lock.stat().st_mtime if self.lock.exists() else time.time()

    def parts(self) -> list[Path]:
        """The folders that pruning removes."""
        if self.whole:
            return [self.folder] if self.folder.is_dir() else []
        if not self.folder.is_dir():
            return []
        return [path for path in self.folder.iterdir() if _BUCKET.fullmatch(path.name) and not path.is_symlink()]

    def size(self) -> int:
        """Bytes on disk."""
        parts = [str(path) for path in self.parts()]
        if not parts:
            return 0
        done = subprocess.run(["du", "-sx", "-B1", "--", *parts], capture_output=True, text=True, check=False)
        return sum(int(line.split("\t")[0]) for line in done.stdout.splitlines())

    def retire(self, bin_folder: Path) -> bool:
        """Move its contents to `bin_folder`, unless a command still uses it after some seconds."""
        handle = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            until = time.monotonic() + PATIENCE
            while not _locked(handle):
                if time.monotonic() > until:
                    return False
                time.sleep(0.05)
            bin_folder.mkdir(mode=0o700)
            for path in self.parts():
                path.rename(bin_folder / path.name)
            os.utime(handle, (os.fstat(handle).st_atime, time.time()))
        finally:
            os.close(handle)
        return True


@dataclass(frozen=True)
class Caches:
    """All caches below `root`, the folder of ``pip_download_cache``."""

    root: Path

    @property
    def shared(self) -> Cache:
        """The cache of wheels, for commands that cannot run code of a project."""
        return Cache(self.root, self.root / ".shared.lock", whole=False)

    def of_project(self, project: str) -> Cache:
        """The cache for what a project's merged code builds, which no two projects share."""
        readable = re.sub(r"[^A-Za-z0-9_-]+", "-", project)[:60]
        folder = self._projects / f"{readable}-{hashlib.sha256(project.encode()).hexdigest()[:16]}"
        return Cache(folder / "cache", folder / "lock", whole=True)

    @property
    def _projects(self) -> Path:
        return self.root / "projects"

    @property
    def _pruned(self) -> Path:
        return self.root / ".pruned"

    def due(self) -> bool:
        """Whether a day has passed since the caches were last pruned."""
        try:
            return time.time() - self._pruned.stat().st_mtime > DAY
        except FileNotFoundError:
            with suppress(OSError):
                self._pruned.touch()
            return False

    def prune(self, days: float, size: int) -> list[str]:
        """Remove the caches begun more than `days` ago, and, while all are larger than `size` bytes, the one that was
        not used for the longest time; 0 for no limit. Skips a cache in use. Returns the folders."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._pruned.touch()
        caches = [self.shared, *(Cache(path / "cache", path / "lock", whole=True) for path in self._folders())]
        old = [one for one in caches if days and time.time() - one.begun > days * DAY]
        removed = [one for one in old if one.parts() and self._retire(one)]
        if size:
            sizes = {one: one.size() for one in caches if one not in removed}
            for one in sorted(sizes, key=lambda cache: cache.used):
                if sum(sizes.values()) > size and sizes[one] and self._retire(one):
                    removed.append(one)
                    sizes[one] = 0
        for path in self.root.glob(f"{_REMOVED}*"):
            with suppress(StepError):  # it is tried again the next time
                remove(path)
        return [str(one.folder) for one in removed]

    def _retire(self, cache: Cache) -> bool:
        name = f"{_REMOVED}{os.getpid()}-{time.time_ns()}"
        with suppress(OSError):
            return cache.retire(self.root / name)
        return False

    def _folders(self) -> list[Path]:
        if not self._projects.is_dir():
            return []
        return [path for path in self._projects.iterdir() if path.is_dir() and not path.is_symlink()]


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

# SPDX-License-Identifier: Apache-2.0
"""The local copies of projects' branches and tags."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ansible.module_utils.th_git import Git, GitError, mask
from ansible.module_utils.th_names import REF
from ansible.module_utils.th_step import StepError


class Mirror:
    """The local copy of a project's branches and tags, shared by all jobs under a lock.

    It holds what is merged only: a change is never fetched into it.
    """

    def __init__(self, git: Git, folder: Path, project: str, url: str) -> None:
        self.path = folder / f"{project}.git"
        self._git = git
        self._url = mask(url)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the mirror for oneself: while it is brought up to date, and while it is cloned from."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def update(self) -> None:
        """Bring the mirror up to date; an unusable one is made anew. Raises StepError git_unreachable."""
        if (self.path / "HEAD").is_file():
            try:
                self._fetch()
                return
            except GitError as error:
                if error.exit is None or not self._git.answers(self._url):
                    raise unreachable(self._url, error) from None
                # the server is there: then it is the mirror
        self.renew()

    def broken(self) -> bool:
        """Whether an object of the mirror is missing or damaged; reads all of them."""
        try:
            self._git.run("fsck", "--full", "--no-dangling", "--no-progress", cwd=self.path, merged=True)
        except GitError as error:
            return error.exit is not None
        return False

    def renew(self) -> None:
        """Throw the mirror away and make it from nothing. Raises StepError git_unreachable."""
        shutil.rmtree(self.path, ignore_errors=True)
        try:
            self._git.run("init", "--quiet", "--bare", "--", str(self.path), merged=True)
            self._fetch()
        except GitError as error:
            shutil.rmtree(self.path, ignore_errors=True)
            raise unreachable(self._url, error) from None

    def default_branch(self) -> str:
        """The branch that the server's HEAD is; "" when it is none. Raises StepError git_unreachable."""
        words = ("ls-remote", "--quiet", "--symref", "--", self._url, "HEAD")
        try:
            told: str = self._git.remote(self._url, *words, merged=True).decode("utf-8", "replace")
        except GitError as error:
            raise unreachable(self._url, error) from None
        for line in told.splitlines():
            name = line.removeprefix("ref: refs/heads/").removesuffix("\tHEAD")
            if line == f"ref: refs/heads/{name}\tHEAD" and REF.fullmatch(name):
                return name
        return ""

    def main_branch(self) -> str:
        """The branch that the server's HEAD was when it was last asked; it is asked once. "" when it is none."""
        try:
            name: str = self._git.text("config", "--get", "turbohipster.main", cwd=self.path)
        except GitError:
            name = ""
        if not name or self._git.commit(self.path, f"refs/heads/{name}") is None:
            name = self.default_branch()
            if name:
                with self.locked():
                    self._git.run("config", "turbohipster.main", name, cwd=self.path)
        return name

    def _fetch(self) -> None:
        refspecs = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
        options = ("--quiet", "--prune", "--no-tags", "--no-write-fetch-head")
        self._git.remote(self._url, "fetch", *options, "--", self._url, *refspecs, cwd=self.path, merged=True)


def unreachable(url: str, error: GitError) -> StepError:
    """The failure of a git server, or of the way to it."""
    return StepError("git_unreachable", f"{mask(url)} cannot be fetched from: {error.reason}.")

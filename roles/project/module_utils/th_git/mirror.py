# SPDX-License-Identifier: Apache-2.0
"""The local copies of projects' branches and tags."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ansible.module_utils.th_core.names import REF
from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_core.text import mask
from ansible.module_utils.th_git.client import Git, GitError, is_local
from ansible.module_utils.th_git.errors import folder_problem

USUAL = ("master", "main")
"""Branches that count as the default one when HEAD names none."""

_OF_A_REMOTE = re.compile(r"refs/remotes/[^/]+/(.+)")


class Mirror:
    """The local copy of a project's branches and tags, shared by all jobs under a lock.

    It holds merged code only: a change is never fetched into it.
    """

    def __init__(self, git: Git, folder: Path, project: str, url: str) -> None:
        self.path = folder / f"{project}.git"
        self._git = git
        self._url = mask(url)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the mirror exclusively, to update it or to clone from it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def update(self) -> None:
        """Bring the mirror up to date; an unusable one is made again from scratch. Raises StepError."""
        if (self.path / "HEAD").is_file():
            try:
                self._fetch()
                return
            except GitError as error:
                server_error = error if error.exit is None else self._git.server_error(self._url)
                if server_error:
                    raise unreachable(self._git, self._url, server_error) from None
                # the server answers, so the mirror is damaged
        self.renew()

    def broken(self) -> bool:
        """Whether an object of the mirror is missing or damaged; reads all of them."""
        try:
            self._git.run("fsck", "--full", "--no-dangling", "--no-progress", cwd=self.path, merged=True)
        except GitError as error:
            return error.exit is not None
        return False

    def renew(self) -> None:
        """Delete the mirror and make it again from scratch. Raises StepError."""
        shutil.rmtree(self.path, ignore_errors=True)
        try:
            self._git.run("init", "--quiet", "--bare", "--", str(self.path), merged=True)
            self._fetch()
        except GitError as error:
            shutil.rmtree(self.path, ignore_errors=True)
            if error.command == "init":
                detail = f"{self.path} (git_working_dir, th_git_working_dir) cannot be made: {error.reason}."
                raise StepError("playbook_failed", detail) from None
            raise unreachable(self._git, self._url, error) from None

    def default_branch(self) -> str:
        """The branch for a job that names none; "" when there is none. Raises StepError.

        It is the first of: the branch that the server's HEAD names, as its own or as a remote's (Zuul's merger has
        ``refs/remotes/origin/master``); a branch whose tip is the commit of a detached HEAD; ``master`` or ``main``,
        because a server does not reveal the target of a dangling HEAD; the only branch there is.
        """
        words = ("ls-remote", "--quiet", "--symref", "--", self._url, "HEAD", "refs/heads/*")
        try:
            listing: str = self._git.remote(self._url, *words, merged=True).decode("utf-8", "replace")
        except GitError as error:
            raise unreachable(self._git, self._url, error) from None
        heads: dict[str, str] = {}
        named = commit = ""
        for line in listing.splitlines():
            value, _, ref = line.partition("\t")
            branch = ref.removeprefix("refs/heads/")
            if ref == "HEAD" and value.startswith("ref: "):
                named = value.removeprefix("ref: ")
            elif ref == "HEAD":
                commit = value
            elif branch != ref and REF.fullmatch(branch):
                heads[branch] = value
        return _default_of(heads, named, commit)

    def main_branch(self) -> str:
        """The default branch, as the server had it when it was first asked; "" when there is none."""
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


def _default_of(heads: Mapping[str, str], named: str, commit: str) -> str:
    """The default branch of a repository with these branches and their tips; `named` is the ref that HEAD names."""
    wanted = [named.removeprefix("refs/heads/")] if named.startswith("refs/heads/") else []
    if remote := _OF_A_REMOTE.fullmatch(named):
        wanted += [remote[1], named.removeprefix("refs/remotes/")]
    usual = [name for name in USUAL if name in heads]
    at_detached_head = [name for name in (*usual, *sorted(heads)) if commit and heads[name] == commit]
    only = list(heads) if len(heads) == 1 else []
    return next((name for name in (*wanted, *at_detached_head, *usual, *only) if name in heads), "")


def unreachable(git: Git, url: str, error: GitError) -> StepError:
    """The failure of a git server or the way to it: a transient one (``git_unreachable``) or not (``git_refused``)."""
    shown = mask(url)
    if error.transient:
        return StepError("git_unreachable", f"{shown} cannot be fetched from: {error.reason}.")
    problem = folder_problem(shown) if is_local(shown) else ""
    problem = f" ({problem})" if problem else ""
    configured, *origin = dict.fromkeys(mask(base).rstrip("/") for base in git.bases)
    if not origin:
        key = "zuul_server: git_url or, where that is not set, the address that Zuul gives (zuul_url of its merger)"
    elif max((configured, *origin), key=lambda base: len(base) if shown.startswith(f"{base}/") else 0) != configured:
        key = "zuul_server: git_url"
    else:
        key = "the address that Zuul gives (zuul_url of its merger)"
    return StepError("git_refused", f"{shown} cannot be fetched from: {error.reason}{problem}; see {key}.")

# SPDX-License-Identifier: Apache-2.0
"""How the commits of a repository relate to each other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_core.text import printable
from ansible.module_utils.th_git.client import Git, GitError
from ansible.module_utils.th_git.files import conflicts

CONFLICTS_SHOWN = 10
DETAIL_LIMIT = 1000


class History:
    """The history of a repository, with the branches of its origin."""

    def __init__(self, git: Git, src: Path) -> None:
        self._git = git
        self._src = src

    def contains(self, descendant: str, ancestor: str) -> bool:
        """Whether a commit is another one or builds on it."""
        try:
            self._git.run("merge-base", "--is-ancestor", ancestor, descendant, cwd=self._src)
        except GitError as error:
            if error.exit == 1:
                return False
            raise
        return True

    def merge_base(self, one: str, other: str) -> str | None:
        """The merge base of two commits; None when they have no history in common."""
        try:
            return str(self._git.text("merge-base", one, other, cwd=self._src))
        except GitError as error:
            if error.exit == 1:
                return None
            raise

    def refuse_conflicts(self, commit: str, tip: str, base: str | None, branch: str) -> None:
        """Raise StepError ``merge_conflict`` for a change that cannot be merged into its branch.

        `base` is its merge base with the branch's `tip`.
        """
        if base in (commit, tip):
            return
        if base is None:
            raise StepError("merge_conflict", f"The change and {branch} have no history in common.")
        files = [printable(path) for path in conflicts(self._git, self._src, tip, commit)]
        if files:
            more = f" and {len(files) - CONFLICTS_SHOWN} more" if len(files) > CONFLICTS_SHOWN else ""
            detail = f"The change cannot be merged into {branch}: {', '.join(files[:CONFLICTS_SHOWN])}{more}"
            raise StepError("merge_conflict", f"{detail[:DETAIL_LIMIT]}: rebase it.", file=files[0][:DETAIL_LIMIT])

    def later_than(self, target: str | None, main: str) -> Callable[[str], bool]:
        """A function that tells whether a release's commit comes after a target branch that is none of the releases.

        They are compared by where they forked from the branch `main`; no release is later than `main` itself.
        """
        trunk = self._git.commit(self._src, f"refs/remotes/origin/{main}") if main else None
        fork = self.merge_base(target, trunk) if trunk and target and target != trunk else None

        def later(release: str) -> bool:
            other = self.merge_base(release, trunk) if fork and trunk else None
            return bool(fork and other) and not self.contains(str(fork), str(other))

        return later

# SPDX-License-Identifier: Apache-2.0
"""What a build reads from the project's mirror: commits of merged code, and the files in them.

It runs git, so it must not be used after code of a project has run.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_environment.requirements import file_in
from ansible.module_utils.th_git.client import Git, GitError, RetryPolicy, join_url
from ansible.module_utils.th_git.files import file
from ansible.module_utils.th_git.mirror import Mirror
from ansible.module_utils.th_git.submodules import check_out_submodules
from ansible.module_utils.th_sandbox.capped_log import CappedLog


@dataclass(frozen=True)
class MergedCode:
    """A project's merged code. `url` is the job's address, `origin` that of branches and tags if it differs."""

    project: str
    url: str
    origin: str
    mirrors_dir: Path
    log: CappedLog

    def has(self, names: Iterable[str], root: Path, commit: str, folder: str) -> bool:
        """Whether files of a checkout are the same in `commit`; `folder` is the path of `root` there."""
        names = list(names)
        if not names:
            return True
        git, mirror, _ = self._repository()
        with mirror.locked():
            for name in names:
                path = file_in(root, name)
                try:
                    there = os.path.normpath(os.path.join(folder, name))
                    merged = file(git, mirror.path, commit, there) if commit else None
                except GitError:
                    return False
                if path is None or merged != path.read_bytes():
                    return False
        return True

    def check_out(self, src: Path, commit: str) -> None:
        """Check a commit out with its submodules. The mirror is locked while it is read. Raises StepError."""
        git, mirror, address = self._repository()
        try:
            with mirror.locked():
                git.clone_mirror(mirror.path, src, address)
            git.checkout(src, commit)
            check_out_submodules(git, src, [commit])
        except GitError as error:
            code = "playbook_failed" if error.machine_fault else "checkout_failed"
            raise StepError(code, f"{commit} cannot be checked out: {error}.") from None

    def _repository(self) -> tuple[Git, Mirror, str]:
        """The project's mirror, and the address that it mirrors."""
        base = self.origin or self.url
        git = Git(self.log, (self.url, base), RetryPolicy())
        address = join_url(base, self.project)
        return git, Mirror(git, self.mirrors_dir, self.project, address), address

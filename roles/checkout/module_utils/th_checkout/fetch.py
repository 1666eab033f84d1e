# SPDX-License-Identifier: Apache-2.0
"""Fetching a change into the job's folder, and checking it out with its submodules.

Each step locks the project's mirror while it reads or writes there, and not in between: the mirror contains merged
commits only and either grows or is created from scratch, and a clone shares no file with it. So changes to the mirror
between two steps of a job do not matter. A step that finds an object missing or damaged has the mirror created from
scratch, and the earlier steps repeated.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ansible.module_utils.th_checkout.history import History
from ansible.module_utils.th_checkout.merged_modules import CONTROLLED, control, unless_merged
from ansible.module_utils.th_checkout.request import CheckoutRequest
from ansible.module_utils.th_core.remove import remove
from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_core.text import mask, printable
from ansible.module_utils.th_git.client import Git, GitError, join_url
from ansible.module_utils.th_git.files import survey
from ansible.module_utils.th_git.mirror import Mirror, unreachable
from ansible.module_utils.th_git.submodules import check_out_submodules

NO_COMMIT = re.compile(r"0{40,64}")
SUBJECT_LIMIT = 200
Found = TypeVar("Found")


@dataclass(frozen=True)
class ChangeUnderTest:
    """What is under test: its commit, its target branch ("" for none), that branch's tip, and their merge base."""

    commit: str = ""
    branch: str = ""
    tip: str | None = None
    base: str | None = None


class Fetch:
    """The checkout of one job's change."""

    def __init__(self, git: Git, mirror: Mirror, request: CheckoutRequest, src: Path) -> None:
        self._git = git
        self._mirror = mirror
        self._request = request
        self._src = src
        self._history = History(git, src)

    def update(self) -> None:
        """Bring the project's mirror up to date. Raises StepError."""
        with self._mirror.locked():
            self._mirror.update()

    def fetch(self) -> ChangeUnderTest:
        """Clone the mirror, and fetch the change into the clone. Raises StepError."""
        return self._with_sound_mirror(lambda _: self._fetch(), ChangeUnderTest(), ChangeUnderTest)

    def check_out(self, point: ChangeUnderTest) -> ChangeUnderTest:
        """Check the change out with its submodules, within limits. Raises StepError."""
        return self._with_sound_mirror(self._check_out, point, self._fetch)

    def _with_sound_mirror(
        self, step: Callable[[ChangeUnderTest], Found], point: ChangeUnderTest, before: Callable[[], ChangeUnderTest]
    ) -> Found:
        """The result of a step. Where the mirror lacks an object, it is recreated, and `before` repeats the earlier
        steps before the step is tried again."""
        try:
            try:
                return step(point)
            except GitError:
                with self._mirror.locked():
                    if not self._mirror.broken():
                        raise
                    self._mirror.renew()
                return step(before())
        except GitError as error:
            if error.command == "fetch":
                raise unreachable(self._git, join_url(self._request.url, self._request.project), error) from None
            code = "playbook_failed" if error.machine_fault else "checkout_failed"
            raise StepError(code, f"The change cannot be checked out: {error}.") from None

    def _described(self, point: ChangeUnderTest) -> dict[str, Any]:
        """The part of checkout.json about the change itself."""
        request = self._request
        subject = self._git.text("show", "-s", "--format=%s", point.commit, "--", cwd=self._src)
        return {
            "project": request.project,
            "url": mask(join_url(request.url, request.project)),
            "ref": request.ref,
            "commit": point.commit,
            "subject": printable(subject)[:SUBJECT_LIMIT],
            "branch": point.branch,
            "base": point.base,
        }

    def _name(self, commit: str) -> str:
        """The name of the change's stage."""
        request = self._request
        return f"change {request.change},{request.patchset or '?'}" if request.change else commit[:12]

    def _fetch(self) -> ChangeUnderTest:
        remove(self._src)
        self._clone(self._src)
        return ChangeUnderTest(self._fetch_change())

    def _fetch_change(self) -> str:
        """Fetch what is under test; returns its commit."""
        request = self._request
        expected = request.commit or request.newrev
        if NO_COMMIT.fullmatch(expected):
            raise StepError("checkout_ref_gone", f"{request.ref} has been deleted.")
        if not request.ref:
            return self._without_ref(expected)
        if request.newrev and request.newrev == expected and self._git.commit(self._src, expected):
            return self._git.commit(self._src, expected) or ""
        url = mask(join_url(request.url, request.project))
        try:
            self._git.fetch(url, request.ref, "refs/turbo-hipster/change", self._src)
        except GitError as error:
            if error.gone:
                raise StepError("checkout_ref_gone", f"{url} has no {request.ref} (any more).") from None
            if error.refused:
                raise StepError("checkout_failed", f"{request.ref} is not sound: {error.reason}.") from None
            if failure := error if error.exit is None else self._git.server_error(url):
                raise unreachable(self._git, url, failure) from None
            raise
        fetched: str | None = self._git.commit(self._src, "refs/turbo-hipster/change")
        if fetched is None:
            raise StepError("checkout_ref_gone", f"{request.ref} at {url} is not a commit.")
        if not expected:
            return fetched
        commit: str | None = self._git.commit(self._src, expected)
        if commit is None or not self._history.contains(fetched, commit):
            raise StepError(
                "checkout_ref_gone",
                f"{request.ref} at {url} is {fetched} now and does not hold {expected}.",
            )
        return commit

    def _without_ref(self, expected: str) -> str:
        request = self._request
        if expected:
            wanted, name = expected, expected
        elif request.branch:
            wanted, name = f"refs/remotes/origin/{request.branch}", f"branch {request.branch}"
        else:
            branch = self._mirror.default_branch()
            wanted, name = f"refs/remotes/origin/{branch}", f"branch {branch}" if branch else "HEAD"
        commit: str | None = self._git.commit(self._src, wanted)
        if commit is None:
            raise StepError("checkout_ref_gone", f"{mask(join_url(request.origin, request.project))} has no {name}.")
        return commit

    def _branch(self) -> str:
        """The target branch; "" when what is under test has none, such as a tag."""
        request = self._request
        if request.branch:
            return request.branch
        name = request.ref.removeprefix("refs/heads/")
        if name and self._git.commit(self._src, f"refs/remotes/origin/{name}"):
            return name
        tag = request.ref.removeprefix("refs/tags/")
        if tag and self._git.commit(self._src, f"refs/tags/{tag}"):
            return ""
        return str(self._mirror.default_branch())

    def _check_out(self, point: ChangeUnderTest) -> ChangeUnderTest:
        git, request, commit = self._git, self._request, point.commit
        branch = self._branch()
        tip = git.commit(self._src, f"refs/remotes/origin/{branch}") if branch else None
        base = self._history.merge_base(commit, tip) if tip else None
        unless_merged(lambda one: survey(git, self._src, one), commit, base, branch)
        git.checkout(self._src, commit)
        self._check_out_submodules(commit, tip, base, branch)
        if branch and tip is None:
            raise StepError(
                "checkout_ref_gone",
                f"{mask(join_url(request.origin, request.project))} has no branch {branch}.",
            )
        if tip:
            self._history.refuse_conflicts(commit, tip, base, branch)
        return ChangeUnderTest(commit, branch, tip, base)

    def _check_out_submodules(self, commit: str, tip: str | None, base: str | None, branch: str) -> None:
        """Check out the change's submodules. Where that fails, it is also tried without the change, for the verdict to
        compare."""
        try:
            check_out_submodules(self._git, self._src, [one for one in (base, tip) if one] or [commit])
        except StepError as error:
            if base and base != commit and error.code in CONTROLLED:
                control(self._git, self._src.parent, {"base": base, "commit": commit, "branch": branch}, self._clone)
            raise

    def _clone(self, target: Path) -> None:
        with self._mirror.locked():
            origin = join_url(self._request.origin, self._request.project)
            self._git.clone_mirror(self._mirror.path, target, origin)

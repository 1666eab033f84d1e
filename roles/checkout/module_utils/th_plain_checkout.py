# SPDX-License-Identifier: Apache-2.0
"""The checkout of a job that tests no migrations: what is under test, and nothing of the project is read."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.th_checkout import SUBJECT_LIMIT, Checkout
from ansible.module_utils.th_git import join_url, mask
from ansible.module_utils.th_git_files import survey
from ansible.module_utils.th_merged_modules import unless_merged
from ansible.module_utils.th_step import StepError
from ansible.module_utils.th_text import printable


class PlainCheckout(Checkout):  # type: ignore[misc]
    """One job's checkout, without stages to walk through."""

    def _look(self, commit: str) -> dict[str, Any]:
        """Check the commit out, with its submodules."""
        git, request = self._git, self._request
        branch = self._branch()
        tip = git.commit(self._src, f"refs/remotes/origin/{branch}") if branch else None
        base = self._history.merge_base(commit, tip) if tip else None
        unless_merged(lambda one: survey(git, self._src, one), commit, base, branch)
        git.checkout(self._src, commit)
        self._check_out_submodules(commit, tip, branch)
        url = mask(join_url(request.url, request.project))
        if branch and tip is None:
            raise StepError("checkout_ref_gone", f"{url} has no branch {branch}.")
        if tip:
            self._history.refuse_conflicts(commit, tip, base, branch)
        name = f"change {request.change},{request.patchset or '?'}" if request.change else commit[:12]
        return {
            "project": request.project,
            "url": url,
            "ref": request.ref,
            "commit": commit,
            "subject": printable(git.text("show", "-s", "--format=%s", commit, "--", cwd=self._src))[:SUBJECT_LIMIT],
            "branch": branch,
            "base": base,
            "stages": [
                {"name": name, "slug": "change", "kind": "change", "commit": commit, "heads": [], "folders": []}
            ],
        }

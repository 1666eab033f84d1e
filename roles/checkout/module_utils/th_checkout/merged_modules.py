# SPDX-License-Identifier: Apache-2.0
"""The code that a change is based on: is it over a limit as well, and can its submodules be checked out?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ansible.module_utils.th_core.control import FOLDER, run_control
from ansible.module_utils.th_core.remove import remove
from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_git.client import Git, GitError
from ansible.module_utils.th_git.submodules import check_out_submodules

ROLE = "checkout"
CONTROLLED = ("checkout_failed", "over_limit")
"""Codes of a failure whose cause may be merged already."""


Found = TypeVar("Found")


def unless_merged(look: Callable[[str], Found], commit: str, base: str | None, branch: str) -> Found:
    """What `look` finds in a commit. Where it refuses that, and what the commit is based on as well, no change is to
    blame: StepError ``branch_broken``. `base` is None when all of it has been merged."""
    try:
        return look(commit)
    except StepError as error:
        if error.code not in CONTROLLED:
            raise
        try:
            look(base or commit)
        except StepError as merged:
            where = branch or f"commit {commit[:12]}"
            raise StepError("branch_broken", f"{where} has it without the change: {merged.detail}") from None
        raise


def control(git: Git, job_dir: Path, told: dict[str, Any], clone: Callable[[Path], None]) -> None:
    """Check out what the change is based on, its submodules too, and write down how it went.

    `told` has its `base`, the change's `commit` and the `branch`; `clone` makes a clone of the mirror.
    """
    src = job_dir / FOLDER / "src"

    def check_out() -> None:
        remove(job_dir / FOLDER)
        src.parent.mkdir(mode=0o700, parents=True)
        clone(src)
        git.checkout(src, told["base"])
        check_out_submodules(git, src, [told["base"]], excuse_merged=False)

    def failed(found: StepError) -> dict[str, Any]:
        outcome = "failed" if found.code in CONTROLLED else "unknown"
        return {"outcome": outcome, "code": found.code, "detail": found.detail, **found.more}

    run_control(job_dir, ROLE, told, check_out, failed, (GitError, OSError))

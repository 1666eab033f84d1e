# SPDX-License-Identifier: Apache-2.0
"""How the trees of two commits differ: what a change touches, and which stages it leaves out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ansible.module_utils.th_tools.revisions import Tree


def compare(base: Tree, change: Tree, called: Callable[[], bool] = lambda: False) -> dict[str, list[str]]:
    """Which migrations a change adds, alters (what the upgrade does, or its place) and removes.

    A downgrade counts as part of an upgrade where a script calls another one's, or where code beside the scripts
    does: `called` is only called when that makes a difference.
    """
    common = base.revisions.keys() & change.revisions.keys()
    down = {name for name in common if base.revisions[name].whole != change.revisions[name].whole}
    if not any(one.refers for tree in (base, change) for one in tree.revisions.values()) and not (down and called()):
        down = set()
    altered = [
        name
        for name in common
        if base.revisions[name].digest != change.revisions[name].digest
        or name in down
        or base.revisions[name].down != change.revisions[name].down
        or base.revisions[name].replaces != change.revisions[name].replaces
    ]
    return {
        "added": sorted(change.revisions.keys() - base.revisions.keys()),
        "altered": sorted(altered),
        "removed": sorted(base.revisions.keys() - change.known()),
    }


def reason_to_leave_out(
    commit: str, stage: str, touched: Mapping[str, Sequence[str]], stage_tree: Tree, change_tree: Tree
) -> str:
    """Why the walk leaves out a release or the target branch's tip; "" when it does not.

    What the change adds, alters or removes must run in the change's version, not in an earlier one.
    """
    if commit == stage:
        return "the same commit"
    for what, verb in (("altered", "alters"), ("removed", "removes"), ("added", "adds")):
        shared = sorted(set(touched[what]) & stage_tree.revisions.keys())
        if shared:
            return f"the change {verb} {', '.join(shared[:5])}"
    # its heads, not all it has: a project may fold old migrations into one
    missing = sorted(set(stage_tree.heads()) - change_tree.known())
    if missing:
        return f"the change is not on top of it: it does not have {', '.join(missing[:5])}"
    return ""


def newly_unreadable(base: Tree, change: Tree) -> str:
    """The first script of the change that cannot be read and was not there as it is, with the reason; "" for none."""
    known = {(item.file, item.digest) for item in base.unreadable}
    return next(
        (f"{item.file}: {item.reason}" for item in change.unreadable if (item.file, item.digest) not in known), ""
    )

# SPDX-License-Identifier: Apache-2.0
"""Whether a change's migrations can be walked at all, and whose fault it is when they cannot.

What the branch had before the change, by the last commit that they have in common, is never the change's fault: then
the profile is wrong, or the branch itself, and the operator has to act.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.th_checkout.trees import Forest
from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_core.text import printable
from ansible.module_utils.th_tools.revisions import NO_REVISION, Tree, Unreadable
from ansible.module_utils.th_tools.tool import Places, Tool
from ansible.module_utils.th_tools.tools import tool_of
from ansible.module_utils.th_tools.versions import owned, prefixed

SHOWN = 5
"""Revisions that a message names at most."""

_BOTH = 2


@dataclass(frozen=True)
class Compared:
    """A database's tree as the change has it, and as it was before; `merged` is the branch, or the commit, in words."""

    settings: Mapping[str, Any]
    before: Tree
    after: Tree
    places: Places
    merged: str
    profile: str

    @property
    def tool(self) -> Tool:
        """What migrates the database."""
        return tool_of(self.settings)


def check_trees(reader: Forest, profile: Mapping[str, Any], base: str | None, commit: str, branch: str) -> None:
    """Raise StepError for the first thing that keeps a database's migrations from being walked.

    `base` is the last commit that the change has in common with its branch; None when all of it has been merged.
    """
    for settings in profile["databases"]:
        one = reader.of(settings["name"])
        before = one.read(base or commit)
        merged = branch or f"commit {commit[:12]}"
        compared = Compared(settings, before, one.read(commit), one.places(commit), merged, profile["file"])
        _check_scripts(compared, one.places(base or commit))
        _check_parents(compared)
        _check_circles(compared)
        if compared.tool.by_app:
            _check_leaves(compared)
        else:
            _check_heads(compared)


def too_many_heads(reader: Forest, databases: Iterable[Mapping[str, Any]], commit: str, change: str) -> str:
    """Why a stage before the change cannot be walked to: a database has more heads there than its profile says.

    Where each app has one, an app counts whose leaves `change` has merged: whether others are installed is not known.
    """
    for settings in databases:
        one = reader.of(settings["name"])
        if tool_of(settings).by_app:
            merged = _by_app(one.read(change))
            for app, leaves in sorted(_by_app(one.read(commit)).items()):
                if len(leaves) > 1 and len(merged.get(app, ())) == 1:
                    return f"it has the heads {_some(leaves)}"
        else:
            heads = one.read(commit).heads()
            if len(heads) > settings["heads"]:
                return f"it has the heads {_some(heads)}"
    return ""


def check_fit(tree: Tree, profile: Mapping[str, Any], read: Callable[[str], bytes | None]) -> None:
    """Refuse a profile with a tool that cannot be walked with the scripts of merged code, whose `tree` this is; `read`
    gives a file's content. Raises StepError ``profile_wrong``."""
    for settings in profile["databases"]:
        name = settings["name"]
        heads = [tree.revisions[prefixed(head, name)].file for head in owned(tree.heads(), name)]
        if problem := tool_of(settings).unfit(heads, read):
            where = f"databases.{name}" if name else "migrations"
            raise StepError("profile_wrong", f"{profile['file']}: {where}: {problem}")


def _check_scripts(it: Compared, places: Places) -> None:
    if it.places.outside:
        if not places.outside:
            raise StepError("checkout_failed", f"{_of(it)}{it.places.outside}.", file=it.settings["config"])
        key = f"{_section(it)}.{it.tool.key_of_scripts(it.settings)}"
        raise StepError("profile_wrong", f"{it.profile}: {key}: in {it.merged}, {it.places.outside}.")
    if it.after.revisions:
        return
    folders = _folders(it.places.folders or it.settings["version_locations"])
    if it.before.revisions:
        where = _folders(places.folders) or folders
        raise StepError("no_migrations", f"{_of(it)}The change leaves no migration script in {where}.")
    if it.after.unreadable:
        raise _broken(it, "no migration script can be read")
    if it.tool.without_scripts(it.settings):
        return  # what packages bring is found in the environment
    key_of = it.tool.key_of_scripts(it.settings)
    key = f"{_section(it)}.{key_of}"
    if folders:
        raise StepError("profile_wrong", f"{it.profile}: {key}: {it.merged} has no migration script in {folders}.")
    reason = "names no folder with migration scripts"
    if it.places.missing:
        lacks = f"{it.merged} has no file {printable(it.places.missing)}, which is to name the scripts' folder"
        cure = f"name {it.tool.name}'s configuration file as it lies in the repository, or set {_section(it)}.{key_of}"
        raise StepError("profile_wrong", f"{it.profile}: {_section(it)}.config: {lacks}: {cure}.")
    if it.tool.configured:
        config = it.settings["config"]
        reason = f"is not set, and {config or 'no configuration file'} does not name it in {it.merged}"
    raise StepError("profile_wrong", f"{it.profile}: {key}: {reason}.")


def _check_parents(it: Compared) -> None:
    known = set(it.before.orphans())
    orphans = it.after.orphans()
    new = [one for one in orphans if one not in known]
    if not orphans:
        return
    if _hidden(it.after.unreadable):
        raise _broken(it, f"what {_some([name for name, _ in orphans])} comes after is not known")
    texts = [_orphan(it, name, missing) for name, missing in (new or orphans)[:SHOWN]]
    if new:
        file = printable(it.after.revisions[new[0][0]].file)
        raise StepError("wrong_parent", f"{'; '.join(texts)}.", file=file)
    if it.tool.parents_needed:
        raise _broken(it, "; ".join(texts))


def _orphan(it: Compared, name: str, missing: str) -> str:
    file = printable(posixpath.basename(it.after.revisions[name].file))
    removed = " any more: the change removes it" if missing in it.before.revisions else ""
    return f"{it.tool.parent} {printable(missing)} of {file} does not exist{removed}"


def _check_circles(it: Compared) -> None:
    circle = _circle(it.after)
    if circle and not _circle(it.before):
        raise StepError("wrong_parent", f"{_of(it)}{printable(circle)}.")
    if circle:
        raise _broken(it, printable(circle))


def _circle(tree: Tree) -> str:
    try:
        tree.order()
    except ValueError as error:
        return str(error)
    return ""


def _check_heads(it: Compared) -> None:
    heads, before, allowed = it.after.heads(), it.before.heads(), it.settings["heads"]
    if len(heads) <= allowed:
        return
    if _hidden(it.after.unreadable):
        raise _broken(it, f"whether {_some(heads)} are all heads is not known")
    new = sorted(set(heads) - set(before))
    if len(heads) > max(len(before), allowed):
        raise _several(it, heads, new)
    key = f"{_section(it)}.heads"
    raise _broken(it, f"its heads are {_listed(it.before, before)}, and {key} in {it.profile} allows {allowed}")


def _check_leaves(it: Compared) -> None:
    after, before = _by_app(it.after), _by_app(it.before)
    for app, leaves in sorted(after.items()):
        if len(leaves) > max(len(before.get(app, ())), 1) and not _in_folder(it, leaves):
            new = [leaf for leaf in leaves if leaf not in before.get(app, ())]
            raise _several(it, leaves, new or leaves)


def _in_folder(it: Compared, leaves: Sequence[str]) -> bool:
    """Whether a migration of the same app cannot be read: it may come after one of these."""
    folder = posixpath.dirname(it.after.revisions[leaves[0]].file)
    return any(posixpath.dirname(item.file) == folder for item in it.after.unreadable)


def _by_app(tree: Tree) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for leaf in tree.leaves():
        found.setdefault(leaf.partition(".")[0], []).append(leaf)
    return found


def _several(it: Compared, heads: Sequence[str], new: Sequence[str]) -> StepError:
    """Two heads, of which the change has brought at least one: those it has brought come last."""
    shown = [*(head for head in heads if head not in new), *new]
    parents = {it.after.revisions[head].down for head in shown}
    both = ""
    if len(parents) == 1 and len(shown) == _BOTH:
        below = next(iter(parents))
        both = f", which both come after {_some(below)}" if below else ", which both come after nothing"
    file = printable(it.after.revisions[new[0]].file)
    return StepError("several_heads", f"{_of(it)}The heads are {_listed(it.after, shown)}{both}.", file=file)


def _listed(tree: Tree, names: Sequence[str]) -> str:
    texts = [f"{printable(name)} ({printable(tree.revisions[name].file)})" for name in names[:SHOWN]]
    if len(names) > SHOWN:
        return f"{', '.join(texts)} and {len(names) - SHOWN} more"
    return " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


def _broken(it: Compared, problem: str) -> StepError:
    """What keeps every change of this branch from being tested."""
    hidden = _hidden(it.after.unreadable)
    why = ""
    if hidden:
        first = hidden[0]
        why = f": {printable(first.file)} cannot be read: {printable(first.reason)}"
        why += f" (and {len(hidden) - 1} more)" if len(hidden) > 1 else ""
    file = {"file": printable(hidden[0].file)} if hidden else {}
    return StepError("branch_broken", f"{_of(it)}{it.merged} has it without the change: {problem}{why}.", **file)


def _hidden(unreadable: Iterable[Unreadable]) -> list[Unreadable]:
    """The scripts that may be migrations which others come after."""
    return [item for item in unreadable if item.reason != NO_REVISION]


def _folders(folders: Sequence[str]) -> str:
    return ", ".join(printable(folder) or "." for folder in folders[:SHOWN])


def _section(it: Compared) -> str:
    return f"databases.{it.settings['name']}" if it.settings["name"] else "migrations"


def _of(it: Compared) -> str:
    return f"{it.settings['name']}: " if it.settings["name"] else ""


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(map(printable, names[:SHOWN])) + more

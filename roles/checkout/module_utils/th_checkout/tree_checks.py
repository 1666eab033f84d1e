# SPDX-License-Identifier: Apache-2.0
"""Whether a change's migrations can be walked at all, and whose fault it is when they cannot.

A problem that the merge base has already is never the change's fault: then the profile or the branch itself is wrong,
and the operator has to act.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.th_checkout.trees import ForestReader
from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_core.text import printable
from ansible.module_utils.th_tools.revisions import NO_REVISION, Tree, Unreadable
from ansible.module_utils.th_tools.tool import ScriptLocations, Tool
from ansible.module_utils.th_tools.tools import tool_of
from ansible.module_utils.th_tools.versions import owned, prefixed

SHOWN = 5
"""Revisions that a message names at most."""

_BOTH = 2


@dataclass(frozen=True)
class ComparedTrees:
    """A database's tree before and after the change; `merged` names the branch, or the commit, in messages."""

    settings: Mapping[str, Any]
    before: Tree
    after: Tree
    places: ScriptLocations
    merged: str
    profile: str

    @property
    def tool(self) -> Tool:
        """The database's migration tool."""
        return tool_of(self.settings)


def check_trees(reader: ForestReader, profile: Mapping[str, Any], base: str | None, commit: str, branch: str) -> None:
    """Raise StepError for the first problem that prevents a database's migrations from being walked.

    `base` is the merge base of the change and its branch; None when the change itself has been merged.
    """
    for settings in profile["databases"]:
        one = reader.of(settings["name"])
        before = one.read(base or commit)
        merged = branch or f"commit {commit[:12]}"
        compared = ComparedTrees(settings, before, one.read(commit), one.places(commit), merged, profile["file"])
        _check_scripts(compared, one.places(base or commit))
        _check_parents(compared)
        _check_circles(compared)
        if compared.tool.by_app:
            _check_leaves(compared)
        else:
            _check_heads(compared)


def too_many_heads(reader: ForestReader, databases: Iterable[Mapping[str, Any]], commit: str, change: str) -> str:
    """Why a stage before the change cannot be walked to: a database has more heads there than its profile allows.

    With one head per app, only apps whose leaves `change` merges count: whether others are installed is not known.
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
    """Refuse a profile whose tool cannot be walked with the merged scripts, whose `tree` this is; `read` returns a
    file's content. Raises StepError ``profile_wrong``."""
    for settings in profile["databases"]:
        name = settings["name"]
        heads = [tree.revisions[prefixed(head, name)].file for head in owned(tree.heads(), name)]
        if problem := tool_of(settings).unfit(heads, read):
            where = f"databases.{name}" if name else "migrations"
            raise StepError("profile_wrong", f"{profile['file']}: {where}: {problem}")


def _check_scripts(pair: ComparedTrees, places: ScriptLocations) -> None:
    if pair.places.outside:
        if not places.outside:
            raise StepError("checkout_failed", f"{_of(pair)}{pair.places.outside}.", file=pair.settings["config"])
        key = f"{_section(pair)}.{pair.tool.key_of_scripts(pair.settings)}"
        raise StepError("profile_wrong", f"{pair.profile}: {key}: in {pair.merged}, {pair.places.outside}.")
    if pair.after.revisions:
        return
    folders = _folders(pair.places.folders or pair.settings["version_locations"])
    if pair.before.revisions:
        where = _folders(places.folders) or folders
        raise StepError("no_migrations", f"{_of(pair)}The change leaves no migration script in {where}.")
    if pair.after.unreadable:
        raise _broken(pair, "no migration script can be read")
    if pair.tool.without_scripts(pair.settings):
        return  # packaged migrations are read from the environment later
    key_of = pair.tool.key_of_scripts(pair.settings)
    key = f"{_section(pair)}.{key_of}"
    if folders:
        raise StepError("profile_wrong", f"{pair.profile}: {key}: {pair.merged} has no migration script in {folders}.")
    reason = "names no folder with migration scripts"
    if pair.places.missing:
        lacks = f"{pair.merged} has no file {printable(pair.places.missing)}, which is to name the scripts' folder"
        cure = f"name {pair.tool.name}'s configuration file as it lies in the repository, or set {key}"
        raise StepError("profile_wrong", f"{pair.profile}: {_section(pair)}.config: {lacks}: {cure}.")
    if pair.tool.configured:
        config = pair.settings["config"]
        reason = f"is not set, and {config or 'no configuration file'} does not name it in {pair.merged}"
    raise StepError("profile_wrong", f"{pair.profile}: {key}: {reason}.")


def _check_parents(pair: ComparedTrees) -> None:
    known = set(pair.before.orphans())
    orphans = pair.after.orphans()
    new = [one for one in orphans if one not in known]
    if not orphans:
        return
    if _hidden(pair.after.unreadable):
        raise _broken(pair, f"what {_some([name for name, _ in orphans])} comes after is not known")
    texts = [_orphan(pair, name, missing) for name, missing in (new or orphans)[:SHOWN]]
    if new:
        file = printable(pair.after.revisions[new[0][0]].file)
        raise StepError("wrong_parent", f"{'; '.join(texts)}.", file=file)
    if pair.tool.parents_needed:
        raise _broken(pair, "; ".join(texts))


def _orphan(pair: ComparedTrees, name: str, missing: str) -> str:
    file = printable(posixpath.basename(pair.after.revisions[name].file))
    removed = " any more: the change removes it" if missing in pair.before.revisions else ""
    return f"{pair.tool.parent} {printable(missing)} of {file} does not exist{removed}"


def _check_circles(pair: ComparedTrees) -> None:
    circle = _circle(pair.after)
    if circle and not _circle(pair.before):
        raise StepError("wrong_parent", f"{_of(pair)}{printable(circle)}.")
    if circle:
        raise _broken(pair, printable(circle))


def _circle(tree: Tree) -> str:
    try:
        tree.order()
    except ValueError as error:
        return str(error)
    return ""


def _check_heads(pair: ComparedTrees) -> None:
    heads, before, allowed = pair.after.heads(), pair.before.heads(), pair.settings["heads"]
    if len(heads) <= allowed:
        return
    if _hidden(pair.after.unreadable):
        raise _broken(pair, f"whether {_some(heads)} are all heads is not known")
    new = sorted(set(heads) - set(before))
    if len(heads) > max(len(before), allowed):
        raise _several(pair, heads, new)
    key = f"{_section(pair)}.heads"
    raise _broken(pair, f"its heads are {_listed(pair.before, before)}, and {key} in {pair.profile} allows {allowed}")


def _check_leaves(pair: ComparedTrees) -> None:
    after, before = _by_app(pair.after), _by_app(pair.before)
    for app, leaves in sorted(after.items()):
        if len(leaves) > max(len(before.get(app, ())), 1) and not _in_folder(pair, leaves):
            new = [leaf for leaf in leaves if leaf not in before.get(app, ())]
            raise _several(pair, leaves, new or leaves)


def _in_folder(pair: ComparedTrees, leaves: Sequence[str]) -> bool:
    """Whether a migration of the same app is unreadable: it may come after one of the leaves."""
    folder = posixpath.dirname(pair.after.revisions[leaves[0]].file)
    return any(posixpath.dirname(item.file) == folder for item in pair.after.unreadable)


def _by_app(tree: Tree) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for leaf in tree.leaves():
        found.setdefault(leaf.partition(".")[0], []).append(leaf)
    return found


def _several(pair: ComparedTrees, heads: Sequence[str], new: Sequence[str]) -> StepError:
    """The error for several heads, at least one of which the change brings: those are listed last."""
    shown = [*(head for head in heads if head not in new), *new]
    parents = {pair.after.revisions[head].down for head in shown}
    both = ""
    if len(parents) == 1 and len(shown) == _BOTH:
        below = next(iter(parents))
        both = f", which both come after {_some(below)}" if below else ", which both come after nothing"
    file = printable(pair.after.revisions[new[0]].file)
    return StepError("several_heads", f"{_of(pair)}The heads are {_listed(pair.after, shown)}{both}.", file=file)


def _listed(tree: Tree, names: Sequence[str]) -> str:
    texts = [f"{printable(name)} ({printable(tree.revisions[name].file)})" for name in names[:SHOWN]]
    if len(names) > SHOWN:
        return f"{', '.join(texts)} and {len(names) - SHOWN} more"
    return " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


def _broken(pair: ComparedTrees, problem: str) -> StepError:
    """The error for a problem that prevents every change of this branch from being tested."""
    hidden = _hidden(pair.after.unreadable)
    why = ""
    if hidden:
        first = hidden[0]
        why = f": {printable(first.file)} cannot be read: {printable(first.reason)}"
        why += f" (and {len(hidden) - 1} more)" if len(hidden) > 1 else ""
    file = {"file": printable(hidden[0].file)} if hidden else {}
    return StepError("branch_broken", f"{_of(pair)}{pair.merged} has it without the change: {problem}{why}.", **file)


def _hidden(unreadable: Iterable[Unreadable]) -> list[Unreadable]:
    """The unreadable scripts that others may come after."""
    return [item for item in unreadable if item.reason != NO_REVISION]


def _folders(folders: Sequence[str]) -> str:
    return ", ".join(printable(folder) or "." for folder in folders[:SHOWN])


def _section(pair: ComparedTrees) -> str:
    return f"databases.{pair.settings['name']}" if pair.settings["name"] else "migrations"


def _of(pair: ComparedTrees) -> str:
    return f"{pair.settings['name']}: " if pair.settings["name"] else ""


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(map(printable, names[:SHOWN])) + more

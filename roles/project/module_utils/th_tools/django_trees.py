# SPDX-License-Identifier: Apache-2.0
"""The migrations of a Django project, parsed from its files: none of the project's code is run.

The rules are Django's own (``django/db/migrations/loader.py``). A migration is named ``<app>.<migration>``.
"""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ansible.module_utils.th_parse.python import NAME_LIMIT, UnreadableError, read_each, sha256
from ansible.module_utils.th_tools.django_scripts import Node, read_label, read_node
from ansible.module_utils.th_tools.revisions import Revision, Tree, Unreadable

MIGRATIONS = "migrations"
COMPILED = ".so"
"""File name extension of modules that are machine code."""
NOT_OF_THE_PROJECT = frozenset({"test", "tests", "testing", "site-packages", "node_modules"})
"""Names of folders in which apps are ignored: tests have their own, with the labels of real ones."""
_Key = tuple[str, str]


def may_matter(path: str) -> bool:
    """Whether a file of a repository can be a migration, or set an app's label."""
    folder, _, name = path.rpartition("/")
    parts = folder.split("/")
    return name == "apps.py" or (
        parts[-1] == MIGRATIONS
        and name.endswith((".py", COMPILED))
        and not NOT_OF_THE_PROJECT.intersection(parts)
        and not any(part.startswith(".") for part in parts)
    )


def read_django_tree(
    files: Iterable[tuple[str, bytes]], apps: Sequence[str] = (), labels: Mapping[str, str] | None = None
) -> tuple[Tree, list[str]]:
    """Read the tree from files (path, content); returns it and the folders that it is in.

    `apps` are the folders with migrations; by default, all folders ``migrations`` that are packages and contain a
    migration. `labels` maps such folders, or the ones above them, to the apps' labels.
    """
    content = dict(files)
    folders = {
        posixpath.dirname(path)
        for path in content
        if posixpath.basename(path) != "apps.py" and not path.endswith(COMPILED)
    }
    chosen = (
        [folder for folder in apps if folder in folders]
        if apps
        else sorted(folders, key=lambda one: (one.count("/"), one))
    )
    nodes: dict[_Key, Node] = {}
    unreadable: list[Unreadable] = []
    of_label: dict[str, str] = {}
    # to Django a folder that is no package is an app without migrations; Python cannot import unprintable names
    packages = [one for one in chosen if (apps or f"{one}/__init__.py" in content) and one.isprintable()]
    within: dict[str, dict[str, bytes]] = {one: {} for one in packages}
    for path, text in content.items():
        if (one := posixpath.dirname(path)) in within and _is_module(path):
            within[one][path] = text
    read = read_each({path: text for modules in within.values() for path, text in modules.items()}, read_node)
    compiled = _compiled(content)
    declared = read_each({path: content[path] for path in map(_config, packages) if path in content}, read_label)
    for folder, modules in within.items():
        found, problems = _read_folder(modules, read)
        if not found:
            if apps:
                unreadable += problems
            continue
        label = _label(folder, declared, labels or {})
        other = of_label.setdefault(label, folder)
        if other != folder:
            reason = f"its app has the label {label} of {other}, too: say in the profile which folders are the apps'"
            unreadable += [Unreadable(path, reason, sha256(text)) for path, text in sorted(modules.items())]
            continue
        unreadable += [*problems, *compiled.get(folder, ())]
        nodes.update({(label, name): node for name, node in found.items()})
    unreadable += _computed(nodes, content)
    return Tree(_revisions(nodes), tuple(unreadable)), sorted(of_label.values())


def _is_module(path: str) -> bool:
    """Whether Django takes a file for a migration."""
    name = posixpath.basename(path)
    return name.endswith(".py") and name[0] not in "_~" and name.count(".") == 1


def _compiled(content: Mapping[str, bytes]) -> dict[str, list[Unreadable]]:
    """The modules that are machine code, by folder: Python prefers them to scripts of the same name."""
    reason = "it is machine code, which Python takes rather than a script: a migration has to be written in Python"
    found: dict[str, list[Unreadable]] = {}
    for path, text in sorted(content.items()):
        folder, name = posixpath.split(path)
        if name.endswith(COMPILED) and name[0] not in "_~":
            found.setdefault(folder, []).append(Unreadable(path, reason, sha256(text)))
    return found


def _read_folder(
    modules: Mapping[str, bytes], read: Mapping[str, Any | UnreadableError]
) -> tuple[dict[str, Node], list[Unreadable]]:
    nodes: dict[str, Node] = {}
    unreadable: list[Unreadable] = []
    for path in sorted(modules):
        found, name = read[path], posixpath.basename(path).removesuffix(".py")
        if len(name) > NAME_LIMIT or not name.isprintable():
            found = UnreadableError("its name is not a migration's")
        if isinstance(found, UnreadableError):
            unreadable.append(Unreadable(path, str(found), sha256(modules[path])))
        else:
            nodes[name] = Node.of(path, found)
    return nodes, unreadable


def _computed(nodes: Mapping[_Key, Node], content: Mapping[str, bytes]) -> Iterator[Unreadable]:
    """Migrations whose dependencies are computed, so that their place in their own app is not known."""
    sizes = Counter(app for app, _ in nodes)
    for (app, _), node in nodes.items():
        if node.computed and sizes[app] > 1 and not any(one == app for one, _ in node.dependencies):
            yield Unreadable(node.file, "its dependencies are computed, not written out", sha256(content[node.file]))


def _config(folder: str) -> str:
    return posixpath.join(posixpath.dirname(folder), "apps.py")


def _label(folder: str, declared: Mapping[str, str | UnreadableError], labels: Mapping[str, str]) -> str:
    """An app's label: the profile's, else that of the AppConfig, else the name of its folder."""
    above = posixpath.dirname(folder)
    for place in (folder, above):
        if place in labels:
            return labels[place]
    plain = posixpath.basename(above) or posixpath.basename(folder)
    label = declared.get(_config(folder), "")
    return label if isinstance(label, str) and label else plain


def _revisions(nodes: Mapping[_Key, Node]) -> dict[str, Revision]:
    """The revisions, with dependencies resolved within the tree."""
    replaced = {old: key for key, node in nodes.items() for old in node.replaces}

    def there(key: _Key) -> _Key | None:
        return key if key in nodes else replaced.get(key)

    before: dict[_Key, set[_Key]] = {
        key: {found for one in node.dependencies if one[0] == key[0] and (found := there(one))} - {key}
        for key, node in nodes.items()
    }

    def lacking(wanted: _Key, app: str) -> bool:
        return wanted[0] == app and there(wanted) is None and not wanted[1].startswith("__")

    followed = {one for ones in before.values() for one in ones}
    roots: dict[str, _Key] = {}
    leaves: dict[str, _Key] = {}
    for key in sorted(nodes, reverse=True):  # Django takes the first by name
        if not before[key]:
            roots[key[0]] = key
        if key not in followed:
            leaves[key[0]] = key

    def other(wanted: _Key, app: str) -> _Key | None:
        """The migration that a dependency on another app refers to; None where it is not in the tree."""
        if wanted[0] == app:
            return None
        ends = {"__first__": roots, "__latest__": leaves}.get(wanted[1])
        return there(wanted) or (ends.get(wanted[0]) if ends else None)

    others: dict[_Key, set[_Key]] = {
        key: {found for one in node.dependencies if (found := other(one, key[0]))} for key, node in nodes.items()
    }
    for key, node in nodes.items():
        for one in node.run_before:
            if (found := there(one) or other(one, key[0])) and found != key:
                others[found].add(key)
    return {
        _name(key): Revision(
            name=_name(key),
            down=tuple(sorted(_name(one) for one in before[key])),
            file=node.file,
            digest=node.digest,
            depends=tuple(sorted(_name(one) for one in others[key])),
            replaces=tuple(_name(one) for one in node.replaces),
            lacks=tuple(sorted(_name(one) for one in node.dependencies if lacking(one, key[0]))),
        )
        for key, node in nodes.items()
    }


def _name(key: _Key) -> str:
    return f"{key[0]}.{key[1]}"

# SPDX-License-Identifier: Apache-2.0
"""Django: each app has its own migrations, those in packages as well; the version table has a row per migration."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.th_core.checks import Key, inside, map_of, matching, text
from ansible.module_utils.th_tools.keys import FOLDERS, LABEL, commands
from ansible.module_utils.th_tools.revisions import Tree
from ansible.module_utils.th_tools.tool import Commit, PackagedApps, ScriptLocations, Settings, Tool, Versions
from ansible.module_utils.th_tools.versions import Revisions, below, prefixed

_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def _heads(rows: Iterable[str], prefix: str, revisions: Revisions | None) -> list[str]:
    """The table has a row for each migration of each app, including apps that are not in the repository."""
    named = {prefixed(row, prefix) for row in rows}
    return sorted(named) if revisions is None else _of_apps(named, prefix, revisions)


def _of_apps(applied: set[str], prefix: str, revisions: Revisions) -> list[str]:
    start = prefixed("", prefix)
    apps = {_app(name) for name in revisions if name.startswith(start)}
    rows = {row for row in applied if _app(row) in apps}
    replaces = {name: set(facts.get("replaces") or ()) for name, facts in revisions.items() if facts.get("replaces")}
    # a squashed migration stands for those that it replaces once they are gone from the tree (django's loader)
    count = -1
    while count != len(rows):
        count = len(rows)
        rows |= {new for new, old in replaces.items() if old <= rows and not old <= revisions.keys()}
    stands_for = {old: new for new, olds in replaces.items() if new in rows for old in olds if old != new}

    def now(name: str) -> str:
        passed = {name}
        while (newer := stands_for.get(name)) and newer not in passed:
            passed.add(newer)
            name = newer
        return name

    down: dict[str, set[str]] = {}
    for name, facts in revisions.items():
        parents = {now(item) for item in facts.get("down") or ()}
        down.setdefault(now(name), set()).update(parents - {now(name)})

    def under(names: Iterable[str]) -> set[str]:
        return below(names, lambda one: down.get(one, ()))

    applied = {now(name) for name in rows}
    heads = applied - under(applied)
    # a cycle has no head: all of it is kept, so that no row of the database is lost
    return sorted(heads | (applied - under(heads)))


def _app(name: str) -> str:
    return name.partition(".")[0]


APP_VERSIONS = Versions(
    name="django",
    kept_by="django",
    table="django_migrations",
    columns=frozenset({"app", "name", "applied"}),
    expression="CONCAT(app, '.', name)",
    heads=_heads,
)


def _keys(databases: Iterable[str]) -> dict[str, Key]:
    return {
        "settings": Key(matching(_MODULE, "a module such as shop.settings"), required=True),
        "alias": Key(matching(LABEL, "an alias of DATABASES"), "default"),
        "apps": FOLDERS,
        "labels": Key(map_of(inside, matching(LABEL, "an app's label")), {}),
        "options": Key(map_of(text, lambda key, value: value), {}),
        **commands(databases),
    }


def _apps(settings: Settings) -> list[str]:
    return list(settings["apps"])


def _read(commit: Commit, settings: Settings) -> tuple[Tree, ScriptLocations]:
    from ansible.module_utils.th_tools.django_trees import COMPILED, may_matter, read_django_tree

    apps = _apps(settings)
    if apps:
        named = ScriptLocations(tuple(apps))
        above = ScriptLocations(tuple(dict.fromkeys(posixpath.dirname(folder) for folder in apps)))
        files = commit.files(named, lambda path: path.endswith((".py", COMPILED)))
        files += commit.files(above, lambda path: posixpath.basename(path) == "apps.py")
    else:
        files = commit.files(ScriptLocations((settings.get("folder", ""),), recursive=True), may_matter)
    tree, folders = read_django_tree(files, apps, settings["labels"])
    return tree, ScriptLocations(tuple(folders))


def _read_packaged(files: Mapping[str, bytes], labels: Mapping[str, str]) -> Tree:
    from ansible.module_utils.th_tools.django_trees import read_django_tree

    return read_django_tree(files.items(), list(labels), labels)[0]


def _waiting(tree: Tree, rows: Iterable[str]) -> set[str]:
    """By the rules of Django (``django/db/migrations/loader.py``)."""
    applied, left = set(rows), set(tree.revisions)
    for name, revision in tree.revisions.items():
        if not revision.replaces:
            continue
        there = [old in applied for old in revision.replaces]
        if all(there):
            applied.add(name)
        else:
            applied.discard(name)
        if all(there) or not any(there):
            left.difference_update(revision.replaces)
        else:
            left.discard(name)
    return left - applied


def _request(settings: Settings, src: Path, values: Mapping[str, str]) -> dict[str, Any]:
    names = ("user", "password", "socket", "host", "port")
    database = {**{name: values[name] for name in names}, "name": values["database"]}
    return {**{name: settings[name] for name in ("settings", "alias", "options")}, "database": database}


DJANGO = Tool(
    name="django",
    versions=(APP_VERSIONS,),
    keys=_keys,
    in_checkout=("apps", "labels"),
    where=("apps",),
    folders=_apps,
    read=_read,
    by_app=True,
    parent="dependency",
    program="walk_django.py",
    request=_request,
    modules=("django.core.management", "django.db.migrations.executor", "django.db.backends.mysql.base"),
    packaged=PackagedApps(_read_packaged, _waiting),
    records_unrun=True,
)

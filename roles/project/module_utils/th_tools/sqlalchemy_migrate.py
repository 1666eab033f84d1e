# SPDX-License-Identifier: Apache-2.0
"""sqlalchemy-migrate: scripts with a number, in Python or SQL; the version table holds the number of the last one."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.th_core.checks import Key, inside, list_of
from ansible.module_utils.th_tools.keys import TABLE, commands
from ansible.module_utils.th_tools.revisions import Tree
from ansible.module_utils.th_tools.tool import Commit, ScriptLocations, Settings, Tool, Versions
from ansible.module_utils.th_tools.versions import Revisions, number_of, owned, prefixed


def _heads(rows: Iterable[str], prefix: str, revisions: Revisions | None) -> list[str]:
    known = {number for name in owned(revisions or {}, prefix) if (number := number_of(name)) is not None}
    heads = set()
    for row in rows:
        number = number_of(row)
        # put under version control and not yet migrated: at 0, or just below the first script
        if number is None or (number and number != min(known, default=0) - 1):
            heads.add(prefixed(row if number is None else str(number), prefix))
    return sorted(heads)


NUMBERED_VERSIONS = Versions(
    name="numbered",
    kept_by="sqlalchemy_migrate",
    table="migrate_version",
    columns=frozenset({"repository_id", "version"}),
    expression="version",
    heads=_heads,
    numbered=True,
)


def _keys(databases: Iterable[str]) -> dict[str, Key]:
    return {
        "repository": Key(list_of(inside, 1), required=True),
        "version_table": TABLE,
        **commands(databases),
    }


def _folders(settings: Settings) -> list[str]:
    return [f"{folder}/versions" for folder in settings["repository"]]


def _read(commit: Commit, settings: Settings) -> tuple[Tree, ScriptLocations]:
    """The first of the folders that the commit has versions in."""
    from ansible.module_utils.th_tools.numbered_scripts import SQLALCHEMY_MIGRATE, read_numbered_tree

    for folder in map(posixpath.normpath, settings["version_locations"]):
        places = ScriptLocations((folder,), helpers=(posixpath.dirname(folder),))
        files = commit.files(places, lambda path: path.endswith((".py", ".sql")))
        tree = read_numbered_tree(files, SQLALCHEMY_MIGRATE)
        if tree.revisions:
            return tree, places
    return Tree(), ScriptLocations()


def _request(settings: Settings, src: Path, values: Mapping[str, str]) -> dict[str, Any]:
    there = [folder for folder in settings["repository"] if (src / folder).is_dir()]
    return {"repository": str(src / (there or settings["repository"])[0])}


SQLALCHEMY_MIGRATE = Tool(
    name="sqlalchemy_migrate",
    versions=(NUMBERED_VERSIONS,),
    keys=_keys,
    in_checkout=("repository",),
    where=("repository",),
    folders=_folders,
    read=_read,
    program="walk_sqlalchemy_migrate.py",
    request=_request,
    modules=("migrate.versioning.api", "sqlalchemy.dialects.mysql"),
)

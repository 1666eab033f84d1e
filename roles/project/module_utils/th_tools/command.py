# SPDX-License-Identifier: Apache-2.0
"""A command of the project, run for each migration: for every tool that no walking program hooks into."""

from __future__ import annotations

from collections.abc import Iterable

from ansible.module_utils.th_core.checks import Key, inside, list_of, one_of, text
from ansible.module_utils.th_tools.alembic import ALEMBIC_VERSIONS
from ansible.module_utils.th_tools.keys import HEADS, RECURSIVE, TABLE, commands, words
from ansible.module_utils.th_tools.revisions import Tree
from ansible.module_utils.th_tools.sqlalchemy_migrate import NUMBERED_VERSIONS
from ansible.module_utils.th_tools.tool import Commit, ScriptLocations, Settings, Tool, is_python

_VERSIONS = (ALEMBIC_VERSIONS, NUMBERED_VERSIONS)


def _keys(databases: Iterable[str]) -> dict[str, Key]:
    names = tuple(databases)
    return {
        **commands(names),
        "command": Key(words(names, 1), required=True),
        "versions": Key(one_of(*(one.name for one in _VERSIONS)), _VERSIONS[0].name),
        "version_locations": Key(list_of(inside, 1), required=True),
        "recursive_version_locations": RECURSIVE,
        "version_table": TABLE,
        "version_query": Key(text, ""),
        "heads": HEADS,
    }


def _read(commit: Commit, settings: Settings) -> tuple[Tree, ScriptLocations]:
    from ansible.module_utils.th_tools.alembic_scripts import read_tree
    from ansible.module_utils.th_tools.numbered_scripts import read_numbered_tree

    places = ScriptLocations(tuple(settings["version_locations"]), settings["recursive_version_locations"])
    read = {ALEMBIC_VERSIONS.name: read_tree, NUMBERED_VERSIONS.name: read_numbered_tree}[settings["versions"]]
    return read(commit.files(places, is_python)), places


COMMAND = Tool(
    name="command",
    versions=_VERSIONS,
    keys=_keys,
    where=("version_locations",),
    read=_read,
    parents_needed=False,  # other tools may accept missing parents
)

# SPDX-License-Identifier: Apache-2.0
"""alembic: scripts that name the revision before them; the version table holds the heads."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.th_core.checks import Key, inside, map_of, text
from ansible.module_utils.th_core.profile_values import template
from ansible.module_utils.th_core.text import printable
from ansible.module_utils.th_tools.keys import FOLDERS, HEADS, RECURSIVE, TABLE, commands
from ansible.module_utils.th_tools.revisions import Tree
from ansible.module_utils.th_tools.tool import Commit, ScriptLocations, Settings, Tool, Versions, is_python
from ansible.module_utils.th_tools.versions import Revisions, below, listed, prefixed


def _heads(rows: Iterable[str], prefix: str, revisions: Revisions | None) -> list[str]:
    return sorted({prefixed(row, prefix) for row in rows})


ALEMBIC_VERSIONS = Versions(
    name="alembic",
    kept_by="alembic",
    table="alembic_version",
    columns=frozenset({"version_num"}),
    only_columns=True,
    expression="version_num",
    heads=_heads,
    distinctive=True,
)


def _keys(databases: Iterable[str]) -> dict[str, Key]:
    names = tuple(databases)
    return {
        "config": Key(inside, "alembic.ini"),
        "section": Key(text, "alembic"),
        "script_location": Key(inside, ""),
        "version_locations": FOLDERS,
        "recursive_version_locations": RECURSIVE,
        "version_table": TABLE,
        "url_option": Key(text, "sqlalchemy.url"),
        "options": Key(map_of(text, template(names)), {}),
        "heads": HEADS,
        **commands(names),
    }


def _read(commit: Commit, settings: Settings) -> tuple[Tree, ScriptLocations]:
    from ansible.module_utils.th_tools.alembic_places import find_scripts
    from ansible.module_utils.th_tools.alembic_scripts import read_tree

    places = find_scripts(commit, settings)
    return read_tree(commit.files(places, is_python)), places


def _unfit(files: Iterable[str], read: Callable[[str], bytes | None]) -> str:
    """A script may serve several databases at once: with Flask-Migrate's ``--multidb``, or alembic's multidb template.

    Their env.py goes through all databases in one run, and each script has a function for each database. A walk
    measures one database at a time, and would take the second one's migrations for those of the first.
    """
    from ansible.module_utils.th_parse.python import read_each

    arguments = read_each({file: read(file) or b"" for file in files}, _required_parameter)
    for file, argument in sorted(arguments.items()):
        if argument and isinstance(argument, str):
            return (
                f"{printable(file)}: upgrade({printable(argument)}) is a migration of several databases at once (as "
                "with Flask-Migrate's --multidb), which tool: alembic cannot measure: give each database a folder of "
                "migrations of its own and name them under databases, or walk one of them with tool: command (see "
                'docs/profiles.md, "One tree over several databases").'
            )
    return ""


def _required_parameter(module: ast.Module, content: bytes) -> str:
    """The required parameter of a script's upgrade function; "" for none."""
    for statement in module.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == "upgrade":
            parameters = [*statement.args.posonlyargs, *statement.args.args]
            needed = parameters[: len(parameters) - len(statement.args.defaults)]
            return needed[0].arg[:100] if needed else ""
    return ""


def _request(settings: Settings, src: Path, values: Mapping[str, str]) -> dict[str, Any]:
    from ansible.module_utils.th_tools.alembic_files import toml_files

    config = settings["config"]
    options = {name: text.format_map(values) for name, text in settings["options"].items()}
    if settings["script_location"]:
        options["script_location"] = str(src / settings["script_location"])
    if settings["url_option"]:
        options[settings["url_option"]] = values["url"]
    return {
        "config": str(src / config) if config and not config.endswith(".toml") else "",
        "toml": [str(src / path) for path in toml_files(config, settings["workdir"])] if config else [],
        "section": settings["section"],
        "options": options,
        "version_locations": [str(src / folder) for folder in settings["version_locations"]],
        "recursive": settings["recursive_version_locations"],
    }


def _wrong_rows(rows: list[str], settings: Settings, revisions: Revisions, key: str) -> str:
    if twice := sorted({row for row in rows if rows.count(row) > 1}):
        return (
            f"{listed(twice)} more than once, and alembic refuses to change such a row: take the dump when it has a row"
            f" each, or name another table in the profile ({key})"
        )
    if both := overlapping(rows, settings["name"], revisions):
        later, earlier = map(printable, both)
        return (
            f"the rows {earlier} and {later}, and {later} comes after {earlier}: alembic refuses that ('Requested"
            f" revision {later} overlaps with other requested revisions {earlier}'). Delete the row {earlier} where the"
            " dump comes from (alembic stamp --purge does it), and dump again"
        )
    return ""


def overlapping(rows: Iterable[str], prefix: str, revisions: Revisions) -> tuple[str, str] | None:
    """Two rows of alembic's version table of which one comes after the other, which alembic refuses; None for none.

    Returned as the later and the earlier one, by alembic's rules (``RevisionMap._iterate_related_revisions``, which
    counts ``depends_on`` as well).
    """
    down = {name: set(facts.get("down") or ()) for name, facts in revisions.items()}
    names = {prefixed(row, prefix): row for row in rows}
    for name in sorted(names):
        if earlier := sorted((names.keys() & below([name], lambda one: down.get(one, ()))) - {name}):
            return names[name], names[earlier[0]]
    return None


ALEMBIC = Tool(
    name="alembic",
    versions=(ALEMBIC_VERSIONS,),
    keys=_keys,
    in_checkout=("config", "script_location"),
    where=("script_location", "version_locations"),
    configured=True,
    read=_read,
    unfit=_unfit,
    wrong_rows=_wrong_rows,
    program="walk_alembic.py",
    request=_request,
    modules=("alembic.command", "alembic.autogenerate", "sqlalchemy.orm", "sqlalchemy.dialects.mysql"),
)

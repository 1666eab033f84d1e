# SPDX-License-Identifier: Apache-2.0
"""Trees of migrations that serve several databases at once: Flask-Migrate's ``--multidb``, alembic's template multidb.

Their env.py goes through all databases in one run, and each script has a function for each of them. A walk measures one
database at a time, and would take the second one's migrations for the first one's.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any

from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_core.text import printable
from ansible.module_utils.th_parse.python import read_each
from ansible.module_utils.th_tools.revisions import Tree
from ansible.module_utils.th_tools.versions import owned, prefixed


def refuse_shared_trees(tree: Tree, profile: Mapping[str, Any], read: Callable[[str], bytes | None]) -> None:
    """Refuse a profile whose tree of merged migrations serves several databases; `read` gives a file's content.

    Raises StepError ``profile_wrong``.
    """
    for database in profile["databases"]:
        if database["tool"] != "alembic":
            continue
        name = database["name"]
        heads = (tree.revisions[prefixed(head, name)].file for head in owned(tree.heads(), name))
        arguments = read_each({file: read(file) or b"" for file in heads}, _asked)
        for file, argument in sorted(arguments.items()):
            if argument and isinstance(argument, str):
                where = f"databases.{name}" if name else "migrations"
                raise StepError(
                    "profile_wrong",
                    f"{profile['file']}: {where}: {printable(file)}: upgrade({printable(argument)}) is a migration of "
                    "several databases at once (as with Flask-Migrate's --multidb), which tool: alembic cannot "
                    "measure: give each database a folder of migrations of its own and name them under databases, "
                    'or walk one of them with tool: command (see docs/profiles.md, "One tree over several databases").',
                )


def _asked(module: ast.Module, content: bytes) -> str:
    """The argument that a script's upgrade cannot do without; "" for none."""
    for statement in module.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == "upgrade":
            given = [*statement.args.posonlyargs, *statement.args.args]
            needed = given[: len(given) - len(statement.args.defaults)]
            return needed[0].arg[:100] if needed else ""
    return ""

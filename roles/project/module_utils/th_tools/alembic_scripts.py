# SPDX-License-Identifier: Apache-2.0
"""A tree of alembic migrations, parsed from its scripts: none of the project's code is run.

Which files are scripts follows alembic's own rules (``alembic/script/base.py``).
"""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ansible.module_utils.th_parse.digest import what_runs
from ansible.module_utils.th_parse.python import (
    NAME_LIMIT,
    NOT_LITERAL,
    SCRIPT_LIMIT,  # noqa: F401 - of these scripts, too
    UnreadableError,
    literal,
    read_each,
    sha256,
)
from ansible.module_utils.th_tools.revisions import NO_REVISION, Revision, Tree, Unreadable

_VARIABLES = ("revision", "down_revision", "depends_on")
_FILE = re.compile(r"(?!\.#|__init__).*\.py", re.DOTALL)


def read_tree(files: Iterable[tuple[str, bytes]]) -> Tree:
    """Read a tree from the files (path, content) of the versions folders. Other files are ignored."""
    revisions: dict[str, Revision] = {}
    unreadable: list[Unreadable] = []
    labels: dict[str, str] = {}
    scripts = {path: content for path, content in files if _FILE.fullmatch(path.rpartition("/")[2])}
    for path, found in sorted(read_each(scripts, _read_script).items()):
        if isinstance(found, UnreadableError):
            unreadable.append(Unreadable(path, str(found), sha256(scripts[path])))
            continue
        revision = _revision(path, found)
        if revision.name in revisions:
            other = revisions[revision.name].file
            reason = f"revision {revision.name} is in {other} already"
            unreadable.append(Unreadable(path, reason, sha256(scripts[path])))
        else:
            revisions[revision.name] = revision
            labels.update(dict.fromkeys(found["labels"], revision.name))
    for name, revision in revisions.items():
        if any(one in labels and one not in revisions for one in revision.depends):
            depends = tuple(one if one in revisions else labels.get(one, one) for one in revision.depends)
            revisions[name] = dataclasses.replace(revision, depends=depends)
    return Tree(revisions, tuple(unreadable))


def _read_script(module: ast.Module, content: bytes) -> dict[str, Any]:
    """A script's revision, and the branch labels that others may refer to it by."""
    values = _assignments(module)
    if "revision" not in values:
        raise UnreadableError(NO_REVISION)
    names = _names(values, "revision")
    if len(names) != 1:
        raise UnreadableError("its revision is not one name")
    try:
        labels = _names(values, "branch_labels")
    except UnreadableError:
        labels = ()  # they matter only where another script depends on one
    down, depends = _names(values, "down_revision"), _names(values, "depends_on")
    return {"name": names[0], "down": down, "depends": depends, "labels": labels, **what_runs(module, content)}


def _revision(path: str, found: Mapping[str, Any]) -> Revision:
    return Revision(
        name=found["name"],
        down=tuple(found["down"]),
        file=path,
        digest=found["digest"],
        depends=tuple(found["depends"]),
        whole=found["whole"],
        refers=found["refers"],
    )


def _assignments(module: ast.Module) -> dict[str, ast.expr]:
    """The module's variables and the values assigned to them; a revision that is set in any other way is unreadable."""
    values: dict[str, ast.expr] = {}
    for statement in module.body:
        if isinstance(statement, ast.Assign):
            for target in statement.targets:
                _assign(target, statement.value, values)
        elif isinstance(statement, ast.AnnAssign):
            if statement.value is not None:
                _assign(statement.target, statement.value, values)
        elif not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            _refuse_others(statement)
    return values


def _assign(target: ast.expr, value: ast.expr, values: dict[str, ast.expr]) -> None:
    if isinstance(target, ast.Name):
        values[target.id] = value
    elif (
        isinstance(target, ast.Tuple | ast.List)
        and isinstance(value, ast.Tuple | ast.List)
        and len(target.elts) == len(value.elts)
        and not any(isinstance(part, ast.Starred) for part in (*target.elts, *value.elts))
    ):
        for one, part in zip(target.elts, value.elts, strict=True):  # ``revision, down_revision = "b", "a"``
            _assign(one, part, values)
    else:
        _refuse_others(target)


def _refuse_others(node: ast.AST) -> None:
    """Refuse a statement that sets one of the variables in a way that is not supported, such as within an ``if``."""
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store) and part.id in _VARIABLES:
            raise UnreadableError(f"its {part.id} is computed, not written out")


def _names(values: dict[str, ast.expr], variable: str) -> tuple[str, ...]:
    """A revision variable's value: nothing, a name, or several."""
    if variable not in values:
        return ()
    expression = values[variable]
    seen = {variable}
    # ``down_revision = previous`` with ``previous`` a constant of the same module
    while isinstance(expression, ast.Name) and expression.id in values and expression.id not in seen:
        seen.add(expression.id)
        expression = values[expression.id]
    try:
        value = literal(expression)
    except NOT_LITERAL:
        raise UnreadableError(f"its {variable} is computed, not written out") from None
    if value is None:
        return ()
    found = (value,) if isinstance(value, str) else value
    if not isinstance(found, tuple | list | set | frozenset):
        raise UnreadableError(f"its {variable} is neither a name nor a list of names")
    names = [name for name in found if isinstance(name, str) and 0 < len(name) <= NAME_LIMIT and name.isprintable()]
    if len(names) < len(found):
        raise UnreadableError(f"its {variable} holds what is not a revision's name")
    return tuple(names if isinstance(found, tuple | list) else sorted(names))

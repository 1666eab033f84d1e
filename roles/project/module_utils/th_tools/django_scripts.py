# SPDX-License-Identifier: Apache-2.0
"""Parsing one file of a Django app, a migration or an ``apps.py``: none of it is run."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ansible.module_utils.th_parse.digest import all_that_runs
from ansible.module_utils.th_parse.python import NAME_LIMIT, NOT_LITERAL, UnreadableError, literal

ITEMS_LIMIT = 1000
"""How many parts of a migration's `dependencies` are read."""

_Key = tuple[str, str]
_LISTS = ("dependencies", "run_before", "replaces")


@dataclass
class Node:
    """A migration as parsed from its file."""

    digest: str
    dependencies: list[_Key] = field(default_factory=list)
    run_before: list[_Key] = field(default_factory=list)
    replaces: list[_Key] = field(default_factory=list)
    computed: bool = False
    file: str = ""

    @classmethod
    def of(cls, path: str, found: Mapping[str, Any]) -> Node:
        """The node for a result of `read_node`."""
        lists = {name: [(app, one) for app, one in found[name]] for name in _LISTS}
        return cls(found["digest"], computed=found["computed"], file=path, **lists)


def read_node(module: ast.Module, content: bytes) -> dict[str, Any]:
    """A migration, as `Node.of` takes it. Raises UnreadableError."""
    node = Node(all_that_runs(module, content))
    constants = _constants(module.body)
    here = False
    for statement in module.body:
        if isinstance(statement, ast.ClassDef) and statement.name == "Migration":
            here = True
            _read_class(statement, constants, node)
        elif isinstance(statement, ast.ImportFrom):
            brought = any((one.asname or one.name) in ("Migration", "*") for one in statement.names)
            here = here or brought
            node.computed = node.computed or brought
        elif isinstance(statement, ast.Assign | ast.If | ast.Try):
            assigned = any(
                (isinstance(one, ast.ClassDef) and one.name == "Migration")
                or (isinstance(one, ast.Name) and one.id == "Migration" and isinstance(one.ctx, ast.Store))
                for one in ast.walk(statement)
            )
            here = here or assigned
            node.computed = node.computed or assigned
    if not here:
        raise UnreadableError("it has no class Migration")
    return asdict(node)


def _constants(body: Sequence[ast.stmt]) -> dict[str, ast.expr]:
    """The variables that are set by plain assignments."""
    values: dict[str, ast.expr] = {}
    for statement in body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            values[statement.targets[0].id] = statement.value
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value:
            values[statement.target.id] = statement.value
    return values


def _read_class(migration: ast.ClassDef, constants: Mapping[str, ast.expr], node: Node) -> None:
    known = {**constants, **_constants(migration.body)}
    lists = {"dependencies": node.dependencies, "run_before": node.run_before, "replaces": node.replaces}
    for name, keys in lists.items():
        for item in _items(known[name], known, node) if name in known else ():
            keys.extend(_key(item, known))
    for statement in migration.body:
        if not isinstance(statement, ast.Assign | ast.AnnAssign | ast.FunctionDef):
            for part in ast.walk(statement):  # set in an ``if``, or by ``+=``
                if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store) and part.id in lists:
                    node.computed = True


def _items(value: ast.expr, known: Mapping[str, ast.expr], node: Node) -> Iterator[ast.expr]:
    """The items of a list, or of added lists; the node is marked as computed where something is not a literal."""
    queue = [value]
    for _ in range(ITEMS_LIMIT):
        if not queue:
            return
        part = queue.pop()
        if isinstance(part, ast.List | ast.Tuple):
            yield from (item for item in part.elts if not isinstance(item, ast.Starred))
            queue += [item.value for item in part.elts if isinstance(item, ast.Starred)]
        elif isinstance(part, ast.BinOp) and isinstance(part.op, ast.Add):
            queue += [part.left, part.right]
        elif isinstance(part, ast.Name) and part.id in known:
            queue.append(known[part.id])
        else:
            node.computed = True
    node.computed = True


def _key(item: ast.expr, known: Mapping[str, ast.expr]) -> list[_Key]:
    """The migration that an item of `dependencies` names; none for one that depends on the settings."""
    if isinstance(item, ast.Call):
        called = item.func.attr if isinstance(item.func, ast.Attribute) else getattr(item.func, "id", "")
        if called != "swappable_dependency" or len(item.args) != 1:
            return []
        model = _text(item.args[0], known)
        return [(model.partition(".")[0], "__first__")] if "." in model else []
    if isinstance(item, ast.Tuple | ast.List) and len(item.elts) == 2:
        app, name = (_text(one, known) for one in item.elts)
        return [(app, name)] if app and name else []
    return []


def _text(expression: ast.expr, known: Mapping[str, ast.expr]) -> str:
    if isinstance(expression, ast.Name) and expression.id in known:
        expression = known[expression.id]
    try:
        value = literal(expression)
    except NOT_LITERAL:
        return ""
    return value if isinstance(value, str) and len(value) <= NAME_LIMIT and value.isprintable() else ""


def read_label(module: ast.Module, content: bytes) -> str:
    """The app label in an apps.py, of several AppConfigs that of the default; "" for none."""
    found: dict[str, bool] = {}
    constants = _constants(module.body)
    for statement in module.body:
        if isinstance(statement, ast.ClassDef):
            known = {**constants, **_constants(statement.body)}
            own = _constants(statement.body)
            label = _text(own["label"], known) if "label" in own else ""
            name = _text(own["name"], known) if "name" in own else ""
            default = own.get("default")
            chosen = isinstance(default, ast.Constant) and default.value is True
            if label or name:
                label = label or name.rpartition(".")[2]
                found[label] = found.get(label, False) or chosen
    likely = [label for label, chosen in found.items() if chosen or len(found) == 1]
    return likely[0] if likely else ""

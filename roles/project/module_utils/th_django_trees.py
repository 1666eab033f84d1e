# SPDX-License-Identifier: Apache-2.0
"""The migrations of a Django project, read from the text of its files: none of the project's code is run.

The rules are Django's own (``django/db/migrations/loader.py``). A migration is called ``<app>.<migration>``.
"""

from __future__ import annotations

import ast
import posixpath
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ansible.module_utils.th_revisions import Revision, Tree, Unreadable
from ansible.module_utils.th_scripts import (
    NAME_LIMIT,
    NOT_LITERAL,
    UnreadableError,
    digest_of,
    literal,
    read_each,
    sha256,
)

MIGRATIONS = "migrations"
NOT_OF_THE_PROJECT = frozenset({"test", "tests", "testing", "site-packages", "node_modules"})
"""Names of folders whose apps are not looked for: tests have apps of their own, with the labels of real ones."""
ITEMS_LIMIT = 1000
"""Parts of a migration's `dependencies` that are looked at."""

_Key = tuple[str, str]


def may_matter(path: str) -> bool:
    """Whether a file of a repository can be a migration, or say what an app is called."""
    folder, _, name = path.rpartition("/")
    parts = folder.split("/")
    return name == "apps.py" or (
        parts[-1] == MIGRATIONS
        and name.endswith(".py")
        and not NOT_OF_THE_PROJECT.intersection(parts)
        and not any(part.startswith(".") for part in parts)
    )


@dataclass
class _Node:
    """A migration as its file has it."""

    file: str
    digest: str
    dependencies: list[_Key] = field(default_factory=list)
    run_before: list[_Key] = field(default_factory=list)
    replaces: list[_Key] = field(default_factory=list)
    computed: bool = False


def read_django_tree(
    files: Iterable[tuple[str, bytes]], apps: Sequence[str] = (), labels: Mapping[str, str] | None = None
) -> tuple[Tree, list[str]]:
    """Read the tree from files (path, content), and say which folders it is in.

    `apps` are the folders with migrations; without, they are all folders ``migrations`` that are packages and hold
    a migration. `labels` are the apps' labels by such a folder, or by the one above it.
    """
    content = dict(files)
    folders = {posixpath.dirname(path) for path in content if posixpath.basename(path) != "apps.py"}
    chosen = (
        [folder for folder in apps if folder in folders]
        if apps
        else sorted(folders, key=lambda one: (one.count("/"), one))
    )
    nodes: dict[_Key, _Node] = {}
    unreadable: list[Unreadable] = []
    of_label: dict[str, str] = {}
    # Django takes a folder that is no package for an app without migrations; what cannot be shown, Python cannot import
    packages = [one for one in chosen if (apps or f"{one}/__init__.py" in content) and one.isprintable()]
    within = {one: {path: text for path, text in content.items() if _is_module(path, one)} for one in packages}
    read = read_each({path: text for modules in within.values() for path, text in modules.items()}, _read_node)
    for folder, modules in within.items():
        found, problems = _read_folder(modules, read)
        if not found:
            if apps:
                unreadable += problems
            continue
        label = _label(folder, content, labels or {})
        other = of_label.setdefault(label, folder)
        if other != folder:
            reason = f"its app has the label {label} of {other}, too: say in the profile which folders are the apps'"
            unreadable += [Unreadable(path, reason, sha256(text)) for path, text in sorted(modules.items())]
            continue
        unreadable += problems
        nodes.update({(label, name): node for name, node in found.items()})
    unreadable += _computed(nodes, content)
    return Tree(_revisions(nodes), tuple(unreadable)), sorted(of_label.values())


def _is_module(path: str, folder: str) -> bool:
    """Whether a file is one that Django takes for a migration."""
    name = posixpath.basename(path)
    return posixpath.dirname(path) == folder and name.endswith(".py") and name[0] not in "_~" and name.count(".") == 1


def _read_folder(
    modules: Mapping[str, bytes], read: Mapping[str, _Node | UnreadableError]
) -> tuple[dict[str, _Node], list[Unreadable]]:
    nodes: dict[str, _Node] = {}
    unreadable: list[Unreadable] = []
    for path in sorted(modules):
        found, name = read[path], posixpath.basename(path).removesuffix(".py")
        if len(name) > NAME_LIMIT or not name.isprintable():
            found = UnreadableError("its name is not a migration's")
        if isinstance(found, UnreadableError):
            unreadable.append(Unreadable(path, str(found), sha256(modules[path])))
        else:
            nodes[name] = found
    return nodes, unreadable


def _read_node(path: str, module: ast.Module) -> _Node:
    node = _Node(path, digest_of(module))
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
    return node


def _constants(body: Sequence[ast.stmt]) -> dict[str, ast.expr]:
    """The variables that are assigned once, plainly."""
    values: dict[str, ast.expr] = {}
    for statement in body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            values[statement.targets[0].id] = statement.value
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value:
            values[statement.target.id] = statement.value
    return values


def _read_class(migration: ast.ClassDef, constants: Mapping[str, ast.expr], node: _Node) -> None:
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


def _items(value: ast.expr, known: Mapping[str, ast.expr], node: _Node) -> Iterator[ast.expr]:
    """The items of a list, or of lists that are added; what is not written out is noted as computed."""
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
    """The migration that an item of `dependencies` names; none for one that only the settings tell."""
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


def _computed(nodes: Mapping[_Key, _Node], content: Mapping[str, bytes]) -> Iterator[Unreadable]:
    """Migrations whose dependencies are computed, where that leaves open what they come after in their own app."""
    sizes = Counter(app for app, _ in nodes)
    for (app, _), node in nodes.items():
        if node.computed and sizes[app] > 1 and not any(one == app for one, _ in node.dependencies):
            yield Unreadable(node.file, "its dependencies are computed, not written out", sha256(content[node.file]))


def _label(folder: str, content: Mapping[str, bytes], labels: Mapping[str, str]) -> str:
    """An app's label: the profile's, else that of the AppConfig, else the name of its folder."""
    above = posixpath.dirname(folder)
    for place in (folder, above):
        if place in labels:
            return labels[place]
    plain = posixpath.basename(above) or posixpath.basename(folder)
    return _label_of_config(content.get(posixpath.join(above, "apps.py"), b""), plain)


def _label_of_config(content: bytes, plain: str) -> str:
    """The label that an apps.py gives; of several, that of the default one."""
    module = read_each({"apps.py": content}, lambda path, read: read)["apps.py"]
    if isinstance(module, UnreadableError):
        return plain
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
    return likely[0] if likely else plain


def _revisions(nodes: Mapping[_Key, _Node]) -> dict[str, Revision]:
    """The migrations with what each comes after, within the tree."""
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
        """What a dependency on another app is; None where that is not in the tree."""
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

# SPDX-License-Identifier: Apache-2.0
"""The tree of a project's migrations, read from its scripts' text: none of the project's code is run.

The rules of what is a script are alembic's own (``alembic/script/base.py``) and, for numbered versions,
sqlalchemy-migrate's (``migrate/versioning/version.py``).
"""

from __future__ import annotations

import ast
import hashlib
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field

SCRIPT_LIMIT = 1024 * 1024
"""Bytes; a longer script is reported as unreadable."""
NAME_LIMIT = 255
"""Characters of a revision; alembic's version table holds 32 by default."""

_VARIABLES = ("revision", "down_revision", "depends_on")
_ALEMBIC_FILE = re.compile(r"(?!\.#|__init__).*\.py", re.DOTALL)
_NUMBERED_FILE = re.compile(r"(\d{1,9})_.*\.py", re.DOTALL)


@dataclass(frozen=True)
class Revision:
    """One migration: its name, the ones it comes after, its file, and a digest of what its upgrade does."""

    name: str
    down: tuple[str, ...]
    file: str
    digest: str
    depends: tuple[str, ...] = ()


@dataclass(frozen=True)
class Unreadable:
    """A file that looks like a migration but could not be understood, and why; `digest` is that of its content."""

    file: str
    reason: str
    digest: str = ""


@dataclass(frozen=True)
class Tree:
    """The migrations of one commit."""

    revisions: dict[str, Revision] = field(default_factory=dict)
    unreadable: tuple[Unreadable, ...] = ()

    def heads(self) -> list[str]:
        """The revisions that no other one comes after, sorted."""
        passed = {down for revision in self.revisions.values() for down in revision.down}
        return sorted(self.revisions.keys() - passed)

    def ancestors(self, names: Iterable[str]) -> set[str]:
        """The given revisions that are in the tree, and all that must have run before them."""
        found: set[str] = set()
        queue = list(names)
        while queue:
            name = queue.pop()
            if name in self.revisions and name not in found:
                found.add(name)
                queue.extend(self._before(name))
        return found

    def order(self) -> list[str]:
        """All revisions, each after those it needs; a tie goes by name, so the order is always the same.

        Raises ValueError when they go round in a circle.
        """
        waits = {name: set(self._before(name)) & self.revisions.keys() for name in self.revisions}
        later: dict[str, list[str]] = {}
        for name, needed in waits.items():
            for one in needed:
                later.setdefault(one, []).append(name)
        ready = sorted((name for name, needed in waits.items() if not needed), reverse=True)
        ordered: list[str] = []
        while ready:
            name = ready.pop()
            ordered.append(name)
            freed = []
            for follower in later.get(name, ()):
                waits[follower].discard(name)
                if not waits[follower]:
                    freed.append(follower)
            ready.extend(sorted(freed, reverse=True))
        if len(ordered) < len(self.revisions):
            circle = sorted(self.revisions.keys() - set(ordered))
            raise ValueError(f"the migrations go round in a circle: {', '.join(circle[:5])}")
        return ordered

    def _before(self, name: str) -> tuple[str, ...]:
        revision = self.revisions[name]
        return revision.down + revision.depends


def read_tree(files: Iterable[tuple[str, bytes]], style: str = "alembic") -> Tree:
    """Read a tree from the files (path, content) of the versions folders.

    `style` is ``alembic`` or ``numbered``. Files that are no migrations are left aside.
    """
    if style == "numbered":
        return _read_numbered(files)
    revisions: dict[str, Revision] = {}
    unreadable: list[Unreadable] = []
    for path, content in sorted(files):
        if not _ALEMBIC_FILE.fullmatch(path.rpartition("/")[2]):
            continue
        try:
            revision = _read_script(path, content)
        except _UnreadableError as problem:
            unreadable.append(Unreadable(path, str(problem), _sha256(content)))
            continue
        if revision.name in revisions:
            other = revisions[revision.name].file
            reason = f"revision {revision.name} is in {other} already"
            unreadable.append(Unreadable(path, reason, _sha256(content)))
        else:
            revisions[revision.name] = revision
    return Tree(revisions, tuple(unreadable))


class _UnreadableError(Exception):
    """A script that cannot be understood; the text is the reason."""


def _read_numbered(files: Iterable[tuple[str, bytes]]) -> Tree:
    scripts: dict[int, tuple[str, bytes]] = {}
    unreadable: list[Unreadable] = []
    for path, content in sorted(files):
        match = _NUMBERED_FILE.fullmatch(path.rpartition("/")[2])
        if match is None:
            continue
        number = int(match[1])
        if number in scripts:
            reason = f"version {number} is in {scripts[number][0]} already"
            unreadable.append(Unreadable(path, reason, _sha256(content)))
        else:
            scripts[number] = (path, content)
    revisions: dict[str, Revision] = {}
    down: tuple[str, ...] = ()
    for number in sorted(scripts):
        path, content = scripts[number]
        try:
            digest = _digest(_parse(content))
        except _UnreadableError:
            digest = _sha256(content)  # its number is all that the walk needs
        revisions[str(number)] = Revision(str(number), down, path, digest)
        down = (str(number),)
    return Tree(revisions, tuple(unreadable))


def _parse(content: bytes) -> ast.Module:
    if len(content) > SCRIPT_LIMIT:
        raise _UnreadableError(f"longer than {SCRIPT_LIMIT} bytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as invalid escapes: the script's own matter
            return ast.parse(content)
    except SyntaxError as error:
        raise _UnreadableError(f"not Python: {error.msg} (line {error.lineno})") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise _UnreadableError(f"not Python: {type(error).__name__}") from None


def _read_script(path: str, content: bytes) -> Revision:
    module = _parse(content)
    values = _assignments(module)
    if "revision" not in values:
        raise _UnreadableError("it sets no revision")
    names = _names(values, "revision")
    if len(names) != 1:
        raise _UnreadableError("its revision is not one name")
    return Revision(
        name=names[0],
        down=_names(values, "down_revision"),
        file=path,
        digest=_digest(module),
        depends=_names(values, "depends_on"),
    )


def _assignments(module: ast.Module) -> dict[str, ast.expr]:
    """The module's variables with what is assigned to them; a revision that is set in another way is unreadable."""
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
    """Refuse what sets one of the variables in a way that is not followed, such as within an ``if``."""
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store) and part.id in _VARIABLES:
            raise _UnreadableError(f"its {part.id} is computed, not written out")


def _literal(expression: ast.expr) -> object:
    """The value of a literal, or of texts that are put together with ``+``. Raises what `ast.literal_eval` does."""
    if isinstance(expression, ast.BinOp) and isinstance(expression.op, ast.Add):
        left, right = _literal(expression.left), _literal(expression.right)
        if isinstance(left, str) and isinstance(right, str):
            return left + right
    return ast.literal_eval(expression)


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
        value = _literal(expression)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        raise _UnreadableError(f"its {variable} is computed, not written out") from None
    if value is None:
        return ()
    found = (value,) if isinstance(value, str) else value
    if not isinstance(found, tuple | list | set | frozenset):
        raise _UnreadableError(f"its {variable} is neither a name nor a list of names")
    names = tuple(found) if isinstance(found, tuple | list) else tuple(sorted(map(str, found)))
    for name in names:
        if not isinstance(name, str) or not 0 < len(name) <= NAME_LIMIT or not name.isprintable():
            raise _UnreadableError(f"its {variable} holds what is not a revision's name")
    return names


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _digest(module: ast.Module) -> str:
    """What the upgrade does: comments, layout, the docstring and the downgrade are not part of it."""
    body = [
        statement
        for statement in module.body
        if not (isinstance(statement, ast.FunctionDef) and statement.name == "downgrade")
        and not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
    ]
    try:
        text = ast.dump(ast.Module(body=body, type_ignores=[]))
    except RecursionError:
        raise _UnreadableError("it is nested too deeply") from None
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()

# SPDX-License-Identifier: Apache-2.0
"""The tree of a project's migrations, read from its scripts' text: none of the project's code is run.

The rules of what is a script are alembic's own (``alembic/script/base.py``) and, for numbered versions,
sqlalchemy-migrate's (``migrate/versioning/version.py``).
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from ansible.module_utils.th_lfs import is_pointer
from ansible.module_utils.th_new_syntax import in_older_words
from ansible.module_utils.th_revisions import Revision, Tree, Unreadable

_Found = TypeVar("_Found")

SCRIPT_LIMIT = 1024 * 1024
"""Bytes; a longer script is reported as unreadable."""
NAME_LIMIT = 255
"""Characters of a revision; alembic's version table holds 32 by default."""

NO_REVISION = "it sets no revision"
"""Why a script is unreadable that no other one can come after."""

_VARIABLES = ("revision", "down_revision", "depends_on")
_ALEMBIC_FILE = re.compile(r"(?!\.#|__init__).*\.py", re.DOTALL)
_NUMBERED_FILE = re.compile(r"(\d{1,14})_.*\.py", re.DOTALL)
_SQLALCHEMY_MIGRATE_FILE = re.compile(r"(\d{3,14}).*\.(?:py|sql)", re.DOTALL)
# <number>_<description>_<database>_<operation>.sql, of which sqlalchemy-migrate takes the server's, else the default
_SQL_FILE = re.compile(r"\d+(?:_.*)?_(?:mysql|default)_upgrade\.sql|\d+_upgrade\.sql", re.DOTALL)


def read_tree(files: Iterable[tuple[str, bytes]], style: str = "alembic") -> Tree:
    """Read a tree from the files (path, content) of the versions folders.

    `style` is ``alembic``, ``numbered`` or ``sqlalchemy_migrate``. Files that are no migrations are left aside.
    """
    if style != "alembic":
        return _read_numbered(files, _NUMBERED_FILE if style == "numbered" else _SQLALCHEMY_MIGRATE_FILE)
    revisions: dict[str, Revision] = {}
    unreadable: list[Unreadable] = []
    labels: dict[str, str] = {}
    scripts = {path: content for path, content in files if _ALEMBIC_FILE.fullmatch(path.rpartition("/")[2])}
    for path, found in sorted(read_each(scripts, _read_script).items()):
        if isinstance(found, UnreadableError):
            unreadable.append(Unreadable(path, str(found), sha256(scripts[path])))
            continue
        revision, named = found
        if revision.name in revisions:
            other = revisions[revision.name].file
            reason = f"revision {revision.name} is in {other} already"
            unreadable.append(Unreadable(path, reason, sha256(scripts[path])))
        else:
            revisions[revision.name] = revision
            labels.update(dict.fromkeys(named, revision.name))
    for name, revision in revisions.items():
        if any(one in labels and one not in revisions for one in revision.depends):
            depends = tuple(one if one in revisions else labels.get(one, one) for one in revision.depends)
            revisions[name] = dataclasses.replace(revision, depends=depends)
    return Tree(revisions, tuple(unreadable))


class UnreadableError(Exception):
    """A script that cannot be understood; the text is the reason."""


class NewSyntaxError(UnreadableError):
    """A script that this Python cannot parse; a newer one may."""


def read_each(
    scripts: Mapping[str, bytes], read: Callable[[str, ast.Module], _Found]
) -> dict[str, _Found | UnreadableError]:
    """What `read` makes of each script (path, content), or why it cannot be read.

    Those in a newer Python than this one are rewritten all at once, which takes a process of its own.
    """
    found: dict[str, _Found | UnreadableError] = {}

    def attempt(path: str, content: bytes | str) -> None:
        try:
            found[path] = read(path, parse(content))
        except UnreadableError as problem:
            found[path] = problem

    for path, content in scripts.items():
        attempt(path, content)
    newer = [path for path, one in found.items() if isinstance(one, NewSyntaxError)]
    for path, text in zip(newer, in_older_words([scripts[path] for path in newer]), strict=True):
        if text is not None:
            attempt(path, text)
    return found


def _read_numbered(files: Iterable[tuple[str, bytes]], name: re.Pattern[str]) -> Tree:
    scripts: dict[int, dict[str, bytes]] = {}
    unreadable: list[Unreadable] = []
    for path, content in sorted(files):
        match = name.fullmatch(path.rpartition("/")[2])
        if match is None:
            continue
        version = scripts.setdefault(int(match[1]), {})
        other = next((one for one in version if one.endswith(".py")), "") if path.endswith(".py") else ""
        if other:
            reason = f"version {int(match[1])} is in {other} already"
            unreadable.append(Unreadable(path, reason, sha256(content)))
        else:
            version[path] = content
    modules = {path: text for version in scripts.values() for path, text in version.items() if path.endswith(".py")}
    digests = read_each(modules, lambda path, module: digest_of(module))
    revisions: dict[str, Revision] = {}
    down: tuple[str, ...] = ()
    for number in sorted(scripts):
        revisions[str(number)] = _version(str(number), down, scripts[number], digests)
        down = (str(number),)
    return Tree(revisions, tuple(unreadable))


def _version(
    name: str, down: tuple[str, ...], files: dict[str, bytes], read: Mapping[str, str | UnreadableError]
) -> Revision:
    """A version of its Python script and its SQL scripts; those for other servers, or downwards, do not alter it."""
    digests = []
    main = ""
    for path in sorted(files):
        if path.endswith(".py"):
            main = main or path
            digest = read[path]
            # of what cannot be read, its number is all that the walk needs
            digests.append(digest if isinstance(digest, str) else sha256(files[path]))
        elif _SQL_FILE.fullmatch(path.rpartition("/")[2]):
            main = path if not main or main.endswith(".py") else main  # it is taken rather than Python
            digests.append(sha256(files[path]))
    main = main or min(files)
    digest = digests[0] if len(digests) == 1 else sha256("\n".join(digests).encode())
    return Revision(name, down, main, digest, others=tuple(sorted(files.keys() - {main})))


def parse(content: bytes | str) -> ast.Module:
    """A script's text as Python. Raises UnreadableError; NewSyntaxError where a newer Python may understand it."""
    if isinstance(content, bytes):
        if len(content) > SCRIPT_LIMIT:
            raise UnreadableError(f"longer than {SCRIPT_LIMIT} bytes")
        if is_pointer(content):
            raise UnreadableError("it is a Git LFS pointer, not the script: keep migrations out of Git LFS")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as invalid escapes: the script's own matter
            return ast.parse(content)
    except SyntaxError as error:
        raise NewSyntaxError(f"not Python: {error.msg} (line {error.lineno})") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise UnreadableError(f"not Python: {type(error).__name__}") from None


def _read_script(path: str, module: ast.Module) -> tuple[Revision, tuple[str, ...]]:
    """A script's revision, and the branch labels that others may name it by."""
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
    revision = Revision(
        name=names[0],
        down=_names(values, "down_revision"),
        file=path,
        digest=digest_of(module),
        depends=_names(values, "depends_on"),
    )
    return revision, labels


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
            raise UnreadableError(f"its {part.id} is computed, not written out")


NOT_LITERAL = (ValueError, TypeError, SyntaxError, RecursionError, MemoryError)
"""What `literal` raises for what is not one."""


def literal(expression: ast.expr) -> object:
    """The value of a literal, or of texts or sequences that are put together with ``+``. Raises NOT_LITERAL."""
    if isinstance(expression, ast.BinOp) and isinstance(expression.op, ast.Add):
        left, right = literal(expression.left), literal(expression.right)
        if isinstance(left, str) and isinstance(right, str):
            return left + right
        if isinstance(left, tuple) and isinstance(right, tuple):
            return left + right
        if isinstance(left, list) and isinstance(right, list):
            return left + right
    if isinstance(expression, ast.JoinedStr):  # an f-string that nothing is filled into
        return "".join(str(ast.literal_eval(part)) for part in expression.values)
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


def sha256(content: bytes) -> str:
    """The digest of a file's content."""
    return hashlib.sha256(content).hexdigest()


def digest_of(module: ast.Module) -> str:
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
        raise UnreadableError("it is nested too deeply") from None
    except (ValueError, MemoryError):
        raise UnreadableError("it holds a number that is too long") from None
    return sha256(text.encode("utf-8", "backslashreplace"))

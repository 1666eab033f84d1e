# SPDX-License-Identifier: Apache-2.0
"""Parsing Python code of a change within limits, without running it."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from ansible.module_utils.th_parse.lfs import is_pointer
from ansible.module_utils.th_parse.limited import Bounds, Stopped, in_a_process
from ansible.module_utils.th_parse.new_syntax import in_older_syntax

SCRIPT_LIMIT = 1024 * 1024
"""Maximum bytes of a script; a longer one is reported as unreadable."""
NAME_LIMIT = 255
"""Maximum characters of a revision; alembic's version table holds 32 by default."""
BOUNDS = Bounds()
"""What parsing and examining the scripts may use."""

Read = Callable[[ast.Module, bytes], Any]
"""Examines a module, given as a tree and as source; its result must be JSON. Raises UnreadableError."""

_kept: dict[tuple[Read, str], Any] = {}
_KEPT_LIMIT = 64 * 1024 * 1024
_kept_size = 0


class UnreadableError(Exception):
    """A script that cannot be understood; the text is the reason."""


def sha256(content: bytes) -> str:
    """The digest of a file's content."""
    return hashlib.sha256(content).hexdigest()


def read_each(scripts: Mapping[str, bytes], read: Read) -> dict[str, Any | UnreadableError]:
    """The result of `read` for each script (path, content), or why it cannot be read.

    `read` has to be a module-level function; it runs in one process for all scripts. The same scripts are in many
    commits: results are cached for the lifetime of this process.
    """
    names = {path: sha256(content) for path, content in scripts.items()}
    found = {path: _kept[read, name] for path, name in names.items() if (read, name) in _kept}
    unknown: dict[str, bytes] = {}
    for path in [path for path in scripts if path not in found]:
        if problem := _refused(scripts[path]):
            found[path] = {"problem": problem}
        else:
            unknown[names[path]] = scripts[path]
    results = _read_all(list(unknown.values()), read)
    new = dict(zip(unknown, results, strict=True))
    _keep(read, new)
    each = {path: found[path] if path in found else new[names[path]] for path in scripts}
    return {path: one["found"] if "found" in one else UnreadableError(one["problem"]) for path, one in each.items()}


def _refused(content: bytes) -> str:
    if len(content) > SCRIPT_LIMIT:
        return f"longer than {SCRIPT_LIMIT} bytes"
    if is_pointer(content):
        return "it is a Git LFS pointer, not the script: keep migrations out of Git LFS"
    return ""


def _keep(read: Read, new: Mapping[str, Any]) -> None:
    global _kept_size
    for name, one in new.items():
        _kept_size += len(json.dumps(one))
        if _kept_size > _KEPT_LIMIT:
            return
        _kept[read, name] = one


def _read_all(scripts: list[bytes], read: Read) -> list[Any]:
    """A mapping for each script with its result as ``found``, or with the ``problem``."""
    if not scripts:
        return []

    def look(pair: tuple[bytes, str | None]) -> Any:
        return _look(pair[0], pair[1], read)

    results = [_as_mapping(one) for one in in_a_process([(script, None) for script in scripts], look, BOUNDS)]
    newer = [number for number, one in enumerate(results) if "newer" in one]
    texts = in_older_syntax([scripts[number] for number in newer])
    pairs = [(number, text) for number, text in zip(newer, texts, strict=True) if text is not None]
    again = in_a_process([(scripts[number], text) for number, text in pairs], look, BOUNDS) if pairs else []
    for (number, _), one in zip(pairs, again, strict=True):
        results[number] = _as_mapping(one)
    return results


def _as_mapping(one: Any | Stopped) -> Any:
    return {"problem": f"it {one.reason}"} if isinstance(one, Stopped) else one


def _look(content: bytes, text: str | None, read: Read) -> dict[str, Any]:
    """Parse a script, or the `text` that it was rewritten to, and examine it."""
    try:
        module = ast.parse(content if text is None else text)
    except SyntaxError as error:
        problem = f"not Python: {error.msg} (line {error.lineno})"
        return {"problem": problem, **({"newer": True} if text is None else {})}
    except ValueError as error:
        return {"problem": f"not Python: {type(error).__name__}"}
    except MemoryError:  # also the parser's error for too many nested brackets
        most = f"{BOUNDS.memory >> 20:,} MiB"
        return {"problem": f"it is nested too deeply to be read, or takes more than {most} for it: make it smaller"}
    try:
        return {"found": read(module, content)}
    except UnreadableError as problem:
        return {"problem": str(problem)}


NOT_LITERAL = (ValueError, TypeError, SyntaxError, RecursionError, MemoryError)
"""What `literal` raises for an expression that is not a literal."""


def literal(expression: ast.expr) -> object:
    """The value of a literal, or of strings or sequences joined with ``+``. Raises NOT_LITERAL."""
    if isinstance(expression, ast.BinOp) and isinstance(expression.op, ast.Add):
        left, right = literal(expression.left), literal(expression.right)
        if isinstance(left, str) and isinstance(right, str):
            return left + right
        if isinstance(left, tuple) and isinstance(right, tuple):
            return left + right
        if isinstance(left, list) and isinstance(right, list):
            return left + right
    if isinstance(expression, ast.JoinedStr):  # an f-string without replacement fields
        return "".join(str(ast.literal_eval(part)) for part in expression.values)
    return ast.literal_eval(expression)

# SPDX-License-Identifier: Apache-2.0
"""Scripts for a newer Python than this one, rewritten in syntax that `ast` understands here.

libcst knows the grammar of every version up to 3.15. What it accepts is rewritten (th_parse.downlevel): an expression
that this Python has no grammar for becomes a call, which is not a literal, with a digest of the expression. What libcst
does not accept is not valid in any version. Its parser is native code that a hostile script can crash or keep busy, so
it runs in a separate process (th_parse.limited).
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ansible.module_utils.th_core.artifacts import write_json
from ansible.module_utils.th_parse.limited import Bounds, Stopped, in_a_process

SECONDS = 10
"""Processor time for one script."""
TOTAL_SECONDS = 60
"""Processor time for all scripts of a call, in addition to EACH_SECONDS for each of them."""
EACH_SECONDS = 0.1
MEMORY = 1 << 30
"""Bytes of address space that the process may use in addition to what it starts with."""

FILE_LIMIT = 64 * 1024 * 1024
"""Maximum bytes of the file that keeps rewritten scripts from one job to the next."""

_kept: dict[str, str | None] = {}
_new: set[str] = set()
_KEPT_LIMIT = 64 * 1024 * 1024  # characters, of all scripts of a job together


def in_older_syntax(scripts: Sequence[bytes]) -> list[str | None]:
    """Each script in syntax that `ast` understands here; None for one that is not valid in any version.

    The same scripts are in many commits: rewritten ones are cached for the lifetime of this process.
    """
    names = [hashlib.sha256(script).hexdigest() for script in scripts]
    wanted = {name: script for name, script in zip(names, scripts, strict=True) if name not in _kept}
    found = dict(zip(wanted, _rewrite_all(list(wanted.values())), strict=True))
    if sum(len(text or "") for text in (*_kept.values(), *found.values())) <= _KEPT_LIMIT:
        _kept.update(found)
        _new.update(name for name, text in found.items() if text is not None)
    return [found[name] if name in found else _kept[name] for name in names]


def recall(path: Path) -> None:
    """Load the scripts that `remember` has written to a file, if the same versions of Python and libcst wrote it."""
    try:
        content = path.read_bytes() if path.stat().st_size <= FILE_LIMIT else b"{}"
        document = json.loads(content)
    except (OSError, ValueError, RecursionError):
        return
    if isinstance(document, dict) and document.get("by") == _by() and isinstance(document.get("texts"), dict):
        _kept.update({name: text for name, text in document["texts"].items() if isinstance(text, str)})


def remember(path: Path) -> None:
    """Write the rewritten scripts to a file for the next job: each takes 50 ms of processor time."""
    if not _new:
        return
    texts: dict[str, str] = {}
    left = FILE_LIMIT // 2  # JSON can be longer than what it holds
    for name in [*_new, *(one for one in _kept if one not in _new)]:
        text = _kept.get(name)
        left -= len(text or "")
        if text is not None and left >= 0:
            texts[name] = text
    with suppress(OSError):  # the job does not depend on it
        write_json(path, {"by": _by(), "texts": texts})
    _new.clear()


def _by() -> str:
    try:
        version = importlib.metadata.version("libcst")
    except importlib.metadata.PackageNotFoundError:
        version = "none"
    return f"form 2, Python {sys.version_info[0]}.{sys.version_info[1]}, libcst {version}"


def _rewrite_all(scripts: Sequence[bytes]) -> list[str | None]:
    """Rewrite scripts in processes that one of them may kill; the result for that one is None."""
    if not scripts or importlib.util.find_spec("libcst") is None:
        return [None] * len(scripts)
    bounds = Bounds(SECONDS, TOTAL_SECONDS, EACH_SECONDS, MEMORY)
    return [None if isinstance(one, Stopped) else one for one in in_a_process(scripts, _rewritten, bounds, _prepare)]


def _prepare() -> None:
    from ansible.module_utils.th_parse import downlevel  # noqa: F401 - importing it takes most of a second


def _rewritten(script: bytes) -> str | None:
    from ansible.module_utils.th_parse import downlevel

    text: str | None = downlevel.rewritten(script)
    return text

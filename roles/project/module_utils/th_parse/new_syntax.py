# SPDX-License-Identifier: Apache-2.0
"""Scripts in a newer Python than this one, written in the Python that `ast` understands here.

libcst knows the grammar of every version up to 3.15. What it accepts is rewritten (th_parse.downlevel): an expression
that this Python has no grammar for becomes a call that is no literal and carries a digest of what it stands for. What
libcst does not accept is Python of no version. Its parser is native code that a hostile script can crash or keep busy,
so it runs in a process of its own (th_parse.limited).
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
"""Of the processor, for one script."""
TOTAL_SECONDS = 60
"""Of the processor, for all scripts of a call, beside EACH_SECONDS for each of them."""
EACH_SECONDS = 0.1
MEMORY = 1 << 30
"""Bytes of address space that the process may have beside what it begins with."""

FILE_LIMIT = 64 * 1024 * 1024
"""Bytes of a file that texts are kept in from one job to the next."""

_kept: dict[str, str | None] = {}
_new: set[str] = set()
_KEPT_LIMIT = 64 * 1024 * 1024  # characters, of all scripts of a job together


def in_older_words(scripts: Sequence[bytes]) -> list[str | None]:
    """Each script in words that `ast` understands here; None for one that is Python of no version.

    The same scripts are in many commits: what has been rewritten is kept as long as this process lives.
    """
    names = [hashlib.sha256(script).hexdigest() for script in scripts]
    wanted = {name: script for name, script in zip(names, scripts, strict=True) if name not in _kept}
    found = dict(zip(wanted, _rewrite_all(list(wanted.values())), strict=True))
    if sum(len(text or "") for text in (*_kept.values(), *found.values())) <= _KEPT_LIMIT:
        _kept.update(found)
        _new.update(name for name, text in found.items() if text is not None)
    return [found[name] if name in found else _kept[name] for name in names]


def recall(path: Path) -> None:
    """Take what `remember` has kept in a file, where the same versions have made it."""
    try:
        content = path.read_bytes() if path.stat().st_size <= FILE_LIMIT else b"{}"
        document = json.loads(content)
    except (OSError, ValueError, RecursionError):
        return
    if isinstance(document, dict) and document.get("by") == _by() and isinstance(document.get("texts"), dict):
        _kept.update({name: text for name, text in document["texts"].items() if isinstance(text, str)})


def remember(path: Path) -> None:
    """Keep in a file what has been rewritten, for the next job: it takes 50 ms of the processor for each script."""
    if not _new:
        return
    texts: dict[str, str] = {}
    left = FILE_LIMIT // 2  # JSON can be longer than what it holds
    for name in [*_new, *(one for one in _kept if one not in _new)]:
        text = _kept.get(name)
        left -= len(text or "")
        if text is not None and left >= 0:
            texts[name] = text
    with suppress(OSError):  # the job has what it needs
        write_json(path, {"by": _by(), "texts": texts})
    _new.clear()


def _by() -> str:
    try:
        version = importlib.metadata.version("libcst")
    except importlib.metadata.PackageNotFoundError:
        version = "none"
    return f"form 2, Python {sys.version_info[0]}.{sys.version_info[1]}, libcst {version}"


def _rewrite_all(scripts: Sequence[bytes]) -> list[str | None]:
    """Rewrite scripts in processes that may die of one; that one is None then."""
    if not scripts or importlib.util.find_spec("libcst") is None:
        return [None] * len(scripts)
    bounds = Bounds(SECONDS, TOTAL_SECONDS, EACH_SECONDS, MEMORY)
    return [None if isinstance(one, Stopped) else one for one in in_a_process(scripts, _rewritten, bounds, _prepare)]


def _prepare() -> None:
    from ansible.module_utils.th_parse import downlevel  # noqa: F401 - it takes most of a second to import


def _rewritten(script: bytes) -> str | None:
    from ansible.module_utils.th_parse import downlevel

    text: str | None = downlevel.rewritten(script)
    return text

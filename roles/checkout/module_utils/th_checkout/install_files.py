# SPDX-License-Identifier: Apache-2.0
"""Which files determine what is installed: those that the profile names, what they include, standard packaging files,
and files that look like requirements or are named in packaging files, as a ``setup.py`` can read any file."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

PACKAGING = frozenset(
    "setup.py setup.cfg pyproject.toml uv.lock poetry.lock pdm.lock pylock.toml Pipfile Pipfile.lock".split()
)
FILES_LIMIT = 100
READ = ("setup.py", "setup.cfg", "pyproject.toml")
"""Packaging files that may name others."""

_LOOKS_LIKE_IT = re.compile(
    r"(?:[\w-]{0,50}[._-])?(?:requirements?|constraints?|dependencies|deps|versions)(?:[._-][\w.-]{0,50})?\.(?:txt|in|pip)"
)
_DESCRIBES = (".md", ".rst", "README", "LICENSE", "CHANGELOG")
_INCLUDE = re.compile(rb"[ \t]{0,20}(?:-r|-c|--requirement|--constraint)[ \t=]{0,20}([A-Za-z0-9_./-]{1,500})")

Read = Callable[[Sequence[str]], Iterable[tuple[str, bytes | None]]]
"""Returns the content of paths in each of the compared commits, as pairs of path and content."""


def named(profile: Mapping[str, Any]) -> list[str]:
    """The requirements and constraints of a profile and of its releases that are files of the checkout."""
    every: Sequence[Mapping[str, Any]] = [profile["install"], *(one["install"] for one in profile["releases"])]
    files = [name for install in every for key in ("requirements", "constraints") for name in install[key]]
    return [name for name in dict.fromkeys(files) if "://" not in name]


def install_files_among(paths: Iterable[str], names: Iterable[str], read: Read, folder: str = "") -> list[str]:
    """Those of the `paths` that determine what is installed; `names` are the profile's files, `folder` is the project's
    in its repository."""
    known: dict[str, None] = {}
    queue = [posixpath.normpath(name) for name in names]
    while queue and len(known) < FILES_LIMIT:
        new = [name for name in dict.fromkeys(queue) if name not in known and not name.startswith(("../", "/"))]
        new = new[: FILES_LIMIT - len(known)]
        known.update(dict.fromkeys(new))
        queue = [
            posixpath.normpath(posixpath.join(posixpath.dirname(name), include[1].decode()))
            for name, content in read(new)
            for line in (content or b"").splitlines()
            if (include := _INCLUDE.match(line))
        ]
    found: list[str] = []
    others: list[str] = []
    for path in paths:
        (found if path in known or _looks_like_it(posixpath.basename(path)) else others).append(path)
    own = [posixpath.join(folder, name) for name in READ] if others else []
    texts = [(content or b"").decode("utf-8", "replace") for _, content in read(own)]
    return sorted([*found, *(path for path in others if _is_named(posixpath.basename(path), texts))])


def _looks_like_it(name: str) -> bool:
    return name in PACKAGING or bool(_LOOKS_LIKE_IT.fullmatch(name))


def _is_named(name: str, texts: Iterable[str]) -> bool:
    """Whether one of the texts contains a file's name; for a module, which is imported, the name without ``.py``."""
    word = name.removesuffix(".py")
    if word == "__init__" or name.endswith(_DESCRIBES):  # a package is imported for much else
        return False
    whole = re.compile(rf"(?<![\w-]){re.escape(word)}(?![\w-])")
    return any(whole.search(text) for text in texts)

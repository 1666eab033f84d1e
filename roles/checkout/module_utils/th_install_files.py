# SPDX-License-Identifier: Apache-2.0
"""Which files say what is installed: those that the profile names, what they include, and Python's own."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

PACKAGING = frozenset(
    "setup.py setup.cfg pyproject.toml uv.lock poetry.lock pdm.lock pylock.toml Pipfile Pipfile.lock".split()
)
FILES_LIMIT = 100

_INCLUDE = re.compile(rb"[ \t]{0,20}(?:-r|-c|--requirement|--constraint)[ \t=]{0,20}([A-Za-z0-9_./-]{1,500})")


def named(profile: Mapping[str, Any]) -> list[str]:
    """The requirements and constraints of a profile and of its releases that are files of the checkout."""
    every: Sequence[Mapping[str, Any]] = [profile["install"], *(one["install"] for one in profile["releases"])]
    files = [name for install in every for key in ("requirements", "constraints") for name in install[key]]
    return [name for name in dict.fromkeys(files) if "://" not in name]


def says_what_is_installed(
    paths: Iterable[str], names: Iterable[str], read: Callable[[str], Iterable[bytes | None]]
) -> list[str]:
    """Those of some paths that say what is installed; `names` are the profile's files, `read` gives what a path holds
    in each of the commits that are compared."""
    known: dict[str, None] = {}
    queue = [posixpath.normpath(name) for name in names]
    while queue and len(known) < FILES_LIMIT:
        name = queue.pop(0)
        if name in known or name.startswith(("../", "/")):
            continue
        known[name] = None
        for content in read(name):
            for line in (content or b"").splitlines():
                if include := _INCLUDE.match(line):
                    queue.append(posixpath.normpath(posixpath.join(posixpath.dirname(name), include[1].decode())))
    return sorted(path for path in paths if path in known or posixpath.basename(path) in PACKAGING)

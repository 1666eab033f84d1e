# SPDX-License-Identifier: Apache-2.0
"""The migrations of the packages that a site is built on, read from the files of a stage's environment.

Which apps the settings install, only the project's own process can say. Which migrations those apps have is read here
from outside of that process, so that it can hide none. The environment may be the work of the change under test:
nothing of it is run, no link is followed out of it, and what is read is bounded.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible.module_utils.th_parse.python import SCRIPT_LIMIT
from ansible.module_utils.th_tools.revisions import Revision, Tree
from ansible.module_utils.th_tools.tool import Tool
from ansible.module_utils.th_tools.versions import prefixed

APPS_LIMIT = 1000
FILES_LIMIT = 20_000
BYTES_LIMIT = 64 << 20

_LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")


@dataclass(frozen=True)
class Installed:
    """The apps that packages bring to one database at one stage, and their migrations, which `tree` holds under the
    names that the artifacts use. `apps` maps an app's label to its folder below site-packages."""

    tool: Tool
    apps: Mapping[str, str]
    tree: Tree

    def waiting(self, rows: Iterable[str]) -> set[str]:
        """The migrations that the tool would run on a database with these rows."""
        return self.tool.packaged.waiting(self.tree, rows) if self.tool.packaged else set()

    def heads(self) -> list[str]:
        """What a database holds that has all of them."""
        return list(self.tree.heads())

    def standing(self, rows: Iterable[str], prefix: str) -> list[str]:
        """The heads of these apps that a database with these rows is at; what no file has any more is left aside."""
        facts: dict[str, dict[str, Any]] = {
            name: {"down": revision.before, "replaces": revision.replaces}
            for name, revision in self.tree.revisions.items()
        }
        return [head for head in self.tool.versions[0].heads(rows, prefix, facts) if head in facts] if facts else []


def read_installed(tool: Tool, venv: Path, told: Mapping[str, str], own: Iterable[str], prefix: str) -> Installed:
    """Read the migrations of the apps that a process of the tool's has `told` of (label, folder).

    `own` are labels of the repository's apps, which the checkout has read; `prefix` is the database's name.
    """
    places = site_packages(venv)
    apps: dict[str, str] = {}
    files: dict[str, bytes] = {}
    labels = set(own)
    for label, folder in sorted(told.items())[:APPS_LIMIT]:
        below = _below(folder, places)
        if below is not None and label not in labels and _LABEL.fullmatch(label) and below[1] not in apps.values():
            apps[label] = below[1]
            files.update(_modules(*below, len(files), sum(map(len, files.values()))))
    tree = tool.packaged.read(files, {folder: label for label, folder in apps.items()}) if tool.packaged else Tree()
    # where one file cannot be understood, nothing is known of its app
    lost = {os.path.dirname(item.file) for item in tree.unreadable}
    apps = {label: folder for label, folder in apps.items() if folder not in lost}
    known = {name: one for name, one in tree.revisions.items() if name.partition(".")[0] in apps}
    return Installed(tool, apps, _named(known, prefix))


def _named(revisions: Mapping[str, Revision], prefix: str) -> Tree:
    tree = Tree(dict(revisions))
    return tree.prefixed(prefix) if prefix else tree


def app_of(revision: str, prefix: str) -> str:
    """The label of a revision's app."""
    return revision.removeprefix(prefixed("", prefix)).partition(".")[0]


def site_packages(venv: Path) -> list[Path]:
    """Where an environment has its packages."""
    return sorted(path for path in venv.glob("lib*/python*/site-packages") if path.is_dir())


def _below(folder: str, places: Iterable[Path]) -> tuple[Path, str] | None:
    """Which site-packages a folder is in, and its path there; None where it is elsewhere, or leads elsewhere."""
    for place in places:
        root = os.path.realpath(place)
        for path in (folder, os.path.realpath(folder)):
            if os.path.isabs(path) and os.path.normpath(path).startswith((f"{place}{os.sep}", root + os.sep)):
                real = os.path.realpath(path)
                if real.startswith(root + os.sep) and real.isprintable():
                    return Path(root), os.path.relpath(real, root)
    return None


def _modules(root: Path, folder: str, count: int, size: int) -> dict[str, bytes]:
    """The Python files of a folder; the limits hold for all apps together."""
    found: dict[str, bytes] = {}
    try:
        names = sorted(os.listdir(root / folder))
    except OSError:
        return found
    for name in names:
        if name.endswith(".py") and count + len(found) < FILES_LIMIT and size < BYTES_LIMIT:
            content = _content(root / folder / name)
            if content is not None:
                found[os.path.join(folder, name)] = content
                size += len(content)
    return found


def _content(path: Path) -> bytes | None:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with open(handle, "rb") as stream:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return None
        return stream.read(SCRIPT_LIMIT + 1)

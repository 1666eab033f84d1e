# SPDX-License-Identifier: Apache-2.0
"""The migrations of the packages that a site is built on, read from the files of a stage's environment.

Only the project's own process knows which apps its settings install. The migrations of those apps are read here, from
outside of that process, so that it cannot hide any. The change under test may have shaped the environment: none of it
is run, no link is followed out of it, and what is read is limited.
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
class PackagedMigrations:
    """The apps that packages bring to one database at one stage; `apps` maps their labels to their folders below
    site-packages, `tree` has their migrations by the names that the artifacts use."""

    tool: Tool
    apps: Mapping[str, str]
    tree: Tree

    def waiting(self, rows: Iterable[str]) -> set[str]:
        """The migrations that the tool would run on a database with these rows."""
        return self.tool.packaged.waiting(self.tree, rows) if self.tool.packaged else set()

    def heads(self) -> list[str]:
        """The heads of a database that has run all of them."""
        return list(self.tree.heads())

    def heads_at(self, rows: Iterable[str], prefix: str) -> list[str]:
        """The heads of these apps in a database with these rows; rows that no file has any more are ignored."""
        facts: dict[str, dict[str, Any]] = {
            name: {"down": revision.before, "replaces": revision.replaces}
            for name, revision in self.tree.revisions.items()
        }
        return [head for head in self.tool.versions[0].heads(rows, prefix, facts) if head in facts] if facts else []


def read_installed(
    tool: Tool, venv: Path, reported: Mapping[str, str], own: Iterable[str], prefix: str
) -> PackagedMigrations:
    """Read the migrations of the apps that the tool's process has `reported` (label, folder).

    `own` are the labels of the repository's apps, which the checkout has read; `prefix` is the database's name.
    """
    places = site_packages(venv)
    apps: dict[str, str] = {}
    files: dict[str, bytes] = {}
    labels = set(own)
    for label, folder in sorted(reported.items())[:APPS_LIMIT]:
        below = _below(folder, places)
        if below is not None and label not in labels and _LABEL.fullmatch(label) and below[1] not in apps.values():
            apps[label] = below[1]
            files.update(_modules(*below, len(files), sum(map(len, files.values()))))
    tree = tool.packaged.read(files, {folder: label for label, folder in apps.items()}) if tool.packaged else Tree()
    # an app with a file that cannot be read is left out as a whole
    unreadable = {os.path.dirname(item.file) for item in tree.unreadable}
    apps = {label: folder for label, folder in apps.items() if folder not in unreadable}
    known = {name: one for name, one in tree.revisions.items() if name.partition(".")[0] in apps}
    return PackagedMigrations(tool, apps, _named(known, prefix))


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
    """The site-packages that a folder is in, and its path there; None where it is, or links to, somewhere else."""
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

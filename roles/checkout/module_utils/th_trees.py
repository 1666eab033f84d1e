# SPDX-License-Identifier: Apache-2.0
"""The trees of migrations of a repository's commits: where their scripts are, and how two of them differ."""

from __future__ import annotations

import configparser
import posixpath
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.module_utils.th_contain import printable
from ansible.module_utils.th_git import Git
from ansible.module_utils.th_revisions import Tree, read_tree
from ansible.module_utils.th_step import StepError


class TreeReader:
    """Reads the trees of migrations of a repository's commits; each once."""

    def __init__(self, git: Git, repository: Path, migrations: Mapping[str, Any]) -> None:
        self._git = git
        self._repository = repository
        self._migrations = migrations
        self._trees: dict[str, Tree] = {}
        self._folders: dict[str, tuple[list[str], bool]] = {}

    def read(self, commit: str) -> Tree:
        """The tree of one commit. Raises StepError, GitError."""
        if commit not in self._trees:
            folders, recursive = self._find(commit)
            files = [
                file for folder in folders for file in self._git.scripts(self._repository, commit, folder, recursive)
            ]
            style = "numbered" if self._migrations.get("versions") == "numbered" else "alembic"
            self._trees[commit] = read_tree(files, style)
        return self._trees[commit]

    def folders(self, commit: str) -> list[str]:
        """Where the scripts of a commit are."""
        return self._find(commit)[0]

    def _find(self, commit: str) -> tuple[list[str], bool]:
        if commit not in self._folders:
            self._folders[commit] = self._look_for(commit)
        return self._folders[commit]

    def _look_for(self, commit: str) -> tuple[list[str], bool]:
        migrations = self._migrations
        if migrations["version_locations"]:
            return list(migrations["version_locations"]), False
        config = migrations["config"]
        content = self._git.file(self._repository, commit, config) if config else None
        settings = read_ini(content or b"", posixpath.dirname(config), migrations["section"])
        recursive = settings.get("recursive_version_locations", "").strip().lower() in ("1", "true", "yes", "on")
        named = split_locations(settings)
        # alembic lets the folders of its file count, also where the profile gives it another script_location
        script_location = migrations["script_location"]
        if not named and not script_location and settings.get("script_location"):
            script_location = self._place(commit, settings["script_location"])
        if named:
            return [self._place(commit, one) for one in named], recursive
        return ([posixpath.join(script_location, "versions")] if script_location else []), recursive

    def _place(self, commit: str, value: str) -> str:
        """A location of the configuration file as a folder of the repository: a path, or ``package:folder``."""
        package, separator, rest = value.partition(":")
        if separator and re.fullmatch(r"[A-Za-z_][\w.]*", package):
            place = posixpath.join(*package.split("."), rest)
            for folder in (place, posixpath.join("src", place)):
                if self._git.run("ls-tree", "-z", commit, "--", folder, cwd=self._repository, quiet=True):
                    return folder
            return place
        if value.startswith(HERE):
            path = posixpath.normpath(value.removeprefix(HERE).lstrip("/") or ".")
        else:
            path = posixpath.normpath(posixpath.join(self._migrations["workdir"], value))
        if path.startswith(("/", "..")):
            raise StepError(
                "checkout_failed", f"{self._migrations['config']}: {printable(value)!r} leads out of the checkout."
            )
        return path


HERE = "/root-of-the-repository/"
"""Stands for it in the values that ``%(here)s`` is part of; no other absolute path is allowed there."""


def read_ini(content: bytes, folder: str, section: str) -> dict[str, str]:
    """A section of alembic's configuration file, ``%(here)s`` filled in; empty when it cannot be read."""
    parser = configparser.ConfigParser({"here": (HERE + folder).replace("%", "%%")}, strict=False)
    settings: dict[str, str] = {}
    try:
        parser.read_string(content.decode("utf-8", "replace"))
        if parser.has_section(section):
            for name in (
                "script_location",
                "version_locations",
                "version_path_separator",
                "path_separator",
                "recursive_version_locations",
            ):
                if parser.has_option(section, name):
                    settings[name] = parser.get(section, name).strip()
    except configparser.Error:
        return settings
    return settings


def split_locations(settings: Mapping[str, str]) -> list[str]:
    """The folders of ``version_locations``, split as alembic does (``alembic/config.py``)."""
    locations = settings.get("version_locations", "")
    separator = settings.get("path_separator") or settings.get("version_path_separator") or ""
    by_name = {"space": " ", "newline": "\n", "os": ":", ":": ":", ";": ";"}
    parts = locations.split(by_name[separator]) if separator in by_name else re.split(r", *|(?: +)", locations)
    return [part.strip() for part in parts if part.strip()]


def compare(base: Tree, change: Tree) -> dict[str, list[str]]:
    """Which migrations a change adds, alters (what the upgrade does, or its place) and removes."""
    common = base.revisions.keys() & change.revisions.keys()
    altered = [
        name
        for name in common
        if base.revisions[name].digest != change.revisions[name].digest
        or base.revisions[name].down != change.revisions[name].down
    ]
    return {
        "added": sorted(change.revisions.keys() - base.revisions.keys()),
        "altered": sorted(altered),
        "removed": sorted(base.revisions.keys() - change.revisions.keys()),
    }


def reason_to_leave_out(
    commit: str, stage: str, touched: Mapping[str, Sequence[str]], stage_tree: Tree, change_tree: Tree
) -> str:
    """Why the walk goes past a release or the target branch's tip on its way to the change; "" when it stops there.

    What the change adds, alters or removes must run as the change has it, and not as somebody else had it before.
    """
    if commit == stage:
        return "the same commit"
    for what, verb in (("altered", "alters"), ("removed", "removes"), ("added", "adds")):
        held = sorted(set(touched[what]) & stage_tree.revisions.keys())
        if held:
            return f"the change {verb} {', '.join(held[:5])}"
    # its heads, not all it has: a project may fold old migrations into one
    missing = sorted(set(stage_tree.heads()) - change_tree.revisions.keys())
    if missing:
        return f"the change is not on top of it: it does not have {', '.join(missing[:5])}"
    return ""


def newly_unreadable(base: Tree, change: Tree) -> str:
    """The first script of the change that cannot be read and was not there as it is, with the reason; "" for none."""
    known = {(item.file, item.digest) for item in base.unreadable}
    return next(
        (f"{item.file}: {item.reason}" for item in change.unreadable if (item.file, item.digest) not in known), ""
    )

# SPDX-License-Identifier: Apache-2.0
"""The trees of migrations of a repository's commits: where their scripts are, and how two of them differ."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible.module_utils.th_git.client import Git
from ansible.module_utils.th_git.files import containing, differing, file, scripts
from ansible.module_utils.th_parse.digest import DOWNGRADE
from ansible.module_utils.th_tools.revisions import Revision, Tree, Unreadable
from ansible.module_utils.th_tools.tool import ScriptLocations
from ansible.module_utils.th_tools.tools import tool_of


class ForestReader:
    """Reads the migrations of all databases of a project, in any commit of its repository.

    The revisions of a database that has a name begin with that name and a colon.
    """

    def __init__(self, git: Git, repository: Path, databases: Sequence[Mapping[str, Any]]) -> None:
        self._git = git
        self._repository = repository
        self._readers = {one["name"]: TreeReader(git, repository, one) for one in databases}
        self._trees: dict[str, Tree] = {}
        self._differing: dict[tuple[str, str], list[str]] = {}

    def differing(self, base: str, change: str) -> list[str]:
        """The files that differ between two commits. Raises GitError."""
        if (base, change) not in self._differing:
            self._differing[base, change] = differing(self._git, self._repository, base, change)
        return self._differing[base, change]

    def read(self, commit: str) -> Tree:
        """The trees of one commit as one. Raises StepError, GitError."""
        if commit not in self._trees:
            revisions: dict[str, Revision] = {}
            unreadable: list[Unreadable] = []
            for name, reader in self._readers.items():
                tree = reader.read(commit)
                revisions |= (tree.prefixed(name) if name else tree).revisions
                unreadable += tree.unreadable
            self._trees[commit] = Tree(revisions, tuple(unreadable))
        return self._trees[commit]

    def of(self, name: str) -> TreeReader:
        """The reader of one database's tree, whose revisions have no prefix."""
        return self._readers[name]

    def outside(self, commit: str) -> str:
        """Why a folder with a commit's scripts is outside of its checkout; "" where none is."""
        found = (reader.places(commit).outside for reader in self._readers.values())
        return next(filter(None, found), "")

    def folders(self, commit: str) -> list[str]:
        """Where the scripts of a commit are."""
        every = [folder for reader in self._readers.values() for folder in reader.places(commit).folders]
        return list(dict.fromkeys(every))

    def helpers(self, base: str, change: str, touched: Iterable[str]) -> list[str]:
        """The files beside the migrations that differ between two commits: ``env.py``, modules, data.

        Files of `touched` migrations do not count; other migrations' SQL scripts for other servers or downgrades do.
        """
        places = {
            place
            for reader in self._readers.values()
            for commit in (base, change)
            for place in (*reader.places(commit).folders, *reader.places(commit).helpers)
        } - {"", "."}
        known = self.read(base).files(touched) | self.read(change).files(touched)
        return sorted(
            path
            for path in self.differing(base, change)
            if path not in known and posixpath.splitext(path)[1] not in _NO_CODE and not places.isdisjoint(_up(path))
        )

    def others(self, base: str, change: str, touched: Iterable[str]) -> list[str]:
        """The other files that differ and may be code or data: a migration can use any of them."""
        known = self.read(base).files(touched) | self.read(change).files(touched)
        known.update(self.helpers(base, change, touched))
        differ = self.differing(base, change)
        return sorted(path for path in differ if path not in known and not f"/{path.lower()}".endswith(_TEXT))

    def calls_downgrades(self, commit: str) -> bool:
        """Whether a Python file beside a commit's migrations, such as ``env.py``, contains the word ``downgrade``."""
        known = self.read(commit).files()
        places = {
            place for reader in self._readers.values() for place in (*reader.places(commit).folders,
            *reader.places(commit).helpers)
        }
        found = containing(self._git, self._repository, commit, DOWNGRADE, sorted(places - {"", "."}))
        return any(path not in known and path.endswith(".py") for path in found)


def _up(path: str) -> Iterator[str]:
    """A path, and the folders that it is in."""
    while path:
        yield path
        path = posixpath.dirname(path)


_TEXT = (".md", ".rst", "/readme", "/license", "/changelog", "/authors", "/.gitignore", "/.mailmap")
_NO_CODE = ("", ".md", ".rst", ".txt", ".mako")
"""Ends of files' names that no migration uses; without one there are README, LICENSE, neutron's EXPAND_HEAD."""


class TreeReader:
    """Reads one database's tree of migrations in any commit of a repository, each commit once."""

    def __init__(self, git: Git, repository: Path, migrations: Mapping[str, Any]) -> None:
        self._git = git
        self._repository = repository
        self._migrations = migrations
        self._trees: dict[str, Tree] = {}
        self._places: dict[str, ScriptLocations] = {}

    def read(self, commit: str) -> Tree:
        """The tree of one commit. Raises StepError, GitError."""
        if commit not in self._trees:
            self._look_for(commit)
        return self._trees[commit]

    def places(self, commit: str) -> ScriptLocations:
        """The locations of a commit's scripts."""
        if commit not in self._places:
            self._look_for(commit)
        return self._places[commit]

    def _look_for(self, commit: str) -> None:
        tool = tool_of(self._migrations)
        found = tool.read(RepositoryCommit(self._git, self._repository, commit), self._migrations)
        self._trees[commit], self._places[commit] = found


@dataclass(frozen=True)
class RepositoryCommit:
    """A `Commit` for the tools: one of a repository, read with git."""

    git: Git
    repository: Path
    commit: str

    def files(self, places: ScriptLocations, wanted: Callable[[str], bool]) -> list[tuple[str, bytes]]:
        """See `Commit`."""
        files: dict[str, bytes] = {}  # folders may be nested
        for folder in places.folders:
            files.update(scripts(self.git, self.repository, self.commit, folder, places.recursive, wanted))
        return list(files.items())

    def content(self, path: str) -> bytes | None:
        """See `Commit`."""
        return file(self.git, self.repository, self.commit, path)

    def has(self, path: str) -> bool:
        """See `Commit`."""
        return bool(self.git.run("ls-tree", "-z", self.commit, "--", path, cwd=self.repository, quiet=True))

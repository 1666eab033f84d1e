# SPDX-License-Identifier: Apache-2.0
"""The trees of migrations of a repository's commits: where their scripts are, and how two of them differ."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible.module_utils.th_checkout.ini import HERE, TooMuchError, read_ini, read_toml, split_locations, split_paths
from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_core.text import printable
from ansible.module_utils.th_git.client import Git
from ansible.module_utils.th_git.files import containing, differing, file, scripts
from ansible.module_utils.th_parse.digest import DOWNGRADE
from ansible.module_utils.th_tools.django_trees import COMPILED, may_matter, read_django_tree
from ansible.module_utils.th_tools.revisions import Revision, Tree, Unreadable
from ansible.module_utils.th_tools.scripts import read_tree


@dataclass(frozen=True)
class Places:
    """Where a commit has a database's migrations: `folders` with the scripts, and `helpers`, what else they use.

    `outside` says of which folder it has them out of the checkout, where nobody can read them. `missing` is the
    configuration file that the profile names and the commit does not have.
    """

    folders: tuple[str, ...] = ()
    recursive: bool = False
    helpers: tuple[str, ...] = ()
    outside: str = ""
    missing: str = ""


class Forest:
    """Reads the migrations of all databases of a project, in any commit of its repository.

    The names of a database that has a name begin with it and a colon.
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
        """The reader of one database's tree, without its name before the revisions."""
        return self._readers[name]

    def outside(self, commit: str) -> str:
        """Which folder of a commit's scripts is out of its checkout; "" for none."""
        found = (reader.places(commit).outside for reader in self._readers.values())
        return next(filter(None, found), "")

    def folders(self, commit: str) -> list[str]:
        """Where the scripts of a commit are."""
        every = [folder for reader in self._readers.values() for folder in reader.places(commit).folders]
        return list(dict.fromkeys(every))

    def helpers(self, base: str, change: str, touched: Iterable[str]) -> list[str]:
        """The files beside the migrations that differ between two commits: ``env.py``, modules, data.

        Of a migration that is `touched` no file is one; of another, SQL scripts for other servers or downwards are.
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
        """Whether what is beside the migrations of a commit, such as an ``env.py``, has the word ``downgrade``."""
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
    """Reads one database's tree of migrations in any commit of a repository; each once."""

    def __init__(self, git: Git, repository: Path, migrations: Mapping[str, Any]) -> None:
        self._git = git
        self._repository = repository
        self._migrations = migrations
        self._folder: str = migrations.get("folder", "")
        self._trees: dict[str, Tree] = {}
        self._places: dict[str, Places] = {}

    def read(self, commit: str) -> Tree:
        """The tree of one commit. Raises StepError, GitError."""
        if commit not in self._trees:
            self._look_for(commit)
        return self._trees[commit]

    def places(self, commit: str) -> Places:
        """Where a commit's scripts are."""
        if commit not in self._places:
            self._look_for(commit)
        return self._places[commit]

    def _look_for(self, commit: str) -> None:
        tool = self._migrations["tool"]
        if tool == "django":
            tree, places = self._django(commit)
        elif tool == "sqlalchemy_migrate":
            tree, places = self._repositories(commit)
        else:
            places = self._alembic(commit)
            tree = read_tree(self._files(commit, places), self._migrations["versions"])
        self._trees[commit], self._places[commit] = tree, places

    def _files(
        self, commit: str, places: Places, wanted: Callable[[str], bool] = lambda path: path.endswith(".py")
    ) -> list[tuple[str, bytes]]:
        files: dict[str, bytes] = {}  # folders may lie in each other
        for folder in places.folders:
            files.update(scripts(self._git, self._repository, commit, folder, places.recursive, wanted))
        return list(files.items())

    def _django(self, commit: str) -> tuple[Tree, Places]:
        apps = list(self._migrations["apps"])
        if apps:
            named = Places(tuple(apps))
            above = Places(tuple(dict.fromkeys(posixpath.dirname(folder) for folder in apps)))
            files = self._files(commit, named, lambda path: path.endswith((".py", COMPILED)))
            files += self._files(commit, above, lambda path: posixpath.basename(path) == "apps.py")
        else:
            files = self._files(commit, Places((self._folder,), recursive=True), may_matter)
        tree, folders = read_django_tree(files, apps, self._migrations["labels"])
        return tree, Places(tuple(folders))

    def _repositories(self, commit: str) -> tuple[Tree, Places]:
        """The first of the folders that the commit has versions in."""
        for folder in self._migrations["version_locations"]:
            folder = posixpath.normpath(folder)
            places = Places((folder,), helpers=(posixpath.dirname(folder),))
            files = self._files(commit, places, lambda path: path.endswith((".py", ".sql")))
            tree = read_tree(files, "sqlalchemy_migrate")
            if tree.revisions:
                return tree, places
        return Tree(), Places()

    def _alembic(self, commit: str) -> Places:
        migrations = self._migrations
        config = migrations.get("config", "")
        settings = self._configuration(commit, config) if config else {}
        told = settings.get("recursive_version_locations", False)
        told = told.strip().lower() in ("1", "true", "yes", "on") if isinstance(told, str) else bool(told)
        recursive = migrations["recursive_version_locations"] or told
        roots = [root for one in split_paths(settings) if (root := self._inside(one)) is not None]
        # alembic lets the folders of its file count, also where the profile gives it another script_location
        script_location = migrations.get("script_location", "")
        told = settings.get("script_location")
        if not script_location and isinstance(told, str):
            script_location = self._place(commit, told, roots)
            if script_location is None:
                return Places(outside=self._outside(told))
        helpers = tuple(place for place in (script_location, config) if place)
        if migrations["version_locations"]:
            return Places(tuple(migrations["version_locations"]), recursive, helpers)
        named = split_locations(settings)
        if named:
            places = {one: self._place(commit, one, roots) for one in named}
            outside = next((self._outside(one) for one, place in places.items() if place is None), "")
            return Places(tuple(place for place in places.values() if place), recursive, helpers, outside)
        folders = (posixpath.join(script_location, "versions"),) if script_location else ()
        gone = config if config and file(self._git, self._repository, commit, config) is None else ""
        return Places(folders, recursive, helpers, missing=gone)

    def _configuration(self, commit: str, config: str) -> dict[str, Any]:
        """What alembic's files say; the pyproject.toml is the one where alembic is run, else the one beside the ini."""

        def content(path: str) -> bytes:
            return file(self._git, self._repository, commit, path) or b""

        def found(read: Callable[..., dict[str, Any]], path: str, *more: str) -> dict[str, Any]:
            try:
                return read(content(path), posixpath.dirname(path), *more)
            except TooMuchError as error:
                raise StepError("checkout_failed", f"{printable(path)}: it {error}.", file=path) from None

        is_toml = config.endswith(".toml")
        ini = {} if is_toml else found(read_ini, config, self._migrations["section"])
        for path in [config] if is_toml else toml_files(config, self._migrations["workdir"]):
            if toml := found(read_toml, path):
                # how a text is split is asked of the ini alone; only its script_location counts where it is empty, too
                told = {name: value for name, value in toml.items() if "separator" not in name}
                return {**told, **{name: value for name, value in ini.items() if value or name == "script_location"}}
        return dict(ini)

    def _place(self, commit: str, value: str, roots: Sequence[str]) -> str | None:
        """A location of the configuration file as a folder of the repository: a path, or ``package:folder``; None when
        it leads out of that."""
        package, separator, rest = value.partition(":")
        if separator and re.fullmatch(r"[A-Za-z_][\w.]*", package):
            place = posixpath.join(*package.split("."), *rest.split(":"))
            own = (self._folder, posixpath.join(self._folder, "src"))
            for root in dict.fromkeys((*roots, self._migrations["workdir"], *own)):
                folder = posixpath.normpath(posixpath.join(root, place))
                if self._git.run("ls-tree", "-z", commit, "--", folder, cwd=self._repository, quiet=True):
                    return folder
            return posixpath.join(self._folder, place)
        return self._inside(value)

    def _outside(self, value: str) -> str:
        return f"{self._migrations['config']}: {printable(value.removeprefix(HERE))!r} leads out of the checkout"

    def _inside(self, value: str) -> str | None:
        """A path of the configuration file as one in the repository; None when it leads out of that."""
        if value.startswith(HERE):
            path = posixpath.normpath(value.removeprefix(HERE).lstrip("/") or ".")
        else:
            path = posixpath.normpath(posixpath.join(self._migrations["workdir"], value))
        return None if path.startswith(("/", "..")) else path


def toml_files(config: str, workdir: str) -> list[str]:
    """Where alembic's table of a pyproject.toml may be, for a project whose ini is `config`."""
    folders = (workdir, posixpath.dirname(config))
    return list(dict.fromkeys(posixpath.normpath(posixpath.join(folder, "pyproject.toml")) for folder in folders))

# SPDX-License-Identifier: Apache-2.0
"""What a migration tool is to all else: a row with everything that is particular to it.

Each tool has a module on this shelf which makes its row; `tools` has all of them by name. Most steps import them, so
what reads scripts is imported where it is used. docs/editing.md tells how to add a tool.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ansible.module_utils.th_core.checks import Key
from ansible.module_utils.th_tools.revisions import Tree
from ansible.module_utils.th_tools.versions import Revisions

Settings = Mapping[str, Any]
"""How one database is migrated, as `profile` has checked it: a database of the profile with all defaults."""


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


class Commit(Protocol):
    """A commit of the project's repository, as far as a tool looks at it. All of them raise GitError."""

    def files(self, places: Places, wanted: Callable[[str], bool]) -> list[tuple[str, bytes]]:
        """The files of some folders (path, content) whose path is `wanted`."""

    def content(self, path: str) -> bytes | None:
        """What a file holds; None when there is none."""

    def has(self, path: str) -> bool:
        """Whether there is a file or folder."""


@dataclass(frozen=True)
class Versions:
    """How a database keeps the version that it is at.

    `name` is what a profile calls it (`versions`), and `kept_by` the tool whose way it is. `table` is the table's usual
    name, `columns` are those that it has, beside others unless `only_columns` is set, and `expression` is the SQL that
    reads the version of one row.

    `heads` makes of those (all rows), of the database's name and of the revisions in artifacts/checkout.json (None when
    there is no such file) the heads that the database is at, sorted, in the names that all artifacts use; [] for the
    empty one. What the revisions do not have it keeps, so that it is found to be unknown.

    `telling` is whether a version is found in no other project, so that it tells whose table it is in. `numbered` is
    whether a database has one version and that is a number: a command is told of the empty database by the number below
    the first script's.
    """

    name: str
    kept_by: str
    table: str
    columns: frozenset[str]
    expression: str
    heads: Callable[[Iterable[str], str, Revisions | None], list[str]]
    only_columns: bool = False
    telling: bool = False
    numbered: bool = False

    def query(self, table: str) -> str:
        """The statement that reads the versions of a table, whose name was checked."""
        quoted = table.replace(".", "`.`")
        return f"SELECT {self.expression} FROM `{quoted}`"  # noqa: S608 - see above


@dataclass(frozen=True)
class PackagedApps:
    """How a tool finds migrations in packages: of apps, each with a label and a folder of scripts below site-packages.

    `read` makes a tree of the files (content by path) and the apps' labels by folder; like a commit's, they may be the
    change's. `waiting` are those of a tree that the tool would run on a database with some rows.
    """

    read: Callable[[Mapping[str, bytes], Mapping[str, str]], Tree]
    waiting: Callable[[Tree, Iterable[str]], set[str]]


def _version_locations(settings: Settings) -> list[str]:
    return list(settings["version_locations"])


def _nothing_more(settings: Settings, src: Path, values: Mapping[str, str]) -> dict[str, Any]:
    return {}


def _all_fit(files: Iterable[str], read: Callable[[str], bytes | None]) -> str:
    return ""


def _all_right(rows: list[str], settings: Settings, revisions: Revisions, key: str) -> str:
    return ""


@dataclass(frozen=True)
class Tool:
    """A migration tool, or what a project uses in place of one.

    In the profile:

    * `name` is its value of `tool`, `keys` are the keys that it has beside the common ones, given the names of the
      project's databases. Those `in_checkout` hold places there: a path, a list of them, or a mapping by path.
    * `where` are the keys that say where the scripts are, the usual one first; `configured` is whether the file that
      its key `config` names can say so, too. `folders` gives the settings' folders of scripts.
    * `versions` are the ways in which versions may be kept; of several, its key `versions` names one.

    In the checkout:

    * `read` reads the tree of a commit's migrations, and says where they are. Raises StepError ``checkout_failed`` for
      what cannot be read within limits.
    * `unfit` says why the tool cannot be walked with scripts of merged code, given their paths and what reads them; ""
      when it can.
    * `by_app` is whether each migration is of an app, `<app>.<migration>`, and each app has one head; else `heads` of
      the profile holds. `parent` is what the tool calls a revision's link to the one before it; `parents_needed` is
      whether it refuses a tree where the other end of one is missing.

    In a restored dataset:

    * `wrong_rows` says why the tool refuses what its version table holds, in words that follow "the table … has"; ""
      when it does not. It is given the key that names the table.

    In the walk:

    * `program` is the walking program, in files/ of the role run_migrations; without one a command is run once a
      migration. `request` is what it is told beside what all are (th_stepper.py), given the settings, the checkout, and
      the values of the profile's templates.
    * `modules` are those of the environment that it imports, compiled when that is built.
    * `packaged` is how migrations of packages are found; with it, each stage's environment is asked for the apps that
      it has, and for what it would run.
    * `records_unrun` is whether it may record a migration that it has not run.
    """

    name: str
    versions: tuple[Versions, ...]
    keys: Callable[[Iterable[str]], dict[str, Key]]
    where: tuple[str, ...]
    read: Callable[[Commit, Settings], tuple[Tree, Places]]
    in_checkout: tuple[str, ...] = ()
    configured: bool = False
    folders: Callable[[Settings], list[str]] = _version_locations
    unfit: Callable[[Iterable[str], Callable[[str], bytes | None]], str] = _all_fit
    by_app: bool = False
    parent: str = "down_revision"
    parents_needed: bool = True
    wrong_rows: Callable[[list[str], Settings, Revisions, str], str] = _all_right
    program: str = ""
    request: Callable[[Settings, Path, Mapping[str, str]], dict[str, Any]] = _nothing_more
    modules: tuple[str, ...] = ()
    packaged: PackagedApps | None = None
    records_unrun: bool = False

    @property
    def in_packages(self) -> bool:
        """Whether migrations may be in packages, beside those of the repository."""
        return self.packaged is not None

    @property
    def keys_of_scripts(self) -> str:
        """The keys that say where the scripts are, in words."""
        *others, last = (*self.where, "config") if self.configured else self.where
        return " or ".join(filter(None, (", ".join(others), last)))

    def key_of_scripts(self, settings: Settings) -> str:
        """The key to correct where a profile leads to no scripts: the usual one, unless another is set."""
        return next((key for key in self.where[1:] if settings[key]), self.where[0])

    def without_scripts(self, settings: Settings) -> bool:
        """Whether the repository may have no scripts at all, because packages may bring them."""
        return self.in_packages and not settings["version_locations"]


def is_python(path: str) -> bool:
    """Whether a file is a script of Python."""
    return path.endswith(".py")

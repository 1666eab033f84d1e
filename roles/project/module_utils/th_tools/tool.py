# SPDX-License-Identifier: Apache-2.0
"""What the rest of the project needs to know about a migration tool, in one object for each.

Each tool has a module on this shelf that defines its `Tool`; `tools` has all of them by name. Most steps import them,
so code that reads scripts is imported where it is used. docs/editing.md describes how to add a tool.
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
class ScriptLocations:
    """Where a commit has a database's migrations: `folders` with the scripts, and `helpers`, other files they use.

    `outside` names a folder of scripts outside of the checkout, which cannot be read. `missing` is the configuration
    file that the profile names but the commit does not have.
    """

    folders: tuple[str, ...] = ()
    recursive: bool = False
    helpers: tuple[str, ...] = ()
    outside: str = ""
    missing: str = ""


class Commit(Protocol):
    """A commit of the project's repository, as the tools see it. All methods raise GitError."""

    def files(self, places: ScriptLocations, wanted: Callable[[str], bool]) -> list[tuple[str, bytes]]:
        """The files of some folders (path, content) whose path is `wanted`."""

    def content(self, path: str) -> bytes | None:
        """A file's content; None when there is no such file."""

    def has(self, path: str) -> bool:
        """Whether the file or folder exists."""


@dataclass(frozen=True)
class Versions:
    """How a database records its version.

    `name` is the value of `versions` in a profile, `kept_by` the tool that it comes from. `table` is the table's usual
    name, `columns` are the ones that it has (and no others if `only_columns` is set), and `expression` is the SQL for
    the version in one row.

    `heads` computes the heads that a database is at from all rows, its name, and the revisions in
    artifacts/checkout.json (None without that file): sorted, by the names that all artifacts use; [] for an empty
    database. It keeps what the revisions do not have, so that an unknown version is detected.

    `distinctive` is whether no other project has the same versions, so that they show whose table it is. `numbered` is
    whether a database has a single version, a number: commands are then given the number below the first script's for
    the empty database.
    """

    name: str
    kept_by: str
    table: str
    columns: frozenset[str]
    expression: str
    heads: Callable[[Iterable[str], str, Revisions | None], list[str]]
    only_columns: bool = False
    distinctive: bool = False
    numbered: bool = False

    def query(self, table: str) -> str:
        """The query for the versions in a table, whose name was validated."""
        quoted = table.replace(".", "`.`")
        return f"SELECT {self.expression} FROM `{quoted}`"  # noqa: S608 - see above


@dataclass(frozen=True)
class PackagedApps:
    """How a tool finds migrations in packages: in apps, each with a label and a folder of scripts below site-packages.

    `read` builds a tree from the files (content by path) and the apps' labels by folder; both may come from the change.
    `waiting` returns those migrations of a tree that the tool would run on a database with the given rows.
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

    * `read` reads the tree of a commit's migrations, and where they are. Raises StepError ``checkout_failed`` for
      what cannot be read within limits.
    * `unfit` says why the tool cannot be walked with scripts of merged code, given their paths and what reads them; ""
      when it can.
    * `by_app` is whether each migration is of an app, `<app>.<migration>`, and each app has one head; else `heads` of
      the profile holds. `parent` is what the tool calls a revision's link to the one before it; `parents_needed` is
      whether it refuses a tree where the other end of one is missing.

    In a restored dataset:

    * `wrong_rows` returns why the tool refuses the rows of its version table, in words that follow "the table … has";
      "" when it does not. It is given the profile key that names the table.

    In the walk:

    * `program` is the walking program, in files/ of the role run_migrations; without one a command is run for each
      migration. `request` returns what it is sent in addition to what all programs are (th_stepper.py), given the
      settings, the checkout, and the values of the profile's templates.
    * `modules` are those that the program imports from the environment; they are compiled when that is built.
    * `packaged` is how migrations of packages are found; with it, each stage's environment is asked for the apps that
      it has, and for what it would run.
    * `records_unrun` is whether it may record a migration that it has not run.
    """

    name: str
    versions: tuple[Versions, ...]
    keys: Callable[[Iterable[str]], dict[str, Key]]
    where: tuple[str, ...]
    read: Callable[[Commit, Settings], tuple[Tree, ScriptLocations]]
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
        """The keys that say where the scripts are, as a phrase."""
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

# SPDX-License-Identifier: Apache-2.0
"""Asking a stage's own environment what it would migrate, for tools whose migrations can be in packages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from ansible.module_utils.th_tools.versions import owned, prefixed
from ansible.module_utils.th_walk.in_process import InProcessWalker
from ansible.module_utils.th_walk.installed import PackagedMigrations
from ansible.module_utils.th_walk.journal import Journal
from ansible.module_utils.th_walk.packages import StagePackages
from ansible.module_utils.th_walk.server_probe import ServerProbe, VersionState
from ansible.module_utils.th_walk.stages import WalkStage, WalkTree, in_packages
from ansible.module_utils.th_walk.walkers import Target, WalkError

PAST = "the dataset is at or past it"
_SERVER = ("server_died", "server_unreachable", "over_limit", "disk_full")

StartQuery = Callable[[WalkStage, Mapping[str, Any], Target], AbstractContextManager[InProcessWalker]]


class ToolQuery:
    """The migrations that the stages of a walk report as pending, and those in their packages.

    `start` starts the process that answers.
    """

    def __init__(
        self,
        tree: WalkTree,
        databases: Sequence[Mapping[str, Any]],
        probe: ServerProbe,
        journal: Journal,
        start: StartQuery,
    ) -> None:
        self._tree, self._probe, self._journal, self._start = tree, probe, journal, start
        self._databases = [database for database in databases if in_packages(database)]
        self._packages = StagePackages(tree)
        self._pending: dict[tuple[str, str], list[str]] = {}

    def reason_to_skip(self, stage: WalkStage, state: VersionState) -> str:
        """Why a stage is skipped whose own migrations the dataset has; "" when its packages have more to run."""
        problem = ""
        waiting = False
        for database in self._databases:
            try:
                waiting = waiting or self._has_more(stage, database, state)
            except WalkError as error:
                if error.code in _SERVER:
                    raise
                problem = error.detail
            finally:
                self._probe.nothing_left()
        if waiting and not problem:
            return ""
        if problem:
            self._journal.log(f"{stage.name} cannot say what its packages would migrate: {problem}")
            return f"{PAST}, and it cannot say what its packages would migrate ({problem})"
        return PAST

    def _has_more(self, stage: WalkStage, database: Mapping[str, Any], state: VersionState) -> bool:
        """Whether a stage's packages have migrations for a dataset that is not past them."""
        if not (pending := self._pending_migrations(stage, database)):
            return False
        name = database["name"]
        needed: set[str] = set()
        for later in self._tree.stages[self._tree.stages.index(stage) + 1 :]:
            try:
                self._pending_migrations(later, database)
            except WalkError as error:
                if error.code in _SERVER:
                    raise
                needed.update(pending)  # what it installs is not known; this is reported when its turn comes
                continue
            if newer := self._packages.newer(stage, name, pending, state.rows):
                self._journal.log(f"{stage.name}: the dataset has {newer[0]} of a later stage already")
                return False
            needed.update(self._packages.shared(later, name, pending))
        return bool(needed)  # what no later stage installs does not lead to the change

    def _pending_migrations(self, stage: WalkStage, database: Mapping[str, Any]) -> list[str]:
        name = database["name"]
        if (stage.slug, name) not in self._pending:
            target = Target(tuple(owned(stage.heads, name)), ask=True)
            with self._start(stage, database, target) as walker:
                walker.next()
                self._pending[stage.slug, name] = [prefixed(step.after, name) for step in walker.ahead]
                self._packages.learn(stage, database, walker.venv, walker.apps)
        return self._pending[stage.slug, name]

    def learn(
        self, stage: WalkStage, database: Mapping[str, Any], venv: Path, reported: Mapping[str, str]
    ) -> None:
        """Read the packages that a stage's process has `reported`, before its first migration; for the change, record
        which of their migrations will run. Raises WalkError when there is nothing to migrate at all."""
        name = database["name"]
        if not in_packages(database) or (not reported and self._packages.of(stage, name)):
            return
        installed = self._packages.learn(stage, database, venv, reported)
        if stage.kind != "change":
            return
        if not installed.apps and not owned(stage.heads, name):
            raise WalkError("no_migrations", "neither the checkout nor the packages have an app with migrations")
        if brought := self._packages.brought(stage, name, self._probe.version_state().rows):
            self._journal.event("packages", migrations=brought)

    def installed(self, stage: WalkStage, name: str) -> PackagedMigrations | None:
        """The packaged migrations of a stage for a database; None where it was not asked."""
        return self._packages.of(stage, name)

    def expected(self, stage: WalkStage) -> list[str]:
        """The heads of all apps that the databases must be at after a stage."""
        every = (self._packages.of(stage, database["name"]) for database in self._databases)
        return sorted([*stage.heads, *(head for installed in every if installed for head in installed.heads())])

    def found(self, stage: WalkStage, state: VersionState) -> list[str]:
        """The heads of all apps that the databases are at after a stage."""
        heads = list(state.heads)
        for database in self._databases:
            name = database["name"]
            if installed := self._packages.of(stage, name):
                heads += installed.heads_at(_of_database(state.rows, name), name)
        return sorted(heads)


def _of_database(rows: Iterable[str], name: str) -> list[str]:
    """The rows of one database as its table has them."""
    start = prefixed("", name)
    return [row.removeprefix(start) for row in rows if row.startswith(start)]

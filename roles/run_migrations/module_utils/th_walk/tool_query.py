# SPDX-License-Identifier: Apache-2.0
"""Asking a stage's own environment what it would migrate, for tools whose migrations can be in packages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from ansible.module_utils.th_tools.versions import owned, prefixed
from ansible.module_utils.th_walk.in_process import InProcessWalker
from ansible.module_utils.th_walk.installed import Installed
from ansible.module_utils.th_walk.journal import Diary
from ansible.module_utils.th_walk.packages import Packages
from ansible.module_utils.th_walk.server_probe import Evidence, Standing
from ansible.module_utils.th_walk.stages import Stage, Tree, in_packages
from ansible.module_utils.th_walk.walkers import Target, WalkError

PAST = "the dataset is at or past it"
_SERVER = ("server_died", "server_unreachable", "over_limit", "disk_full")

Asker = Callable[[Stage, Mapping[str, Any], Target], AbstractContextManager[InProcessWalker]]


class Asking:
    """What the stages of a walk say that they would migrate, and what their packages hold.

    `ask` starts the process that is asked.
    """

    def __init__(
        self,
        tree: Tree,
        databases: Sequence[Mapping[str, Any]],
        evidence: Evidence,
        diary: Diary,
        ask: Asker,
    ) -> None:
        self._tree, self._evidence, self._diary, self._ask = tree, evidence, diary, ask
        self._databases = [database for database in databases if in_packages(database)]
        self._packages = Packages(tree)
        self._pending: dict[tuple[str, str], list[str]] = {}

    def reason_to_skip(self, stage: Stage, standing: Standing) -> str:
        """Why the walk goes past a stage whose own migrations the dataset has; "" when its packages have more."""
        trouble = ""
        waiting = False
        for database in self._databases:
            try:
                waiting = waiting or self._has_more(stage, database, standing)
            except WalkError as error:
                if error.code in _SERVER:
                    raise
                trouble = error.detail
            finally:
                self._evidence.nothing_left()
        if waiting and not trouble:
            return ""
        if trouble:
            self._diary.say(f"{stage.name} cannot say what its packages would migrate: {trouble}")
            return f"{PAST}, and it cannot say what its packages would migrate ({trouble})"
        return PAST

    def _has_more(self, stage: Stage, database: Mapping[str, Any], standing: Standing) -> bool:
        """Whether a stage's packages have migrations for a dataset that is not past them."""
        if not (pending := self._asked(stage, database)):
            return False
        name = database["name"]
        needed: set[str] = set()
        for later in self._tree.stages[self._tree.stages.index(stage) + 1 :]:
            try:
                self._asked(later, database)
            except WalkError as error:
                if error.code in _SERVER:
                    raise
                needed.update(pending)  # what it installs is not known; it says so itself in its turn
                continue
            if newer := self._packages.newer(stage, name, pending, standing.rows):
                self._diary.say(f"{stage.name}: the dataset has {newer[0]} of a later stage already")
                return False
            needed.update(self._packages.shared(later, name, pending))
        return bool(needed)  # what no later stage installs is not on the way to the change

    def _asked(self, stage: Stage, database: Mapping[str, Any]) -> list[str]:
        name = database["name"]
        if (stage.slug, name) not in self._pending:
            target = Target(tuple(owned(stage.heads, name)), ask=True)
            with self._ask(stage, database, target) as walker:
                walker.next()
                self._pending[stage.slug, name] = [prefixed(step.after, name) for step in walker.ahead]
                self._packages.learn(stage, database, walker.venv, walker.apps)
        return self._pending[stage.slug, name]

    def learn(self, stage: Stage, database: Mapping[str, Any], venv: Path, told: Mapping[str, str]) -> None:
        """Read what the packages hold that a stage's process has `told` of, before its first migration; of the change,
        write down what is to run. Raises WalkError when there is nothing to migrate at all."""
        name = database["name"]
        if not in_packages(database) or (not told and self._packages.of(stage, name)):
            return
        installed = self._packages.learn(stage, database, venv, told)
        if stage.kind != "change":
            return
        if not installed.apps and not owned(stage.heads, name):
            raise WalkError("no_migrations", "neither the checkout nor the packages have an app with migrations")
        if brought := self._packages.brought(stage, name, self._evidence.standing().rows):
            self._diary.event("packages", migrations=brought)

    def installed(self, stage: Stage, name: str) -> Installed | None:
        """What the packages of a stage bring to a database; None where nobody has asked."""
        return self._packages.of(stage, name)

    def expected(self, stage: Stage) -> list[str]:
        """The heads of all apps that a database has to hold after a stage."""
        every = (self._packages.of(stage, database["name"]) for database in self._databases)
        return sorted([*stage.heads, *(head for installed in every if installed for head in installed.heads())])

    def found(self, stage: Stage, standing: Standing) -> list[str]:
        """The heads of all apps that the databases hold after a stage."""
        heads = list(standing.heads)
        for database in self._databases:
            name = database["name"]
            if installed := self._packages.of(stage, name):
                heads += installed.standing(_of_database(standing.rows, name), name)
        return sorted(heads)


def _of_database(rows: Iterable[str], name: str) -> list[str]:
    """The rows of one database as its table has them."""
    start = prefixed("", name)
    return [row.removeprefix(start) for row in rows if row.startswith(start)]

# SPDX-License-Identifier: Apache-2.0
"""Which migrations may run next: the process that runs them names them, and its word is no evidence.

Limits and waivers go by a migration's name. So a step has to be one of those in the trees, it runs once, on a database
that has what it builds on, and it gets the name that the trees give it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ansible.module_utils.th_core.text import printable
from ansible.module_utils.th_tools.versions import prefixed
from ansible.module_utils.th_walk.installed import PackagedMigrations, app_of
from ansible.module_utils.th_walk.stages import WalkTree
from ansible.module_utils.th_walk.walkers import NAME_LIMIT, MigrationStep, WalkError

BASE = "base"


class AllowedSteps:
    """The steps that one database may take: `steps` are those of the trees, `name` is the database's.

    `installed` returns the packaged migrations of the stage; it is None where the tool has no migrations in packages,
    and then the database's rows are its heads.
    """

    def __init__(
        self,
        tree: WalkTree,
        name: str,
        steps: Sequence[MigrationStep],
        downward: bool = False,
        installed: Callable[[], PackagedMigrations | None] | None = None,
    ) -> None:
        self._tree, self._name, self._downward, self._installed = tree, name, downward, installed
        self._allowed = {self.subject(step) for step in steps}
        self._taken: set[str] = set()

    def take(self, step: MigrationStep, rows: Iterable[str]) -> MigrationStep:
        """The step, if it may run next on a database with these `rows`, with its revisions named as in the artifacts.
        Raises WalkError."""
        subject, there = self.subject(step), set(rows)
        shown = printable(subject)[:NAME_LIMIT]
        if subject in self._taken:
            raise WalkError("walk_failed", f"the project's code runs {shown} a second time")
        if not self._has(subject, there):
            problem = f"the project's code runs {shown}, which is none of the migrations that are to come here"
            raise WalkError("walk_failed", problem)
        if missing := self._missing(subject, there):
            what = "are to be taken back before it" if self._downward else "it builds on"
            problem = f"the project's code runs {shown} out of turn: {', '.join(sorted(missing)[:10])} {what}"
            raise WalkError("walk_failed", problem)
        self._taken.add(subject)
        other = self._named(subject, step.after if self._downward else step.before)
        return MigrationStep(subject, other) if self._downward else MigrationStep(other, subject)

    def subject(self, step: MigrationStep) -> str:
        """The revision that a step is about."""
        return prefixed(step.before if self._downward else step.after, self._name)

    def _has(self, subject: str, rows: set[str]) -> bool:
        if subject in self._allowed:
            return True
        if self._installed is None:
            return False
        installed = self._installed()
        app = app_of(subject, self._name)
        if installed is not None and app in installed.apps:
            return subject in (rows if self._downward else installed.waiting(rows))
        # an unknown app: none of its files was read, and the final version does not cover it
        return all(app_of(one, self._name) != app for one in self._tree.revisions)

    def _missing(self, subject: str, rows: set[str]) -> set[str]:
        """What must have run before the step but has not."""
        revisions = self._tree.revisions
        done = self._tree.with_ancestors(rows)
        if not self._downward:
            while more := {
                name
                for name, facts in revisions.items()
                if name not in done and facts.get("replaces") and done.issuperset(facts["replaces"])
            }:
                done |= self._tree.with_ancestors(more)
            return self._below(subject) - done
        present = done if self._installed is None else rows
        if subject in revisions and subject not in present:
            return {subject}
        return {name for name in present & revisions.keys() if subject in self._below(name)}

    def _below(self, subject: str) -> set[str]:
        """The revisions in the trees that a revision builds on."""
        return {one for one in self._tree.revisions.get(subject, {}).get("down", ()) if one in self._tree.revisions}

    def _named(self, subject: str, reported: str) -> str:
        """The other end of the step: as reported where the trees agree, otherwise as the trees have it."""
        below = self._below(subject)
        if self._installed is not None:
            below = {one for one in below if app_of(one, self._name) == app_of(subject, self._name)}
        names = set() if reported == BASE else {prefixed(one, self._name) for one in reported.split(",")}
        if subject not in self._tree.revisions:
            return ",".join(sorted(names)) or BASE
        # a tool may omit a parent that another parent builds on, and name a squashed migration for what it replaces
        known = names <= self._tree.with_ancestors(below) if self._installed is not None else names <= below
        if known and below <= self._tree.with_ancestors(names):
            return ",".join(sorted(names)) or BASE
        return ",".join(sorted(below)) or BASE

# SPDX-License-Identifier: Apache-2.0
"""Which migrations may come next: the process that runs them names them, and what it says is no evidence.

Limits and waivers go by a migration's name. So a step has to be one of those that the trees have, it runs once, on a
database that has what it builds on, and it gets the name that the trees give it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ansible.module_utils.th_core.text import printable
from ansible.module_utils.th_tools.versions import prefixed
from ansible.module_utils.th_walk.installed import Installed, app_of
from ansible.module_utils.th_walk.stages import Tree
from ansible.module_utils.th_walk.walkers import NAME_LIMIT, Step, WalkError

BASE = "base"


class Way:
    """The way of one database: `steps` are those of the trees, with `name` the database's.

    `installed` tells what the packages of the stage bring; None where the tool has no migrations in packages, and
    then the database's rows are its heads.
    """

    def __init__(
        self,
        tree: Tree,
        name: str,
        steps: Sequence[Step],
        downward: bool = False,
        installed: Callable[[], Installed | None] | None = None,
    ) -> None:
        self._tree, self._name, self._downward, self._installed = tree, name, downward, installed
        self._allowed = {self.subject(step) for step in steps}
        self._taken: set[str] = set()

    def take(self, step: Step, rows: Iterable[str]) -> Step:
        """The step, if it may come next on a database that holds `rows`, with the revisions as the forest of all
        databases has them. Raises WalkError."""
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
        return Step(subject, other) if self._downward else Step(other, subject)

    def subject(self, step: Step) -> str:
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
        # an app of which nothing is known: the final version does not cover it, and no file of it was read
        return all(app_of(one, self._name) != app for one in self._tree.revisions)

    def _missing(self, subject: str, rows: set[str]) -> set[str]:
        """What has to come before the step and has not."""
        revisions = self._tree.revisions
        done = self._tree.behind(rows)
        if not self._downward:
            while more := {
                name
                for name, facts in revisions.items()
                if name not in done and facts.get("replaces") and done.issuperset(facts["replaces"])
            }:
                done |= self._tree.behind(more)
            return self._below(subject) - done
        present = done if self._installed is None else rows
        if subject in revisions and subject not in present:
            return {subject}
        return {name for name in present & revisions.keys() if subject in self._below(name)}

    def _below(self, subject: str) -> set[str]:
        """What a revision builds on, as far as the trees have it."""
        return {one for one in self._tree.revisions.get(subject, {}).get("down", ()) if one in self._tree.revisions}

    def _named(self, subject: str, told: str) -> str:
        """The other end of the step: as it was told where that is what the trees say, as they say it elsewhere."""
        below = self._below(subject)
        if self._installed is not None:
            below = {one for one in below if app_of(one, self._name) == app_of(subject, self._name)}
        names = set() if told == BASE else {prefixed(one, self._name) for one in told.split(",")}
        if subject not in self._tree.revisions:
            return ",".join(sorted(names)) or BASE
        # a tool may leave out what another one of them builds on, and name a squashed migration for what it replaces
        known = names <= self._tree.behind(below) if self._installed is not None else names <= below
        if known and below <= self._tree.behind(names):
            return ",".join(sorted(names)) or BASE
        return ",".join(sorted(below)) or BASE

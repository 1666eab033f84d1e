# SPDX-License-Identifier: Apache-2.0
"""What the packages of each stage's environment bring to the databases of a walk (`installed` reads it).

A site on packaged apps has its migrations in packages: two releases may differ in nothing but a requirement. So what a
stage would run is asked of the stage, and not of the repository alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.th_tools.tools import tool_of
from ansible.module_utils.th_walk.installed import Installed, app_of, read_installed, site_packages
from ansible.module_utils.th_walk.stages import Stage, Tree


class Packages:
    """What is known of the packages of each stage, by database. `tree` is the repository's."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._known: dict[tuple[str, str], Installed] = {}

    def learn(self, stage: Stage, database: Mapping[str, Any], venv: Path, told: Mapping[str, str]) -> Installed:
        """Read the apps that a stage's process has told of, and remember them for the database."""
        name = database["name"]
        own = {app_of(revision, name) for revision in self._tree.revisions}
        hidden = self._hidden(stage, name, told)
        known = {label: str(place / folder) for place in site_packages(venv) for label, folder in hidden.items()}
        self._known[stage.slug, name] = read_installed(tool_of(database), venv, {**known, **told}, own, name)
        return self._known[stage.slug, name]

    def of(self, stage: Stage, name: str) -> Installed | None:
        """What is known of a stage; None when it was not asked."""
        return self._known.get((stage.slug, name))

    def _hidden(self, stage: Stage, name: str, told: Mapping[str, str]) -> Mapping[str, str]:
        """Apps that merged code has and the change's process does not tell of, where its packages have something new
        for them: the change must run that, or leave the package as it is."""
        if stage.kind != "change" or (tip := self._before(stage, name)) is None:
            return {}
        return {label: folder for label, folder in tip.apps.items() if label not in told}

    def _before(self, stage: Stage, name: str) -> Installed | None:
        """The last stage before one that is known."""
        stages = self._tree.stages[: self._tree.stages.index(stage)]
        return next((found for one in reversed(stages) if (found := self.of(one, name))), None)

    def newer(self, stage: Stage, name: str, pending: Iterable[str], rows: Iterable[str]) -> list[str]:
        """What the database holds, of the apps whose migrations a stage would run, that only later stages have: it was
        migrated with other packages, and is past this one's."""
        mine = self.of(stage, name)
        if mine is None:
            return []
        apps = {app_of(one, name) for one in pending}
        found: set[str] = set()
        for later in self._tree.stages[self._tree.stages.index(stage) + 1 :]:
            theirs = self.of(later, name)
            found |= (theirs.tree.revisions.keys() if theirs else set()) - mine.tree.revisions.keys()
        return sorted(one for one in found.intersection(rows) if app_of(one, name) in apps)

    def shared(self, stage: Stage, name: str, pending: Iterable[str]) -> list[str]:
        """Those of some migrations whose apps packages bring to a stage as well."""
        installed = self.of(stage, name)
        return [one for one in pending if installed and app_of(one, name) in installed.apps]

    def brought(self, stage: Stage, name: str, rows: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The migrations of packages that are to run in the change's stage, each with its file and whether the change
        has brought it: by an app that the branch does not install, or by a requirement of its own.

        What else is new there, such as a package's release of today, would come without the change as well.
        """
        mine, before = self.of(stage, name), self._before(stage, name)
        if mine is None:
            return {}
        merged = self._tree.stages[:-1]
        tip_known = bool(merged and merged[-1].kind == "tip" and self.of(merged[-1], name))
        found = {}
        for revision in sorted(mine.waiting(rows)):
            new = before is None or revision not in before.tree.revisions
            app_is_new = tip_known and before is not None and app_of(revision, name) not in before.apps
            file = f"site-packages/{mine.tree.revisions[revision].file}"
            found[revision] = {"file": file, "by_change": app_is_new or (new and self._tree.installs)}
        return found

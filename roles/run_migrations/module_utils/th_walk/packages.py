# SPDX-License-Identifier: Apache-2.0
"""The migrations that the packages of each stage's environment bring to the databases of a walk (read by `installed`).

A site that is built on packaged apps has its migrations in packages: two releases may differ in nothing but a
requirement. So the repository alone does not show what a stage would run; its environment has to be asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.th_tools.tools import tool_of
from ansible.module_utils.th_walk.installed import PackagedMigrations, app_of, read_installed, site_packages
from ansible.module_utils.th_walk.stages import WalkStage, WalkTree


class StagePackages:
    """The packaged migrations that are known, by stage and database. `tree` has those of the repository."""

    def __init__(self, tree: WalkTree) -> None:
        self._tree = tree
        self._known: dict[tuple[str, str], PackagedMigrations] = {}

    def learn(
        self, stage: WalkStage, database: Mapping[str, Any], venv: Path, reported: Mapping[str, str]
    ) -> PackagedMigrations:
        """Read the apps that a stage's process has reported, and remember them for the database."""
        name = database["name"]
        own = {app_of(revision, name) for revision in self._tree.revisions}
        hidden = self._hidden(stage, name, reported)
        known = {label: str(place / folder) for place in site_packages(venv) for label, folder in hidden.items()}
        self._known[stage.slug, name] = read_installed(tool_of(database), venv, {**known, **reported}, own, name)
        return self._known[stage.slug, name]

    def of(self, stage: WalkStage, name: str) -> PackagedMigrations | None:
        """The packaged migrations of a stage; None when it was not asked."""
        return self._known.get((stage.slug, name))

    def _hidden(self, stage: WalkStage, name: str, reported: Mapping[str, str]) -> Mapping[str, str]:
        """Apps that merged code has but the change's process does not report: it must run what its packages bring for
        them, or leave the package as it is."""
        if stage.kind != "change" or (tip := self._before(stage, name)) is None:
            return {}
        return {label: folder for label, folder in tip.apps.items() if label not in reported}

    def _before(self, stage: WalkStage, name: str) -> PackagedMigrations | None:
        """The last stage before this one whose packages are known."""
        stages = self._tree.stages[: self._tree.stages.index(stage)]
        return next((found for one in reversed(stages) if (found := self.of(one, name))), None)

    def newer(self, stage: WalkStage, name: str, pending: Iterable[str], rows: Iterable[str]) -> list[str]:
        """The rows that only later stages know, of the apps that a stage would migrate: the dataset was
        migrated with newer packages, and is past this stage."""
        installed = self.of(stage, name)
        if installed is None:
            return []
        apps = {app_of(one, name) for one in pending}
        found: set[str] = set()
        for later in self._tree.stages[self._tree.stages.index(stage) + 1 :]:
            other = self.of(later, name)
            found |= (other.tree.revisions.keys() if other else set()) - installed.tree.revisions.keys()
        return sorted(one for one in found.intersection(rows) if app_of(one, name) in apps)

    def shared(self, stage: WalkStage, name: str, pending: Iterable[str]) -> list[str]:
        """Those of the `pending` migrations whose apps this stage has in packages as well."""
        installed = self.of(stage, name)
        return [one for one in pending if installed and app_of(one, name) in installed.apps]

    def brought(self, stage: WalkStage, name: str, rows: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The packaged migrations that will run in the change's stage, each with its file and whether the change brings
        it: through an app that the branch does not install, or through a changed requirement.

        Anything else that is new, such as a package released today, would come without the change as well.
        """
        installed, before = self.of(stage, name), self._before(stage, name)
        if installed is None:
            return {}
        merged = self._tree.stages[:-1]
        tip_known = bool(merged and merged[-1].kind == "tip" and self.of(merged[-1], name))
        found = {}
        for revision in sorted(installed.waiting(rows)):
            new = before is None or revision not in before.tree.revisions
            app_is_new = tip_known and before is not None and app_of(revision, name) not in before.apps
            file = f"site-packages/{installed.tree.revisions[revision].file}"
            found[revision] = {"file": file, "by_change": app_is_new or (new and self._tree.installs)}
        return found

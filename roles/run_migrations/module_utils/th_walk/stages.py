# SPDX-License-Identifier: Apache-2.0
"""Which stages a dataset has to walk through, and in which order their migrations run.

Works on `artifacts/checkout.json` alone: the trees were read from git, none of the project's code has run. The trees
of all databases are one forest; a revision of a database with a name is written ``<name>:<revision>``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.th_tools.tools import tool_of
from ansible.module_utils.th_tools.versions import below


@dataclass(frozen=True)
class WalkStage:
    """A commit to walk to: `heads` are the revisions that the databases are at afterwards.

    `folders` of its checkout have the migration scripts.
    """

    name: str
    slug: str
    kind: str
    commit: str
    heads: tuple[str, ...]
    folders: tuple[str, ...] = ()


def in_packages(database: Mapping[str, Any]) -> bool:
    """Whether a database of the profile may have migrations in packages, besides those of the repository."""
    return tool_of(database).in_packages


class WalkTree:
    """The revisions of a walk and their order: the union of its stages' trees.

    `installs` is whether the change touches a file that determines what is installed, `alters_env` whether it touches
    an env.py.
    """

    def __init__(self, checkout: Mapping[str, Any]) -> None:
        self.revisions: Mapping[str, Mapping[str, Any]] = checkout["revisions"]
        self.left_out: tuple[Mapping[str, Any], ...] = tuple(checkout.get("left_out", ()))
        self.removed = frozenset(checkout.get("touched", {}).get("removed", ()))
        helpers = checkout.get("touched", {}).get("helpers", ())
        self.alters_env = any(str(path).rpartition("/")[2] == "env.py" for path in helpers)
        self.installs = bool(checkout.get("installs"))
        self.stages = tuple(
            WalkStage(
                item["name"],
                item["slug"],
                item["kind"],
                item["commit"],
                tuple(item["heads"]),
                tuple(item.get("folders", ())),
            )
            for item in checkout["stages"]
        )

    def with_ancestors(self, revisions: Iterable[str]) -> set[str]:
        """The revisions and everything that they build on, or replace."""
        names = set(revisions)
        return names | below(names, self._before)

    def _before(self, name: str) -> list[str]:
        facts = self.revisions.get(name, {})
        return [*facts.get("down", ()), *facts.get("replaces", ())]

    def unknown(self, version: Iterable[str]) -> list[str]:
        """Those of a database's heads that are in no stage's tree."""
        return sorted(set(version) - self.revisions.keys())

    def skips(self, stage: WalkStage, version: Iterable[str]) -> bool:
        """Whether a database at `version` has all of the stage's migrations; the change is never skipped."""
        return stage.kind != "change" and set(stage.heads) <= self.with_ancestors(version)

    def needed(self, version: Iterable[str]) -> list[WalkStage]:
        """The stages that a database at `version` has yet to walk through; the change is always one."""
        return [stage for stage in self.stages if not self.skips(stage, version)]

    def to_build(self, version: Iterable[str], databases: Iterable[Mapping[str, Any]]) -> list[WalkStage]:
        """The stages whose environment is needed: to walk through, or to ask what its packages would migrate."""
        return list(self.stages) if any(map(in_packages, databases)) else self.needed(version)

    def pending(self, heads: Sequence[str], version: Iterable[str]) -> list[tuple[str, str]]:
        """The steps from `version` to the heads as (from, to), each after all that it builds on.

        Raises ValueError when they form a cycle.
        """
        done = self.with_ancestors(version)
        steps: list[tuple[str, str]] = []
        left = (self.with_ancestors(heads) - done) & self.revisions.keys()
        while left:
            ready = sorted((revision for revision in left if done.issuperset(self._down(revision))), key=_by_number)
            if not ready:
                raise ValueError(f"the migrations form a circle: {', '.join(sorted(left))}")
            # one at a time, so that one chain is finished before the next is started
            revision = next((one for one in ready if steps and steps[-1][1] in self._down(one)), ready[0])
            steps.append((",".join(sorted(self._down(revision))) or "base", revision))
            done.add(revision)
            left.discard(revision)
        return steps

    def downgrades(self, heads: Sequence[str], version: Iterable[str]) -> list[tuple[str, str]]:
        """The steps from `version` down to the heads as (from, to): the upgrade in reverse."""
        return [(after, before) for before, after in reversed(self.pending(list(version), heads))]

    def last_release(self) -> tuple[str, ...] | None:
        """The heads of the walk's last release; None when there is none."""
        return next((stage.heads for stage in reversed(self.stages) if stage.kind == "release"), None)

    def _down(self, revision: str) -> set[str]:
        return {one for one in self.revisions[revision]["down"] if one in self.revisions}


def _by_number(revision: str) -> tuple[int, str]:
    last = revision.rpartition(":")[2]
    return (int(last) if last.isdecimal() and len(last) < 18 else 0, revision)

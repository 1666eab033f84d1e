# SPDX-License-Identifier: Apache-2.0
"""Which stages a dataset has to walk through, and in which order their migrations come.

Works on `artifacts/checkout.json` alone: the trees were read from git, none of the project's code has run. The trees
of a project's databases are one forest; a revision of a database with a name is written ``<name>:<revision>``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.th_tools.tools import tool_of
from ansible.module_utils.th_tools.versions import below


@dataclass(frozen=True)
class Stage:
    """A commit to walk to: `heads` are the revisions that the databases hold when they are there.

    `folders` are where the migrations' scripts are, in its checkout.
    """

    name: str
    slug: str
    kind: str
    commit: str
    heads: tuple[str, ...]
    folders: tuple[str, ...] = ()


def in_packages(database: Mapping[str, Any]) -> bool:
    """Whether the migrations of a database of the profile may be in packages, beside those of the repository."""
    return tool_of(database).in_packages


class Tree:
    """The revisions of a walk and which come before which: the union of all its stages' trees.

    `installs` is whether the change touches a file that says what is installed, `alters_env` whether it touches an
    env.py.
    """

    def __init__(self, checkout: Mapping[str, Any]) -> None:
        self.revisions: Mapping[str, Mapping[str, Any]] = checkout["revisions"]
        self.left_out: tuple[Mapping[str, Any], ...] = tuple(checkout.get("left_out", ()))
        self.removed = frozenset(checkout.get("touched", {}).get("removed", ()))
        helpers = checkout.get("touched", {}).get("helpers", ())
        self.alters_env = any(str(path).rpartition("/")[2] == "env.py" for path in helpers)
        self.installs = bool(checkout.get("installs"))
        self.stages = tuple(
            Stage(
                item["name"],
                item["slug"],
                item["kind"],
                item["commit"],
                tuple(item["heads"]),
                tuple(item.get("folders", ())),
            )
            for item in checkout["stages"]
        )

    def behind(self, revisions: Iterable[str]) -> set[str]:
        """The revisions and everything that they build on, or replace."""
        names = set(revisions)
        return names | below(names, self._before)

    def _before(self, name: str) -> list[str]:
        facts = self.revisions.get(name, {})
        return [*facts.get("down", ()), *facts.get("replaces", ())]

    def unknown(self, version: Iterable[str]) -> list[str]:
        """Those of a database's versions that no stage's tree has."""
        return sorted(set(version) - self.revisions.keys())

    def skips(self, stage: Stage, version: Iterable[str]) -> bool:
        """Whether the walk of a database at `version` goes past the stage; never past the change."""
        return stage.kind != "change" and set(stage.heads) <= self.behind(version)

    def needed(self, version: Iterable[str]) -> list[Stage]:
        """The stages that a database at `version` has yet to walk through; the change is always one."""
        return [stage for stage in self.stages if not self.skips(stage, version)]

    def asked(self, version: Iterable[str], databases: Iterable[Mapping[str, Any]]) -> list[Stage]:
        """The stages whose environment is needed: to walk through, or to be asked what its packages would migrate."""
        return list(self.stages) if any(map(in_packages, databases)) else self.needed(version)

    def pending(self, heads: Sequence[str], version: Iterable[str]) -> list[tuple[str, str]]:
        """The steps from `version` to the heads as (from, to), each after all that it builds on.

        Raises ValueError when they form a circle.
        """
        done = self.behind(version)
        steps: list[tuple[str, str]] = []
        left = (self.behind(heads) - done) & self.revisions.keys()
        while left:
            ready = sorted((revision for revision in left if done.issuperset(self._down(revision))), key=_by_number)
            if not ready:
                raise ValueError(f"the migrations form a circle: {', '.join(sorted(left))}")
            # one at a time, so that a chain is walked to its end before another one is begun
            revision = next((one for one in ready if steps and steps[-1][1] in self._down(one)), ready[0])
            steps.append((",".join(sorted(self._down(revision))) or "base", revision))
            done.add(revision)
            left.discard(revision)
        return steps

    def way_down(self, heads: Sequence[str], version: Iterable[str]) -> list[tuple[str, str]]:
        """The steps from `version` down to the heads as (from, to): the way up, backwards."""
        return [(after, before) for before, after in reversed(self.pending(list(version), heads))]

    def last_release(self) -> tuple[str, ...] | None:
        """What the databases hold at the last release of the walk; None when there is none."""
        return next((stage.heads for stage in reversed(self.stages) if stage.kind == "release"), None)

    def _down(self, revision: str) -> set[str]:
        return {one for one in self.revisions[revision]["down"] if one in self.revisions}


def _by_number(revision: str) -> tuple[int, str]:
    last = revision.rpartition(":")[2]
    return (int(last) if last.isdecimal() and len(last) < 18 else 0, revision)

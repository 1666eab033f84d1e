# SPDX-License-Identifier: Apache-2.0
"""Which stages a dataset has to walk through, and in which order their migrations come.

Works on `artifacts/checkout.json` alone: the trees were read from git, none of the project's code has run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Stage:
    """A commit to walk to: `heads` are the revisions that the database holds when it is there."""

    name: str
    slug: str
    kind: str
    commit: str
    heads: tuple[str, ...]


class Tree:
    """The revisions of a walk and which come before which: the union of all its stages' trees."""

    def __init__(self, checkout: Mapping[str, Any]) -> None:
        self.down: dict[str, tuple[str, ...]] = {
            revision: tuple(facts["down"]) for revision, facts in checkout["revisions"].items()
        }
        self.files: dict[str, str] = {
            revision: facts["file"] for revision, facts in checkout["revisions"].items()
        }
        self.left_out: tuple[Mapping[str, Any], ...] = tuple(checkout.get("left_out", ()))
        self.stages = tuple(
            Stage(item["name"], item["slug"], item["kind"], item["commit"], tuple(item["heads"]))
            for item in checkout["stages"]
        )

    def behind(self, revisions: Iterable[str]) -> set[str]:
        """The revisions and everything that they build on."""
        seen: set[str] = set()
        queue = list(revisions)
        while queue:
            revision = queue.pop()
            if revision not in seen:
                seen.add(revision)
                queue.extend(self.down.get(revision, ()))
        return seen

    def unknown(self, version: Iterable[str]) -> list[str]:
        """Those of a database's versions that no stage's tree has."""
        return sorted(set(version) - set(self.down))

    def reached(self, stage: Stage, version: Iterable[str]) -> bool:
        """Whether a database at `version` has all of the stage's migrations."""
        return set(stage.heads) <= self.behind(version)

    def needed(self, version: Iterable[str]) -> list[Stage]:
        """The stages that a database at `version` has yet to walk through; the change is always one."""
        return [stage for stage in self.stages if stage.kind == "change" or not self.reached(stage, version)]

    def pending(self, stage: Stage, version: Iterable[str]) -> list[tuple[str, str]]:
        """The steps from `version` to the stage as (from, to), each after all that it builds on."""
        done = self.behind(version)
        steps: list[tuple[str, str]] = []
        left = self.behind(stage.heads) - done
        while left:
            ready = sorted(revision for revision in left if done.issuperset(self.down.get(revision, ())))
            if not ready:
                raise ValueError(f"the migrations form a circle: {', '.join(sorted(left))}")
            for revision in ready:
                steps.append((",".join(sorted(self.down.get(revision, ()))) or "base", revision))
            done.update(ready)
            left.difference_update(ready)
        return steps

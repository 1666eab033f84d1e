# SPDX-License-Identifier: Apache-2.0
"""What was checked out and built, as recorded by the playbooks (docs/artifacts.md)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from worker.inputs import untrusted as safe


@dataclass(frozen=True)
class StageRecord:
    """A stage of the walk, as recorded by the checkout. `kind` is release, tip or change."""

    name: str
    slug: str
    kind: str
    commit: str
    heads: tuple[str, ...]


@dataclass(frozen=True)
class CheckoutRecord:
    """What was checked out; `files` maps a revision to its file, `down` to those that must have run before it.

    `replaces` maps a squashed migration to those that it stands for. `by_change` are the revisions that the change adds
    or alters, `added` those that it adds, `removed` those that it removes, `helpers` the other files beside the
    migrations that it touches, `others` all the rest except plain text. `pointers` are the files that are Git LFS
    pointers, `pointers_brought` those of them that differ from the merged ones. The revisions of a database with a name
    begin with that name and a colon. `touch_known` is whether it is known what the change touches: old logs do not show
    it. `base` is the merge base, "" where there is none. `tip_has_heads` is whether the branch's tip is left out as it
    has several heads. `merged_packages` are packaged migrations that run after the branch's tip and that the change
    does not bring.
    """

    commit: str = ""
    subject: str = ""
    branch: str = ""
    base: str = ""
    stages: tuple[StageRecord, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    down: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    replaces: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    by_change: frozenset[str] = frozenset()
    added: frozenset[str] = frozenset()
    removed: frozenset[str] = frozenset()
    helpers: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    touch_known: bool = True
    left_out: tuple[tuple[str, str], ...] = ()
    tip_left_out: str = ""
    tip_has_heads: bool = False
    pointers: tuple[str, ...] = ()
    pointers_brought: frozenset[str] = frozenset()
    seconds: float = 0.0
    merged_packages: frozenset[str] = frozenset()

    def with_packages(self, packaged: Mapping[str, tuple[str, bool]]) -> CheckoutRecord:
        """The same with the packaged migrations that a walk's last stage runs (`Walk.packaged`)."""
        brought = frozenset(revision for revision, (_, by_change) in packaged.items() if by_change)
        return replace(
            self,
            files={**self.files, **{revision: file for revision, (file, _) in packaged.items()}},
            by_change=self.by_change | brought,
            added=self.added | brought,
            merged_packages=frozenset(packaged) - brought,
        )

    @property
    def tests_a_change(self) -> bool:
        """Whether there is a change: jobs of timers and of branch updates test merged code alone."""
        return not self.touch_known or self.base not in ("", self.commit)

    def before_the_change(self, stage: str) -> bool:
        """Whether a stage, by its name or slug, is a release or the branch's tip."""
        return any(stage in (one.name, one.slug) for one in self.stages if one.kind != "change")

    @property
    def alters_code(self) -> bool:
        """Whether the change touches code that other people's migrations may use in its stage."""
        return bool(self.helpers or self.others)

    def brings(self, revision: str) -> bool:
        """Whether the change adds or alters a migration, named by its revision, or by several joined by commas."""
        return not self.by_change.isdisjoint((revision, *revision.split(",")))

    def with_ancestors(self, revisions: Iterable[str]) -> set[str]:
        """The revisions and all that they build on, or replace: a squashed migration stands for those it replaces.

        What a squashed migration of the change replaces is not trusted.
        """
        seen: set[str] = set()
        queue = list(revisions)
        while queue:
            revision = queue.pop()
            if revision not in seen:
                seen.add(revision)
                queue.extend(self.down.get(revision, ()))
                queue.extend(() if revision in self.by_change else self.replaces.get(revision, ()))
        return seen

    def squashed_done(self, done: set[str]) -> set[str]:
        """The squashed migrations whose replaced ones are all done: the tool takes them as done, and runs none."""
        found: set[str] = set()
        while more := {
            squash
            for squash, replaced in self.replaces.items()
            if replaced and squash not in found and done | found >= set(replaced)
        }:
            found |= more
        return found


@dataclass(frozen=True)
class Environment:
    """A virtual environment that was built or reused. `packages` are ``name==version``."""

    stage: str
    python: str
    seconds: float
    cached: bool
    packages: tuple[str, ...]


def read(folder: Path) -> CheckoutRecord | None:
    """Read `checkout.json` in a folder of artifacts; None when it is not there."""
    document = safe.document(folder / "checkout.json")
    if not document:
        return None
    touched = dict(safe.items(document.get("touched")))
    revisions = {
        safe.version(revision): facts
        for revision, facts in safe.items(document.get("revisions"))
        if isinstance(facts, dict)
    }
    return CheckoutRecord(
        commit=safe.name(document.get("commit")),
        subject=safe.name(document.get("subject")),
        branch=safe.name(document.get("branch")),
        base=safe.name(document.get("base")),
        stages=tuple(
            StageRecord(
                safe.name(item.get("name")),
                safe.name(item.get("slug")),
                safe.name(item.get("kind")),
                safe.name(item.get("commit")),
                _versions(item.get("heads")),
            )
            for item in safe.mappings(document.get("stages"))
        ),
        files={revision: safe.name(facts.get("file")) for revision, facts in revisions.items()},
        down={revision: _versions(facts.get("down")) for revision, facts in revisions.items()},
        replaces={
            revision: _versions(facts["replaces"]) for revision, facts in revisions.items() if facts.get("replaces")
        },
        by_change=frozenset(_versions(touched.get("added")) + _versions(touched.get("altered"))),
        added=frozenset(_versions(touched.get("added"))),
        removed=frozenset(_versions(touched.get("removed"))),
        helpers=tuple(safe.name(path) for path in safe.sequence(touched.get("helpers"))),
        others=tuple(safe.name(path) for path in safe.sequence(touched.get("others"))),
        touch_known="touched" in document,
        left_out=tuple(
            (safe.name(item.get("name")), safe.name(item.get("reason")))
            for item in safe.mappings(document.get("left_out"))
        ),
        tip_left_out=safe.name(document.get("tip_left_out")),
        tip_has_heads=document.get("tip_has_heads") is True,
        pointers=tuple(safe.name(path) for path in safe.sequence(document.get("lfs_pointers"))),
        pointers_brought=frozenset(
            safe.name(path) for path in safe.sequence(document.get("lfs_pointers_brought"))
        ),
        seconds=safe.number(document.get("seconds")) or 0.0,
    )


def read_packaged(event: Mapping[str, Any]) -> dict[str, tuple[str, bool]]:
    """The migrations of a walk's `packages` event: the file of each, and whether the change brings it."""
    return {
        safe.version(revision): (safe.name(facts.get("file")), facts.get("by_change") is True)
        for revision, facts in safe.items(event.get("migrations"))
        if isinstance(facts, dict)
    }


def _versions(value: object) -> tuple[str, ...]:
    return tuple(safe.version(item) for item in safe.sequence(value))


def read_environments(folder: Path) -> tuple[Environment, ...]:
    """Read `environment.json` in a folder of artifacts."""
    built = safe.document(folder / "environment.json").get("environments")
    return tuple(_environment(item) for item in safe.mappings(built))


def _environment(item: Mapping[str, Any]) -> Environment:
    return Environment(
        stage=safe.name(item.get("stage")),
        python=safe.name(item.get("python")),
        seconds=safe.number(item.get("seconds")) or 0.0,
        cached=item.get("cached") is True,
        packages=tuple(safe.name(package) for package in safe.sequence(item.get("packages"))),
    )

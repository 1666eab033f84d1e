# SPDX-License-Identifier: Apache-2.0
"""The checkout of one job: what is under test, the stages of the walk, and what the change touches."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ansible.module_utils.th_checkout.comparison import compare, newly_unreadable, reason_to_leave_out
from ansible.module_utils.th_checkout.facts import facts_of, refuse_too_much
from ansible.module_utils.th_checkout.fetch import ChangeUnderTest, Fetch
from ansible.module_utils.th_checkout.install_files import install_files_among, named
from ansible.module_utils.th_checkout.merged_modules import unless_merged
from ansible.module_utils.th_checkout.request import CheckoutRequest
from ansible.module_utils.th_checkout.tree_checks import check_fit, check_trees, too_many_heads
from ansible.module_utils.th_checkout.trees import ForestReader
from ansible.module_utils.th_core.artifacts import NAME_LIMIT
from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_core.text import mask, printable
from ansible.module_utils.th_git.client import Git, join_url
from ansible.module_utils.th_git.files import file, files, lfs_pointers
from ansible.module_utils.th_git.mirror import Mirror
from ansible.module_utils.th_parse.new_syntax import recall, remember

HELPERS_LIMIT = 100
POINTERS_LIMIT = 100


@dataclass(frozen=True)
class StageCommit:
    """A stage of the walk: its name, its name in file names, its kind, and its commit."""

    name: str
    slug: str
    kind: str
    commit: str


class Checkout(Fetch):
    """One job's checkout."""

    def __init__(
        self, git: Git, mirror: Mirror, request: CheckoutRequest, profile: Mapping[str, Any], src: Path
    ) -> None:
        super().__init__(git, mirror, request, src)
        self._profile = profile

    def read(self, point: ChangeUnderTest, begun: float) -> dict[str, Any]:
        """Read the migrations of the releases, the tip and the change; the document of checkout.json. `begun` is when
        the first step began. Raises StepError."""
        kept = Path(f"{self._mirror.path}.scripts.json")
        recall(kept)
        document = self._with_sound_mirror(self._look, point, lambda: self._check_out(self._fetch()))
        remember(kept)
        return {**document, "seconds": round(time.monotonic() - begun, 3)}

    def _look(self, point: ChangeUnderTest) -> dict[str, Any]:
        """The document of checkout.json: the stages, and what the change touches."""
        git = self._git
        commit, branch, tip, base = point.commit, point.branch, point.tip, point.base
        databases = self._profile["databases"]
        reader = ForestReader(git, self._src, databases)
        change_tree = unless_merged(reader.read, commit, base, branch)
        before = reader.read(base or commit)  # without a target branch (a tag) everything has been merged
        check_fit(before, self._profile, lambda path: file(git, self._src, base or commit, path))
        sides = (base or commit, commit)
        touched = compare(before, change_tree, lambda: any(map(reader.calls_downgrades, sides)))
        left_out = "there is no target branch" if tip is None else ""
        if tip is not None:
            left_out = reason_to_leave_out(commit, tip, touched, reader.read(tip), change_tree)
        unreadable = newly_unreadable(before, change_tree)
        if unreadable:
            raise StepError("migration_unreadable", printable(unreadable))
        check_trees(reader, self._profile, base if tip else None, commit, branch)
        tip_heads = ""
        if tip is not None and not (left_out := left_out or reader.outside(tip)):
            left_out = tip_heads = too_many_heads(reader, databases, tip, commit)
        stages: list[StageCommit] = []
        releases_left_out = []
        for name, release, later in self._releases(branch):
            reason = f"it comes after {branch}" if later else ""
            reason = reason or reason_to_leave_out(commit, release, touched, reader.read(release), change_tree)
            reason = reason or reader.outside(release) or too_many_heads(reader, databases, release, commit)
            if reason:
                releases_left_out.append({"name": name, "kind": "release", "reason": reason})
            else:
                stages.append(StageCommit(name, slug(name, stages), "release", release))
        if tip is not None and not left_out:
            stages.append(StageCommit(branch, slug(branch, stages), "tip", tip))
        stages.append(StageCommit(self._name(commit), "change", "change", commit))
        pointers = [printable(path[:NAME_LIMIT]) for path in lfs_pointers(git, self._src, commit)[:POINTERS_LIMIT]]
        differ = reader.differing(base, commit) if base else []
        shown = {printable(path[:NAME_LIMIT]) for path in differ}
        brought = [path for path in pointers if path in shown]
        trees = {stage.commit: reader.read(stage.commit) for stage in stages}
        document = {
            **self._described(point),
            "base_tree": {"heads": before.heads(), "folders": reader.folders(base or commit)},
            "stages": [
                {**asdict(stage), "heads": trees[stage.commit].heads(), "folders": reader.folders(stage.commit)}
                for stage in stages
            ],
            "revisions": {
                name: facts_of(revision) for stage in stages for name, revision in trees[stage.commit].revisions.items()
            },
            "touched": {**touched, **self._beside(reader, base, commit, touched)},
            "installs": self._install_files(differ, base, commit),
            "tip_left_out": left_out,
            **({"tip_has_heads": True} if tip_heads else {}),
            "left_out": releases_left_out,
            **({"lfs_pointers": pointers} if pointers else {}),
            **({"lfs_pointers_brought": brought} if brought else {}),
            "unreadable": [
                {"stage": stage.slug, "file": printable(item.file[:NAME_LIMIT]), "reason": printable(item.reason)}
                for stage in stages
                for item in trees[stage.commit].unreadable
            ],
        }
        refuse_too_much(document, before, change_tree, branch)
        return document

    def _beside(
        self, reader: ForestReader, base: str | None, commit: str, touched: Mapping[str, Sequence[str]]
    ) -> dict[str, list[str]]:
        """The other files that differ: `helpers` beside the migrations, and all `others`."""
        names = {name for kind in touched.values() for name in kind}
        found = {"helpers": reader.helpers, "others": reader.others}
        return {
            kind: [printable(path[:NAME_LIMIT]) for path in find(base, commit, names)[:HELPERS_LIMIT]] if base else []
            for kind, find in found.items()
        }

    def _install_files(self, differ: Sequence[str], base: str | None, commit: str) -> list[str]:
        """Those of the differing files that determine what is installed."""
        if not differ or not base:
            return []

        def read(paths: Sequence[str]) -> list[tuple[str, bytes | None]]:
            return [pair for one in (base, commit) for pair in files(self._git, self._src, one, paths).items()]

        found = install_files_among(differ, named(self._profile), read, self._profile.get("folder", ""))
        return [printable(path[:NAME_LIMIT]) for path in found[:HELPERS_LIMIT]]

    def _releases(self, branch: str) -> Iterator[tuple[str, str, bool]]:
        """The profile's releases before the target branch: name, commit, and whether it is later than the branch."""
        releases: Sequence[Mapping[str, str]] = self._profile["releases"]
        listed = any(branch in (release["name"], release["ref"]) for release in releases)
        later = (
            None
            if listed or not releases
            else self._history.later_than(
                self._git.commit(self._src, f"refs/remotes/origin/{branch}") if branch else None,
                self._mirror.main_branch(),
            )
        )
        for release in releases:
            name, ref = release["name"], release["ref"]
            if branch in (name, ref):
                return
            commit = self._git.commit(self._src, f"refs/remotes/origin/{ref}") or self._git.commit(
                self._src, f"refs/tags/{ref}"
            )
            if commit is None:
                origin = mask(join_url(self._request.origin, self._request.project))
                raise StepError(
                    "profile_wrong",
                    f"{self._profile['file']}: releases: {origin} has no branch and no tag {ref}.",
                )
            yield name, commit, later is not None and later(commit)


def slug(name: str, stages: Sequence[StageCommit]) -> str:
    """A stage's name as a file name, distinct from those of the stages before it and from ``change``."""
    taken = {stage.slug for stage in stages} | {"change"}
    made = wanted = re.sub(r"[^A-Za-z0-9._]+", "-", name).strip("-.") or "stage"
    number = 2
    while made in taken:
        made = f"{wanted}-{number}"
        number += 1
    return made

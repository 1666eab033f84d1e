# SPDX-License-Identifier: Apache-2.0
"""The checkout of one job: what is under test, the stages of the walk, and what the change touches."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ansible.module_utils.th_artifacts import NAME_LIMIT
from ansible.module_utils.th_facts import facts_of, refuse_too_much
from ansible.module_utils.th_git import Git, GitError, join_url, mask
from ansible.module_utils.th_git_files import differing, file, lfs_pointers, survey
from ansible.module_utils.th_history import History
from ansible.module_utils.th_install_files import named, says_what_is_installed
from ansible.module_utils.th_merged_modules import CONTROLLED, control, unless_merged
from ansible.module_utils.th_mirror import Mirror, unreachable
from ansible.module_utils.th_new_syntax import recall, remember
from ansible.module_utils.th_remove import remove
from ansible.module_utils.th_request import Request
from ansible.module_utils.th_shared_tree import refuse_shared_trees
from ansible.module_utils.th_step import StepError
from ansible.module_utils.th_submodules import check_out_submodules
from ansible.module_utils.th_text import printable
from ansible.module_utils.th_tree_checks import check_trees, too_many_heads
from ansible.module_utils.th_trees import Forest, compare, newly_unreadable, reason_to_leave_out

NO_COMMIT = re.compile(r"0{40,64}")
SUBJECT_LIMIT = 200
HELPERS_LIMIT = 100
POINTERS_LIMIT = 100


@dataclass(frozen=True)
class Stage:
    """One stage of the walk."""

    name: str
    slug: str
    kind: str
    commit: str


class Checkout:
    """One job's checkout."""

    def __init__(self, git: Git, mirror: Mirror, request: Request, profile: Mapping[str, Any], src: Path) -> None:
        self._git = git
        self._mirror = mirror
        self._request = request
        self._profile = profile
        self._src = src
        self._history = History(git, src)

    def run(self) -> dict[str, Any]:
        """Do all of it; returns the document of checkout.json. Raises StepError."""
        begun = time.monotonic()
        kept = Path(f"{self._mirror.path}.scripts.json")
        recall(kept)
        with self._mirror.locked():
            self._mirror.update()
        try:
            try:
                document = self._check_out()
            except GitError:
                with self._mirror.locked():
                    if not self._mirror.broken():
                        raise
                    self._mirror.renew()
                document = self._check_out()
        except GitError as error:
            if error.command == "fetch":
                raise unreachable(self._git, join_url(self._request.url, self._request.project), error) from None
            code = "playbook_failed" if error.ours else "checkout_failed"
            raise StepError(code, f"The change cannot be checked out: {error}.") from None
        remember(kept)
        return {**document, "seconds": round(time.monotonic() - begun, 3)}

    def _check_out(self) -> dict[str, Any]:
        remove(self._src)
        self._clone(self._src)
        return self._look(self._fetch_change())

    def _fetch_change(self) -> str:
        """Fetch what is under test, and say which commit it is."""
        request = self._request
        expected = request.commit or request.newrev
        if NO_COMMIT.fullmatch(expected):
            raise StepError("checkout_ref_gone", f"{request.ref} has been deleted.")
        if not request.ref:
            return self._without_ref(expected)
        if request.newrev and request.newrev == expected and self._git.commit(self._src, expected):
            return self._git.commit(self._src, expected) or ""
        url = mask(join_url(request.url, request.project))
        try:
            self._git.fetch(url, request.ref, "refs/turbo-hipster/change", self._src)
        except GitError as error:
            if error.gone:
                raise StepError("checkout_ref_gone", f"{url} has no {request.ref} (any more).") from None
            if error.refused:
                raise StepError("checkout_failed", f"{request.ref} is not sound: {error.reason}.") from None
            if trouble := error if error.exit is None else self._git.trouble(url):
                raise unreachable(self._git, url, trouble) from None
            raise
        fetched: str | None = self._git.commit(self._src, "refs/turbo-hipster/change")
        if fetched is None:
            raise StepError("checkout_ref_gone", f"{request.ref} at {url} is not a commit.")
        if not expected:
            return fetched
        commit: str | None = self._git.commit(self._src, expected)
        if commit is None or not self._history.contains(fetched, commit):
            raise StepError(
                "checkout_ref_gone",
                f"{request.ref} at {url} is {fetched} now and does not hold {expected}.",
            )
        return commit

    def _without_ref(self, expected: str) -> str:
        request = self._request
        if expected:
            wanted, name = expected, expected
        elif request.branch:
            wanted, name = f"refs/remotes/origin/{request.branch}", f"branch {request.branch}"
        else:
            branch = self._mirror.default_branch()
            wanted, name = f"refs/remotes/origin/{branch}", f"branch {branch}" if branch else "HEAD"
        commit: str | None = self._git.commit(self._src, wanted)
        if commit is None:
            raise StepError("checkout_ref_gone", f"{mask(join_url(request.origin, request.project))} has no {name}.")
        return commit

    def _branch(self) -> str:
        """The target branch; "" when what is under test has none, such as a tag."""
        request = self._request
        if request.branch:
            return request.branch
        name = request.ref.removeprefix("refs/heads/")
        if name and self._git.commit(self._src, f"refs/remotes/origin/{name}"):
            return name
        tag = request.ref.removeprefix("refs/tags/")
        if tag and self._git.commit(self._src, f"refs/tags/{tag}"):
            return ""
        return str(self._mirror.default_branch())

    def _look(self, commit: str) -> dict[str, Any]:
        """Check the commit out and find the stages and what it touches."""
        git, request = self._git, self._request
        branch = self._branch()
        tip = git.commit(self._src, f"refs/remotes/origin/{branch}") if branch else None
        base = self._history.merge_base(commit, tip) if tip else None
        unless_merged(lambda one: survey(git, self._src, one), commit, base, branch)
        git.checkout(self._src, commit)
        self._check_out_submodules(commit, tip, branch)
        if branch and tip is None:
            raise StepError(
                "checkout_ref_gone",
                f"{mask(join_url(request.origin, request.project))} has no branch {branch}.",
            )
        if tip:
            self._history.refuse_conflicts(commit, tip, base, branch)
        databases = self._profile["databases"]
        reader = Forest(git, self._src, databases)
        change_tree = unless_merged(reader.read, commit, base, branch)
        before = reader.read(base or commit)  # without a target branch (a tag) everything has been merged
        refuse_shared_trees(before, self._profile, lambda path: file(git, self._src, base or commit, path))
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
        stages: list[Stage] = []
        releases_left_out = []
        for name, release, later in self._releases(branch):
            reason = f"it comes after {branch}" if later else ""
            reason = reason or reason_to_leave_out(commit, release, touched, reader.read(release), change_tree)
            reason = reason or reader.outside(release) or too_many_heads(reader, databases, release, commit)
            if reason:
                releases_left_out.append({"name": name, "kind": "release", "reason": reason})
            else:
                stages.append(Stage(name, slug(name, stages), "release", release))
        if tip is not None and not left_out:
            stages.append(Stage(branch, slug(branch, stages), "tip", tip))
        name = f"change {request.change},{request.patchset or '?'}" if request.change else commit[:12]
        stages.append(Stage(name, "change", "change", commit))
        pointers = [printable(path[:NAME_LIMIT]) for path in lfs_pointers(git, self._src, commit)[:POINTERS_LIMIT]]
        differ = set(differing(git, self._src, base, commit)) if base and pointers else set()
        brought = [path for path in pointers if path in {printable(one[:NAME_LIMIT]) for one in differ}]
        trees = {stage.commit: reader.read(stage.commit) for stage in stages}
        document = {
            "project": request.project,
            "url": mask(join_url(request.url, request.project)),
            "ref": request.ref,
            "commit": commit,
            "subject": printable(git.text("show", "-s", "--format=%s", commit, "--", cwd=self._src))[:SUBJECT_LIMIT],
            "branch": branch,
            "base": base,
            "base_tree": {"heads": before.heads(), "folders": reader.folders(base or commit)},
            "stages": [
                {**asdict(stage), "heads": trees[stage.commit].heads(), "folders": reader.folders(stage.commit)}
                for stage in stages
            ],
            "revisions": {
                name: facts_of(revision) for stage in stages for name, revision in trees[stage.commit].revisions.items()
            },
            "touched": {**touched, **self._beside(reader, base, commit, touched)},
            "installs": self._install_files(base, commit),
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

    def _check_out_submodules(self, commit: str, tip: str | None, branch: str) -> None:
        """Those of the change. Where that fails, the same is tried without the change, for the verdict to compare."""
        base = self._history.merge_base(commit, tip) if tip else None
        try:
            check_out_submodules(self._git, self._src, [one for one in (base, tip) if one] or [commit])
        except StepError as error:
            if base and base != commit and error.code in CONTROLLED:
                control(self._git, self._src.parent, {"base": base, "commit": commit, "branch": branch}, self._clone)
            raise

    def _clone(self, target: Path) -> None:
        with self._mirror.locked():
            origin = join_url(self._request.origin, self._request.project)
            self._git.clone_mirror(self._mirror.path, target, origin)

    def _beside(
        self, reader: Forest, base: str | None, commit: str, touched: Mapping[str, Sequence[str]]
    ) -> dict[str, list[str]]:
        """What else differs: `helpers` beside the migrations, and the `others`."""
        names = {name for kind in touched.values() for name in kind}
        found = {"helpers": reader.helpers, "others": reader.others}
        return {
            kind: [printable(path[:NAME_LIMIT]) for path in find(base, commit, names)[:HELPERS_LIMIT]] if base else []
            for kind, find in found.items()
        }

    def _install_files(self, base: str | None, commit: str) -> list[str]:
        """The files that differ and say what is installed."""
        if not base or base == commit:
            return []

        def read(path: str) -> list[bytes | None]:
            return [file(self._git, self._src, one, path) for one in (base, commit)]

        paths = differing(self._git, self._src, base, commit)
        folder = self._profile.get("folder", "")
        found = says_what_is_installed(paths, named(self._profile), read, folder) if paths else []
        return [printable(path[:NAME_LIMIT]) for path in found[:HELPERS_LIMIT]]

    def _releases(self, branch: str) -> Iterator[tuple[str, str, bool]]:
        """The releases up to the target branch: name, commit, and whether it comes after the branch all the same."""
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


def slug(name: str, stages: Sequence[Stage]) -> str:
    """A stage's name as the name of a file, unlike those of the stages before it and unlike ``change``."""
    taken = {stage.slug for stage in stages} | {"change"}
    made = wanted = re.sub(r"[^A-Za-z0-9._]+", "-", name).strip("-.") or "stage"
    number = 2
    while made in taken:
        made = f"{wanted}-{number}"
        number += 1
    return made

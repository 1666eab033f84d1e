# SPDX-License-Identifier: Apache-2.0
"""Which migrations may come next: what honest tools do is taken, in whatever order their trees allow; nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from ansible.module_utils.th_tools.django import DJANGO
from ansible.module_utils.th_tools.revisions import Revision
from ansible.module_utils.th_tools.revisions import Tree as Read
from ansible.module_utils.th_walk.allowed_steps import AllowedSteps
from ansible.module_utils.th_walk.installed import PackagedMigrations
from ansible.module_utils.th_walk.stages import WalkTree
from ansible.module_utils.th_walk.walkers import MigrationStep, WalkError

from . import conftest  # noqa: F401 - ansible.module_utils knows the roles' helpers


def tree(**down: Any) -> WalkTree:
    """A tree; a pair of tuples is what a revision builds on, and what it replaces."""
    revisions = {}
    for name, below in down.items():
        both = below if below and isinstance(below[0], tuple) else (below, ())
        revisions[name.replace("__", ".")] = {"down": list(both[0]), "replaces": list(both[1])}
    return WalkTree({"revisions": revisions, "stages": []})


def way(of: WalkTree, heads: Sequence[str], rows: Sequence[str], name: str = "", **more: Any) -> AllowedSteps:
    steps = [MigrationStep(*step) for step in of.pending(heads, rows)]
    return AllowedSteps(of, name, steps, **more)


def ended(of: AllowedSteps, step: tuple[str, str], rows: Sequence[str]) -> str:
    with pytest.raises(WalkError) as caught:
        of.take(MigrationStep(*step), rows)
    assert caught.value.code == "walk_failed"
    return caught.value.detail


BRANCHED = tree(a=(), b=("a",), c=("a",), d=("b", "c"), e=("d",), f=("c", "e"))


@pytest.mark.parametrize("order", ["abcdef", "acbdef"])
def test_any_order_that_the_tree_allows(order: str) -> None:
    taken = way(BRANCHED, ["f"], [])
    rows: list[str] = []
    below = {"a": "base", "b": "a", "c": "a", "d": "b,c", "e": "d", "f": "e"}
    for one in order:
        assert taken.take(MigrationStep(below[one], one), rows) == MigrationStep(below[one], one)
        rows = sorted({*rows, one} - set(below[one].split(",")))


@pytest.mark.parametrize(
    ("told", "named"),
    [("c,e", "c,e"), ("e", "e"), ("c", "c,e"), ("base", "c,e"), ("waived", "c,e"), ("e,waived", "c,e"), ("", "c,e")],
)
def test_where_a_step_comes_from_is_what_the_tree_says(told: str, named: str) -> None:
    """alembic leaves out what another one builds on."""
    assert way(BRANCHED, ["f"], ["e"]).take(MigrationStep(told, "f"), ["e"]).before == named


def test_what_is_none_of_the_way() -> None:
    taken = way(BRANCHED, ["d"], ["a"])
    assert "runs z, which is none" in ended(taken, ("a", "z"), ["a"])
    assert "runs a, which is none" in ended(taken, ("base", "a"), ["a"])  # it is there
    assert "runs e, which is none" in ended(taken, ("d", "e"), ["d"])  # it comes later
    assert "runs d out of turn: b, c it builds on" in ended(taken, ("b,c", "d"), ["a"])
    taken.take(MigrationStep("a", "b"), ["a"])
    assert "runs b a second time" in ended(taken, ("a", "b"), ["a"])


def test_a_version_that_was_stamped_meanwhile_is_where_the_database_is() -> None:
    taken = way(BRANCHED, ["d"], [])
    assert taken.take(MigrationStep("a", "b"), ["a"]) == MigrationStep("a", "b")


def test_a_database_that_has_a_name() -> None:
    revisions = {"api:1": {"down": []}, "api:2": {"down": ["api:1"]}, "1": {"down": []}}
    two = WalkTree({"revisions": revisions, "stages": []})
    taken = AllowedSteps(two, "api", [MigrationStep("1", "2")])
    assert taken.take(MigrationStep("1", "2"), ["api:1"]) == MigrationStep("api:1", "api:2")
    assert "api:3" in ended(AllowedSteps(two, "api", [MigrationStep("1", "2")]), ("2", "3"), ["api:1"])


def test_the_way_down() -> None:
    steps = [MigrationStep(after, before) for before, after in BRANCHED.pending(["f"], ["a"])][::-1]
    taken = AllowedSteps(BRANCHED, "", steps, downward=True)
    assert "runs d out of turn: e are to be taken back" in ended(taken, ("d", "b,c"), ["e"])
    assert taken.take(MigrationStep("f", "e"), ["f"]) == MigrationStep("f", "e")
    assert taken.take(MigrationStep("e", "waived"), ["e"]) == MigrationStep("e", "d")
    assert "runs f a second time" in ended(taken, ("f", "e"), ["f"])
    assert "runs a, which is none" in ended(taken, ("a", "base"), ["a"])


SITE = tree(
    blog__1=(), blog__2=("blog.1",), blog__3=("blog.2",), blog__x=(("auth.1",), ("blog.1", "blog.2", "blog.3")),
    blog__4=("blog.x",), shop__1=("blog.3",), auth__1=(),
)  # fmt: skip
EVERY = ["blog.4", "shop.1"]


def site(rows: Sequence[str], packages: PackagedMigrations | None = None) -> AllowedSteps:
    return way(SITE, EVERY, rows, installed=lambda: packages)


def run(taken: AllowedSteps, rows: Sequence[str], steps: Mapping[str, str]) -> list[str]:
    """The names of steps that are run in turn, each recorded with what it replaces, as Django does."""
    there, named = list(rows), []
    for one, told in steps.items():
        named.append(taken.take(MigrationStep(told, one), there).before)
        there += [one, *SITE.revisions[one]["replaces"]]
    return named


def test_a_squashed_migration_on_an_empty_database() -> None:
    steps = {"auth.1": "base", "blog.x": "base", "blog.4": "blog.x", "shop.1": "base"}
    assert run(site([]), [], steps) == ["base", "base", "blog.x", "base"]


def test_the_rest_of_what_a_squashed_migration_replaces() -> None:
    rows = ["blog.1", "blog.2"]
    taken = site(rows)
    assert taken.take(MigrationStep("blog.2", "blog.3"), rows) == MigrationStep("blog.2", "blog.3")
    # with all of them done the squashed one is done, recorded or not; the graph has one or the other
    for told in ("blog.x", "blog.3"):
        named = site([*rows, "blog.3"]).take(MigrationStep(told, "blog.4"), [*rows, "blog.3", "auth.1"])
        assert named.before in ("blog.x", told)


def test_a_migration_of_another_app_before_what_it_needs() -> None:
    assert "runs shop.1 out of turn: blog.3 it builds on" in ended(site([]), ("base", "shop.1"), ["auth.1"])


def test_migrations_of_packages() -> None:
    first, second = Revision("tags.1", (), "tags/1.py", ""), Revision("tags.2", ("tags.1",), "tags/2.py", "")
    read = Read({"tags.1": first, "tags.2": second})
    packages = PackagedMigrations(DJANGO, {"tags": "tags/migrations"}, read)
    taken = site(["blog.1"], packages)
    assert taken.take(MigrationStep("base", "tags.1"), ["blog.1"]) == MigrationStep("base", "tags.1")
    assert "tags.9, which is none" in ended(taken, ("tags.1", "tags.9"), ["tags.1"])
    assert "tags.2, which is none" in ended(taken, ("tags.1", "tags.2"), ["tags.1", "tags.2"])
    assert "blog.9, which is none" in ended(taken, ("blog.4", "blog.9"), ["blog.4"])
    # of an app that neither the repository nor the packages have nothing is known
    assert taken.take(MigrationStep("base", "elsewhere.1"), []) == MigrationStep("base", "elsewhere.1")

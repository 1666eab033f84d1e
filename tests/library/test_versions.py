# SPDX-License-Identifier: Apache-2.0
"""From the rows of a version table to the heads: each style, each of django's odd cases."""

import itertools
from typing import Any

import pytest
from ansible.module_utils.th_tools.tools import VERSIONS
from ansible.module_utils.th_tools.versions import Revisions

from . import conftest  # noqa: F401 - ansible.module_utils knows the roles' helpers


def heads_of(rows: list[str], style: str, prefix: str, revisions: Revisions | None) -> list[str]:
    return VERSIONS[style].heads(rows, prefix, revisions)


def tree(**down: list[str]) -> dict[str, dict[str, Any]]:
    """Revisions of django by name: ``shop_0002`` is ``shop.0002``."""
    return {name.replace("_", ".", 1): {"down": below, "file": ""} for name, below in down.items()}


SHOP = tree(shop_0001=[], shop_0002=["shop.0001"], pay_0001=["shop.0001"], pay_0002=["pay.0001", "shop.0002"])


@pytest.mark.parametrize(
    ("rows", "prefix", "heads"),
    [
        (["b", "a"], "", ["a", "b"]),
        (["a"], "api", ["api:a"]),
        ([], "api", []),
    ],
)
def test_alembics_rows_are_the_heads(rows: list[str], prefix: str, heads: list[str]) -> None:
    assert heads_of(rows, "alembic", prefix, {}) == heads
    assert heads_of(rows, "alembic", prefix, {"a": {"down": ["b"]}}) == heads


@pytest.mark.parametrize(
    ("rows", "heads"),
    [
        (["417"], ["main:417"]),
        (["0417"], ["main:417"]),
        (["0"], []),
        (["215"], []),
        (["214"], ["main:214"]),
        (["9999"], ["main:9999"]),
        (["nonsense"], ["main:nonsense"]),
        ([], []),
    ],
)
def test_a_number_below_the_first_script_is_none(rows: list[str], heads: list[str]) -> None:
    revisions = {f"main:{number}": {"down": []} for number in range(216, 418)} | {"api:1": {"down": []}}
    assert heads_of(rows, "numbered", "main", revisions) == heads


def test_a_number_without_a_checkout() -> None:
    assert heads_of(["417"], "numbered", "", {}) == ["417"]
    assert heads_of(["0"], "numbered", "", {}) == []


@pytest.mark.parametrize(
    ("rows", "heads"),
    [
        (["shop.0001"], ["shop.0001"]),
        (["shop.0001", "pay.0001", "shop.0002"], ["pay.0001", "shop.0002"]),
        (["shop.0001", "pay.0001", "shop.0002", "pay.0002"], ["pay.0002"]),
        (["auth.0001", "shop.0001"], ["shop.0001"]),
        (["auth.0001"], []),
        (["shop.0001", "shop.0009"], ["shop.0001", "shop.0009"]),
        ([], []),
    ],
)
def test_of_djangos_rows_the_heads_of_the_trees_apps_remain(rows: list[str], heads: list[str]) -> None:
    assert heads_of(rows, "django", "", SHOP) == heads


def test_without_a_checkout_all_of_djangos_rows_remain() -> None:
    assert heads_of(["auth.0001", "shop.0001"], "django", "web", None) == ["web:auth.0001", "web:shop.0001"]


def test_a_database_with_a_name_sees_its_own_apps_only() -> None:
    revisions = {
        "web:shop.0001": {"down": []},
        "web:shop.0002": {"down": ["web:shop.0001"]},
        "log:audit.0001": {"down": []},
    }
    rows = ["shop.0001", "shop.0002", "audit.0001"]
    assert heads_of(rows, "django", "web", revisions) == ["web:shop.0002"]
    assert heads_of(rows, "django", "log", revisions) == ["log:audit.0001"]


class TestSquashed:
    """shop.0003 replaces 0001 and 0002; 0004 builds on what it replaces, or on itself."""

    WITH_BOTH = SHOP | {
        "shop.0003": {"down": [], "replaces": ["shop.0001", "shop.0002"]},
        "shop.0004": {"down": ["shop.0002"]},
    }
    GONE: dict[str, dict[str, Any]] = {  # noqa: RUF012
        "shop.0003": {"down": [], "replaces": ["shop.0001", "shop.0002"]},
        "shop.0004": {"down": ["shop.0003"]},
    }

    def test_those_that_it_replaces_are_applied(self) -> None:
        assert heads_of(["shop.0001", "shop.0002"], "django", "", self.WITH_BOTH) == ["shop.0002"]

    def test_those_that_it_replaces_are_gone_from_the_tree(self) -> None:
        assert heads_of(["shop.0001", "shop.0002"], "django", "", self.GONE) == ["shop.0003"]
        assert heads_of(["shop.0001", "shop.0002", "shop.0004"], "django", "", self.GONE) == ["shop.0004"]

    def test_it_is_applied_itself(self) -> None:
        rows = ["shop.0001", "shop.0002", "shop.0003"]
        assert heads_of(rows, "django", "", self.WITH_BOTH) == ["shop.0003"]
        assert heads_of([*rows, "shop.0004"], "django", "", self.WITH_BOTH) == ["shop.0004"]
        assert heads_of([*rows, "shop.0004"], "django", "", self.GONE) == ["shop.0004"]
        assert heads_of(["shop.0003"], "django", "", self.GONE) == ["shop.0003"]

    def test_one_that_it_replaces_is_not_there_so_the_other_is_unknown(self) -> None:
        assert heads_of(["shop.0001"], "django", "", self.GONE) == ["shop.0001"]

    def test_squashed_twice(self) -> None:
        twice = {
            "shop.0003": {"down": [], "replaces": ["shop.0001", "shop.0002"]},
            "shop.0009": {"down": [], "replaces": ["shop.0003", "shop.0004"]},
        }
        assert heads_of(["shop.0001", "shop.0002", "shop.0004"], "django", "", twice) == ["shop.0009"]


def test_circles_lose_nothing() -> None:
    circle = tree(a_1=["a.2"], a_2=["a.1"], a_3=["a.2"])
    assert heads_of(["a.1", "a.2"], "django", "", circle) == ["a.1", "a.2"]
    assert heads_of(["a.1", "a.2", "a.3"], "django", "", circle) == ["a.3"]
    each_other = {"a.1": {"down": [], "replaces": ["a.2"]}, "a.2": {"down": [], "replaces": ["a.1"]}}
    assert heads_of(["a.1", "a.2"], "django", "", each_other)


def test_everything_applied_is_behind_the_heads() -> None:
    """Over all orders of applying: what is no head has a head that builds on it."""
    for count in range(len(SHOP) + 1):
        for rows in itertools.combinations(sorted(SHOP), count):
            heads = heads_of(rows, "django", "", SHOP)
            reached, queue = set(heads), list(heads)
            while queue:
                below = SHOP[queue.pop()]["down"]
                reached.update(below)
                queue.extend(below)
            assert set(rows) <= reached and set(heads) <= set(rows)

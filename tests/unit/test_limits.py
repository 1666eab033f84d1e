# SPDX-License-Identifier: Apache-2.0
"""What a dataset allows: which limit is a migration's, what only warns, what is waived, and what is no limit at all."""

from typing import Any

import pytest

from worker.config import limits
from worker.config.limits import DatasetLimits, Waiver, plain
from worker.counters import MEASURED

KEY = "Innodb_rows_read"


def of(table: dict[str, Any], waivers: Any = None) -> DatasetLimits:
    found, unusable = limits.read({KEY: table}, waivers)
    assert unusable == 0
    return found


@pytest.mark.parametrize(
    ("step", "allowed"),
    [
        (("main:415", "main:416"), 7),
        (("main:416", "main:417"), 1),
        (("api:81", "api:82"), 5),
        (("base", "api:1"), 5),
        (("api:82", "api:81"), 3),
        (("api:1", "base"), 5),
        (("data", "online"), 9),
        (("data", "other"), 1),
        (("a", "b"), 1),
    ],
)
def test_the_nearest_limit_counts(step: tuple[str, str], allowed: float) -> None:
    table = {"default": 1, "api:default": 5, "main:415->main:416": 7, "api:82->api:81": 3, "data->online": 9}
    assert of(table).allowed(KEY, *step) == allowed


def test_a_revision_is_no_database() -> None:
    assert of({"default:default": 5}).allowed(KEY, "a", "default") is None
    assert of({"a:default": 5}).allowed(KEY, "a", "b") is None


def test_without_a_default_the_others_have_no_limit() -> None:
    found = of({"a->b": 0})
    assert (found.allowed(KEY, "a", "b"), found.allowed(KEY, "b", "c")) == (0, None)
    assert DatasetLimits().allowed(KEY, "a", "b") is None


def test_a_limit_that_only_warns() -> None:
    found = of({"default": 1, "warn_only": True})
    assert found.excuse(KEY, "a", "b") == "this limit only warns"
    assert found.excuse("XInnodb_rows_changed", "a", "b") == ""
    assert of({"default": 1, "warn_only": False}).excuse(KEY, "a", "b") == ""


def test_a_waiver_is_for_its_migration_and_its_limit() -> None:
    found = of({"default": 1}, [{"migration": "a->b", "limit": KEY, "reason": "once", "bug": "bug 7"}])
    assert found.excuse(KEY, "a", "b") == "waived: once (bug 7)"
    assert found.excuse(KEY, "b", "a") == ""
    assert found.excuse("maximum_redo_bytes", "a", "b") == ""
    every = of({"default": 1}, [{"migration": "a->b", "reason": "once"}])
    assert {every.excuse(counter.limit, "a", "b") for counter in MEASURED} == {"waived: once"}
    assert every.waivers == (Waiver("a->b", "", "once"),)


def test_a_waiver_says_more_than_a_limit_that_only_warns() -> None:
    found = of({"default": 1, "warn_only": True}, [{"migration": "a->b", "reason": "once"}])
    assert found.excuse(KEY, "a", "b") == "waived: once"


@pytest.mark.parametrize(
    "waiver",
    [
        5, {}, {"migration": "a->b"}, {"reason": "no migration"}, {"migration": "a->b", "reason": ""},
        {"migration": "a->b", "reason": 5}, {"migration": 5, "reason": "x"},
        {"migration": "a->b", "reason": "x", "limit": "Innodb_rows_raed"},
        {"migration": "a->b", "reason": "x", "limit": None}, {"migration": "a->b", "reason": "x", "limit": ["x"]},
    ],
)  # fmt: skip
def test_what_is_no_waiver_waives_nothing_and_is_counted(waiver: Any) -> None:
    good = {"migration": "a->b", "reason": "x", "limit": "maximum_redo_bytes"}
    found, unusable = limits.read({KEY: {"default": 1}}, [waiver, good])
    assert unusable == 1
    assert found.excuse(KEY, "a", "b") == ""


@pytest.mark.parametrize(
    ("tables", "waivers"),
    [
        ([], None), (5, None), ({KEY: 5}, None), ({KEY: {"default": "5"}}, None), ({KEY: {"warn_only": "yes"}}, None),
        ({KEY: {"default": None}}, None), ({}, {}), ({}, "x"),
    ],
)  # fmt: skip
def test_what_is_no_limit_is_counted(tables: Any, waivers: Any) -> None:
    assert limits.read(tables, waivers)[1] == 1


def test_no_limits_at_all_are_no_damage() -> None:
    assert limits.read(None, None) == (DatasetLimits(), 0)


@pytest.mark.parametrize(("value", "text"), [(1234567, "1,234,567"), (61.25, "61.25"), (0.5, "0.5"), (100, "100")])
def test_a_number_for_people(value: float, text: str) -> None:
    assert plain(value) == text

# SPDX-License-Identifier: Apache-2.0
"""Limits and waivers are for one kind of migration: no change borrows another kind's by the names of its revisions."""

from dataclasses import replace
from typing import Any

import pytest

from worker.config import limits
from worker.config.limits import AROUND, DATA, DOWNGRADE, SCHEMA, DatasetLimits
from worker.verdict import Problem, excess
from worker.verdict.artifacts import Migration, WalkRecord
from worker.verdict.checkout import CheckoutRecord, StageRecord
from worker.verdict.judge import walk as judged

KEY = "XInnodb_rows_changed"
CHANGE = CheckoutRecord(
    commit="2" * 40,
    base="1" * 40,
    stages=(
        StageRecord("master", "master", "tip", "1" * 40, ("data",)),
        StageRecord("change 1,1", "change", "change", "2" * 40, ("online",)),
    ),
    files={"online": "versions/online.py"},
    down={"data": (), "online": ("data",)},
    by_change=frozenset({"online"}),
    added=frozenset({"online"}),
)


def of(table: dict[str, Any], waivers: Any = ()) -> DatasetLimits:
    found, unusable = limits.read({KEY: table}, list(waivers))
    assert not unusable
    return found


@pytest.mark.parametrize(
    ("key", "kind", "step", "holds"),
    [
        ("data->online", DATA, ("data", "online"), True),
        ("data->online", SCHEMA, ("data", "online"), False),
        ("data->online", DOWNGRADE, ("data", "online"), False),
        ("around->change", AROUND, ("around", "change"), True),
        ("around->change", SCHEMA, ("around", "change"), False),
        ("schema data->online", SCHEMA, ("data", "online"), True),
        ("schema data->online", DATA, ("data", "online"), False),
        ("schema data->online", SCHEMA, ("schema data", "online"), False),
        ("downgrade b->a", SCHEMA, ("downgrade b", "a"), False),
        ("a->b", SCHEMA, ("a", "b"), True),
        ("b->a", DOWNGRADE, ("b", "a"), True),
        ("downgrade b->a", DOWNGRADE, ("b", "a"), True),
        ("downgrade b->a", SCHEMA, ("b", "a"), False),
        ("schema a->b", SCHEMA, ("a", "b"), True),
        ("schema b->a", DOWNGRADE, ("b", "a"), False),
        ("data data->online", DATA, ("data", "online"), True),
        ("an old one->b", SCHEMA, ("an old one", "b"), True),
    ],
)
def test_a_key_is_about_one_kind(key: str, kind: str, step: tuple[str, str], holds: bool) -> None:
    found = of({"default": 1, key: 9}, [{"migration": key, "reason": "once"}])
    assert found.allowed(KEY, *step, kind) == (9 if holds else 1)
    assert found.excuse(KEY, *step, kind) == ("waived: once" if holds else "")
    assert bool(found.waivers_of(*step, kind)) is holds


def test_the_key_with_a_kind_comes_first() -> None:
    found = of({"default": 1, "b->a": 5, "downgrade b->a": 7})
    assert found.allowed(KEY, "b", "a", DOWNGRADE) == 7
    assert found.allowed(KEY, "b", "a", SCHEMA) == 5


def test_what_has_no_revision_has_no_database() -> None:
    found = of({"default": 1, "api:default": 50})
    assert found.allowed(KEY, "data", "api:move", DATA) == 1
    assert found.allowed(KEY, "a", "api:move", SCHEMA) == 50


def migration(kind: str, **facts: Any) -> Migration:
    counters = {"rows_changed": 50_000}
    facts = {"ended": True, "exit": 0, "version": "online", "seconds": 1.0, "counters": counters} | facts
    return Migration("change 1,1", "data", "online", kind=kind, **facts)


def test_a_migration_named_like_a_data_migration_has_the_limit_of_its_own_kind() -> None:
    allowed = of({"default": 100, "data->online": 100_000}, [{"migration": "data->online", "reason": "it moves data"}])
    rows = (migration(SCHEMA), migration(DATA))
    walk = WalkRecord("x", restored=True, version="data", limits=allowed, migrations=rows)
    messages, (schema, data) = judged(walk, CHANGE, False)
    assert [(message.code, message.counts) for message in messages] == [("migration_changed_rows", True)]
    assert (schema.result, schema.file, data.result, data.file) == ("warning", "versions/online.py", "ok", "")
    assert schema.by_change and data.by_change and not schema.waivers


def test_an_error_is_of_the_migration_of_its_kind() -> None:
    problem = Problem("migration_raised", "no", "", "change 1,1", "data", "online", kind=DATA)
    rows = (migration(SCHEMA, exit=None), migration(DATA, exit=1))
    walk = WalkRecord("x", restored=True, version="data", migrations=rows, problems=(problem,))
    messages, _ = judged(walk, CHANGE, False)
    about = {(message.code, message.step, message.detail) for message in messages}
    assert ("migration_raised", DATA, "no") in about and ("migration_ended", SCHEMA, "") in about


def around(stage: str, rows: int | None, seconds: float | None = 1.0) -> Migration:
    """What a stage has done outside of its migrations."""
    kind = "tip" if stage == "master" else "change"
    facts: dict[str, Any] = {"ended": True, "exit": 0, "version": "online", "seconds": seconds}
    return Migration(stage, "around", kind, kind=AROUND, counters={"rows_changed": rows}, **facts)


@pytest.mark.parametrize(
    ("before", "rows", "excuse"),
    [
        (None, 50_000, ""),
        (10, 50_000, ""),
        (50_000, 50_000, "a stage before the change does as much"),
        (90_000, 50_000, "a stage before the change does as much"),
    ],
)
def test_what_the_change_does_outside_of_its_migrations_has_limits(
    before: int | None, rows: int, excuse: str
) -> None:
    earlier = () if before is None else (around("master", before),)
    walk = WalkRecord("x", True, limits=of({"default": 100}), migrations=(*earlier, around("change 1,1", rows)))
    messages, found = judged(walk, CHANGE, False)
    assert messages[-1].code == "migration_changed_rows" and messages[-1].excuse == excuse
    assert messages[-1].step == AROUND and messages[-1].detail.startswith("outside of the migrations of change 1,1: ")
    assert [message.counts for message in messages[:-1]] == [False] * (len(messages) - 1)
    assert found[-1].by_change and found[-1].result == ("ok" if excuse else "warning")


def test_what_is_outside_of_the_migrations_has_a_key_of_its_own() -> None:
    walk = WalkRecord("x", True, limits=of({"default": 100, "around->change": 60_000}))
    messages, _ = judged(replace(walk, migrations=(around("change 1,1", 50_000),)), CHANGE, False)
    assert messages == []
    (message,), _ = judged(replace(walk, migrations=(around("master", 50_000),)), CHANGE, False)
    assert message.excuse and '"around->tip": 60000' not in message.remedy and '"around->tip": ' in message.remedy


def test_rows_that_cannot_be_known_are_no_success() -> None:
    walk = WalkRecord("x", True, limits=of({"default": 100}), migrations=(around("change 1,1", None, seconds=None),))
    messages, _ = judged(walk, CHANGE, False)
    assert [(message.code, message.counts) for message in messages] == [("limit_not_measurable", True)]


def test_no_change_is_refused_for_what_is_merged_and_cannot_be_measured() -> None:
    walk = WalkRecord("x", True, limits=of({"default": 100}), migrations=(around("master", None, seconds=None),))
    messages, _ = judged(walk, CHANGE, False)
    assert [(message.code, message.counts, message.excuse) for message in messages] == [
        ("limit_not_measurable", False, excess.MERGED)
    ]

# SPDX-License-Identifier: Apache-2.0
"""Which failures of walks are worth a control, and what a control without the change is made of."""

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.th_walk.controls import failure_of, needing_control, outcome_of, without_change

CHECKOUT: dict[str, Any] = {
    "project": "org/toy",
    "branch": "master",
    "commit": "c" * 40,
    "base": "b" * 40,
    "base_tree": {"heads": ["c3"], "folders": ["migrations/versions"]},
    "stages": [
        {"name": "master", "slug": "master", "kind": "tip", "commit": "a" * 40, "heads": ["c3"]},
        {"name": "change 1,1", "slug": "change", "kind": "change", "commit": "c" * 40, "heads": ["d4"]},
    ],
    "revisions": {"c3": {"down": []}, "d4": {"down": ["c3"]}},
    "touched": {"added": ["d4"], "altered": ["b2"], "removed": []},
}
ERROR = {"event": "error", "code": "walk_failed", "detail": "KeyError", "stage": "change 1,1"}


@pytest.mark.parametrize(
    ("more", "worth"),
    [
        ({}, True),
        ({"from": "b2", "to": "c3", "code": "migration_raised"}, True),
        ({"from": "data", "to": "online", "code": "migration_raised"}, True),
        ({"from": "c3", "to": "d4", "code": "migration_raised"}, False),
        ({"from": "a1", "to": "b2", "code": "import_failed"}, False),
        ({"stage": "master"}, False),
        ({"from": "b2", "to": "c3", "code": "migration_timed_out"}, False),
        ({"code": "server_died"}, False),
        ({"code": "version_unknown"}, False),
    ],
)
def test_what_may_be_there_without_the_change(more: dict[str, str], worth: bool) -> None:
    assert bool(failure_of(CHECKOUT, [{**ERROR, **more}])) is worth


@pytest.mark.parametrize("base", [None, "", "c" * 40])
def test_without_a_change_nothing_is(base: str | None) -> None:
    assert failure_of({**CHECKOUT, "base": base}, [ERROR]) is None


def test_of_datasets_that_fail_alike_one_is_walked_again(tmp_path: Path) -> None:
    (tmp_path / "checkout.json").write_text(json.dumps(CHECKOUT))
    for name, detail in (("a", "x"), ("b", "y"), ("c", "x")):
        (tmp_path / f"walk-{name}.jsonl").write_text(json.dumps({**ERROR, "detail": detail}) + "\n")
    assert needing_control(tmp_path, ["a", "b", "c", "not-restored"]) == ["a", "b"]


def test_the_control_has_one_stage_which_is_what_the_change_is_based_on() -> None:
    made = without_change(CHECKOUT)
    assert made["commit"] == made["base"] == "b" * 40 and "touched" not in made
    [stage] = made["stages"]
    assert (stage["kind"], stage["commit"], stage["heads"]) == ("change", "b" * 40, ["c3"])


@pytest.mark.parametrize(
    ("events", "outcome"),
    [
        ([], "unknown"),
        ([{"event": "stage"}], "unknown"),
        ([{"event": "stage"}, {"event": "final", "version": "c3"}], "passed"),
        ([{"event": "stage"}, ERROR], "failed"),
        ([{"event": "stage"}, {**ERROR, "code": "server_died"}], "unknown"),
        ([{"event": "stage"}, {**ERROR, "code": "migration_timed_out"}], "unknown"),
    ],
)
def test_what_a_control_shows(tmp_path: Path, events: list[dict[str, Any]], outcome: str) -> None:
    (tmp_path / "artifacts").mkdir()
    text = "".join(json.dumps(event) + "\n" for event in events)
    (tmp_path / "artifacts" / "walk-a.jsonl").write_text(text)
    assert outcome_of(tmp_path, "a")["outcome"] == outcome

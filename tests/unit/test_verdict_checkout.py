# SPDX-License-Identifier: Apache-2.0
"""What the checkout tells of a failure: heads that the branch had before, files that are only pointers."""

import json
from pathlib import Path
from typing import Any

import pytest

from worker.report import summary
from worker.verdict import Fault, Verdict, artifacts, decide

STAGE = {"name": "change 7,1", "slug": "change", "kind": "change", "commit": "1" * 40, "heads": ["shop.0002"]}


def decided(folder: Path, event: dict[str, Any], **checkout: Any) -> Verdict:
    """The verdict on a walk that ended with an error at the change's stage."""
    touched = {"added": [], "altered": [], "removed": [], "helpers": []}
    document = {"schema": 1, "stages": [STAGE], "revisions": {}, "touched": touched, **checkout}
    (folder / "checkout.json").write_text(json.dumps(document))
    error = {"event": "error", "stage": STAGE["name"], "at": "2026-11-23T18:16:00.137Z", **event}
    (folder / "walk-a.jsonl").write_text(json.dumps(error) + "\n")
    return decide.decide(artifacts.read(folder), ["a"])


@pytest.mark.parametrize(
    ("touched", "fault"),
    [
        ({}, Fault.OPERATOR),
        ({"added": ["shop.0002"]}, Fault.CHANGE),
        ({"altered": ["shop.0002"]}, Fault.CHANGE),
        ({"removed": ["shop.0001"]}, Fault.CHANGE),
        ({"helpers": ["shop/settings.py"]}, Fault.CHANGE),
        ({"others": ["site/wsgi.py"]}, Fault.CHANGE),
    ],
)
def test_several_heads_are_not_those_of_a_change_that_touches_no_migration(
    tmp_path: Path, touched: dict[str, list[str]], fault: Fault
) -> None:
    event = {"code": "several_heads", "detail": "shop has the heads 0002, 0002_b"}
    assert decided(tmp_path, event, touched=touched).fault is fault


POINTERS = ["data/prices.csv", "shop/rows.py"]


@pytest.mark.parametrize(
    ("event", "named"),
    [
        ({"code": "walk_failed", "detail": "ValueError: '/src/data/prices.csv': no rows"}, "data/prices.csv"),
        ({"code": "walk_failed", "detail": "SyntaxError: invalid syntax (rows.py, line 1)"}, "shop/rows.py"),
        ({"code": "migration_raised", "detail": "ValueError", "file": "shop/rows.py"}, "shop/rows.py"),
        ({"code": "walk_failed", "detail": "ValueError: other_prices.csv"}, ""),
        ({"code": "version_mismatch", "detail": "prices.csv"}, ""),
    ],
)
def test_a_pointer_of_git_lfs_is_named_where_it_was_read(tmp_path: Path, event: dict[str, Any], named: str) -> None:
    found = decided(tmp_path, event, lfs_pointers=POINTERS)
    message = found.messages[0] if len(found.messages) == 1 else next(m for m in found.messages if m.detail)
    assert (message.fault is Fault.OPERATOR) == bool(named)
    assert message.detail.startswith(f"{named} is a Git LFS pointer" if named else event["detail"])
    assert any("Git LFS pointers" in note and "data/prices.csv" in note for note in summary.notes(found))


def test_a_pointer_that_the_change_brings_is_its_own_matter(tmp_path: Path) -> None:
    event = {"code": "walk_failed", "detail": "ValueError: 'data/prices.csv': no rows"}
    found = decided(tmp_path, event, lfs_pointers=POINTERS, lfs_pointers_brought=POINTERS[:1])
    assert found.fault is Fault.CHANGE and found.messages[0].detail.startswith("data/prices.csv is a Git LFS pointer")


def test_without_pointers_nothing_is_said_of_them(tmp_path: Path) -> None:
    found = decided(tmp_path, {"code": "walk_failed", "detail": "rows.py"})
    assert found.fault is Fault.CHANGE and not any("LFS" in note for note in summary.notes(found))

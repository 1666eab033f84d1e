# SPDX-License-Identifier: Apache-2.0
"""A change makes what is written down of it so long that nobody reads it: its failure is its own all the same."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.th_checkout import facts
from ansible.module_utils.th_checkout.facts import refuse_too_much
from ansible.module_utils.th_core.artifacts import append_event, report_error, write_json
from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_tools.revisions import Revision, Tree

from worker.inputs import untrusted
from worker.verdict import Fault, Outcome, artifacts, decide

NAMES = ["\N{GRINNING FACE}" * 200 + f"{number:05}" for number in range(2500)]
HEADS = ",".join(NAMES)
STEP = {"stage": "change 7,1", "from": HEADS, "to": NAMES[0] * 100}
NOTHING: dict[str, Any] = {"rows_read": 0, "rows_changed": 0, "redo_bytes": 0, "data_bytes": 0}


@pytest.fixture
def job_dir(tmp_path: Path) -> Path:
    """A job that has checked a change out and restored a dataset."""
    stages = [{"name": "change 7,1", "slug": "change", "kind": "change", "commit": "2" * 40, "heads": NAMES}]
    touched = {"added": ["b"], "altered": [], "removed": [], "helpers": []}
    document = {"commit": "2" * 40, "base": "1" * 40, "branch": "master", "stages": stages, "touched": touched}
    write_json(tmp_path / "artifacts" / "checkout.json", {**document, "revisions": {"b": {"down": [], "file": "b.py"}}})
    write_json(tmp_path / "artifacts" / "dataset-a.json", {"name": "a", "version": ["a"], "limits": {}})
    return tmp_path


def write(job_dir: Path, *events: dict[str, Any]) -> None:
    for event in events:
        append_event(job_dir / "artifacts" / "walk-a.jsonl", event)


def decided(job_dir: Path) -> decide.Verdict:
    found = decide.decide(artifacts.read(job_dir / "artifacts"), ["a"])
    assert not any(message.code in ("not_tested", "artifacts_damaged") for message in found.messages)
    return found


LONG: dict[str, dict[str, Any]] = {
    "its heads": {"from": HEADS, "to": HEADS, "detail": f"the heads are {HEADS}"},
    "its detail": {"from": "a", "to": "b", "detail": "x" * 10_000_000},
    "its file": {"from": "a", "to": "b", "detail": "x", "file": "x/" * 1_000_000},
    "its rows": {"from": "a", "to": "b", "detail": "x", "rows": HEADS},
    "a list": {"from": "a", "to": "b", "detail": "x", "missing": NAMES * 10},
    "a mapping": {"from": "a", "to": "b", "detail": "x", "more": dict.fromkeys(NAMES[:100], NAMES)},
    "a number": {"from": "a", "to": "b", "detail": "x", "line": 10**5000},
}


@pytest.mark.parametrize("what", LONG)
def test_an_error_of_any_length_is_the_changes(job_dir: Path, what: str, stopped_by: Callable[[str], None]) -> None:
    event = {"event": "error", "code": "migration_raised", "stage": "change 7,1", **LONG[what]}
    write(job_dir, {"event": "begin", **STEP}, {"event": "end", **STEP, "exit": 1, "counters": NOTHING}, event)
    found = decided(job_dir)
    assert (found.outcome, found.fault) == (Outcome.FAILURE, Fault.CHANGE)
    assert any(message.code == "migration_raised" for message in found.messages)
    (job_dir / "artifacts" / "walk-a.jsonl").unlink()
    known = {name: value for name, value in LONG[what].items() if name != "detail"}
    report_error(job_dir, "checkout", "several_heads", LONG[what]["detail"], **known)
    found = decided(job_dir)
    assert (found.outcome, found.fault) == (Outcome.FAILURE, Fault.CHANGE)
    for file in (job_dir / "artifacts").glob("*.jsonl"):
        assert all(len(line) <= untrusted.MAX_LINE for line in file.read_bytes().splitlines())
    stopped_by("every value is cut where it is written")


def test_a_detail_is_cut_before_anybody_prints_it() -> None:
    assert len(StepError("several_heads", HEADS).detail) <= untrusted.MAX_TEXT


def test_versions_of_any_length_are_compared_whole(job_dir: Path) -> None:
    last = {"stage": "change 7,1", "from": HEADS, "to": "b"}
    end = {"event": "end", **last, "exit": 0, "seconds": 1, "version": "b", "counters": NOTHING}
    write(job_dir, {"event": "begin", **last}, end, {"event": "final", "version": HEADS, "expected": HEADS})
    assert decided(job_dir).outcome is Outcome.SUCCESS
    write(job_dir, {"event": "final", "version": HEADS, "expected": HEADS[:-1] + "x"})
    found = decided(job_dir)
    assert [message.code for message in found.messages] == ["version_mismatch"]


def test_migrations_of_packages_without_number_are_all_read(job_dir: Path) -> None:
    brought = {f"app.{number:05}": {"file": "x" * 300, "by_change": True} for number in range(20_000)}
    write(job_dir, {"event": "packages", "stage": "change 7,1", "migrations": brought})
    walk = artifacts.read(job_dir / "artifacts").walks["a"]
    assert len(walk.packaged) == len(brought) and not walk.damaged


def test_a_walk_of_more_lines_than_are_read_is_the_changes(job_dir: Path) -> None:
    line = json.dumps({"event": "stage", "name": "change 7,1"}) + "\n"
    (job_dir / "artifacts" / "walk-a.jsonl").write_text(line * (untrusted.MAX_LINES + 1))
    found = decided(job_dir)
    assert (found.outcome, found.fault) == (Outcome.FAILURE, Fault.CHANGE)
    over = next(message for message in found.messages if message.code == "over_limit")
    assert "more than 100,000 lines: bring fewer migrations" in over.detail
    (job_dir / "artifacts" / "walk-a.jsonl").write_bytes(b"x" * untrusted.MAX_BYTES)
    assert any("larger than" in message.detail for message in decided(job_dir).messages)


def test_trees_of_more_names_than_are_read_are_the_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "DOCUMENT_LIMIT", 100_000)
    tree = Tree({name: Revision(name, (), "x" * 4000, "") for name in NAMES[:300]})
    document = {"revisions": {name: facts.facts_of(one) for name, one in tree.revisions.items()}}
    with pytest.raises(StepError, match="give them shorter ones") as caught:
        refuse_too_much(document, Tree(), tree, "master")
    assert caught.value.code == "over_limit"
    with pytest.raises(StepError, match="master has it without the change") as caught:
        refuse_too_much(document, tree, tree, "master")
    assert caught.value.code == "branch_broken"

# SPDX-License-Identifier: Apache-2.0
"""A verdict in one line, and how the job was done: what a reader sees first has to be so."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.kit.recorded_walks import CASES, Case, case
from worker.report import summary
from worker.verdict import Fault, Message, artifacts, decide
from worker.verdict.first_line import ROOM

TOUCHES_NOTHING = "The change touches no migration. Models and helpers matter as well, so it was tested all the same: "


@pytest.mark.parametrize("walked", CASES, ids=lambda walked: walked.name)
def test_the_first_line_tells_ours_and_the_changes_apart(walked: Case) -> None:
    found = walked.verdict()
    first = summary.lines(found)[0]
    assert first.startswith(found.outcome.name)
    assert ("(change's fault)" in first) == (found.fault is Fault.CHANGE)
    assert ("(not the change's fault, but the " in first) == found.fault.ours
    assert summary.lines(found)[1:] == [message.text for message in found.messages]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("success", ""),
        ("success_with_waivers", ""),
        ("canceled", ""),
        ("disk_full", "No space is left on the worker's disk: "),
        ("no_migrations_run", "No migrations run: the dataset is at 6e20a5d8f3c6 already (dataset user_001)"),
        ("migration_raised", "Migration 5d17f4c9e6b5->6e20a5d8f3c6 failed to complete: catalog/db/"),
        ("version_unchanged", "Migration 5d17f4c9e6b5->6e20a5d8f3c6 left the version unchanged: catalog/db/"),
    ],
)
def test_the_reason_is_that_of_the_message_that_weighs_most(name: str, reason: str) -> None:
    found = summary.reason(case(name).verdict())
    assert found.startswith(reason) and bool(found) == bool(reason)


def test_the_reason_is_one_that_the_verdict_blames() -> None:
    said = [
        Message.of("version_mismatch", dataset="a", blame=Fault.DATASET),
        Message.of("change_not_run", dataset="b", detail="x"),
    ]
    reason = summary.reason(decide.of_messages(said))
    assert reason == "A migration of the change was not run: x (dataset b)"


@pytest.mark.parametrize(
    ("name", "headline"),
    [
        ("downgrade_raised", "The migrations cannot be taken back on real data."),
        ("downgrade_too_long", "The migrations can be taken back, but go over a limit."),
        ("migration_raised", "The migrations do not run on real data."),
        ("success_with_waivers", "The migrations run on every dataset. What is over a limit is waived, "),
        ("too_much_written", "The migrations run, but go over a limit."),
    ],
)
def test_the_headline_says_what_is_so(name: str, headline: str) -> None:
    assert summary.headline(case(name).verdict()).startswith(headline)


def test_of_a_traceback_the_reason_is_the_last_line() -> None:
    said = Message.of("walk_failed", detail="Traceback\n  File x\nKeyError: 'url'")
    assert summary.reason(decide.of_messages([said])) == "The migration environment failed: KeyError: 'url'"
    other = Message.of("server_died", detail="signal 11\nmore")
    assert summary.reason(decide.of_messages([other])) == "The private database server died: signal 11"


def test_a_reason_has_an_end() -> None:
    assert len(summary.reason(decide.of_messages([Message.of("disk_full", detail="x" * 4000)]))) == ROOM


def notes(name: str) -> list[str]:
    return summary.notes(case(name).verdict())


def test_nothing_has_to_be_known_about_a_job_like_all_others() -> None:
    assert notes("success") == []
    assert summary.notes(decide.of_messages([Message.of("job_folder")])) == []


def test_a_change_without_a_migration_was_tested_all_the_same() -> None:
    walked = "the datasets were walked to the tip of master, and then with the change's code."
    assert notes("success_without_a_migration") == [TOUCHES_NOTHING + walked]


def test_what_is_known_of_a_datasets_dump(tmp_path: Path) -> None:
    shutil.copytree(case("success").artifacts, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "dataset-user_001.json"
    noted = {"notes": ["seed.sql: it has no end mark.", 5, "a\x1b"]}
    path.write_text(json.dumps({**json.loads(path.read_text()), **noted}))
    said = summary.notes(decide.decide(artifacts.read(tmp_path), ["user_001"]))
    assert said[0] == "user_001: seed.sql: it has no end mark." and len(said) == 2 and "\x1b" not in said[1]


def without_a_walk(tmp_path: Path, datasets: list[str], **more: Any) -> list[str]:
    shutil.copytree(case("success_without_a_migration").artifacts, tmp_path, dirs_exist_ok=True)
    (tmp_path / "walk-user_001.jsonl").unlink(missing_ok=True)
    path = tmp_path / "checkout.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **more}))
    return summary.notes(decide.decide(artifacts.read(tmp_path), datasets))


def test_what_was_not_walked_is_not_said_to_have_been(tmp_path: Path) -> None:
    for datasets in ([], ["user_001"]):
        (note,) = without_a_walk(tmp_path, datasets)
        assert "had to be walked" in note


def test_migrations_that_the_change_removes_are_named(tmp_path: Path) -> None:
    removed = [f"r{number}" for number in range(7)]
    told = without_a_walk(tmp_path, [], touched={"removed": removed})
    assert told == ["The change removes r0, r1, r2, r3, r4 and 2 more."]


def test_files_that_the_migrations_run_with_are_named(tmp_path: Path) -> None:
    told = without_a_walk(tmp_path, [], touched={"added": [], "helpers": ["db/env.py", "db/types.py"]})
    assert told[1:] == ["The change touches what the migrations run with: db/env.py, db/types.py."]


def test_all_that_was_left_out_is_said_and_has_an_end(tmp_path: Path) -> None:
    left = [{"name": f"stable/{number}", "reason": "it lacks a migration"} for number in range(99)]
    told = without_a_walk(tmp_path, [], left_out=left, tip_left_out="the change alters it")
    assert told[1:3] == [
        "The branch's tip was left out: the change alters it.",
        "stable/0 was left out: it lacks a migration.",
    ]
    assert len(told) == 30


def test_the_second_try_says_so_first() -> None:
    first = "This is the second try. An infrastructure failure ended the first after 12.50 s: "
    first += "The git server does not answer."
    assert notes("success_at_the_second_try") == [first]
    assert notes("git_unreachable_twice") == [first]


def test_data_migrations_and_the_way_down_are_named() -> None:
    assert notes("success_with_a_data_migration") == ["Data migrations were run after the schema's: fill-isbn."]
    assert notes("downgrade_raised") == ["Walked down as well: 6e20a5d8f3c6."]

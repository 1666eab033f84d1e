# SPDX-License-Identifier: Apache-2.0
"""From artifact files to a verdict: the recorded cases, and whatever else could be in the files."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.walks import CASES, Case, case
from worker import artifacts, verdict
from worker.outcome import CODES, Fault, Message, Outcome
from worker.verdict import RESULT_LENGTH


@pytest.mark.parametrize("walked", CASES, ids=lambda walked: walked.name)
def test_a_recorded_case_means_what_it_meant(walked: Case) -> None:
    found = walked.verdict()
    assert {
        "result": found.outcome.name,
        "fault": found.fault.value,
        "zuul": found.gearman_result(),
        "messages": [
            {"code": item.code, "text": item.text, "dataset": item.dataset, "detail": item.detail}
            | ({} if item.counts else {"excuse": item.excuse})
            for item in found.messages
        ],
        "datasets": {item.name: item.outcome.name for item in found.datasets},
    } == {key: walked.expected[key] for key in ("result", "fault", "zuul", "messages", "datasets")}


def test_every_code_has_a_recorded_case() -> None:
    seen = {message["code"] for walked in CASES for message in walked.expected["messages"]}
    # nothing of a job with wrong arguments is ever published
    assert seen == set(CODES) - {"bad_request"}


def test_the_migrations_say_what_became_of_them() -> None:
    rows = {row.migration.to: row for row in case("migration_raised").verdict().datasets[0].migrations}
    last = rows.pop("6e20a5d8f3c6")
    assert (last.result, last.by_change, last.migration.exit) == ("failure", True, 1)
    assert last.file == "catalog/db/migrations/versions/6e20a5d8f3c6_unique_isbn.py"
    assert {(row.result, row.by_change) for row in rows.values()} == {("ok", False)}


def test_a_migration_has_the_limit_of_its_own_or_the_default() -> None:
    rows = {row.migration.to: row for row in case("success").verdict().datasets[0].migrations}
    assert rows["5d17f4c9e6b5"].limits == {
        "seconds": 120, "rows_changed": 250000, "rows_read": 2000000, "redo_bytes": None, "data_bytes": None,
    }  # fmt: skip
    assert rows["6e20a5d8f3c6"].limits["seconds"] == 60
    assert not rows["5d17f4c9e6b5"].over


def test_what_is_over_a_limit_is_marked() -> None:
    last = case("too_many_rows").verdict().datasets[0].migrations[-1]
    assert (last.result, last.over) == ("warning", {"rows_changed", "rows_read"})


def test_the_message_names_file_and_line() -> None:
    failed = case("migration_raised").verdict().messages[1]
    assert (failed.file, failed.line) == ("catalog/db/migrations/versions/6e20a5d8f3c6_unique_isbn.py", 17)
    assert (failed.stage, failed.from_, failed.to) == ("change 42,3", "5d17f4c9e6b5", "6e20a5d8f3c6")


def test_a_failure_that_happens_without_the_change_says_so() -> None:
    (message,) = case("too_long_in_a_release").verdict().messages
    assert message.fault is Fault.DATASET
    assert "without the change" in message.explanation
    assert "without the change" not in case("too_long").verdict().messages[0].explanation


def test_a_migration_that_we_have_ended_is_unfinished() -> None:
    assert case("canceled").verdict().datasets[0].migrations[-1].result == "unfinished"


def test_a_message_more_weighs_as_if_it_had_been_there() -> None:
    late = Message.of("upload_failed", detail="disk")
    good = verdict.with_message(case("success").verdict(), late)
    assert (good.outcome, good.fault, good.gearman_result()) == (Outcome.INFRASTRUCTURE, Fault.MACHINE, None)
    assert verdict.with_message(case("too_long").verdict(), late).outcome is Outcome.WARNING
    canceled = verdict.with_message(case("canceled").verdict(), late)
    assert (canceled.outcome, canceled.gearman_result()) == (Outcome.CANCELED, "CANCELED")


def test_details_of_our_own_are_harmless_too() -> None:
    found = verdict.of_messages([Message.of("playbook_failed", detail="\x1b[2Jgone\u202e")])
    assert found.messages[0].detail == "\ufffd[2Jgone\ufffd"


def test_an_error_at_a_migration_that_ended_well_is_not_lost(tmp_path: Path) -> None:
    shutil.copytree(case("success").folder / "artifacts", tmp_path, dirs_exist_ok=True)
    place = {"stage": "change 42,3", "from": "5d17f4c9e6b5", "to": "6e20a5d8f3c6"}
    with (tmp_path / "walk-user_001.jsonl").open("a") as stream:
        stream.write(json.dumps({"event": "error", "code": "walk_failed", "detail": "after it", **place}) + "\n")
    found = verdict.decide(artifacts.read(tmp_path), ["user_001"])
    assert (found.outcome, [message.code for message in found.messages]) == (Outcome.FAILURE, ["walk_failed"])


def change_of(tmp_path: Path, **fields: Any) -> verdict.Verdict:
    """The good case, with other facts about the change."""
    shutil.copytree(case("success").folder / "artifacts", tmp_path, dirs_exist_ok=True)
    path = tmp_path / "checkout.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    return verdict.decide(artifacts.read(tmp_path), ["user_001"])


def test_a_new_migration_below_the_datasets_version_was_not_run(tmp_path: Path) -> None:
    tree = json.loads((case("success").folder / "artifacts" / "checkout.json").read_text())["revisions"]
    tree["new"] = {"down": [], "file": "new.py"}
    tree["1f0c6a52be01"]["down"] = ["new"]
    touched = {"added": ["6e20a5d8f3c6", "new"], "altered": ["1f0c6a52be01"], "removed": []}
    (message,) = change_of(tmp_path, revisions=tree, touched=touched).messages
    assert (message.code, message.detail) == ("change_not_run", "new")


def test_a_dataset_that_was_taken_with_the_change_in_it_is_past_it(tmp_path: Path) -> None:
    added = {"added": ["1f0c6a52be01", "6e20a5d8f3c6"]}
    assert change_of(tmp_path, touched=added).outcome is Outcome.SUCCESS


def test_a_migration_of_the_change_that_a_release_has_run_was_not_run(tmp_path: Path) -> None:
    for kind in ("added", "altered"):
        (message,) = change_of(tmp_path, touched={kind: ["3b6e01f9a7d3"]}).messages
        assert (message.code, message.detail) == ("change_not_run", "3b6e01f9a7d3")


def test_without_the_change_in_the_checkout_there_is_no_success(tmp_path: Path) -> None:
    (message,) = change_of(tmp_path, stages=[]).messages
    assert message.code == "artifacts_damaged"
    (tmp_path / "checkout.json").unlink()
    assert verdict.decide(artifacts.read(tmp_path), ["user_001"]).outcome is Outcome.INFRASTRUCTURE


def test_a_dataset_that_is_named_twice_is_judged_once() -> None:
    found = verdict.decide(artifacts.read(case("success").folder / "artifacts"), ["user_001", "user_001"])
    assert [item.name for item in found.datasets] == ["user_001"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
words = st.sampled_from(["a", "b", "a,b", "base", "", "c" * 500, "x\n\x1b[0m", "stable/1"])
fields = {
    "event": st.sampled_from(["restored", "stage", "skipped", "begin", "end", "error", "final", "later"]),
    "stage": words, "name": words, "from": words, "to": words, "version": words, "expected": words, "dataset": words,
    "code": st.sampled_from([*CODES, "migration_raised", "migration_killed", "other", ""]),
    "exit": st.sampled_from([0, 0, 0, 1, -9, None]),
    "seconds": st.floats() | st.integers(),
    "counters": st.fixed_dictionaries({}, optional={"rows_changed": st.integers(), "rows_read": json_values}),
    "limits": st.dictionaries(st.sampled_from([limit.key for limit in verdict.judge.LIMITS]), json_values),
}  # fmt: skip
likely = st.fixed_dictionaries({}, optional={key: value | json_values for key, value in fields.items()})
lines = st.lists((likely | json_values).map(json.dumps) | st.text(max_size=30), max_size=12).map("\n".join)


@settings(max_examples=300)
@given(walk=lines, errors=lines, checkout=likely | json_values, dataset=likely | json_values, ended=st.booleans())
def test_any_files_give_a_verdict(
    tmp_path_factory: pytest.TempPathFactory, walk: str, errors: str, checkout: Any, dataset: Any, ended: bool
) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "walk-a.jsonl").write_text(walk, "utf-8", "surrogatepass")
    (folder / "errors.jsonl").write_text(errors, "utf-8", "surrogatepass")
    (folder / "checkout.json").write_text(json.dumps(checkout))
    (folder / "dataset-a.json").write_text(json.dumps(dataset))
    read = artifacts.read(folder)
    if ended:
        read = replace(read, problems=(*read.problems, artifacts.Problem("worker_stopped")))
    found = verdict.decide(read, ["a", "b"])
    assert found.outcome is not Outcome.SUCCESS, "nothing was found out about the second dataset"
    assert found.messages
    result = found.gearman_result()
    assert result is None or 0 < len(result) <= RESULT_LENGTH
    alone = verdict.decide(read, ["a"])
    if alone.outcome is Outcome.SUCCESS:
        final = read.walks["a"]
        assert final.final == final.expected != ""
        assert final.migrations and all(row.well for row in final.migrations)


def test_no_folder_at_all_gives_a_verdict(tmp_path: Path) -> None:
    assert verdict.decide(artifacts.read(tmp_path / "none"), ["a"]).outcome is Outcome.INFRASTRUCTURE


def test_what_zuul_is_told_fits_into_its_table() -> None:
    many = [
        Message.of("migration_too_long", "a" * 40, f"{number:040}", dataset="d", detail="x" * 300)
        for number in range(20)
    ]
    result = verdict.of_messages(many).gearman_result()
    assert result is not None
    assert len(result) <= RESULT_LENGTH
    first, *others, last = result.splitlines()
    assert first.startswith("WARNING - Migration aaaa")
    assert last == f"… and {19 - len(others)} more"

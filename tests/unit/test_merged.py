# SPDX-License-Identifier: Apache-2.0
"""Whose fault it is what would be there without the change, too."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.kit.recorded_walks import case
from worker.report import render
from worker.verdict import Fault, Outcome, Verdict, artifacts, decide, excess
from worker.verdict.problems import Control, Problem, cause


def failed(detail: str, **more: Any) -> Control:
    return Control("failed", "b" * 40, "walk_failed", detail, **more)


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("KeyError: 'X'", "KeyError: 'X'"),
        ("FileNotFoundError: '/j/1/control/src/a.ini'", "FileNotFoundError: '/j/1/src/a.ini'"),
        ("<Engine object at 0x7f001>", "<Engine object at 0x7f992>"),
        ("(1146, \"Table 'th_0123456789ab_toy.x' …\")", "(1146, \"Table 'th_ba9876543210_toy.x' …\")"),
        ("requirements.txt:3: x==1: gone", "requirements.txt:14: x==1: gone"),
        ("SyntaxError: bad (env.py, line 3)", "SyntaxError: bad (env.py, line 4)"),
        ("Failed to build thing==1.0.dev3+g0123abc @ file:///j/control/src", "Failed to build thing==1.0.dev4+gabcd123 @ file:///j/src"),  # noqa: E501
    ],
)
def test_the_same_code_in_another_place_fails_in_the_same_way(before: str, now: str) -> None:
    assert failed(before).explains(Problem("walk_failed", now))


@pytest.mark.parametrize(
    ("control", "problem"),
    [
        (failed("KeyError: 'X'"), Problem("walk_failed", "KeyError: 'Y'")),
        (failed("KeyError: 'X'"), Problem("import_failed", "KeyError: 'X'")),
        (failed("KeyError: 'X'"), Problem("walk_failed", "KeyError: 'X'", file="migrations/other.py")),
        (failed("KeyError: 'X'"), Problem("walk_failed", "KeyError: 'X'", from_="a", to="b")),
        (Control("passed", "b" * 40), Problem("walk_failed", "")),
        (Control("unknown", "b" * 40, "walk_failed", "KeyError: 'X'"), Problem("walk_failed", "KeyError: 'X'")),
        (failed("gone", missing=("a",)), Problem("walk_failed", "gone", missing=("a", "b"))),
        (failed("gone", missing=("a",)), Problem("walk_failed", "gone")),
        (failed("https://a.example/simple refused"), Problem("walk_failed", "https://b.example/simple refused")),
    ],
)
def test_another_failure_is_another_failure(control: Control, problem: Problem) -> None:
    assert not control.explains(problem)


def test_fewer_missing_packages_are_the_same_failure() -> None:
    assert failed("one text", missing=("a", "b")).explains(Problem("walk_failed", "another text", missing=("b",)))


def test_a_long_detail_is_compared_in_no_time() -> None:
    assert cause("/" * 4000) == () and len(cause("a/" * 2000)) == 1 and cause("1" * 4000 + "s")


def altered(tmp_path: Path, name: str, **checkout: Any) -> Verdict:
    shutil.copytree(case(name).artifacts, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "checkout.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **checkout}))
    return decide.decide(artifacts.read(tmp_path), ["user_001"])


def test_a_merged_migration_over_its_limit_fails_no_change(tmp_path: Path) -> None:
    found = case("too_long_in_a_release").verdict()
    [message] = found.messages
    assert (found.outcome, message.fault, message.excuse) == (Outcome.SUCCESS, Fault.DATASET, excess.MERGED)
    assert message.remedy == (
        "The owner of the dataset decides, in user_001.json: raise the limit for this migration, "
        '"maximum_migration_times": {"2a94d7e3c8f2->3b6e01f9a7d3": 91}, or waive the excess, "waivers": '
        '[{"migration": "2a94d7e3c8f2->3b6e01f9a7d3", "limit": "maximum_migration_times", "reason": "…"}].'
    )
    shown = render.render_text(found, "")
    assert "took too long  [user_001]  (the dataset's, does not count)" in shown and message.remedy in shown
    rows = {row.migration.to: row for row in found.datasets[0].migrations}
    assert rows["3b6e01f9a7d3"].result == "ok" and rows["3b6e01f9a7d3"].over == {"seconds"}


@pytest.mark.parametrize("base", [None, "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00"])
def test_where_no_change_is_tested_it_counts(tmp_path: Path, base: str | None) -> None:
    commit = json.loads((case("too_long_in_a_release").artifacts / "checkout.json").read_text())["commit"]
    found = altered(tmp_path, "too_long_in_a_release", base=base and commit)
    assert (found.outcome, found.fault) == (Outcome.WARNING, Fault.DATASET)
    assert "The owner of the dataset decides, in user_001.json" in found.messages[0].remedy


@pytest.mark.parametrize(
    ("left_out", "helpers", "fault"),
    [
        ("it has the heads a, b", [], Fault.DATASET),
        ("it has the heads a, b", ["catalog/db/env.py"], Fault.CHANGE),
        ("the change alters one of its migrations", [], Fault.CHANGE),
    ],
)
def test_a_merged_migration_fails_no_change_that_merges_the_branchs_heads(
    tmp_path: Path, left_out: str, helpers: list[str], fault: Fault
) -> None:
    touched = {"added": ["the_merge"], "altered": [], "removed": [], "helpers": helpers}
    several = left_out.startswith("it has the heads")
    facts = {"touched": touched, "tip_left_out": left_out}
    found = altered(tmp_path / "a", "migration_raised", **facts, tip_has_heads=several)
    assert found.fault is fault and {one.fault for one in found.messages} == {fault}
    assert altered(tmp_path / "b", "migration_raised", **facts).fault is Fault.CHANGE, "words tell nothing"


def test_moving_data_is_the_changes_also_where_it_merges_the_branchs_heads(tmp_path: Path) -> None:
    failed = case("data_migration_raised")
    shutil.copytree(failed.artifacts, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "checkout.json"
    document = json.loads(path.read_text())
    document["touched"]["helpers"] = []
    path.write_text(json.dumps({**document, "tip_left_out": "it has the heads c, x", "tip_has_heads": True}))
    found = decide.decide(artifacts.read(tmp_path), ["user_001"])
    assert found.fault is Fault.CHANGE and "migration_raised" in {one.code for one in found.messages}


@pytest.mark.parametrize("timer", [False, True])
def test_a_job_whose_time_a_merged_migration_has_used_is_not_the_changes(tmp_path: Path, timer: bool) -> None:
    timed_out = case("job_timed_out")
    shutil.copytree(timed_out.artifacts, tmp_path, dirs_exist_ok=True)
    walk = tmp_path / "walk-user_001.jsonl"
    walk.write_text(walk.read_text().replace('"stage": "change 42,3"', '"stage": "master"'))
    if timer:
        path = tmp_path / "checkout.json"
        document = json.loads(path.read_text())
        path.write_text(json.dumps({**document, "base": document["commit"]}))
    said = Problem("job_timed_out", "the job was ended after 3600 s")
    read = artifacts.read(tmp_path)
    found = decide.decide(replace(read, problems=(*read.problems, said)), ["user_001"])
    [message] = found.messages
    assert message.detail.endswith("5d17f4c9e6b5->6e20a5d8f3c6, which is merged already (master)")
    assert (found.outcome, found.fault) == (Outcome.FAILURE if timer else Outcome.INFRASTRUCTURE, Fault.OPERATOR)
    assert timed_out.verdict().fault is Fault.CHANGE


def test_what_an_old_log_does_not_tell_counts_as_it_did(tmp_path: Path) -> None:
    shutil.copytree(case("too_many_rows").artifacts, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "checkout.json"
    document = json.loads(path.read_text())
    del document["touched"]
    path.write_text(json.dumps(document))
    found = decide.decide(artifacts.read(tmp_path), ["user_001"])
    assert (found.outcome, found.fault) == (Outcome.WARNING, Fault.CHANGE)


def test_a_merged_migration_in_the_changes_stage_counts_where_the_change_alters_what_it_runs_with(
    tmp_path: Path,
) -> None:
    touched = {"added": [], "altered": [], "removed": []}
    found = altered(tmp_path / "a", "too_many_rows", touched={**touched, "helpers": []})
    assert found.outcome is Outcome.SUCCESS and {one.fault for one in found.messages} == {Fault.DATASET}
    found = altered(tmp_path / "b", "too_many_rows", touched={**touched, "helpers": ["catalog/db/env.py"]})
    assert (found.outcome, found.fault) == (Outcome.WARNING, Fault.CHANGE)
    # it may import or read any file, wherever that is
    found = altered(tmp_path / "c", "too_many_rows", touched={**touched, "helpers": [], "others": ["lib/fill.sql"]})
    assert (found.outcome, found.fault) == (Outcome.WARNING, Fault.CHANGE)
    assert "it ran with what the change alters: lib/fill.sql" in found.messages[0].detail


def test_a_merged_failure_is_the_datasets_where_it_is_about_data_and_else_the_operators(tmp_path: Path) -> None:
    base = json.loads((case("walk_failed").artifacts / "checkout.json").read_text())["base"]
    for name, error, fault in (
        ("env", {"code": "walk_failed", "detail": "KeyError"}, Fault.OPERATOR),
        ("step", {"code": "migration_raised", "detail": "1062", "from": "a", "to": "b"}, Fault.DATASET),
    ):
        folder = tmp_path / name
        shutil.copytree(case("walk_failed").artifacts, folder)
        events = [{"event": "restored"}]
        if "to" in error:
            step = {"stage": "change 42,3", "from": "a", "to": "b"}
            events += [{"event": "begin", **step}, {"event": "end", **step, "exit": 1}]
        events += [{"event": "error", "stage": "change 42,3", **error}]
        events += [{"event": "control", "outcome": "failed", "commit": base, **error}]
        (folder / "walk-user_001.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
        found = decide.decide(artifacts.read(folder), ["user_001"])
        assert (found.outcome, found.fault) == (Outcome.INFRASTRUCTURE, fault), name
        assert {result.outcome for result in found.datasets} == {Outcome.INFRASTRUCTURE}
        assert base[:12] in found.messages[-1].detail


def test_one_datasets_control_speaks_for_all_that_fail_alike(tmp_path: Path) -> None:
    source = case("walk_failed_without_the_change_too").artifacts
    shutil.copytree(source, tmp_path, dirs_exist_ok=True)
    shutil.copy(source / "dataset-user_001.json", tmp_path / "dataset-two.json")
    lines = (source / "walk-user_001.jsonl").read_text().splitlines()
    kept = [line for line in lines if json.loads(line)["event"] != "control"]
    (tmp_path / "walk-two.jsonl").write_text("\n".join(kept) + "\n")
    found = decide.decide(artifacts.read(tmp_path), ["user_001", "two"])
    assert {message.fault for message in found.messages} == {Fault.OPERATOR}
    assert {message.dataset for message in found.messages} == {"user_001", "two"}


@pytest.mark.parametrize("name", ["walk_failed", "environment_failed"])
def test_what_was_found_before_a_control_is_not_taken_for_the_end_of_the_job(tmp_path: Path, name: str) -> None:
    shutil.copytree(case(name).artifacts, tmp_path, dirs_exist_ok=True)
    errors, walk = tmp_path / "errors.jsonl", tmp_path / "walk-user_001.jsonl"
    begun = json.dumps({"event": "control", "outcome": "begun", "commit": "b" * 40}) + "\n"
    ended = json.dumps({"event": "error", "role": "worker", "code": "worker_stopped", "dataset": ""}) + "\n"
    for follows, outcome in (("", Outcome.INFRASTRUCTURE), (begun, Outcome.FAILURE)):
        place = walk if name == "walk_failed" else errors
        before = {path: path.read_text() if path.is_file() else "" for path in (errors, walk)}
        place.write_text(before[place] + follows)
        errors.write_text((errors.read_text() if errors.is_file() else "") + ended)
        assert decide.decide(artifacts.read(tmp_path), ["user_001"]).outcome is outcome
        for path, text in before.items():
            path.write_text(text)

# SPDX-License-Identifier: Apache-2.0
"""A dataset on several engines: where they differ, what is said of it, and where nothing is."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.kit.recorded_walks import case
from worker.report import render, summary
from worker.report.render import Header
from worker.verdict import Fault, Message, Outcome, artifacts, comparison, decide
from worker.verdict.artifacts import Migration
from worker.verdict.comparison import DISAGREE, ComparedMigration
from worker.verdict.judge import DatasetResult, MigrationResult


def row(result: str = "ok", seconds: float | None = 1.0, **more: Any) -> MigrationResult:
    counters = more.pop("counters", {})
    step = {"stage": "change", "from_": "a", "to": "b", "ended": True, "exit": int(result == "failure"), **more}
    migration = Migration(seconds=seconds, counters=counters, **step)
    return MigrationResult(migration, result, True, "", {}, frozenset(), {}, (), {})


def compared(**rows: list[MigrationResult]) -> list[tuple[str, list[str | None]]]:
    """The migrations of the comparison of some walks, each with its results by engine."""
    results = [DatasetResult(f"d@{name}", Outcome.SUCCESS, None, tuple(found)) for name, found in rows.items()]
    (found,) = comparison.compare(results)
    return [(one.any.migration.to, [each and each.result for each in one.rows]) for one in found.migrations]


def messages(name: str, code: str = DISAGREE) -> list[Message]:
    return [message for message in case(name).verdict().messages if message.code == code]


def test_only_datasets_on_several_engines_are_compared() -> None:
    assert case("three_datasets").verdict().comparisons == ()
    (found,) = case("three_engines").verdict().comparisons
    assert (found.dataset, found.outcome) == ("user_001", Outcome.FAILURE)
    assert [result.label for result in found.results] == [
        "system (MariaDB 10.11.19)", "mysql-9.7 (MySQL 9.7.4)", "percona-8.0",
    ]  # fmt: skip
    assert comparison.compare([DatasetResult("d@a", Outcome.SUCCESS, None, ())]) == ()


def test_migrations_are_matched_by_what_they_are_and_how_often_they_have_run() -> None:
    down = {"from_": "b", "to": "a", "kind": "downgrade"}
    again = [row(), row(**down), row("failure")]
    assert compared(x=[row()], y=again) == [("b", ["ok", "ok"]), ("a", [None, "ok"]), ("b", [None, "failure"])]
    around = row(from_="around", to="change", kind="around")
    assert compared(x=[row(), row(to="c"), around], y=[row(), row(stage="other")]) == [
        ("b", ["ok", "ok"]), ("c", ["ok", None]), ("change", ["ok", None]), ("b", [None, "ok"]),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("values", "marks"),
    [
        ((1.0, 3.0), ["", ""]),
        ((1.0, 3.1), ["", "×3"]),
        ((0.1, 0.9), ["", ""]),
        ((0.1, 1.2), ["", "×12"]),
        ((0.0, 1.0), ["", "≠"]),
        ((None, 5.0), ["", ""]),
        ((4.0, 1.0, 40.0), ["×4", "", "×40"]),
    ],
)
def test_a_value_differs_by_a_factor_from_its_floor_on(values: tuple[float | None, ...], marks: list[str]) -> None:
    found = ComparedMigration(tuple(row(seconds=value) for value in values))
    seconds = next(counter for counter in comparison.MEASURED if counter.unit == "s")
    assert found.marks(seconds) == marks
    assert found.differs == (("seconds",) if any(marks) else ())


def test_growth_may_be_negative_and_floors_are_those_of_the_unit() -> None:
    sizes = [{"data_bytes": value} for value in (-5_000_000, 1_000_000, 999_999)]
    found = ComparedMigration(tuple(row(counters=counters) for counters in sizes))
    (marks,) = [found.marks(counter) for counter in comparison.MEASURED if counter.name == "data_bytes"]
    assert marks == ["", "≠", ""]


def test_what_failed_or_was_not_reached_is_no_other_value() -> None:
    assert ComparedMigration((row(), row("failure", 100.0))).differs == ("result",)
    assert ComparedMigration((row(), None)).differs == ()
    assert ComparedMigration((row(), row("unfinished"))).differs == ()
    assert ComparedMigration((row(), row("warning"))).differs == ("result",)


def test_a_migration_that_passes_on_one_engine_and_fails_on_another_is_said_once() -> None:
    (message,) = messages("engines_disagree")
    assert (message.dataset, message.stage, message.from_, message.to, message.step) == (
        "user_001", "change 42,3", "5d17f4c9e6b5", "6e20a5d8f3c6", "schema",
    )  # fmt: skip
    assert message.file.endswith("6e20a5d8f3c6_unique_isbn.py") and message.fault is Fault.CHANGE
    assert message.detail == "Passes on system (MariaDB 10.11.19), fails on mysql-9.7 (MySQL 9.7.4)."
    (message,) = messages("three_engines")
    assert message.detail.endswith("fails on mysql-9.7 (MySQL 9.7.4), has no result on percona-8.0.")


@pytest.mark.parametrize(
    "name",
    ["engines_agree", "engines_agree_that_it_fails", "engines_disagree_on_a_limit", "engine_whose_seed_is_broken",
     "engine_that_died"],
)  # fmt: skip
def test_what_is_no_disagreement(name: str) -> None:
    assert messages(name) == []


def test_a_merged_migration_that_fails_on_one_engine_refuses_no_change() -> None:
    (message,) = messages("engines_disagree_on_the_branch")
    assert (message.fault, message.outcome) == (Fault.DATASET, Outcome.INFRASTRUCTURE)
    assert case("engines_disagree_on_the_branch").verdict().outcome is Outcome.INFRASTRUCTURE


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("engines_disagree", "can't have a default value (dataset user_001 on mysql-9.7; passes on system)"),
        ("three_engines", "(dataset user_001 on mysql-9.7; passes on system)"),
        ("engines_agree_that_it_fails", "for key isbn (dataset user_001 on system and mysql-9.7)"),
        ("engines_disagree_on_a_limit", "21.5 s, the limit is 20 s (dataset user_001 on mysql-9.7; passes on system)"),
        ("engine_whose_seed_is_broken", "uca1400_ai_ci (dataset user_001 on mysql-9.7; passes on system)"),
    ],
)
def test_the_first_line_has_the_cause_and_the_engines(name: str, end: str) -> None:
    line = summary.line(case(name).verdict())
    assert line.endswith(end) and "and 1 more" not in line


def test_an_engine_that_fails_in_another_way_does_not_pass(tmp_path: Path) -> None:
    shutil.copytree(case("engines_agree_that_it_fails").artifacts, tmp_path, dirs_exist_ok=True)
    walk = tmp_path / "walk-user_001@mysql-9.7.jsonl"
    walk.write_text(walk.read_text().replace("1062, ", "1101, "))
    found = decide.decide(artifacts.read(tmp_path), ["user_001@system", "user_001@mysql-9.7"])
    assert summary.line(found).endswith("(dataset user_001 on system) and 1 more")
    assert DISAGREE not in {message.code for message in found.messages}


def test_result_json_has_the_engines_and_what_differs() -> None:
    document = json.loads(json.dumps(render.as_document(case("three_engines").verdict(), Header({}))))
    assert [(one["name"], one["engine"], one["server"]) for one in document["datasets"]] == [
        ("user_001@system", "system", "10.11.19-MariaDB-0+deb12u1"),
        ("user_001@mysql-9.7", "mysql-9.7", "9.7.4"),
        ("user_001@percona-8.0", "percona-8.0", ""),
    ]
    step = {"stage": "change 42,3", "kind": "schema", "from": "5d17f4c9e6b5", "to": "6e20a5d8f3c6"}
    migrations = [{**step, "results": ["ok", "failure", None], "differs": ["result"]}]
    engines = ["system", "mysql-9.7", "percona-8.0"]
    assert document["comparisons"] == [{"dataset": "user_001", "engines": engines, "migrations": migrations}]
    assert render.as_document(case("success").verdict(), Header({}))["comparisons"] == []


def test_many_migrations_are_compared_in_no_time() -> None:
    rows = tuple(row("failure", from_="a", to="b") for _ in range(20_000))
    results = [DatasetResult(name, Outcome.FAILURE, None, rows) for name in ("d@a", "d@b")]
    about = [Message.of("migration_raised", "x", "y", dataset="d@a", from_=str(number)) for number in range(20_000)]
    assert comparison.disagreements(comparison.compare(results), about) == []

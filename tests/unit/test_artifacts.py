# SPDX-License-Identifier: Apache-2.0
"""Reading artifacts: what is well-formed is understood, what is not does no harm and is counted."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.kit.recorded_walks import case
from worker.inputs import untrusted
from worker.verdict import artifacts
from worker.verdict.artifacts import Walk


def walk(folder: Path, *events: Any) -> Walk:
    lines = [event if isinstance(event, str) else json.dumps(event) for event in events]
    (folder / "walk-a.jsonl").write_text("\n".join(lines), "utf-8")
    return artifacts.read(folder).walks["a"]


def begin(number: int) -> dict[str, Any]:
    return {"event": "begin", "from": str(number), "to": str(number + 1)}


def end(number: int, **facts: Any) -> dict[str, Any]:
    return {"event": "end", "from": str(number), "to": str(number + 1), "exit": 0, "version": str(number + 1), **facts}


FINAL = {"event": "final", "version": "1", "expected": "1"}


def test_a_whole_job() -> None:
    found = artifacts.read(case("migration_raised").artifacts)
    assert found.checkout is not None
    assert [(stage.name, stage.kind) for stage in found.checkout.stages] == [
        ("stable/2.0", "release"), ("master", "tip"), ("change 42,3", "change"),
    ]  # fmt: skip
    assert found.checkout.by_change == {"6e20a5d8f3c6"}
    assert found.checkout.files["6e20a5d8f3c6"].endswith("6e20a5d8f3c6_unique_isbn.py")
    assert [item.stage for item in found.environments] == ["change", "stable-2.0"]
    walked = found.walks["user_001"]
    assert (walked.restored, walked.server, walked.version) == (True, "10.11.19-MariaDB-0+deb12u1", "1f0c6a52be01")
    assert walked.limits.tables["maximum_migration_times"] == {"default": 60, "4c83e2b5d0a4->5d17f4c9e6b5": 120}
    assert [row.stage for row in walked.migrations] == ["stable/2.0"] * 2 + ["master"] * 2 + ["change 42,3"]
    second = walked.migrations[1]
    assert (second.seconds, second.exit, second.well) == (3.4, 0, True)
    counters = {"rows_changed": 1, "rows_read": 210000, "redo_bytes": 4500000, "data_bytes": 6291456}
    assert counters.items() <= second.counters.items()
    assert (walked.problems[0].code, walked.problems[0].line) == ("migration_raised", 17)
    assert (walked.final, walked.expected, walked.damaged) == (None, None, 0)


def test_nothing_is_there(tmp_path: Path) -> None:
    assert artifacts.read(tmp_path) == artifacts.Artifacts(None, (), {}, ())


def test_an_empty_database_is_at_base(tmp_path: Path) -> None:
    (tmp_path / "dataset-a.json").write_text('{"version": []}')
    assert artifacts.read(tmp_path).walks["a"].version == "base"


def test_a_start_without_an_end_is_kept(tmp_path: Path) -> None:
    found = walk(tmp_path, begin(0), end(0), begin(1))
    assert [(row.to, row.ended, row.well) for row in found.migrations] == [("1", True, True), ("2", False, False)]


def test_an_end_without_its_start_is_no_evidence(tmp_path: Path) -> None:
    found = walk(tmp_path, end(0), begin(1), end(2))
    assert [(row.to, row.ended) for row in found.migrations] == [("2", False)]
    assert found.damaged == 2


def test_a_migration_is_of_the_stage_that_it_is_in(tmp_path: Path) -> None:
    found = walk(tmp_path, {"event": "stage", "name": "master"}, begin(0), end(0))
    assert found.migrations[0].stage == "master"


def test_what_comes_after_the_end_takes_it_back(tmp_path: Path) -> None:
    assert walk(tmp_path, begin(0), end(0), FINAL).final == "1"
    assert walk(tmp_path, begin(0), end(0), FINAL, begin(1)).final is None


def test_a_line_that_is_cut_off(tmp_path: Path) -> None:
    found = walk(tmp_path, begin(0), '{"event": "end", "from": "0", "t')
    assert (found.migrations[0].ended, found.damaged) == (False, 1)


def test_unknown_events_and_fields_are_no_damage(tmp_path: Path) -> None:
    found = walk(tmp_path, {"event": "later", "x": 1}, {**begin(0), "x": 1}, end(0, x=1), FINAL)
    assert (len(found.migrations), found.damaged) == (1, 0)


@pytest.mark.parametrize("line", ["null", "[]", "1", '"begin"', "{}", '{"event": 5}', "\x00", "{" * 5000, "nan"])
def test_lines_that_are_no_events(tmp_path: Path, line: str) -> None:
    found = walk(tmp_path, begin(0), line, end(0), FINAL)
    assert (len(found.migrations), found.final, found.damaged) == (1, "1", 1)


@pytest.mark.parametrize("value", ["7", True, [], {}, float("nan"), float("inf"), 10**400])
def test_a_measurement_of_the_wrong_type_is_none(tmp_path: Path, value: Any) -> None:
    row = walk(
        tmp_path, begin(0), end(0, seconds=value, counters={"rows_read": value, "rows_changed": 1.5})
    ).migrations[0]
    assert row.seconds is None and set(row.counters.values()) == {None}


@pytest.mark.parametrize("version", ["1\x1b", "1" * 20_001, "1\n2"])
def test_versions_that_have_to_be_cut_or_cleaned_are_compared_whole(tmp_path: Path, version: str) -> None:
    found = walk(tmp_path, {"event": "final", "version": version, "expected": version})
    assert found.final and found.final == found.expected and not found.damaged
    found = walk(tmp_path, {"event": "final", "version": version, "expected": version + "2"})
    assert found.final and found.expected and found.final != found.expected


@pytest.mark.parametrize("version", [None, "", 5])
def test_versions_that_cannot_be_compared_are_no_end(tmp_path: Path, version: Any) -> None:
    found = walk(tmp_path, {"event": "final", "version": version, "expected": version})
    assert (found.final, found.damaged) == (None, 1)


@pytest.mark.parametrize("limits", [{"default": "60"}, {"default": 60, "a->b": None}, 5])
def test_a_limit_that_is_none_is_damage(tmp_path: Path, limits: Any) -> None:
    (tmp_path / "dataset-a.json").write_text(json.dumps({"limits": {"Innodb_rows_read": limits}}))
    assert artifacts.read(tmp_path).walks["a"].damaged == 1


def test_a_line_that_is_too_long(tmp_path: Path) -> None:
    found = walk(tmp_path, begin(0), {"event": "error", "detail": "x" * untrusted.MAX_LINE}, end(0))
    assert (len(found.migrations), found.problems, found.damaged) == (1, (), 1)


def test_lines_without_end(tmp_path: Path) -> None:
    found = walk(tmp_path, *["{}"] * (untrusted.MAX_LINES + 5))
    assert found.damaged == untrusted.MAX_LINES + 1


def test_a_file_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(untrusted, "MAX_BYTES", 200)
    found = walk(tmp_path, begin(0), end(0), *[""] * 500)
    assert (len(found.migrations), found.damaged) == (1, 1)


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text('{"event": "error", "code": "leak"}')
    os.mkfifo(tmp_path / "walk-a.jsonl")
    os.symlink(tmp_path / "secret", tmp_path / "errors.jsonl")
    (tmp_path / "checkout.json").mkdir()
    os.symlink("/dev/zero", tmp_path / "dataset-a.json")
    found = artifacts.read(tmp_path)
    assert (found.checkout, found.problems) == (None, ())
    assert (found.walks["a"].restored, found.walks["a"].migrations) == (False, ())


def test_an_error_line_that_cannot_be_read_is_still_an_error(tmp_path: Path) -> None:
    (tmp_path / "errors.jsonl").write_text('{"event": "error", "code": "disk_full"}\n{"event": "err')
    assert [problem.code for problem in artifacts.read(tmp_path).problems] == ["disk_full", ""]


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("plain\ntext\tä 漢", "plain\ntext ä 漢"),
        ("\x1b[31mred\x07", "\ufffd[31mred\ufffd"),
        ("a\u202eb\u2066c\u200fd", "a\ufffdb\ufffdc\ufffdd"),
        ("a\u00a0b\u3000c", "a b c"),
        ("\ud800", "\ufffd"),
        ("a\u3164b\u115fc\ufe0fd\u2800", "a\ufffdb\ufffdc\ufffdd\ufffd"),
        ("x" * 10, "x" * 10),
        ("x" * 11, "x" * 9 + "…"),
        (5, ""),
        (None, ""),
    ],
)
def test_text_from_outside(given: object, shown: str) -> None:
    assert untrusted.text(given, 18 if isinstance(given, str) and given[0] != "x" else 10) == shown


def test_a_name_stays_on_one_line() -> None:
    assert untrusted.name("a\nb") == "a b"

# SPDX-License-Identifier: Apache-2.0
"""How far a job is: read from files that grow while they are read."""

import json
from pathlib import Path
from typing import Any

from worker.progress import Progress, ProgressReader


def append(path: Path, *events: dict[str, Any], end: str = "\n") -> None:
    with path.open("a") as stream:
        stream.write("\n".join(json.dumps(event) for event in events) + end)


def stage(name: str, steps: int) -> dict[str, Any]:
    return {"event": "stage", "name": name, "steps": steps}


def step(kind: str, to: str) -> dict[str, Any]:
    return {"event": kind, "from": "a", "to": to}


def test_each_migration_is_told_once_and_the_share_grows(tmp_path: Path) -> None:
    told: list[Progress] = []
    (tmp_path / "checkout.json").write_text(json.dumps({"stages": [{}, {}, {}]}))
    reader = ProgressReader(tmp_path, ["d"], told.append)
    path = tmp_path / "walk-d.jsonl"
    reader.poll()
    assert told == []
    append(path, {"event": "restored"}, {"event": "skipped", "name": "one"}, stage("two", 2), step("begin", "b"))
    reader.poll()
    assert told[-1].text == "d: a -> b (1/2 of two)"
    first = told[-1].percent
    append(path, step("end", "b"), step("begin", "c"), end="")
    reader.poll()
    assert told[-1].text == "d: a -> b (1/2 of two)"  # the line of c is not whole yet
    append(path, end="\n")
    reader.poll()
    assert told[-1].text == "d: a -> c (2/2 of two)"
    append(path, step("end", "c"), stage("three", 1), step("begin", "d"), step("end", "d"))
    reader.poll()
    percents = [progress.percent for progress in told]
    assert percents == sorted(percents)
    assert first < told[-1].percent == 95


def test_tasks_of_ansible_are_told(tmp_path: Path) -> None:
    told: list[Progress] = []
    reader = ProgressReader(tmp_path, [], told.append)
    reader.task("checkout", "Check out")
    reader.task("checkout", "Check out")
    reader.task("", "Something of the operator's")
    assert told == [Progress("checkout", 2, "Check out"), Progress("run", 2, "Something of the operator's")]


def test_what_is_no_event_is_passed_over(tmp_path: Path) -> None:
    told: list[Progress] = []
    reader = ProgressReader(tmp_path, ["d"], told.append)
    (tmp_path / "walk-d.jsonl").write_text('nonsense\n[]\n{"event": "begin"}\n{"event": "stage"}\n\n')
    reader.poll()
    assert told == []


def test_steps_down_and_data_migrations_are_told_as_such(tmp_path: Path) -> None:
    told: list[Progress] = []
    reader = ProgressReader(tmp_path, ["d"], told.append)
    data = {"kind": "data", "from": "data", "to": "online"}
    append(
        tmp_path / "walk-d.jsonl",
        stage("change", 1), step("begin", "b"), step("end", "b"), {"event": "begin", **data}, {"event": "end", **data},
        {**stage("change", 1), "direction": "down"}, {**step("begin", "b"), "kind": "downgrade"},
    )  # fmt: skip
    reader.poll()
    assert [progress.text for progress in told][2:] == [
        "d: data migration online (of change)",
        "d: a -> b (1/1 of change, down)",
    ]


def test_a_line_that_is_too_long_holds_nothing_up_and_a_long_version_is_shortened(tmp_path: Path) -> None:
    told: list[Progress] = []
    reader = ProgressReader(tmp_path, ["d"], told.append)
    path = tmp_path / "walk-d.jsonl"
    append(path, {"event": "error", "detail": "x" * 300_000}, stage("one\x1b[2J", 1), step("begin", "b," * 9000))
    reader.poll()
    assert [progress.text for progress in told] == ["d: a -> b and 9000 more (1/1 of one\ufffd[2J)"]


def test_what_is_outside_of_the_migrations_is_none_of_them(tmp_path: Path) -> None:
    told: list[Progress] = []
    (tmp_path / "checkout.json").write_text(json.dumps({"stages": [{}]}))
    reader = ProgressReader(tmp_path, ["d"], told.append)
    append(tmp_path / "walk-d.jsonl", stage("one", 1), step("begin", "b"), step("end", "b"))
    reader.poll()
    before = [(one.text, one.percent) for one in told]
    around = {"from": "around", "to": "change", "kind": "around"}
    append(tmp_path / "walk-d.jsonl", {"event": "begin", **around}, {"event": "end", **around})
    reader.poll()
    assert [(one.text, one.percent) for one in told] == before

# SPDX-License-Identifier: Apache-2.0
"""Where the time went: what is measured of a run, what a walk's events say, and that all of it adds up."""

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kit.recorded_walks import case
from worker.report import render, time_table
from worker.report.render import Header
from worker.task_clock import TaskClock
from worker.verdict import Verdict, artifacts, decide, run_times, times
from worker.verdict.run_times import RunTimes, TaskTime
from worker.verdict.stage_times import StageClock, StageTime

HOSTILE = "<b>\x1b[2J\u202e\n" + "w" * 5000


def task(role: str, seconds: float, name: str = "Do it", **more: Any) -> TaskTime:
    given = {"play": "A play", "control": False, "count": 1, **more}
    return TaskTime(role=role, task=name, seconds=seconds, **given)


RUN = RunTimes(
    30.0, 1.0,
    (
        task("project", 0.5), task("checkout", 2.0, "Fetch the change"), task("checkout", 1.0, "Read"),
        task("build_environment", 6.0), task("own_steps", 0.25), task("restore_datasets", 3.0),
        task("run_migrations", 9.0), task("", 0.125, "Tell somebody"), task("", 0.125, "Tell somebody"),
        task("build_environment", 3.0, "Build", control=True), task("run_migrations", 2.0, "Walk", control=True),
    ),
)  # fmt: skip


def verdict(run: RunTimes | None = RUN, name: str = "success") -> Verdict:
    """A recorded case, as if a worker had measured it."""
    found = case(name).verdict()
    assert found.artifacts
    return replace(found, artifacts=replace(found.artifacts, times=run))


def check_sums(found: times.Times) -> None:
    """All adds up, and nothing is negative."""
    assert sum(part.seconds for part in found.parts) == pytest.approx(found.seconds, abs=0.01)
    for part in found.parts:
        assert part.name in times.PARTS
        assert sum(piece.seconds for piece in part.pieces) == pytest.approx(part.seconds, abs=0.01)
        assert all(piece.seconds > 0 for piece in part.pieces)


class TestTaskClock:
    def test_a_task_lasts_until_the_next(self) -> None:
        moments = iter([100.0, 101.0, 103.0, 106.0, 110.0])
        clock = TaskClock(lambda: next(moments))
        for name in ("Fetch", "Clone", "Fetch"):
            clock.begin("Check out", "checkout", name, "ansible.builtin.command")
        key = {"play": "Check out", "role": "checkout", "control": False}
        fetch = TaskTime(task="Fetch", seconds=6.0, count=2, **key)
        assert clock.end() == RunTimes(10.0, 1.0, (fetch, TaskTime(task="Clone", seconds=3.0, count=1, **key)))

    def test_what_has_run_no_task_has_only_begun(self) -> None:
        moments = iter([5.0, 7.5])
        assert TaskClock(lambda: next(moments)).end() == RunTimes(2.5, 2.5, ())

    def test_the_control_is_told_apart(self) -> None:
        clock = TaskClock()
        actions = ["walk_migrations", "plan_control", "walk_migrations", "th.own.record_control", "stop_servers"]
        for action in actions:
            clock.begin("Walk", "run_migrations", action, action)
        found = [(one.task, one.control) for one in clock.end().tasks]
        assert found == list(zip(actions, [False, True, True, True, False], strict=True))

    def test_there_is_an_end_to_tasks(self) -> None:
        clock = TaskClock()
        for number in range(run_times.MOST_TASKS + 5):
            clock.begin("", "", str(number), "")
        assert len(clock.end().tasks) == run_times.MOST_TASKS


def test_what_is_written_is_read(tmp_path: Path) -> None:
    (tmp_path / run_times.FILE).write_text(json.dumps(run_times.as_document(RUN)))
    assert run_times.read(tmp_path) == RUN


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '"x"', '{"tasks": []}', *(f'{{"seconds": {one}}}' for one in ("-1", "NaN", "true", "1e999"))],
)  # fmt: skip
def test_a_damaged_file_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / run_times.FILE).write_text(text)
    assert run_times.read(tmp_path) is None
    assert artifacts.read(tmp_path).times is None


def test_a_file_that_means_harm_is_cut_and_cleaned(tmp_path: Path) -> None:
    bad = {"play": HOSTILE, "role": HOSTILE, "task": HOSTILE, "control": 1, "seconds": 1e300, "count": -4}
    tasks = [bad, {"seconds": -3}, {"role": 7, "task": None, "seconds": "x"}, "x", None] + [{}] * 2000
    (tmp_path / run_times.FILE).write_text(json.dumps({"seconds": 5, "start": 9, "tasks": tasks}))
    found = run_times.read(tmp_path)
    assert found is not None and (found.seconds, found.start, len(found.tasks)) == (5, 5, run_times.MOST_TASKS)
    first, second, third = found.tasks[:3]
    assert (first.seconds, first.count, first.control) == (5, 0, False)
    assert len(first.task) <= 400 and first.task.isprintable()
    assert (second.seconds, third.role, third.seconds) == (0, "", 0)
    os.remove(tmp_path / run_times.FILE)
    os.symlink("/etc/passwd", tmp_path / run_times.FILE)
    assert run_times.read(tmp_path) is None


def at(second: float, event: str, **facts: Any) -> dict[str, Any]:
    return {"event": event, "at": f"2026-11-24T22:05:{second:06.3f}Z", **facts}


def stages(*events: Any) -> tuple[StageTime, ...]:
    clock = StageClock()
    for event in events:
        clock.take(event)
    return clock.stages


def test_a_walk_stage_by_stage() -> None:
    found = stages(
        at(0, "restored"),
        at(5, "stage", name="stable/1", seconds=2.0),
        at(5.5, "packages"),
        at(6, "begin"), at(8.5, "end", seconds=2.0),
        at(9, "begin"), at(12, "end", seconds=1.0, start_up=1.5),
        at(13, "begin", kind="around"), at(13, "end", kind="around", seconds=40.0),
        at(15, "stage", name="master", seconds=1.0, direction="up"),
        at(16, "final"),
        at(40, "control"),
    )  # fmt: skip
    assert found == (
        StageTime("stable/1", start_up=4.5, migrations=3.0, between=1.5, after=2.0, count=2),
        StageTime("master", start_up=1.0, after=1.0),
    )


def test_a_migration_without_an_end_lasts_until_its_error() -> None:
    (stage,) = stages(at(1, "stage", name="m"), at(2, "begin"), at(7, "error"), at(50, "control"), at(59, "error"))
    assert stage == StageTime("m", start_up=1.0, migrations=5.0, count=1)


def test_a_stage_that_is_walked_down_and_up_is_two() -> None:
    up, down = {"name": "m", "seconds": 1.0}, {"name": "m", "seconds": 1.0, "direction": "down"}
    events = [at(0, "restored"), at(1, "stage", **up), at(3, "stage", **down), at(5, "stage", **up), at(6, "final")]
    found = stages(*events)
    assert found == (StageTime("m", start_up=2.0, after=2.0), StageTime("m", True, start_up=1.0, after=1.0))


EVENTS = st.fixed_dictionaries(
    {"event": st.sampled_from(["stage", "begin", "end", "error", "final", "skipped", "packages", "control", "x"])},
    optional={
        "at": st.sampled_from(
            [at(1, "")["at"], at(30, "")["at"], "2026", "x" * 99 + "Z", "2026-13-01T00:00:00Z", 3, None]
        ),
        "name": st.sampled_from(["a", "b", HOSTILE, 3]),
        "seconds": st.one_of(st.floats(), st.sampled_from(["x", None, 10**400])),
        "start_up": st.floats(),
        "kind": st.sampled_from(["around", "data", 4]),
        "direction": st.sampled_from(["up", "down", []]),
    },
)  # fmt: skip


@settings(max_examples=60)
@given(st.lists(st.one_of(EVENTS, st.none()), max_size=20))
def test_no_event_makes_a_time_that_cannot_be(events: list[dict[str, Any] | None]) -> None:
    for stage in stages(*events):
        for seconds in (stage.start_up, stage.migrations, stage.between, stage.after):
            assert 0 <= seconds < 1000


def test_the_parts_of_a_job() -> None:
    found = times.of(verdict().artifacts, 40.0, 4.0)
    assert found is not None
    check_sums(found)
    seconds = {part.name: part.seconds for part in found.parts}
    assert seconds == {
        "checkout": 3.0, "environment": 6.0, "restore": 3.0, "walk": 9.0, "control": 5.0, "upload": 4.0, "other": 10.0,
    }  # fmt: skip
    pieces = {part.name: [(piece.what, piece.name) for piece in part.pieces] for part in found.parts}
    assert pieces["checkout"] == [("task", "Fetch the change"), ("task", "Read")]
    assert pieces["upload"] == [("rest", "")]
    assert pieces["other"] == [
        ("ansible", ""), ("role", "project"), ("role", "own_steps"), ("task", "Tell somebody"), ("rest", ""),
    ]  # fmt: skip
    told = next(piece for part in found.parts for piece in part.pieces if piece.name == "Tell somebody")
    assert (told.seconds, told.count) == (0.25, 2)
    largest = found.largest(3)
    assert [piece.seconds for _, piece in largest] == sorted((piece.seconds for _, piece in largest), reverse=True)


def test_environments_restores_and_walks_are_told_apart() -> None:
    found = verdict()
    assert found.artifacts
    walk = next(iter(found.artifacts.walks.values()))
    measured = replace(
        walk, seconds={"import": 0.0, "clone": 0.5, "start": 1.0},
        stages=(StageTime("master", False, 2.0, 3.0, 0.5, 0.25, 4), StageTime("the change", True, 1.0)),
    )  # fmt: skip
    spent = times.of(replace(found.artifacts, walks={walk.name: measured}), 40.0)
    assert spent is not None
    check_sums(spent)
    pieces = {part.name: part.pieces for part in spent.parts}
    assert [(piece.what, piece.dataset, piece.seconds) for piece in pieces["restore"]] == [
        ("clone", walk.name, 0.5), ("start", walk.name, 1.0), ("rest", "", 1.5),
    ]  # fmt: skip
    assert [(piece.what, piece.stage, piece.seconds, piece.count) for piece in pieces["walk"]] == [
        ("start_up", "master", 2.0, 1), ("migrations", "master", 3.0, 4), ("between", "master", 0.5, 1),
        ("after", "master", 0.25, 1), ("start_up", "the change, down", 1.0, 1), ("rest", "", 2.25, 1),
    ]  # fmt: skip
    change = found.artifacts.checkout.stages[-1].name if found.artifacts.checkout else ""
    assert [(piece.what, piece.stage, piece.seconds) for piece in pieces["environment"]] == [
        ("build", change, 4.2), ("rest", "", pytest.approx(1.8)),
    ]  # fmt: skip


def test_a_first_try_is_a_part() -> None:
    found = verdict(name="git_unreachable_twice")
    assert found.artifacts and found.artifacts.first_try
    spent = times.of(found.artifacts, 100.0)
    assert spent is not None and spent.parts[0].name == "first_try"
    check_sums(spent)


def test_without_the_seconds_of_the_job_there_are_those_of_the_run() -> None:
    spent = times.of(verdict().artifacts, 0.0)
    assert spent is not None and spent.seconds == RUN.seconds
    check_sums(spent)


NUMBERS = st.floats(min_value=0, max_value=1e300)


@settings(max_examples=60)
@given(NUMBERS, NUMBERS, st.lists(st.tuples(st.sampled_from(["checkout", "run_migrations", "x", ""]), NUMBERS)))
def test_numbers_that_do_not_fit_are_cut(whole: float, start: float, tasks: list[tuple[str, float]]) -> None:
    found = verdict(RunTimes(whole, start, tuple(task(*one) for one in tasks)))
    spent = times.of(found.artifacts, min(whole, 1e6))
    assert spent is not None
    assert sum(part.seconds for part in spent.parts) <= spent.seconds * 1.000001
    json.dumps(render.as_document(found, Header({}, seconds=whole)), allow_nan=False)


@pytest.mark.parametrize("text", ["{", json.dumps({"seconds": 9, "tasks": [{"role": HOSTILE, "seconds": 9}] * 3})])
def test_the_file_has_no_part_in_the_verdict(tmp_path: Path, text: str) -> None:
    for path in case("migration_raised").artifacts.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    datasets = case("migration_raised").expected["job"]["datasets"]
    before = decide.decide(artifacts.read(tmp_path), datasets)
    (tmp_path / run_times.FILE).write_text(text)
    after = decide.decide(artifacts.read(tmp_path), datasets)
    assert (after.outcome, after.messages, after.datasets) == (before.outcome, before.messages, before.datasets)
    page = render.as_page(after, Header({}, seconds=9.0))
    assert not [char for char in page if not (char.isprintable() or char == "\n")]


def test_the_page_has_a_bar_and_the_largest() -> None:
    header = Header({}, seconds=40.0, started="")
    page = render.as_page(verdict(), header)
    section = page.partition('id="times"')[2].partition("</section>")[0]
    widths = [float(width) for width in re.findall(r'style="width:([\d.]+)%"', section)]
    assert sum(widths) == pytest.approx(100, abs=0.1)
    assert len(widths) == section.count("<li>") == 6
    assert section.count("<tr>") <= 1 + time_table.LARGEST
    for words in ("Environments", "6.00 s", "Fetch the change", "the worker: before and after the playbook"):
        assert words in section
    hues = set(re.findall(r"\.(\w+) \{ --hue", page))
    assert hues == set(times.PARTS) == set(time_table.TITLES)


def test_where_nothing_was_measured_nothing_is_said() -> None:
    found, header = verdict(None), Header({}, seconds=40.0)
    assert render.as_document(found, header)["times"] is None
    assert "Where the time went" not in render.as_page(found, header)
    assert render.profile(found, header).startswith("Where the time went was not measured")


def test_a_terminal_shows_the_parts_and_the_largest() -> None:
    lines = render.profile(verdict(), Header({}, seconds=40.0, upload=4.0)).splitlines()
    assert lines[0] == "Where the time went: 40.00 s"
    assert re.fullmatch(r"  Upload +4\.00 s +10\.0%  ###", lines[6])
    assert lines[8] == "The largest pieces:" and len(lines) <= 9 + time_table.LARGEST

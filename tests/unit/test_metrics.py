# SPDX-License-Identifier: Apache-2.0
"""What the metrics count, and that their document, the dashboard and the alerts speak of those that there are."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests.kit import ROOT
from tests.kit.recorded_walks import CASES, case
from worker.builds import BuildEnd
from worker.observe import metrics
from worker.observe.metrics import Metrics, Sources
from worker.status import GearmanState, JobState, SensorState, SlotState, Total, WorkerStatus
from worker.verdict import Message, Verdict, decide
from worker.verdict.run_times import RunTimes, TaskTime

NOW = WorkerStatus(
    version="0.1.0",
    pid=7,
    manager="host-7-aa",
    config="/etc/turbo-hipster/config.json",
    since=1_764_000_000.0,
    state="running",
    taking=False,
    gearman=GearmanState("zuul", 4730, False, True, "", 1_764_000_001.0),
    functions=("build:job", "build:job2"),
    slots=(SlotState(0, True, True, False), SlotState(1, False, True, False), SlotState(2, True, True, True)),
    jobs=(
        JobState("b1", "n1", "job", "org/project", "7,1", "checkout", "", 2, 1_764_000_002.0, 0, ""),
        JobState("b2", "n2", "job", "org/project", "7,2", "checkout", "", 2, 1_764_000_002.0, 2, ""),
    ),
    sensors=(SensorState("disk", False, "1 GB is left"), SensorState("load", True, "")),
    totals=(Total("job", "SUCCESS", 3), Total("gone", "FAILURE", 1)),
)


class World:
    """Metrics, of a moment that a test sets."""

    def __init__(self, folder: Path) -> None:
        self.now = NOW
        self.waiting: Mapping[str, int] | OSError = {"build:job": 4, "build:other": 5}
        folders = {"jobs_working_dir": folder, "snapshots_dir": folder / "gone"}
        self.metrics = Metrics(Sources(lambda: self.now, self.ask, lambda: folders))

    def ask(self) -> Mapping[str, int]:
        if isinstance(self.waiting, OSError):
            raise self.waiting
        return self.waiting

    def families(self) -> dict[str, Any]:
        text = generate_latest(self.metrics.registry).decode()
        return {family.name: family for family in text_string_to_metric_families(text)}

    def values(self, name: str, sample: str = "") -> dict[tuple[str, ...], float]:
        """The values of a metric by its labels' values."""
        family = self.families()[f"turbo_hipster_{name}"]
        wanted = f"turbo_hipster_{sample or name}"
        return {tuple(one.labels.values()): one.value for one in family.samples if one.name == wanted}

    def count(self, name: str) -> dict[tuple[str, ...], float]:
        return self.values(name, f"{name}_total")

    def end(self, name: str, **fields: Any) -> None:
        """A build ends as a recorded case."""
        found = case(name).verdict()
        self.metrics.ended(replace(BuildEnd("job", found.outcome.name, 12.0, "", found), **fields))


def timed() -> Verdict:
    """A recorded case, as if a worker had measured it."""
    found = case("success").verdict()
    assert found.artifacts
    run = RunTimes(8.0, 1.0, (TaskTime("A play", "checkout", "A task", False, 3.0, 1),))
    return replace(found, artifacts=replace(found.artifacts, times=run))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


class TestNow:
    def test_the_moment(self, world: World) -> None:
        (info,) = world.families()["turbo_hipster_worker_info"].samples
        assert (info.labels, info.value) == ({"version": "0.1.0", "manager": "host-7-aa"}, 1)
        assert world.values("start_time_seconds") == {(): NOW.since}
        assert world.values("state") == {("running",): 1, ("draining",): 0, ("stopping",): 0}
        assert world.values("taking_jobs") == {(): 0}
        assert world.values("gearman_connected") == {(): 1}
        assert (world.values("slots"), world.values("slots_busy")) == ({(): 2}, {(): 2})
        assert world.values("jobs_running") == {("job",): 2, ("job2",): 0}
        assert world.values("sensor_ok") == {("disk",): 0, ("load",): 1}
        (key,) = world.values("free_bytes")
        assert key == ("jobs_working_dir",), "nothing is said of a folder that is not there"

    def test_jobs_that_wait_are_those_of_our_functions(self, world: World) -> None:
        assert world.values("jobs_waiting") == {("job",): 4, ("job2",): 0}

    def test_without_an_answer_nothing_is_said_of_what_waits(self, world: World) -> None:
        world.waiting = TimeoutError()
        assert world.values("jobs_waiting") == {}

    def test_without_a_server_it_is_not_asked(self, world: World) -> None:
        world.now = replace(NOW, gearman=replace(NOW.gearman, connected=False))
        assert world.values("jobs_waiting") == {}
        assert world.values("gearman_connected") == {(): 0}

    def test_jobs_are_counted_from_zero(self, world: World) -> None:
        totals = world.count("jobs")
        assert totals["job", "SUCCESS"] == 3
        assert totals["gone", "FAILURE"] == 1
        assert totals["job2", "INFRASTRUCTURE"] == totals["job", "REFUSED"] == 0
        assert len(totals) == 2 * 7 + 1


class TestEnded:
    def test_a_job_and_its_stages(self, world: World) -> None:
        world.end("success")
        walk = case("success").verdict().datasets[0].walk
        assert walk
        took = sum(migration.seconds or 0 for migration in walk.migrations)
        assert world.values("job_seconds", "job_seconds_sum") == {("job", "SUCCESS"): 12}
        sums = world.values("stage_seconds", "stage_seconds_sum")
        assert set(sums) == {("checkout",), ("build_environment",), ("restore_datasets",), ("run_migrations",)}
        assert sums["run_migrations",] == pytest.approx(took)
        assert sums["restore_datasets",] == pytest.approx(sum(walk.seconds.values()))
        dataset = case("success").verdict().datasets[0].name
        counts = world.values("migration_seconds", "migration_seconds_count")
        assert counts == {(dataset, "schema"): len(walk.migrations)}
        assert world.count("migrations") == {(dataset, "schema", "ok"): len(walk.migrations)}
        assert world.count("restores") == {(walk.method, walk.snapshot): 1}
        assert sum(world.count("environments").values()) > 0

    def test_the_parts_of_a_job_add_up_to_it(self, world: World) -> None:
        world.end("success", verdict=timed(), upload_seconds=2.0)
        assert world.values("part_seconds", "part_seconds_sum") == {("checkout",): 3, ("upload",): 2, ("other",): 7}

    def test_messages_cancels_and_uploads(self, world: World) -> None:
        found = decide.with_message(case("migration_raised").verdict(), Message.of("upload_failed", detail="x"))
        world.end("migration_raised", verdict=found)
        world.end("canceled", canceled="stop")
        messages = world.count("messages")
        assert messages["migration_raised",] == messages["upload_failed",] == 1
        assert world.count("uploads_failed") == {(): 1}
        assert world.count("builds_canceled") == {("stop",): 1, ("shutdown",): 0}

    def test_a_build_without_a_job(self, world: World) -> None:
        world.metrics.ended(BuildEnd("job", "REFUSED", 0.1, "", None))
        assert world.values("job_seconds", "job_seconds_count") == {("job", "REFUSED"): 1}

    def test_what_a_change_says_makes_no_series(self, world: World) -> None:
        """Whatever is in the artifacts, the labels are ours."""
        found = case("success").verdict()
        (result, *_) = found.datasets
        assert result.walk
        odd = 'x"} 1\n'
        rows = [replace(row, migration=replace(row.migration, to=odd, stage=odd)) for row in result.migrations]
        walk = replace(result.walk, name=odd, method=odd, snapshot=odd, seconds={odd: 1.0})
        hostile = replace(found, datasets=(replace(result, walk=walk, migrations=tuple(rows)),))
        world.end("success", verdict=hostile)
        assert world.count("restores") == {("other", "other"): 1}
        assert odd not in json.dumps([str(sample) for name in world.families().values() for sample in name.samples])

    def test_every_recorded_case_can_be_counted(self, world: World) -> None:
        for walked in CASES:
            world.end(walked.name)
        codes = {message.code for walked in CASES for message in walked.verdict().messages if message.counts}
        assert {code for (code,) in world.count("messages")} == codes
        assert {result for _, _, result in world.count("migrations")} <= set(metrics.RESULTS)
        assert "other" not in {word for words in world.count("restores") for word in words}


def documented() -> Iterator[tuple[str, str, set[str]]]:
    for line in (ROOT / "docs/metrics.md").read_text().splitlines():
        if line.startswith("| `turbo_hipster_"):
            name, kind, labels = (cell.strip() for cell in line.split("|")[1:4])
            yield name.strip("`"), kind, set(re.findall(r"`(\w+)`", labels))


def there(world: World) -> dict[str, tuple[str, set[str]]]:
    """All metrics, with their type and labels, after every recorded case, under the names that queries use."""
    for walked in CASES:
        world.end(walked.name)
    world.end("success", verdict=timed())
    found = {}
    for family in world.metrics.registry.collect():
        if family.name.startswith("turbo_hipster_"):
            suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
            labels = {label for sample in family.samples for label in sample.labels} - {"le"}
            found[family.name + suffix] = (family.type, labels)
    return found


def test_the_document_has_every_metric(world: World) -> None:
    assert {name: (kind, labels) for name, kind, labels in documented()} == there(world)


QUERIES = {
    "grafana/turbo-hipster.json": re.compile(r'"(?:expr|query|definition)": "((?:[^"\\]|\\.)*)"'),
    "prometheus/alerts.yaml": re.compile(r"expr: (.*)"),
}


@pytest.mark.parametrize("file", QUERIES)
def test_a_query_is_of_metrics_and_labels_that_there_are(world: World, file: str) -> None:
    known = there(world)
    text = (ROOT / "etc" / file).read_text()
    queries = [query for query in QUERIES[file].findall(text) if "turbo_hipster_" in query]
    assert len(queries) > 5
    for query in queries:
        for name in re.findall(r"turbo_hipster_\w+", query):
            base = re.sub(r"_(bucket|sum|count)$", "", name)
            assert name in known or known.get(base, ("",))[0] == "histogram", query
        labels = {label for _, labels in known.values() for label in labels} | {"le", "instance"}
        used = re.findall(r"(?:by|without|on) ?\(([^)]*)\)", query)
        assert {label.strip() for group in used for label in group.split(",")} <= labels, query
        assert set(re.findall(r"(\w+) ?(?:=~|!~|!=|=)\\?\"", query)) <= labels, query


def test_the_dashboard_shows_what_it_should() -> None:
    board = json.loads((ROOT / "etc/grafana/turbo-hipster.json").read_text())
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    assert all(panel["targets"] and panel["title"] and panel["datasource"] for panel in panels)
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {(x + place["x"], y + place["y"]) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, f"{panel['title']} lies on another"
        assert place["x"] + place["w"] <= 24
        taken |= cells
    asked = json.dumps(board)
    shown = "jobs_total job_seconds jobs_waiting migration_seconds slots_busy free_bytes sensor_ok"
    assert [name for name in shown.split() if f"turbo_hipster_{name}" not in asked] == []


def test_the_alerts_say_what_to_do() -> None:
    document = yaml.safe_load((ROOT / "etc/prometheus/alerts.yaml").read_text())
    rules = [rule for group in document["groups"] for rule in group["rules"]]
    assert all(set(rule) >= {"alert", "expr", "labels", "annotations"} for rule in rules)
    assert all(rule["annotations"]["summary"] for rule in rules)

# SPDX-License-Identifier: Apache-2.0
"""What Zuul sees of a build, with both Gearman servers."""

import json
import time
from typing import Any

import pytest

from tests.kit.service import ARGUMENTS, Jobs, Packet, Zuul
from tests.kit.waiting import wait_until
from worker.progress import Progress
from worker.service import Service


def last_data(packets: list[Packet]) -> dict[str, Any]:
    return [packet.data for packet in packets if packet.kind == "data"][-1]


def assert_sound(packets: list[Packet]) -> None:
    """What holds for every build, however it went."""
    kinds = [packet.kind for packet in packets]
    assert kinds[:2] == ["data", "status"]
    assert kinds[-1] in ("complete", "fail")
    assert [kind for kind in kinds[:-1] if kind not in ("data", "status")] == []
    assert packets[-1].raw == b""
    numbers = {packet.data["number"] for packet in packets if packet.kind == "data"}
    assert len(numbers) == 1 and numbers != {""}
    for packet in packets:
        if packet.kind == "data":
            assert {"number", "manager", "name", "url"} <= set(packet.data)


def test_a_build_that_succeeds(service: Service, jobs: Jobs, zuul: Zuul) -> None:
    zuul.launch("build:job")
    job = jobs.next()
    assert job.request.id == "build1"
    assert job.request.job_name == "job"
    first = zuul.begun()
    assert first["manager"] == service.manager
    assert first["name"] == "job"
    assert first["url"].endswith("/logs/7/7/1/check/job/build1/"), "where the results will be"
    assert first["worker_hostname"]
    job.end("SUCCESS", "http://logs/7/", ("one",))
    packets = zuul.ended()
    assert_sound(packets)
    assert packets[-1].kind == "complete"
    assert last_data(packets) == {**first, "result": "SUCCESS", "url": "http://logs/7/", "messages": ["one"]}
    assert [packet.data for packet in packets if packet.kind == "status"][-1] == {"done": 100, "of": 100}


def test_a_build_that_fails(service: Service, jobs: Jobs, zuul: Zuul) -> None:
    zuul.launch("build:job")
    jobs.next().end("FAILURE - Final schema version does not match expectation")
    packets = zuul.ended()
    assert_sound(packets)
    assert packets[-1].kind == "fail"
    assert last_data(packets)["result"] == "FAILURE - Final schema version does not match expectation"
    assert last_data(packets)["url"] == "http://logs/7/"


@pytest.mark.parametrize("result", [None, ""])
def test_a_failure_of_ours_has_no_result(service: Service, jobs: Jobs, zuul: Zuul, result: str | None) -> None:
    zuul.launch("build:job")
    jobs.next().end(result)
    packets = zuul.ended()
    assert_sound(packets)
    assert packets[-1].kind == "fail"
    assert not any("result" in packet.data for packet in packets)


def test_progress_is_told_as_it_changes(service: Service, jobs: Jobs, zuul: Zuul) -> None:
    zuul.launch("build:job")
    job = jobs.next()
    job.observer(Progress("checkout", 10, "fetching"))
    wait_until(lambda: any(packet.data.get("done") == 10 for packet in zuul.packets["build1"]))
    job.observer(Progress("run_migrations", 50, "a -> b"))
    wait_until(lambda: any(packet.data.get("progress") == "a -> b" for packet in zuul.packets["build1"]))
    wait_until(lambda: zuul.packets["build1"][-1].data.get("done") == 50)
    before = len(zuul.packets["build1"])
    time.sleep(0.5)
    assert len(zuul.packets["build1"]) == before, "what has not changed is not told again"
    job.observer(Progress("checkout", 20, "back"))
    job.end("SUCCESS")
    packets = zuul.ended()
    assert_sound(packets)
    done = [packet.data["done"] for packet in packets if packet.kind == "status"]
    assert done == sorted(done)
    assert "progress" not in last_data(packets)


def test_many_changes_are_few_packets(
    service: Service, jobs: Jobs, zuul: Zuul, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.gearman.reporter.SEND_SECONDS", 1.0)
    zuul.launch("build:job")
    job = jobs.next()
    begun = time.monotonic()
    for step in range(2000):
        job.observer(Progress("run_migrations", 50, f"step {step}"))
    job.end("SUCCESS")
    told = [packet for packet in zuul.ended() if "progress" in packet.data]
    assert len(told) <= time.monotonic() - begun + 1


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (b"not json", "arguments"),
        (b"[1]", "arguments"),
        (json.dumps({**ARGUMENTS, "LOG_PATH": "../../etc"}).encode(), "LOG_PATH"),
        (json.dumps({**ARGUMENTS, "ZUUL_URL": "ext::sh -c id"}).encode(), "ZUUL_URL"),
        (json.dumps({**ARGUMENTS, "ZUUL_PROJECT": 5}).encode(), "ZUUL_PROJECT"),
    ],
)
def test_wrong_arguments_are_named_and_the_worker_goes_on(
    service: Service, jobs: Jobs, zuul: Zuul, arguments: bytes, field: str
) -> None:
    zuul.launch("build:job", arguments, unique="wrong")
    packets = zuul.ended("wrong")
    assert_sound(packets)
    assert packets[-1].kind == "fail"
    result = last_data(packets)["result"]
    assert result.startswith(f"FAILURE - Wrong job argument {field}: ")
    assert len(result) <= 250
    assert jobs.made == []
    zuul.launch("build:job2", unique="right")
    jobs.next().end("SUCCESS")
    assert zuul.ended("right")[-1].kind == "complete"


def test_an_error_that_nobody_has_thought_of_is_one_answer(
    service: Service, jobs: Jobs, zuul: Zuul, caplog: pytest.LogCaptureFixture
) -> None:
    zuul.launch("build:job", unique="broken")
    jobs.next().fail(ZeroDivisionError("surprise"))
    packets = zuul.ended("broken")
    assert_sound(packets)
    assert packets[-1].kind == "fail"
    assert "result" not in last_data(packets)
    assert "ZeroDivisionError: surprise" in caplog.text
    zuul.launch("build:job", unique="next")
    jobs.next(1).end("SUCCESS")
    assert zuul.ended("next")[-1].kind == "complete"


def test_builds_have_numbers_of_their_own(service: Service, jobs: Jobs, zuul: Zuul) -> None:
    for index, unique in enumerate(("one", "two")):
        zuul.launch("build:job", unique=unique)
        jobs.next(index).end("SUCCESS")
        zuul.ended(unique)
    assert zuul.begun("one")["number"] != zuul.begun("two")["number"]


def test_the_next_build_waits_for_the_first(service: Service, jobs: Jobs, zuul: Zuul) -> None:
    zuul.launch("build:job", unique="one")
    jobs.next()
    zuul.launch("build:job2", unique="two")
    time.sleep(0.3)
    assert len(jobs.made) == 1
    jobs.made[0].end("SUCCESS")
    jobs.next(1).end("SUCCESS")
    assert zuul.ended("two")[-1].kind == "complete"


class TestStop:
    def test_a_running_build(self, service: Service, jobs: Jobs, zuul: Zuul) -> None:
        launched = time.monotonic()
        zuul.launch("build:job")
        first = zuul.begun()
        jobs.next()
        asked = time.monotonic()
        answer = zuul.stop(first["manager"], {"name": first["name"], "number": first["number"]})
        assert [(packet.kind, packet.raw) for packet in answer] == [("complete", b"")]
        # what the launch took, which is a few packets as well, says how quick the machine is
        slow = asked - launched
        assert time.monotonic() - asked < max(1.0, 10 * slow)
        packets = zuul.ended()
        assert packets[-1].at - asked < max(10, 10 * slow)
        assert_sound(packets)
        assert packets[-1].kind == "fail"
        assert last_data(packets)["result"] == "CANCELED"
        assert jobs.made[0].canceled == ["stop"]

    @pytest.mark.parametrize(
        "arguments",
        [b"", b"not json", b"[]", b"null", b'"x"', {}, {"name": "job", "number": "unknown"}, {"number": None}],
    )
    def test_a_stop_that_fits_nothing_is_answered(
        self, service: Service, jobs: Jobs, zuul: Zuul, arguments: Any
    ) -> None:
        zuul.launch("build:job")
        job = jobs.next()
        assert [packet.kind for packet in zuul.stop(service.manager, arguments)] == ["complete"]
        assert job.canceled == []
        job.end("SUCCESS")
        assert zuul.ended()[-1].kind == "complete"

    def test_a_build_that_has_ended(self, service: Service, jobs: Jobs, zuul: Zuul) -> None:
        zuul.launch("build:job")
        jobs.next().end("SUCCESS")
        zuul.ended()
        number = zuul.begun()["number"]
        assert [packet.kind for packet in zuul.stop(service.manager, {"number": number})] == ["complete"]
        assert jobs.made[0].canceled == []


def test_the_end_of_the_service_gives_builds_back(service: Service, jobs: Jobs, zuul: Zuul) -> None:
    zuul.launch("build:job")
    jobs.next()
    service.stop()
    packets = zuul.ended()
    assert_sound(packets)
    assert packets[-1].kind == "fail"
    assert "result" not in last_data(packets)
    assert jobs.made[0].canceled == ["shutdown"]
    wait_until(lambda: not zuul.serves("build:job"))

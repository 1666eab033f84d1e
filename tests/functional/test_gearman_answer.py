# SPDX-License-Identifier: Apache-2.0
"""The answer of a build: a result that is safe in a review, and a link from the first packet on."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.kit.service import ARGUMENTS, Gearmand, GearServer, Jobs, Packet, Zuul, write_config
from tests.kit.waiting import wait_until
from tests.unit.test_answer import ATTACK, review
from worker.config import config
from worker.progress import Progress
from worker.service import Service
from worker.verdict import Message, decide, result_text

URL = "https://logs.example.org/th/7/7/1/check/job/build1/"


def told(packets: list[Packet]) -> list[dict[str, Any]]:
    return [packet.data for packet in packets if packet.kind == "data"]


@pytest.fixture
def service(server: GearServer | Gearmand, jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("worker.gearman.reporter.SEND_SECONDS", 0.05)
    logs = {"path": "logs", "prepend_url": "https://logs.example.org/th"}
    service = Service(config.load(write_config(tmp_path, server.port, publish_logs=logs)), jobs)
    service.start()
    yield service
    service.stop()


def test_the_link_is_there_from_the_first_packet_on(service: Service, jobs: Jobs, zuul: Zuul) -> None:
    zuul.launch("build:job")
    job = jobs.next()
    job.observer(Progress("run_migrations", 50, "a -> b"))
    wait_until(lambda: any("progress" in packet.data for packet in zuul.packets["build1"]))
    job.end(None, URL)
    packets = zuul.ended()
    assert [data["url"] for data in told(packets)] == [URL] * len(told(packets)) and len(told(packets)) >= 3
    assert packets[-1].kind == "fail" and "result" not in told(packets)[-1], "given back, with its link"


def test_each_try_has_its_own_link(service: Service, jobs: Jobs, zuul: Zuul) -> None:
    for index, unique in enumerate(("first", "second")):
        path = f"7/7/1/check/job/{unique}"
        zuul.launch("build:job", {**ARGUMENTS, "ZUUL_UUID": unique, "LOG_PATH": path}, unique=unique)
        assert zuul.begun(unique)["url"] == f"https://logs.example.org/th/{path}/"
        jobs.next(index).end(None, "x")
        zuul.ended(unique)


def test_what_was_not_published_has_no_link_at_the_end(service: Service, jobs: Jobs, zuul: Zuul) -> None:
    zuul.launch("build:job", unique="lost")
    jobs.next().end(None, "")
    zuul.launch("build:job", unique="broken")
    jobs.next(1).fail(ZeroDivisionError("surprise"))
    for unique in ("lost", "broken"):
        assert told(zuul.ended(unique))[-1]["url"] == ""


def test_a_build_that_is_refused_or_has_no_place_to_be_read_has_no_link(
    service: Service, jobs: Jobs, zuul: Zuul
) -> None:
    zuul.launch("build:job", {**ARGUMENTS, "LOG_PATH": "../../etc"}, unique="wrong")
    assert {data["url"] for data in told(zuul.ended("wrong"))} == {""}


@pytest.mark.parametrize("result", [ATTACK, "FAILURE - " + ATTACK, "FAILURE - “Größe” \\ `id`\r\n$x " + "y " * 300])
def test_whatever_a_job_says_is_one_argument_of_gerrits(
    service: Service, jobs: Jobs, zuul: Zuul, result: str
) -> None:
    zuul.launch("build:job")
    jobs.next().end(result, 'http://logs/" --submit 1,1 "/')
    last = told(zuul.ended())[-1]
    sent, url = last["result"], last["url"]
    assert sent.startswith("FAILURE - ") and len(sent) <= result_text.LENGTH and sent.isascii() and sent.isprintable()
    assert review(f"- job {url} : {sent}")[5] == f"- job {url} : {sent}" and len(review(f"{url} {sent}")) == 9


def test_wrong_arguments_cannot_break_out_either(service: Service, jobs: Jobs, zuul: Zuul) -> None:
    arguments = json.dumps({**ARGUMENTS, "LOG_PATH": ATTACK + "…/.."}).encode()
    zuul.launch("build:job", arguments, unique="wrong")
    sent = told(zuul.ended("wrong"))[-1]["result"]
    assert sent.startswith("FAILURE - Wrong job argument LOG_PATH: ") and len(review(sent)) == 9


def test_a_verdict_is_answered_with_the_cause(service: Service, jobs: Jobs, zuul: Zuul) -> None:
    place = {"dataset": "user_001", "stage": "change 7,1", "from_": "c3", "to": "d4", "file": "versions/d4_unique.py"}
    detail = (
        "sqlalchemy.exc.IntegrityError: (pymysql.err.IntegrityError) "
        "(1062, \"Duplicate entry 'name0' for key 'u_name'\")"
        "\n[SQL: ALTER TABLE users ADD UNIQUE u_name (name)]"
    )
    found = decide.of_messages(
        [
            Message.of("migration_unfinished", **place),
            Message.of("migration_raised", "c3", "d4", line=17, detail=detail, **place),
        ]
    )
    zuul.launch("build:job")
    jobs.next().end(found.gearman_result(), URL)
    assert told(zuul.ended())[-1]["result"] == (
        "FAILURE - Migration c3->d4 failed to complete: versions/d4_unique.py:17: "
        "Duplicate entry name0 for key u_name (dataset user_001)"
    )

# SPDX-License-Identifier: Apache-2.0
"""A build that is canceled is answered before its results are published; its slot is busy until they are."""

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from tests.kit.service import FakeJob, Jobs, Zuul
from tests.kit.waiting import wait_until
from worker.config import Config, JobEntry
from worker.progress import Progress
from worker.request import Request
from worker.service import Service


class PublishesLate(FakeJob):
    """Answers when it is canceled, and publishes until `published` is set, or the worker ends."""

    on_answer: Callable[[Any], None]

    def __init__(self, request: Request, observer: Callable[[Progress], None]) -> None:
        super().__init__(request, observer)
        self.published = threading.Event()

    def run(self) -> Any:
        result = super().run()
        self.on_answer(result)
        self.published.wait(60)
        verdict = SimpleNamespace(**{**vars(result.verdict), "gearman_result": lambda: "ANOTHER"})
        return SimpleNamespace(**{**vars(result), "verdict": verdict})

    def cancel(self, reason: str) -> None:
        if self.canceled:
            self.published.set()
        super().cancel(reason)


class LateJobs(Jobs):
    def __call__(
        self, config: Config, entry: JobEntry, request: Request, observer: Callable[[Progress], None]
    ) -> FakeJob:
        job = PublishesLate(request, observer)
        self.made.append(job)
        return job


def test_a_stop_is_answered_before_the_results_are_published(service: Service, zuul: Zuul) -> None:
    jobs = LateJobs()
    service.builds._factory = jobs
    zuul.launch("build:job")
    job = jobs.next()
    first = zuul.begun()
    zuul.stop(first["manager"], {"name": "job", "number": first["number"]})
    packets = zuul.ended()
    assert [packet.data["result"] for packet in packets if "result" in packet.data] == ["CANCELED"]
    assert service.builds.count == 1, "its slot is busy"
    assert [state.canceled for state in service.builds.states()] == ["stop"]
    zuul.launch("build:job", unique="build2")
    assert len(jobs.made) == 1
    assert isinstance(job, PublishesLate)
    job.published.set()
    second = jobs.next(1)
    assert isinstance(second, PublishesLate)
    second.published.set()
    second.end("SUCCESS")
    assert zuul.ended("build2")[-1].kind == "complete"
    assert len([packet for packet in zuul.packets["build1"] if packet.kind in ("complete", "fail")]) == 1
    wait_until(lambda: service.builds.count == 0)


def test_the_end_of_the_worker_reaches_a_job_that_publishes_late(service: Service, zuul: Zuul) -> None:
    jobs = LateJobs()
    service.builds._factory = jobs
    zuul.launch("build:job")
    job = jobs.next()
    first = zuul.begun()
    zuul.stop(first["manager"], {"name": "job", "number": first["number"]})
    zuul.ended()
    service.builds.close()
    assert job.canceled == ["stop", "shutdown"]
    wait_until(lambda: service.builds.count == 0)

# SPDX-License-Identifier: Apache-2.0
"""Several jobs at once, functions in turn, and a worker that takes no job for now; with both servers."""

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gear
import pytest

from tests.kit.service import Gearmand, GearServer, Jobs, Zuul, write_config
from tests.kit.waiting import HOST, PATIENCE, wait_until
from worker.config import config
from worker.gearman import reporter
from worker.gearman.client import Receiver
from worker.observe import sensors
from worker.service import Service


@pytest.fixture
def serving(
    server: GearServer | Gearmand, jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Service]]:
    """Start the service, in this process, with further keys."""
    monkeypatch.setattr(reporter, "SEND_SECONDS", 0.05)
    started: list[Service] = []

    def start(**keys: Any) -> Service:
        service = Service(config.load(write_config(tmp_path, server.port, **keys)), jobs)
        started.append(service)
        service.start()
        return service

    yield start
    for service in started:
        service.stop()


def names(jobs: Jobs) -> list[str]:
    return [job.request.job_name for job in jobs.made]


@pytest.mark.parametrize(("busy", "other"), [("job", "job2"), ("job2", "job")])
def test_one_function_does_not_keep_another_waiting(
    serving: Any, jobs: Jobs, zuul: Zuul, busy: str, other: str
) -> None:
    """One slot, a function that always has a job more, and one job of another function."""
    serving()
    for number in range(2):
        zuul.launch(f"build:{busy}", unique=f"{busy}{number}")
    zuul.launch(f"build:{other}", unique="other")
    for number in range(4):
        jobs.next(number)
        zuul.launch(f"build:{busy}", unique=f"more{number}")
        jobs.made[number].end("SUCCESS")
    jobs.next(4)
    assert other in names(jobs)[:4]
    jobs.made[4].end("SUCCESS")


def test_many_of_one_leave_a_slot_to_another(serving: Any, jobs: Jobs, zuul: Zuul) -> None:
    """Each slot is fair by itself, whatever the others take."""
    service = serving(slots=2)
    for number in range(4):
        zuul.launch("build:job", unique=f"a{number}")
    zuul.launch("build:job2", unique="b")
    jobs.next(1)
    for number in range(4):
        jobs.next(number).end("SUCCESS")
    jobs.next(4)
    assert service.builds.count <= 2
    jobs.made[4].end("SUCCESS")
    assert sorted(names(jobs)) == ["job"] * 4 + ["job2"]
    for unique in ("a0", "a1", "a2", "a3", "b"):
        assert zuul.ended(unique)[-1].kind == "complete"


def test_each_slot_has_its_job_and_is_stopped_alone(serving: Any, jobs: Jobs, zuul: Zuul) -> None:
    service = serving(slots=3)
    for number in range(4):
        zuul.launch("build:job", unique=f"n{number}")
    jobs.next(2)
    time.sleep(0.2)
    assert len(jobs.made) == 3, "three slots, three jobs"
    snapshot = service.snapshot()
    assert sorted(job.slot for job in snapshot.jobs) == [0, 1, 2]
    assert [slot.busy for slot in snapshot.slots] == [True] * 3
    second = jobs.made[1].request.id
    begun = zuul.begun(second)
    zuul.stop(begun["manager"], {"number": begun["number"]})
    assert zuul.ended(second)[-1].kind == "fail"
    assert [len(job.canceled) for job in jobs.made[:3]] == [0, 1, 0]
    jobs.next(3)
    for job in jobs.made:
        job.end("SUCCESS")
    wait_until(lambda: not service.builds.count)
    totals = {total.outcome: total.count for total in service.snapshot().totals}
    assert totals == {"SUCCESS": 3, "CANCELED": 1}


class Mood(sensors.Sensor):
    """A sensor that a test tells what to say."""

    name = "mood"
    reason = ""

    def look(self, room: float) -> str:
        return self.reason


@pytest.fixture
def mood(monkeypatch: pytest.MonkeyPatch) -> Mood:
    mood = Mood()
    monkeypatch.setattr(sensors, "of", lambda settings: [mood])
    monkeypatch.setattr(sensors, "SECONDS", 0.05)
    return mood


def test_no_job_is_taken_while_a_sensor_says_no(
    serving: Any, jobs: Jobs, zuul: Zuul, mood: Mood, caplog: pytest.LogCaptureFixture
) -> None:
    """The functions stay: Zuul takes a job that nobody serves as failed. What runs goes on, and can be stopped."""
    caplog.set_level("INFO")
    service = serving(slots=2)
    zuul.launch("build:job", unique="runs")
    jobs.next()
    mood.reason = "1 GiB free, sensors.disk_free is 2 GiB"
    wait_until(lambda: not service.snapshot().taking)
    zuul.launch("build:job2", unique="waits")  # also waits until the function is there
    assert zuul.serves("build:job")
    time.sleep(0.3)
    assert len(jobs.made) == 1
    assert "waits" not in zuul.packets
    (state,) = service.snapshot().sensors
    assert (state.name, state.ok, state.reason) == ("mood", False, mood.reason)
    begun = zuul.begun("runs")
    zuul.stop(begun["manager"], {"number": begun["number"]})
    assert zuul.ended("runs")[-1].kind == "fail"
    time.sleep(0.2)
    assert len(jobs.made) == 1, "nor by the slot that has become free"
    mood.reason = ""
    jobs.next(1).end("SUCCESS")
    assert zuul.ended("waits")[-1].kind == "complete"
    said = [line for line in caplog.messages if "taken" in line]
    assert said == ["no job is taken for now: 1 GiB free, sensors.disk_free is 2 GiB", "jobs are taken again"]


def test_a_worker_that_starts_with_a_full_disk_takes_nothing(
    serving: Any, jobs: Jobs, zuul: Zuul, mood: Mood, server: GearServer | Gearmand
) -> None:
    mood.reason = "full"
    service = serving()
    zuul.launch("build:job")
    time.sleep(0.2)
    # nor after a reconnect
    server.kill()
    server.start()
    zuul.launch("build:job", unique="again")
    wait_until(lambda: service.snapshot().gearman.connected)
    time.sleep(0.2)
    assert not jobs.made
    mood.reason = ""
    jobs.next().end("SUCCESS")
    assert zuul.ended("again")[-1].kind == "complete"


def test_a_sensor_that_is_well_again_ends_no_draining(
    serving: Any, jobs: Jobs, zuul: Zuul, mood: Mood
) -> None:
    mood.reason = "full"
    service = serving()
    zuul.launch("build:job")
    service.drain()
    mood.reason = ""
    wait_until(lambda: service.snapshot().sensors[0].ok)
    time.sleep(0.2)
    assert service.drained and not jobs.made and not service.snapshot().taking
    assert zuul.serves("build:job2")


class Script:
    """A server whose answers a test gives; it keeps what the worker has sent."""

    def __init__(self) -> None:
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self.seen: list[int] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        self._channel, _ = self._listener.accept()
        with self._channel.makefile("rb") as stream:
            while head := stream.read(12):
                _, kind, length = struct.unpack("!4sii", head)
                stream.read(length)
                self.seen.append(kind)

    def saw(self, *kinds: int) -> None:
        """Wait until these packets have come, and no more."""
        wait_until(lambda: len(self.seen) >= len(kinds))
        time.sleep(0.05)
        assert tuple(self.seen) == kinds
        self.seen.clear()

    def say(self, kind: int, *parts: bytes) -> None:
        self._channel.sendall(gear.Packet(gear.constants.RES, kind, b"\0".join(parts)).toBinary())

    def close(self) -> None:
        self._channel.close()
        self._listener.close()


def test_a_job_on_its_way_is_neither_lost_nor_taken_back() -> None:
    """While an answer of the server is under way, and while a job runs, nothing is registered anew."""
    known = gear.constants
    script = Script()
    receiver = Receiver("test", HOST, script.port, ["build:a", "build:b"])
    tasks: list[Any] = []
    take = threading.Thread(target=lambda: tasks.append(receiver.take()), daemon=True)
    take.start()
    script.saw(known.SET_CLIENT_ID, known.CAN_DO, known.CAN_DO, known.GRAB_JOB_UNIQ)
    receiver.hold(True)
    receiver.offer(["build:c"])
    script.saw()
    script.say(known.JOB_ASSIGN_UNIQ, b"H:1", b"build:a", b"u", json.dumps({}).encode())
    take.join(PATIENCE)
    assert tasks[0].function == "build:a"
    script.saw()
    tasks[0].complete()
    script.saw(known.WORK_COMPLETE)
    take = threading.Thread(target=lambda: tasks.append(receiver.take()), daemon=True)
    take.start()
    script.saw(known.RESET_ABILITIES, known.CAN_DO)
    receiver.hold(False)
    script.saw(known.GRAB_JOB_UNIQ)
    receiver.offer(["build:d", "build:e"])
    script.saw()
    script.say(known.NO_JOB)
    script.saw(known.RESET_ABILITIES, known.CAN_DO, known.CAN_DO, known.PRE_SLEEP)
    receiver.hold(True)
    script.say(known.NOOP)
    script.saw()
    receiver.hold(False)
    script.saw(known.GRAB_JOB_UNIQ)
    script.say(known.NO_JOB)
    script.saw(known.PRE_SLEEP)
    receiver.stop_taking()
    take.join(PATIENCE)
    assert tasks[1] is None
    receiver.close()
    script.close()

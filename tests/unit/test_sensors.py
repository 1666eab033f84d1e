# SPDX-License-Identifier: Apache-2.0
"""What keeps a worker from taking a job: limits, figures, and that nothing goes to and fro."""

import dataclasses
import os
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from tests.kit.service import write_config
from tests.kit.waiting import wait_until
from worker import sandbox
from worker.config import Config, config, resources
from worker.observe import sensors

GIB = 1024**3


@pytest.fixture
def settings(tmp_path: Path) -> Config:
    loaded = config.load(write_config(tmp_path, 4730, sensors={}))
    loaded.prepare()
    return loaded


def test_they_are_those_of_the_configuration(settings: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.sensors == resources.SensorLimits(2 * GIB, GIB // 2, 5.0)
    assert [sensor.name for sensor in sensors.of(settings)] == ["disk jobs_working_dir", "memory", "load", "sandbox"]
    devices = {str(folder): number for number, (folder, _) in enumerate(settings.writable_dirs().values())}
    real = os.stat
    monkeypatch.setattr(
        os, "stat", lambda path, **words: SimpleNamespace(st_dev=devices[str(path)])
        if str(path) in devices else real(path, **words),
    )  # fmt: skip
    disks = [sensor.name for sensor in sensors.of(settings) if isinstance(sensor, sensors.DiskFree)]
    results = [key for key in settings.writable_dirs() if key not in ("status_socket", "debug_log")]
    assert disks == [f"disk {key}" for key in results], "one for each file system"
    monkeypatch.undo()
    off = dataclasses.replace(settings, sensors=resources.SensorLimits(0, 0, 0), sandbox="none")
    assert sensors.of(off) == []


def test_free_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = {"blocks": 2 * GIB // 4096}
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_bavail=free["blocks"], f_frsize=4096))
    disk = sensors.DiskFree("snapshots_dir", tmp_path, 2 * GIB)
    assert disk.check() == ""
    free["blocks"] -= 1
    wanted = f"2.0 GiB free in {tmp_path} (snapshots_dir), sensors.disk_free is 2.0 GiB"
    assert disk.check() == wanted
    free["blocks"] += 1
    assert disk.check() == wanted, "it does not go to and fro"
    free["blocks"] = int(2.3 * GIB) // 4096
    assert disk.check() == ""
    free["blocks"] = 2 * GIB // 4096
    assert disk.check() == ""


def test_the_real_figures(tmp_path: Path) -> None:
    for sensor in (sensors.DiskFree("x", tmp_path, 1), sensors.MemoryFree(1), sensors.Load(1e6)):
        assert sensor.check() == ""
    assert "(x), sensors.disk_free is " in sensors.DiskFree("x", tmp_path, 1 << 60).check()
    assert "of memory available, sensors.memory_free is 1073741824.0 GiB" in sensors.MemoryFree(1 << 60).check()


def test_a_folder_that_is_gone_is_a_reason(tmp_path: Path) -> None:
    state = sensors.ask(sensors.DiskFree("jobs_working_dir", tmp_path / "gone", 1))
    assert not state.ok
    assert state.reason.startswith("disk jobs_working_dir cannot be checked: ")
    assert str(tmp_path / "gone") in state.reason


def test_load_and_memory_have_room_too(monkeypatch: pytest.MonkeyPatch) -> None:
    loads, free = [8.0], [GIB]
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(os, "getloadavg", lambda: (loads[0], 0.0, 0.0))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=free[0]))
    load, memory = sensors.Load(4.0), sensors.MemoryFree(GIB)
    assert load.check() == memory.check() == ""
    loads[0], free[0] = 8.1, GIB - 1
    assert load.check() == "the load average is 4.05 for each core, sensors.load is 4"
    assert memory.check()
    loads[0], free[0] = 7.9, GIB + 1
    assert load.check() and memory.check()
    loads[0], free[0] = 7.0, 2 * GIB
    assert load.check() == memory.check() == ""


def test_the_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "problem", lambda: "bubblewrap is not installed; install it")
    assert sensors.Sandbox().check() == "sandbox: bubblewrap is not installed; install it"


def test_one_that_hangs_holds_up_nothing_but_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first answers are there when `start` returns; later ones come from a thread."""
    monkeypatch.setattr(sensors, "SECONDS", 0.01)
    answers: list[list[str]] = []

    class Slow(sensors.Sensor):
        name = "slow"

        def look(self, room: float) -> str:
            time.sleep(0.2 if answers else 0)
            return "no"

    watch = sensors.SensorWatch([Slow()], answers.append)
    watch.start()
    assert answers[0] == ["no"] and watch.states[0].reason == "no"
    watch.replace([])
    wait_until(lambda: [] in answers)
    watch.stop()


@pytest.mark.parametrize(
    ("cores", "gibibytes", "slots"), [(1, 64, 1), (2, 64, 1), (8, 64, 4), (64, 9, 2), (512, 4096, 64), (8, 1, 1)]
)
def test_how_many_slots_a_machine_is_good_for(
    monkeypatch: pytest.MonkeyPatch, cores: int, gibibytes: int, slots: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)))
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": gibibytes * GIB // 4096, "SC_PAGE_SIZE": 4096}.get)
    assert resources.default_slots() == slots

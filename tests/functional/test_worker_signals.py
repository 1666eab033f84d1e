# SPDX-License-Identifier: Apache-2.0
"""SIGUSR1 and SIGHUP, and what kill -9 leaves, with real workers and both servers."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.kit.service import Gearmand, GearServer, Zuul, write_config
from tests.kit.waiting import PATIENCE, free_port, gone, wait_until
from worker.config import load
from worker.job_dir import MARKER
from worker.observe import status_socket


def asked(path: Path) -> dict[str, Any]:
    """What the worker with that configuration says of itself."""
    document: dict[str, Any] = json.loads(status_socket.ask(load(path).status_socket))
    return document


def answers(path: Path) -> bool:
    try:
        return bool(asked(path))
    except status_socket.NoWorkerError:
        return False


def let_end(folder: Path, unique: str) -> None:
    (folder / "go").mkdir(exist_ok=True)
    (folder / "go" / unique).touch()


def begun(zuul: Zuul, unique: str) -> dict[str, Any]:
    """The first packet of a build whose job runs: one that is canceled before that is not begun."""
    wait_until(lambda: [packet for packet in zuul.packets.get(unique, []) if packet.data.get("progress") == "waiting"])
    return zuul.packets[unique][0].data


@pytest.fixture
def logged(tmp_path: Path) -> Callable[[str], Any]:
    """Wait for a text in the worker's log."""
    path = tmp_path / "log/debug.log"
    return lambda text: wait_until(lambda: path.exists() and text in path.read_text())


@pytest.fixture
def configure(tmp_path: Path, server: GearServer | Gearmand) -> Callable[..., Path]:
    return lambda **keys: write_config(
        tmp_path, server.port, **{"debug_log": str(tmp_path / "log/debug.log"), "slots": 2, **keys}
    )


class TestDraining:
    def test_what_runs_ends_and_what_waits_is_left(
        self, start: Any, configure: Any, tmp_path: Path, zuul: Zuul, logged: Any
    ) -> None:
        path = configure()
        worker = start()
        for unique in ("ends", "stopped"):
            zuul.launch("build:job", unique=unique)
            begun(zuul, unique)
        worker.send_signal(signal.SIGUSR1)
        logged("draining: no job is taken any more, 2 are left to end")
        assert asked(path)["state"] == "draining" and not asked(path)["taking"]
        zuul.launch("build:job2", unique="waits")  # also waits until the function is there
        first = begun(zuul, "stopped")
        zuul.stop(first["manager"], {"number": first["number"]})
        assert zuul.ended("stopped")[-1].kind == "fail"
        assert worker.poll() is None
        let_end(tmp_path, "ends")
        assert zuul.ended("ends")[-1].kind == "complete"
        assert worker.wait(PATIENCE) == 0
        assert "waits" not in zuul.packets
        # the next worker takes it
        start()
        begun(zuul, "waits")

    def test_a_later_sigterm_cancels(self, start: Any, configure: Any, zuul: Zuul, logged: Any) -> None:
        configure()
        worker = start()
        zuul.launch("build:job")
        begun(zuul, "build1")
        worker.send_signal(signal.SIGUSR1)
        logged("draining")
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(PATIENCE) == 0
        packets = zuul.ended()
        assert packets[-1].kind == "fail" and not any("result" in packet.data for packet in packets)

    def test_an_idle_worker_ends_at_once(self, start: Any, configure: Any, zuul: Zuul) -> None:
        configure()
        worker = start()
        wait_until(lambda: zuul.serves("build:job"))
        worker.send_signal(signal.SIGUSR1)
        assert worker.wait(PATIENCE) == 0


class TestReading:
    def test_it_changes_what_can_change_and_no_job(
        self, start: Any, configure: Any, tmp_path: Path, zuul: Zuul, logged: Any
    ) -> None:
        path = configure(slots=1)
        worker = start()
        zuul.launch("build:job", unique="runs")
        begun(zuul, "runs")
        jobs = [{"name": name, "plugin": "shell_script"} for name in ("job2", "new")]
        configure(slots=3, jobs=jobs, job_time_limit=77, jobs_working_dir="other/jobs", sensors={"load": 0})
        worker.send_signal(signal.SIGHUP)
        logged("was read again: build:job2 build:new; 3 slots")
        logged("not changed before the worker is restarted: jobs_working_dir, status_socket")
        for unique in ("new1", "new2"):
            zuul.launch("build:new", unique=unique)
            begun(zuul, unique)
        path.write_text(path.read_text().replace("other/jobs", "th/jobs"))
        document = asked(path)
        assert document["functions"] == ["build:job2", "build:new"]
        assert [sensor["name"] for sensor in document["sensors"]] == ["disk jobs_working_dir", "memory", "sandbox"]
        assert sorted(job["build"] for job in document["jobs"]) == ["new1", "new2", "runs"]
        let_end(tmp_path, "runs")
        assert zuul.ended("runs")[-1].kind == "complete"
        # the slot whose job was still of the old configuration has given its function up
        wait_until(lambda: not zuul.serves("build:job"))
        # and fewer slots: those that are too many end with their jobs
        configure(slots=1, jobs=jobs)
        worker.send_signal(signal.SIGHUP)
        logged("1 slots")
        for unique in ("new1", "new2"):
            let_end(tmp_path, unique)
            assert zuul.ended(unique)[-1].kind == "complete"
        wait_until(lambda: len(asked(path)["slots"]) == 1)
        zuul.launch("build:new", unique="last")
        begun(zuul, "last")

    @pytest.mark.parametrize("server", [GearServer], indirect=True)
    def test_a_wrong_one_is_refused(
        self, start: Any, configure: Any, tmp_path: Path, zuul: Zuul, logged: Any
    ) -> None:
        path = configure()
        worker = start()
        wait_until(lambda: zuul.serves("build:job"))
        good = path.read_text()
        for wrong, said in (
            (good.replace('"slots": 2', '"slots": 0'), "slots: must be a whole number from 1 to 64"),
            (good[:-1], "is not valid JSON"),
            (good.replace('"logs"', '"config.json/logs"'), "publish_logs.path: the folder"),
        ):
            path.write_text(wrong)
            worker.send_signal(signal.SIGHUP)
            logged(f"the configuration is wrong, the old one stays in force: {path}: {said}")
        path.write_text(good)
        assert asked(path)["slots"]
        zuul.launch("build:job")
        begun(zuul, "build1")

    @pytest.mark.parametrize("server", [GearServer], indirect=True)
    def test_the_log_is_opened_anew(self, start: Any, configure: Any, tmp_path: Path, zuul: Zuul, logged: Any) -> None:
        configure()
        worker = start()
        wait_until(lambda: zuul.serves("build:job"))
        os.rename(tmp_path / "log/debug.log", tmp_path / "log/debug.log.1")
        worker.send_signal(signal.SIGHUP)
        logged("was read again")


def of(jobs_dir: Path) -> list[psutil.Process]:
    """The processes of jobs below the folder."""
    found = []
    for process in psutil.process_iter():
        try:
            living = process.status() != psutil.STATUS_ZOMBIE
            if living and process.environ().get(MARKER, "").startswith(f"{jobs_dir}/"):
                found.append(process)
        except psutil.Error:
            pass
    return found


def folders(process: psutil.Process) -> str:
    return Path(process.environ()[MARKER]).name


@pytest.mark.parametrize("server", [Gearmand], indirect=True)
def test_what_a_killed_worker_leaves(start: Any, tmp_path: Path, server: Gearmand, zuul: Zuul) -> None:
    """Two workers on one machine and on the same folder: only the dead one's jobs are removed, and they run again."""
    jobs_dir = tmp_path / "th/jobs"
    server.kill()
    server.retries = 0  # else a job whose worker has died has failed
    server.start()
    one = [{"name": "job", "plugin": "shell_script"}]
    two = [{"name": "job2", "plugin": "shell_script"}]
    path = write_config(tmp_path, server.port, slots=2, jobs=one)
    first = path.rename(tmp_path / "first.json")
    second = write_config(tmp_path, server.port, slots=2, jobs=two)
    dying, living = (start(config=path.name, TH_TEST_CHILD="1") for path in (first, second))
    for unique in ("a", "b"):
        zuul.launch("build:job", unique=unique)
        begun(zuul, unique)
    zuul.launch("build:job2", unique="c")
    begun(zuul, "c")
    before = {folders(process): process for process in wait_until(lambda: len(of(jobs_dir)) == 3 and of(jobs_dir))}
    dying.kill()
    dying.wait()
    assert sorted(os.listdir(jobs_dir)) == ["a", "b", "c"]
    again = start(config=first.name, TH_TEST_CHILD="1")
    wait_until(lambda: gone(before["a"]) and gone(before["b"]))
    assert not gone(before["c"])
    wait_until(lambda: len(of(jobs_dir)) == 3)
    assert sorted(os.listdir(jobs_dir)) == ["a", "b", "c"]
    for unique in ("a", "b", "c"):
        let_end(tmp_path, unique)
    for unique in ("a", "b", "c"):
        packets = zuul.ended(unique)
        assert [packet.kind for packet in packets if packet.kind in ("complete", "fail")] == ["complete"]
    wait_until(lambda: not os.listdir(jobs_dir) and not of(jobs_dir))
    assert asked(first)["pid"] == again.pid and asked(second)["pid"] == living.pid


def test_an_unused_port_is_no_reason_to_end(start: Any, tmp_path: Path) -> None:
    path = write_config(tmp_path, free_port())
    worker = start()
    wait_until(lambda: answers(path))
    assert worker.poll() is None and not asked(path)["gearman"]["connected"]

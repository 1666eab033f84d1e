# SPDX-License-Identifier: Apache-2.0
"""A private server in its box: how it ends, and what the worker finds it by."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pymysql
import pytest
from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_sandbox import box
from ansible.module_utils.th_sandbox.cgroup_tree import ControlGroups
from ansible.module_utils.th_sandbox.cgroups import around, remove_around, remove_left
from ansible.module_utils.th_sandbox.limits import DatabaseLimits
from ansible.module_utils.th_server import mariadb, private_server
from ansible.module_utils.th_server.engine import of_machine
from ansible.module_utils.th_walk.server_limits import ServerLimits

from tests.kit import boxes, toy
from tests.kit.waiting import gone, wait_until

PATIENCE = 300.0
Start = Callable[..., mariadb.Server]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    private_server.create_data(folder, of_machine(), toy.OPTIONS, 300, boxes.settings())
    return folder / "data"


@pytest.fixture
def start(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    monkeypatch.setenv("TH_JOB_DIR", str(tmp_path))
    monkeypatch.setenv("SECRET", "of the worker's")
    shutil.copytree(data, tmp_path / "data")
    started = []

    def now(**changed: object) -> mariadb.Server:
        server = private_server.start(
            tmp_path, of_machine(),
            databases={"": "toy"}, user="toy", password="x", options=toy.OPTIONS, time_limit=300,
            sandbox=boxes.settings(**changed),
        )  # fmt: skip
        started.append(server)
        return server

    yield now
    for server in started:
        mariadb.stop(server, 0)


@pytest.mark.parametrize("kind", box.KINDS)
def test_it_is_found_by_its_job_and_stops_cleanly(start: Start, tmp_path: Path, kind: str) -> None:
    server = start(kind=kind)
    process = psutil.Process(server.pid)
    assert process.name() == "mariadbd"
    whole = [process] if kind == "none" else [process, process.parent()]
    for one in whole:
        assert one is not None and one.environ()["TH_JOB_DIR"] == str(tmp_path)
        assert "SECRET" not in one.environ()
    mariadb.stop(server, PATIENCE)
    assert "Shutdown complete" in server.error_log.read_text()
    wait_until(lambda: all(one is None or gone(one) for one in whole), PATIENCE)
    assert start(kind=kind).running(), "its data can be used again"


@pytest.mark.parametrize("box", [False, True], ids=["itself", "its box"])
def test_neither_the_server_nor_its_box_outlives_the_other(start: Start, box: bool) -> None:
    process = psutil.Process(start().pid)
    around = process.parent()
    assert around is not None and around.name() == "bwrap"
    os.kill(around.pid if box else process.pid, signal.SIGKILL)
    wait_until(lambda: gone(process) and gone(around), PATIENCE)


@pytest.mark.parametrize("kind", box.KINDS)
def test_the_kernel_holds_it_to_its_limits_for_as_long_as_it_lives(start: Start, kind: str) -> None:
    limits = DatabaseLimits(memory=1 << 30, processes=200)
    server = start(kind=kind, database_memory=limits.memory, database_processes=limits.processes)
    groups = around(server.pid)
    if not ControlGroups.find().version:
        assert not groups, "the limits of each process are what holds it"
        return
    values = {path.name: path.read_text().strip() for folder in groups for path in folder.glob("*max")}
    values |= {path.name: path.read_text().strip() for folder in groups for path in folder.glob("memory.limit_in_*")}
    assert values["pids.max"] == "200"
    assert str(1 << 30) in {values.get("memory.max"), values.get("memory.limit_in_bytes")}
    for folder in {folder.parent for folder in groups}:
        remove_left(folder)
    assert around(server.pid) == groups, "it lives"

    watched = ServerLimits(server, limits)
    assert watched.ended("its last words") is None
    memory = next(folder for folder in groups if any(folder.glob("memory.*")))
    for limit, used in (("memory.limit_in_bytes", "memory.usage_in_bytes"), ("memory.max", "memory.current")):
        if (memory / limit).exists():
            (memory / limit).write_text(str(int((memory / used).read_text()) + (32 << 20)))
    with (
        pytest.raises((pymysql.Error, OSError)),
        mariadb.connect(server, server.job_file, time_limit=PATIENCE) as connection,
    ):
        for number in range(20):
            mariadb.query(connection, f"SET @a{number} = REPEAT('x', 16000000)")
    wait_until(lambda: not server.running(), PATIENCE)
    wait_until(lambda: not any((folder / "cgroup.procs").read_text() for folder in groups), PATIENCE)
    for folder in {folder.parent for folder in groups}:
        remove_left(folder)  # as the next box of another job does
    error = watched.ended("its last words")
    assert error is not None and error.code == "over_limit"
    assert error.detail == "the database's memory, 1 GiB (sandbox_database_memory): its last words"
    remove_around(groups)
    assert not any(folder.exists() for folder in groups)


def test_its_group_goes_with_it(start: Start) -> None:
    server = start()
    groups = around(server.pid)
    assert groups or not ControlGroups.find().version
    mariadb.stop(server, PATIENCE)
    assert not any(folder.exists() for folder in groups)


def test_without_a_box_there_is_no_server(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(box, "_filter", lambda: b"no program for the kernel")
    with pytest.raises(StepError, match="The server's box cannot be made") as caught:
        start()
    assert caught.value.code == "sandbox_unavailable"
    with pytest.raises(StepError, match="The server's box cannot be made"):
        private_server.create_data(tmp_path, of_machine(), toy.OPTIONS, 300, boxes.settings())
    assert not (tmp_path / "init.sql").exists()

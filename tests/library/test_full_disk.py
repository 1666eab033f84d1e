# SPDX-License-Identifier: Apache-2.0
"""A disk that is full while a walk is written down: said so, and held against nobody."""

import contextlib
import errno
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.th_core import artifacts as th_artifacts
from ansible.module_utils.th_sandbox.capped_log import CappedLog
from ansible.module_utils.th_sandbox.limits import DatabaseLimits
from ansible.module_utils.th_server import mariadb
from ansible.module_utils.th_walk.server_limits import ServerLimits
from ansible.module_utils.th_walk.server_probe import ServerProbe
from ansible.module_utils.th_walk.walkers import WalkError

from tests.kit import ROOT, boxes, toy
from worker.verdict import Fault, Outcome, artifacts, decide

LIMIT = 4000
FILL = """
with open("filler", "ab", buffering=0) as stream:
    try:
        while stream.write(b"0" * 4096):
            pass
    except OSError:
        pass
"""


@contextlib.contextmanager
def limited(size: int) -> Iterator[None]:
    """No file can grow beyond a size."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_an_event_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    events = tmp_path / "artifacts" / "walk-a.jsonl"
    th_artifacts.append_event(events, {"event": "begin"})
    before = events.read_bytes()
    with limited(len(before) + 10), pytest.raises(OSError) as raised:
        th_artifacts.append_event(events, {"event": "end", "version": "x" * 100})
    assert raised.value.errno in th_artifacts.NO_SPACE
    assert events.read_bytes() == before


def test_a_log_on_a_full_disk_loses_lines_and_no_more(tmp_path: Path) -> None:
    log = CappedLog(tmp_path / "log", 100_000)
    log.line("first")
    with limited(100):
        for _ in range(50):
            log.line("x" * 20)
    log.line("last")
    log.close()
    assert (tmp_path / "log").read_text().splitlines()[::3] == ["first", "x" * 20]
    assert (tmp_path / "log").read_text().endswith("last\n")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[mariadb.Server]:
    server = toy.start(tmp_path_factory.mktemp("server") / "db")
    yield server
    mariadb.stop(server, 0)


def walk(job_dir: Path, running: mariadb.Server, *bodies: str, limit: int = 0) -> dict[str, Any]:
    """Walk migrations with the real module; what it answers. No file may grow beyond the limit."""
    toy.emptied(running, job_dir)
    (Path(running.folder) / "walked").unlink(missing_ok=True)
    chain = {f"a{number}": (f"a{number - 1}" if number else None, body) for number, body in enumerate(bodies)}
    toy.write(job_dir / "src", chain)
    toy.artifacts(job_dir, job_dir / "src", chain)
    th_artifacts.keep_reserve(job_dir)
    options = {"job_dir": str(job_dir), "name": toy.NAME, "profile": toy.profile(), "programs": str(toy.PROGRAMS)}
    told = {"ANSIBLE_MODULE_ARGS": {**options, "sandbox": boxes.given()}}
    module = ROOT / "roles" / "run_migrations" / "library" / "walk_migrations.py"
    done = subprocess.run(
        [sys.executable, "-P", str(ROOT / "roles" / "project" / "files" / "run_module.py"), str(module)],
        input=json.dumps(told),
        capture_output=True,
        text=True,
        # CPython before 3.13 keeps what it could write of a module's bytecode (its issue 126606)
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))) if limit else None,
    )
    assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def pad(job_dir: Path, size: int) -> None:
    """Begin the diary with a line of so many bytes."""
    line = json.dumps({"event": "restored", "note": ""})
    diary = job_dir / "artifacts" / f"walk-{toy.NAME}.jsonl"
    diary.write_text(line.replace('""', f'"{"x" * (size - len(line) - 1)}"') + "\n")


def judged(job_dir: Path) -> decide.Verdict:
    (job_dir / "artifacts" / f"dataset-{toy.NAME}.json").write_text(json.dumps({"schema": 1, "version": []}))
    return decide.decide(artifacts.read(job_dir / "artifacts"), [toy.NAME])


@pytest.mark.parametrize("size", [100, 250, 400])
def test_a_diary_that_cannot_grow(job_dir: Path, running: mariadb.Server, size: int) -> None:
    pad(job_dir, LIMIT - size)
    answer = walk(job_dir, running, toy.FIRST, limit=LIMIT)
    assert answer["failed"] and answer["code"] == "disk_full"
    assert "The disk is full" in answer["msg"] and "free some space" in answer["msg"]
    found = judged(job_dir)
    assert found.outcome is Outcome.INFRASTRUCTURE, found.messages
    assert [message.code for message in found.weighty] == ["disk_full"]
    assert not [message for message in found.messages if message.fault is Fault.CHANGE]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own, where root can mount one; else a folder, and the disk is not filled."""
    folder = tmp_path / "small"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=2M,mode=0700", "tmpfs", str(folder)]
    mounted = os.geteuid() == 0 and subprocess.run(words, capture_output=True).returncode == 0
    try:
        yield folder
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_migration_that_fills_the_disk(small: Path, running: mariadb.Server) -> None:
    job_dir = small / "job"
    for folder in (job_dir, job_dir / "artifacts", job_dir / "results"):
        folder.mkdir(mode=0o700)
    # the file system gives whole pages: the diary soon needs one more
    answer = walk(job_dir, running, *[FILL if os.path.ismount(small) else "raise OSError(28, 'No space left')"] * 30)
    found = judged_elsewhere(job_dir)
    if os.path.ismount(small):
        assert answer["code"] == "disk_full"
        assert not (job_dir / "reserve").exists()
    assert found.outcome is not Outcome.SUCCESS
    assert "disk_full" in [message.code for message in found.messages] or not os.path.ismount(small)


def judged_elsewhere(job_dir: Path) -> decide.Verdict:
    for path in (job_dir / "src").glob("filler"):
        path.unlink()
    return judged(job_dir)


def test_an_error_takes_the_room_that_is_kept_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    th_artifacts.keep_reserve(tmp_path)
    reserve = tmp_path / "reserve"
    assert reserve.stat().st_blocks * 512 >= th_artifacts.RESERVE_BYTES
    real = os.write

    def write(handle: int, raw: bytes) -> int:
        if reserve.exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(handle, raw)

    monkeypatch.setattr(os, "write", write)
    events = tmp_path / "artifacts" / "errors.jsonl"
    with pytest.raises(OSError, match="No space left"):
        th_artifacts.append_event(events, {"event": "begin"})
    th_artifacts.report_error(tmp_path, "checkout", "disk_full", "The disk is full")
    assert json.loads(events.read_text())["code"] == "disk_full" and not reserve.exists()


CRASH = """2026-01-01 10:00:00 0 [Note] mariadbd: ready for connections.
2026-01-01 10:00:01 10 [ERROR] InnoDB: preallocating 595591168 bytes for file ./toy/t.ibd failed with error 28
2026-01-01 10:00:02 0x7f [ERROR] mysqld got signal 6 ;
Sorry, we probably made a mistake, and this is a bug.
Query (0x7f): INSERT INTO t VALUES ('a row')
Writing a core file...
Resource Limits (excludes unlimited resources):
""" + "Max open files 20000 20000 files\n" * 20


def of_log(folder: Path, text: str) -> mariadb.Server:
    (folder / "server.log").write_text(text)
    return mariadb.Server(folder=str(folder), socket="", databases={"": "toy"}, user="toy")


def test_a_server_that_a_full_disk_has_ended(tmp_path: Path) -> None:
    evidence = ServerProbe.__new__(ServerProbe)
    server = of_log(tmp_path, CRASH)
    assert "error 28" in server.last_words() and "Max open" not in server.last_words()
    assert "a row" not in server.last_words()
    evidence._server, evidence._gone, evidence._quota = server, "server_died", False
    evidence._limits = type("Limits", (), {"ended": lambda self, words: None})()
    assert evidence._dead(server.last_words()).code == "disk_full"
    evidence._quota = True
    assert "(sandbox_disk_quota): " in evidence._dead(server.last_words()).detail
    of_log(tmp_path, CRASH.replace("error 28", "error 5"))
    assert evidence._dead(server.last_words()).code == "server_died"


def test_what_a_statement_says_is_no_full_disk(tmp_path: Path) -> None:
    said = CRASH.replace("error 28", "error 5").replace("a row", "[ERROR] No space left")
    assert not of_log(tmp_path, said).filled_its_disk()
    assert of_log(tmp_path, "mariadbd: cannot start\n").last_words() == "mariadbd: cannot start"


MYSQL = """\
2026-12-01T15:29:00.100000Z 0 [System] [MY-010931] [Server] /usr/sbin/mysqld: ready for connections. Version: '9.7.4-2'
2026-12-01T15:29:03.788178Z 15 [ERROR] [MY-010934] [Server] Out of memory (Needed 128088 bytes)
2026-12-01T15:29:03.828788Z 15 [ERROR] [MY-012640] [InnoDB] Error number 14 means 'Bad address'
2026-12-01T15:29:03Z UTC - mysqld got signal 6 ;
Signal SIGABRT (sent by kill from process with pid 1) at address 0x3e800000001
Most likely, you have hit a bug, but this error can also be caused by malfunctioning hardware.
Thread pointer: 0x5626de408000
Trying to get some variables.
Some pointers may be invalid and cause the dump to abort.
Query (5626de40a030): INSERT INTO t VALUES ('a row')
Connection ID (thread ID): 23
Status: NOT_KILLED

The manual page at https://dev.mysql.com/doc/mysql/en/crashing.html contains
information that should help you find out what is causing the crash.
"""
STATEMENT = (
    "2026-12-01T15:30:37.1Z 9 [ERROR] [MY-011063] [Server] MySQL thread id 9, OS thread handle 1, query id 4 localhost"
    " toy System lock CREATE TABLE b /* 2026-12-01T15:30:13.5Z 9 [ERROR] [MY-012640] [InnoDB] {} */ (a int)\n"
)


def test_the_last_words_of_mysql(tmp_path: Path) -> None:
    server = replace(of_log(tmp_path, MYSQL), family="mysql")
    lines = MYSQL.splitlines()
    assert server.last_words().splitlines() == lines[1:4], "neither what went well nor the statement"
    held = ServerLimits(server, DatabaseLimits(memory=1 << 30))
    ended = held.ended(server.last_words())
    assert ended is not None and ended.code == "over_limit" and "(sandbox_database_memory): " in ended.detail
    assert ServerLimits(server, DatabaseLimits()).ended("") is None, "without a limit the machine has no more"
    of_log(tmp_path, MYSQL.replace("Out of memory (Needed 128088 bytes)", "Incorrect key file"))
    assert held.ended("") is None
    of_log(tmp_path, MYSQL.replace("number 14 means 'Bad address'", "number 28 means 'No space left on device'"))
    assert server.filled_its_disk()


@pytest.mark.parametrize("words", ["Out of memory (Needed 8 bytes)", "Error number 28 means 'No space left on device'"])
def test_what_a_statement_says_in_the_log_of_mysql_is_nothing(tmp_path: Path, words: str) -> None:
    server = of_log(tmp_path, STATEMENT.format(words))
    assert words in server.last_words()
    assert not server.ran_out_of_memory() and not server.filled_its_disk()


@pytest.mark.parametrize(
    ("detail", "code"),
    [
        ("IntegrityError: (1062, \"Duplicate entry 'a' for key 'u'\")", "migration_raised"),
        ("DataError: 1406 (22001): Data too long for column 'name' at row 1", "migration_raised"),
        ("OperationalError: (1021, 'Disk full (/tmp/x); waiting for someone to free some space')", "disk_full"),
        ("OSError: [Errno 28] No space left on device", "disk_full"),
    ],
)
def test_little_space_explains_no_error_about_the_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, detail: str, code: str
) -> None:
    server = mariadb.Server(str(tmp_path), "", {"": "toy"}, "toy")
    monkeypatch.setattr(mariadb.Server, "running", lambda self: True)
    monkeypatch.setattr(mariadb, "free_bytes", lambda folder: 1 << 20)
    evidence = ServerProbe(server, [], {}, DatabaseLimits())
    assert evidence.explained(WalkError("migration_raised", detail), tmp_path).code == code
    evidence = ServerProbe(server, [], {}, DatabaseLimits(), quota=True)
    found = evidence.explained(WalkError("migration_raised", detail), tmp_path)
    assert found.code == code.replace("disk_full", "over_limit"), "the job has filled what is its own"

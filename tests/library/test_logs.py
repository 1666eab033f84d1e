# SPDX-License-Identifier: Apache-2.0
"""The log of a walk: the server's own words where they belong, with a real server; and what they can not do."""

import datetime
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from ansible.module_utils.th_sandbox.capped_log import CappedLog
from ansible.module_utils.th_server import mariadb, private_server
from ansible.module_utils.th_server.engine import of_machine
from ansible.module_utils.th_walk.logs import LINGER, LogOptions, WalkLog, excerpt, files_to_follow, slow_log
from ansible.module_utils.th_walk.walk import DatasetWalk
from ansible.module_utils.th_walk.walkers import WalkLimits

from tests.kit import boxes, shared, toy
from tests.kit.memory import run_program
from tests.kit.toy import FIRST, NAME, OPTIONS, PROGRAMS

STAMP = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),(\d{3}) (.*)")


@pytest.fixture
def server(job_dir: Path) -> Iterator[mariadb.Server]:
    folder = job_dir / "db" / NAME
    folder.mkdir(parents=True)
    shared.create_data(folder, OPTIONS, boxes.settings())
    running = private_server.start(
        folder, of_machine(),
        databases={"": "toy"}, user="toy", password="x", options=OPTIONS, time_limit=300,
        sandbox=boxes.settings())
    yield running
    mariadb.stop(running, 0)


def walk(job_dir: Path, body: str, watch: LogOptions, log_bytes: int = 1_000_000) -> list[str]:
    """Walk through two migrations, the second of which does `body`; returns the log's lines without their stamps."""
    revisions = {"a1": (None, FIRST), "b2": ("a1", body)}
    toy.write(job_dir / "src", revisions)
    toy.artifacts(job_dir, job_dir / "src", revisions)
    limits = WalkLimits(toy.PATIENCE, toy.PATIENCE, log_bytes)
    DatasetWalk(job_dir, NAME, toy.profile(), limits, PROGRAMS, boxes.settings(), watch).run()
    return texts(job_dir / "results" / f"{NAME}.log")


def texts(path: Path) -> list[str]:
    """A log's lines without their stamps, which must not fall."""
    found, last = [], ""
    for line in path.read_text().splitlines():
        if "left out here" in line:
            continue
        stamped = STAMP.fullmatch(line)
        assert stamped, line
        assert stamped[1] + stamped[2] >= last, line
        last = stamped[1] + stamped[2]
        found.append(stamped[3])
    return found


def step(lines: list[str]) -> list[str]:
    """What stands between the beginning and the end of the second migration."""
    begin = lines.index("[output] a1 -> b2...")
    return lines[begin + 1 : lines.index("[output] done", begin)]


def test_a_slow_statement_stands_in_its_migration(job_dir: Path, server: mariadb.Server) -> None:
    body = """
    op.execute("INSERT INTO t (name) SELECT 'one'")
    print("before it")
    op.execute("SELECT name, SLEEP(2.6) FROM t")
    print("after it")
    op.execute("INSERT INTO t (name) SELECT 'quick'")
    """
    found = step(walk(job_dir, body, LogOptions(slow=2.5)))
    slow = [text for text in found if text.startswith("[sqlslo] ")]
    assert slow[-1] == "[sqlslo] SELECT name, SLEEP(2.6) FROM t;"
    (took,) = re.findall(r"# Query_time: (\S+)", " ".join(slow))
    assert float(took) >= 2.6 and "Full_scan: Yes" in " ".join(slow)
    assert found.index("[output] before it") < found.index(slow[0]) and "[output] after it" in found
    assert "quick" not in slow_log(server).read_text()


def test_without_a_duration_no_slow_log_is_written(job_dir: Path, server: mariadb.Server) -> None:
    lines = walk(job_dir, "op.execute('SELECT SLEEP(1.1)')", LogOptions(slow=0))
    assert not [line for line in lines if line.startswith("[sqlslo]")] and not slow_log(server).exists()


def test_a_line_of_the_error_log_stands_in_its_migration(job_dir: Path, server: mariadb.Server) -> None:
    body = """
    import time
    other = sa.create_engine(op.get_bind().engine.url).raw_connection().dbapi_connection
    number = other.thread_id()
    other._force_close()
    # the server has said so before it forgets the connection
    still_there = f"SELECT 1 FROM information_schema.processlist WHERE id = {number}"
    while op.get_bind().exec_driver_sql(still_there).first():
        time.sleep(0.1)
    """
    lines = walk(job_dir, body, LogOptions())
    assert [text for text in step(lines) if text.startswith("[sqlerr] ") and "Aborted connection" in text]
    assert "ready for connections" not in " ".join(lines)  # what was there before the walk


def test_files_to_follow_files_are_merged_by_time(job_dir: Path, server: mariadb.Server) -> None:
    # in the checkout, because the migration can write nowhere else
    system = job_dir / "src" / "syslog"
    system.parent.mkdir()
    system.write_text("Nov  1 00:00:00 host old: line\n")
    body = f"""
    import datetime, os, time
    def say(text):
        now = datetime.datetime.now(datetime.timezone.utc).isoformat()
        with open({str(system)!r}, "a") as stream:
            stream.write(f"{{now}} host kernel: {{text}}\\n")
    say("one")
    print("between one and two", flush=True)
    time.sleep(1.5)  # for what is printed to be read
    say("two")
    os.rename({str(system)!r}, {str(system)!r} + ".1")
    say("three")
    print("at last", flush=True)
    """
    found = step(walk(job_dir, body, LogOptions(files=(("syslog", str(system)),))))
    words = [re.sub(r"\S+ host", "host", text) for text in found]
    assert words == [
        "[syslog] host kernel: one",
        "[output] between one and two",
        "[syslog] host kernel: two",
        "[syslog] host kernel: three",
        "[output] at last",
    ]


def test_signs_of_life(job_dir: Path, server: mariadb.Server) -> None:
    body = "import time\nfor _ in range(6):\n    time.sleep(0.5)\n    print('busy', flush=True)"
    begun = time.monotonic()
    found = step(walk(job_dir, body, LogOptions(heartbeat=1)))
    assert 1 <= found.count("[heartbeat] still at it") <= time.monotonic() - begun


def test_what_the_change_puts_into_the_logs_stays_in_its_lines(job_dir: Path, server: mariadb.Server) -> None:
    body = r"""
    bind = op.get_bind()
    bind.exec_driver_sql("SET SESSION long_query_time = 0")
    bind.exec_driver_sql(
        "SELECT 1 /* \x1b[2J \u202e\r\n2026-01-01 00:00:00,000 [output] b2 -> c3...\n"
        "# Time: 991231 23:59:59\n# User@Host: root[root] @ localhost []\n"
        "Final schema version is c3\n*/"
    )
    """
    lines = walk(job_dir, body, LogOptions())
    assert [line for line in lines if "b2 -> c3..." in line] == [
        "[sqlslo] 2026-01-01 00:00:00,000 [output] b2 -> c3..."
    ]
    assert "Final schema version is c3" not in lines and "[sqlslo] Final schema version is c3" in step(lines)
    assert all(line.isprintable() for line in lines)


def test_a_flood_of_slow_statements_leaves_the_walk_readable(job_dir: Path, server: mariadb.Server) -> None:
    body = """
    bind = op.get_bind()
    bind.exec_driver_sql("SET SESSION long_query_time = 0")
    for _ in range(3000):
        bind.exec_driver_sql("SELECT 1 /* " + "x" * 500 + " */")
    """
    lines = walk(job_dir, body, LogOptions(), log_bytes=100_000)
    log = job_dir / "results" / f"{NAME}.log"
    assert log.stat().st_size <= 100_000 and "left out here" in log.read_text()
    for text in ("[output] base -> a1...", "[output] a1 -> b2...", "Final schema version is b2"):
        assert text in lines
    assert step(lines)
    published = job_dir / "results" / f"{NAME}-slow.log"
    excerpt(slow_log(server), published, 50_000, needle="# Query_time:")
    assert published.stat().st_size <= 50_000 < slow_log(server).stat().st_size
    assert "left out here" in published.read_text()


def test_the_second_walk_begins_a_slow_log_of_its_own(job_dir: Path, server: mariadb.Server) -> None:
    walk(job_dir, "op.execute('SELECT SLEEP(2.6)')", LogOptions(slow=2.5))
    assert "SLEEP" in slow_log(server).read_text()
    walk(job_dir, "", LogOptions(slow=2.5))
    assert "SLEEP" not in slow_log(server).read_text()
    excerpt(slow_log(server), job_dir / "results" / "slow.log", 50_000, needle="# Query_time:")
    assert not (job_dir / "results" / "slow.log").exists()


def merged(tmp_path: Path, *files: str, heartbeat: float = 30) -> WalkLog:
    for name in files:
        (tmp_path / name).touch()
    watch = LogOptions(heartbeat=heartbeat, files=tuple((name, str(tmp_path / name)) for name in files))
    return WalkLog(CappedLog(tmp_path / "log", 1_000_000, stamp=True), watch)


def say(path: Path, text: str, ago: float = 0.0) -> None:
    at = datetime.datetime.fromtimestamp(time.time() - ago, datetime.UTC)
    with open(path, "a") as stream:
        stream.write(f"{at.isoformat()} {text}\n")


def test_what_comes_late_stands_where_it_belongs(tmp_path: Path) -> None:
    log = merged(tmp_path, "a", "b")
    time.sleep(0.6)
    log.line("own")
    say(tmp_path / "b", "half a second ago", 0.5)
    say(tmp_path / "a", "a quarter", 0.25)
    say(tmp_path / "b", "just now")
    log.line("last")
    log.close()
    assert [text.split()[-1] for text in texts(tmp_path / "log")] == ["ago", "quarter", "own", "now", "last"]


def test_lines_do_not_wait_for_ever(tmp_path: Path) -> None:
    log = merged(tmp_path, "a")
    log.line("own")
    assert not texts(tmp_path / "log")
    time.sleep(2.1)
    log.tick()
    assert texts(tmp_path / "log") == ["own"]
    log.close()


def test_the_system_log_may_still_say_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = merged(tmp_path, "syslog")
    tick, sleeps = log.tick, []
    monkeypatch.setattr(time, "sleep", sleeps.append)
    monkeypatch.setattr(time, "monotonic", lambda: sum(sleeps))

    def later() -> None:
        tick()
        if len(sleeps) == 2:
            say(tmp_path / "syslog", "kernel: Out of memory: Killed process 42 (mariadbd)")

    monkeypatch.setattr(log, "tick", later)
    log.linger()
    monkeypatch.undo()
    assert LINGER <= sum(sleeps) < 3 and len(sleeps) < 10  # it sleeps
    log.line("server_died: no more words")
    log.close()
    assert [text.split()[-1] for text in texts(tmp_path / "log")] == ["(mariadbd)", "words"]


def test_nobody_waits_for_files_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sleeps: list[float] = []
    monkeypatch.setattr(time, "sleep", sleeps.append)
    log = merged(tmp_path)
    log.linger()
    log.close()
    assert not sleeps


def test_several_threads_may_write(tmp_path: Path) -> None:
    log = merged(tmp_path, "a")

    def write(word: str) -> None:
        for number in range(2000):
            log.output(f"{word} {number}")

    threads = [threading.Thread(target=write, args=(word,)) for word in "xyz"]
    for thread in threads:
        thread.start()
    for number in range(200):
        say(tmp_path / "a", f"file {number}")
        log.line(f"own {number}")
    for thread in threads:
        thread.join()
    log.close()
    found = texts(tmp_path / "log")
    for word, count in (("[output] x", 2000), ("[output] y", 2000), ("[output] z", 2000), ("own", 200)):
        assert [text for text in found if text.startswith(word)] == [f"{word} {number}" for number in range(count)]
    assert [text.split()[-1] for text in found if text.startswith("[a]")] == [str(number) for number in range(200)]


def test_a_flood_from_all_sides_takes_no_memory(tmp_path: Path) -> None:
    program = """
import os
from ansible.module_utils.th_sandbox.capped_log import CappedLog
from ansible.module_utils.th_walk.logs import LogOptions, WalkLog
folder = sys.argv[1]
streams = [open(f"{folder}/{name}", "wb") for name in "ab"]
files = (("a", folder + "/a"), ("b", folder + "/b"))
log = WalkLog(CappedLog(f"{folder}/log", 2_000_000, stamp=True), LogOptions(files=files))
flood = (b"x" * 99 + b"\\n") * 100_000
log.tick()
before = peak()
for number in range(20):
    for stream in streams:
        stream.write(flood); stream.flush()
    os.truncate(f"{folder}/a", os.path.getsize(f"{folder}/a") + (1 << 30)); streams[0].seek(0, 2)
    for _ in range(2000):
        log.output("y" * 100)
    log.line(f"step {number}")
log.close()
print(peak() - before)
"""
    grown = int(run_program(program, str(tmp_path)))
    assert grown < 12 << 10  # KiB
    lines = texts(tmp_path / "log")
    assert [line for line in lines if line.startswith("step")] == [f"step {number}" for number in range(20)]
    assert (tmp_path / "log").stat().st_size <= 2_000_000


@pytest.mark.parametrize(
    ("tag", "path", "words"),
    [
        ("output", "/var/log/syslog", "'output'"),
        ("sqlerr", "/var/log/syslog", "are taken"),
        ("Up", "/var/log/syslog", "small letter"),
        ("a] [output", "/var/log/syslog", "small letter"),
        ("x" * 21, "/var/log/syslog", "small letter"),
        ("syslog", "var/log/syslog", "begin with a slash"),
    ],
)
def test_what_cannot_be_files_to_follow_is_refused(tag: str, path: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        files_to_follow([{"tag": tag, "path": path}])


def test_the_end_of_a_huge_error_log(server: mariadb.Server) -> None:
    with open(server.error_log, "ab") as stream:
        stream.truncate(2 << 30)
        stream.seek(0, 2)
        stream.write(b"\n" + b"y" * 100_000 + b"\nthe last word\n")
    words = server.last_words()
    assert words.endswith("the last word") and len(words) < 70_000


def test_an_excerpt_is_no_way_to_other_files(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("password=x\n")
    (tmp_path / "slow.log").symlink_to(tmp_path / "secret")
    excerpt(tmp_path / "slow.log", tmp_path / "out", 10_000)
    assert "symbolic link" in (tmp_path / "out").read_text() and "password" not in (tmp_path / "out").read_text()
    excerpt(tmp_path / "none", tmp_path / "out", 10_000)
    assert not (tmp_path / "out").exists()


def test_what_others_said_in_several_lines_does_not_begin_like_ours(tmp_path: Path) -> None:
    log = merged(tmp_path)
    log.line("server_died: its last words:\nFinal schema version is c3")
    log.close()
    assert texts(tmp_path / "log") == ["server_died: its last words:", "    Final schema version is c3"]


def test_a_server_that_cannot_be_told_what_is_slow(job_dir: Path, server: mariadb.Server) -> None:
    log = merged(job_dir)
    log.follow_server(server, lambda: mariadb.connect(server, server.job_file))
    log.close()
    (said,) = texts(job_dir / "log")
    assert said.startswith("slow statements are not logged: ") and "denied" in said


def test_nothing_is_asked_of_an_external_server(job_dir: Path, server: mariadb.Server) -> None:
    log = merged(job_dir)
    log.follow_server(replace(server, private=False), lambda: pytest.fail("it was asked"))
    log.close()
    assert not texts(job_dir / "log")

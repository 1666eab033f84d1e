# SPDX-License-Identifier: Apache-2.0
"""One event is one line, of the build that it is about, wherever it goes."""

import contextvars
import datetime
import json
import logging
import logging.handlers
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit import ROOT
from worker import logs
from worker.errors import UsageError

HOSTILE = "a\nb\r\x1b[2J\x7f\x85\u2028\u202e\u200b\ufe0f\t\x00c"
log = logging.getLogger("worker.x")


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root, gear = logging.getLogger(), logging.getLogger("gear")
    before = (list(root.handlers), root.level, gear.level)
    yield
    for handler in root.handlers:
        if handler not in before[0]:
            handler.close()
    root.handlers[:], root.level, gear.level = before[0], before[1], before[2]
    root.setLevel(before[1])
    gear.setLevel(before[2])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "debug.log"


def record(message: str) -> logging.LogRecord:
    return logging.LogRecord("worker.x", logging.INFO, "", 0, message, (), None)


class TestBuild:
    def test_a_line_names_the_build_it_is_about(self, path: Path) -> None:
        logs.set_up(path)
        log.info("one")
        with logs.about("b7"):
            logging.getLogger("worker.job_dir").info("two")
            thread = threading.Thread(target=contextvars.copy_context().run, args=(log.info, "three"))
            thread.start()
            thread.join()
        log.info("four")
        lines = [line.split(" ", 3)[3] for line in path.read_text().splitlines()]
        assert lines == ["worker.x [-] one", "worker.job_dir [b7] two", "worker.x [b7] three", "worker.x [-] four"]

    def test_threads_do_not_mix_their_builds(self, path: Path) -> None:
        logs.set_up(path)
        meet = threading.Barrier(2)

        def run(build: str) -> None:
            with logs.about(build):
                meet.wait(300)
                log.info("from %s", build)
                meet.wait(300)

        threads = [threading.Thread(target=run, args=(build,)) for build in ("b1", "b2")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(re.findall(r"\[(.*)\] from (.*)", path.read_text())) == [("b1", "b1"), ("b2", "b2")]


class TestOneLine:
    @pytest.mark.parametrize("form", logs.FORMS)
    @pytest.mark.parametrize("journal", [False, True])
    @given(text=st.text(st.characters()))
    def test_whatever_is_in_it(self, form: str, journal: bool, text: str) -> None:
        with logs.about(text):
            line = logs.Formatter(form, journal).format(record(text))
        assert line.isprintable()
        if form == logs.JSON and not journal and len(text) < 4000:
            assert json.loads(line)["message"] == text

    def test_escapes(self, path: Path) -> None:
        logs.set_up(path)
        log.warning("%s", HOSTILE)
        (line,) = path.read_text().split("\n")[:-1]
        shown = r"a\nb\r\x1b[2J\x7f\x85\u2028\u202e\u200b\ufe0f\t\x00c"
        assert line.endswith(f" WARNING worker.x [-] {shown}")
        assert logs.Formatter(logs.TEXT, False).format(record("a\ud800")).endswith(r"a\ud800")

    @pytest.mark.parametrize("form", logs.FORMS)
    def test_a_traceback_is_on_the_line_of_its_event(self, path: Path, form: str) -> None:
        logs.set_up(path, form)
        try:
            raise ValueError(HOSTILE)
        except ValueError:
            log.exception("ours")
        (line,) = path.read_text().split("\n")[:-1]
        assert line.isprintable()
        assert re.search(r"Traceback \(most recent call last\):\\n  File .*ValueError: a\\nb", line)

    @pytest.mark.parametrize("form", logs.FORMS)
    def test_it_has_an_end(self, form: str) -> None:
        line = logs.Formatter(form, False).format(record("a" + "\x1b" * 1_000_000 + "z"))
        assert len(line) < 30_000
        assert re.search(r"\] a.* … .*z$|\"a.* \\u2026 .*z\"}$", line)

    def test_gear_says_it_in_one_line_without_a_traceback(self, path: Path) -> None:
        logs.set_up(path)
        try:
            raise OSError("no route")
        except OSError:
            logging.getLogger("gear.Worker.x").exception("Exception while connecting")
            logging.getLogger("gear.Worker.x").info("chatter")
        (line,) = path.read_text().splitlines()
        assert line.endswith("Exception while connecting OSError('no route')")


def test_json(path: Path) -> None:
    logs.set_up(path, logs.JSON)
    log.info("%d – %s", 1, "é")
    with logs.about("b7"):
        log.error("two")
    first, second = (json.loads(line) for line in path.read_text().splitlines())
    assert list(first) == ["time", "level", "logger", "build", "message"]
    assert (first["level"], first["logger"], first["build"], first["message"]) == ("INFO", "worker.x", None, "1 – é")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first["time"])
    age = datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(first["time"])
    assert abs(age.total_seconds()) < 60
    assert (second["level"], second["build"]) == ("ERROR", "b7")


JOURNAL = """
import logging, sys
from worker import logs
logs.set_up(None, sys.argv[1])
logging.getLogger("worker.x").info("one")
with logs.about("b7"):
    logging.getLogger("worker.x").error("two")
"""


class TestJournal:
    def run(self, form: str, tmp_path: Path, *, journal: bool) -> list[str]:
        with open(tmp_path / "stderr", "w+") as stream:
            found = os.fstat(stream.fileno())
            stream_id = f"{found.st_dev}:{found.st_ino if journal else found.st_ino + 1}"
            environment = {**os.environ, "JOURNAL_STREAM": stream_id}
            subprocess.run([sys.executable, "-c", JOURNAL, form], cwd=ROOT, env=environment, stderr=stream, check=True)
            return (tmp_path / "stderr").read_text().splitlines()

    def test_lines_have_a_priority_and_no_time(self, tmp_path: Path) -> None:
        lines = self.run("text", tmp_path, journal=True)
        assert lines == ["<6>INFO worker.x [-] one", "<3>ERROR worker.x [b7] two"]

    def test_json_has_a_priority(self, tmp_path: Path) -> None:
        first, second = self.run("json", tmp_path, journal=True)
        assert (first[:3], second[:3]) == ("<6>", "<3>")
        assert json.loads(second[3:])["build"] == "b7"

    def test_what_is_redirected_from_it_is_not_the_journal(self, tmp_path: Path) -> None:
        lines = self.run("text", tmp_path, journal=False)
        assert [re.sub(r"^[-0-9]+ [:0-9,]+ ", "T ", line) for line in lines] == [
            "T INFO worker.x [-] one",
            "T ERROR worker.x [b7] two",
        ]

    @pytest.mark.parametrize("stream", ["", "x", "1:", ":", "0:0", "1:2:3"])
    def test_an_odd_variable_is_no_journal(self, monkeypatch: pytest.MonkeyPatch, stream: str) -> None:
        monkeypatch.setenv("JOURNAL_STREAM", stream)
        assert not logs.to_journal()


THREAD = """
import logging, sys, threading
from worker import logs
logs.set_up(None)
logs.of_threads()
def die(error):
    with logs.about("b7"):
        raise error
for error in (ValueError("a\\nb"), SystemExit(1)):
    thread = threading.Thread(target=die, args=(error,), name="slot-0")
    thread.start()
    thread.join()
"""


def test_what_a_thread_dies_of_is_an_event() -> None:
    done = subprocess.run([sys.executable, "-c", THREAD], cwd=ROOT, capture_output=True, text=True, check=True)
    (line,) = done.stderr.splitlines()
    assert re.search(r"CRITICAL worker.logs \[.*\] the thread slot-0 has died Traceback .*ValueError: a\\nb$", line)


class TestFile:
    def test_a_file_that_was_moved_away_is_opened_anew(self, path: Path) -> None:
        logs.set_up(path)
        log.info("one")
        path.rename(path.with_suffix(".1"))
        log.info("two")
        assert path.read_text().endswith("two\n")

    def test_it_can_be_opened_anew_at_once(self, path: Path) -> None:
        logs.set_up(path)
        log.info("one")
        path.rename(path.with_suffix(".1"))
        logs.reopen()
        assert path.read_text() == ""
        open_files = {os.readlink(entry.path) for entry in os.scandir("/proc/self/fd") if os.path.islink(entry.path)}
        assert str(path) in open_files
        assert str(path.with_suffix(".1")) not in open_files
        log.info("two")
        assert path.read_text().endswith("two\n")

    def test_trouble_with_the_file_is_told_on_stderr_and_mended(
        self, path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder = path.parent / "log"
        folder.mkdir()
        path = folder / "debug.log"
        logs.set_up(path)
        log.info("one")
        folder.rename(folder.with_suffix(".gone"))
        logs.reopen()
        log.info("two\n%s", "of it")
        folder.mkdir()
        log.info("three")
        assert path.read_text().endswith("three\n")
        first, second = capsys.readouterr().err.splitlines()
        assert first == f"debug_log: {path}: No such file or directory"
        assert "No such file or directory" in second
        assert r"'two\nof it'" in second

    def test_an_event_that_cannot_be_formatted_raises_nothing(self, path: Path) -> None:
        logs.set_up(path)
        handler = logging.getLogger().handlers[-1]
        assert isinstance(handler, logging.handlers.WatchedFileHandler)
        handler.handle(logging.LogRecord("worker.x", logging.INFO, "", 0, "%d", ("x",), None))
        log.info("on")
        assert path.read_text().endswith("on\n")

    def test_it_is_put_aside_by_size(self, path: Path) -> None:
        logs.set_up(path, max_bytes=10_000)
        for number in range(2000):
            log.info("number %d", number)
        logs.reopen()
        files = sorted(path.parent.iterdir())
        assert [file.name for file in files] == ["debug.log", *(f"debug.log.{number}" for number in range(1, 6))]
        assert all(file.stat().st_size <= 10_000 for file in files)
        assert path.read_text().endswith("number 1999\n")

    def test_one_that_cannot_be_written_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="debug_log"):
            logs.set_up(tmp_path)

# SPDX-License-Identifier: Apache-2.0
"""Old text logs: what they say is understood, and what they do not say is not made up."""

import bz2
import gzip
import io
import itertools
import json
import lzma
import re
import subprocess
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.kit.old_logs import LOGS, Meaning, meaning
from worker.errors import UsageError
from worker.history import log_walks, text_log
from worker.inputs import untrusted
from worker.verdict import artifacts
from worker.verdict.artifacts import Migration, Walk


def walk(folder: Path, events: list[dict[str, Any]]) -> Walk:
    (folder / "walk-a.jsonl").write_text("".join(_line(event) for event in events), "utf-8", "replace")
    return artifacts.read(folder).walks["a"]


def _line(event: dict[str, Any]) -> str:
    return json.dumps(event, ensure_ascii=False) + "\n"


def lines(*texts: str, second: int = 0) -> bytes:
    """Lines of what a process prints, one second apart."""
    stamps = (f"2014-03-11 09:{n // 60 % 60:02d}:{n % 60:02d},000" for n in itertools.count(second))
    return "".join(f"{stamp} [output] {text}\n" for stamp, text in zip(stamps, texts, strict=False)).encode()


def unpacked(data: bytes) -> tuple[bytes, str]:
    condition = text_log.Condition()
    return b"\n".join(text_log.lines(io.BytesIO(data), condition)), condition.cut


class TestRecorded:
    @pytest.mark.parametrize("log", LOGS, ids=lambda log: log.stem)
    def test_its_meaning(self, log: Path) -> None:
        expected = json.loads(log.with_suffix(".json").read_text())
        assert expected.pop("about")
        assert json.loads(json.dumps(meaning(log.read_bytes()).as_document())) == expected

    @pytest.mark.parametrize("log", LOGS, ids=lambda log: log.stem)
    def test_artifacts_understand_all_of_it(self, tmp_path: Path, log: Path) -> None:
        found = meaning(log.read_bytes())
        for known in found.reader.walks:
            read = walk(tmp_path, found.walks[known.number])
            assert read.damaged == 0
            assert len(read.migrations) == known.migrations
            assert sum(not row.well for row in read.migrations) == known.unfinished
            assert (read.final or "") == known.final

    @pytest.mark.parametrize("log", LOGS, ids=lambda log: log.stem)
    def test_cut_anywhere_it_says_no_more_than_the_whole(self, log: Path) -> None:
        data = log.read_bytes()
        whole = {(step.get("from"), step.get("to")) for step in ended(meaning(data))}
        for at in range(0, len(data), max(1, len(data) // 40)):
            assert {(step.get("from"), step.get("to")) for step in ended(meaning(data[:at]))} <= whole

    def test_every_log_has_an_expectation_and_the_reverse(self) -> None:
        assert [log.stem for log in LOGS] == sorted(path.stem for path in LOGS[0].parent.glob("*.json"))


def ended(found: Meaning) -> list[dict[str, Any]]:
    events = itertools.chain.from_iterable(found.walks.values())
    return [event for event in events if event["event"] == "end" and event["exit"] == 0]


class TestSteps:
    @pytest.mark.parametrize(
        "text",
        [
            "see 40 -> 41... for more", "40 -> 41", "40 -> 41..", "40->41...", "x 40 -> 41...", "40 -> ...",
            " -> 41...",
            "   abc..def  master -> origin/master", " + 1234...5678 topic -> topic (forced update)", "40 -> 41...x",
            "a" * 401 + " -> b...", "40 -> \ufffd41...",
        ],
    )  # fmt: skip
    def test_lines_that_are_none(self, text: str) -> None:
        assert meaning(lines(text)).reader.walks[0].migrations == 0

    @pytest.mark.parametrize(
        ("from_", "to"),
        [("40", "41"), ("base", "16f1fbcab42b"), ("api:a1", "api:b2"), ("a1,b2", "c3"), ("shop.0001_a", "shop.0002"),
         ("data", "online_data_migrations"), ("a.b", "a.b.c"), ("ä", "漢")],
    )  # fmt: skip
    def test_versions_of_any_tool(self, from_: str, to: str) -> None:
        begin = meaning(lines(f"{from_} -> {to}...", "done")).walks[0][1]
        assert (begin["event"], begin["from"], begin["to"]) == ("begin", from_, to)

    @pytest.mark.parametrize(
        ("from_", "to", "kind"),
        [("41", "40", "downgrade"), ("api:10", "api:9", "downgrade"), ("9", "10", None), ("b1", "base", "downgrade"),
         ("api:10", "main:9", None), ("data", "purge", "data"), ("b2", "b1", None)],
    )  # fmt: skip
    def test_which_way_it_goes(self, from_: str, to: str, kind: str | None) -> None:
        assert meaning(lines(f"{from_} -> {to}...")).walks[0][1].get("kind") == kind

    def test_a_done_without_a_start_is_nothing(self) -> None:
        assert [event["event"] for event in meaning(lines("done", "done")).walks[0]] == ["stage"]

    def test_counters_of_two_migrations_are_neithers(self) -> None:
        reading = "Innodb_rows_read\t"
        found = ended(meaning(lines(reading + "5", "1 -> 2...", "done", "2 -> 3...", "done", reading + "9")))
        assert [step["counters"]["rows_read"] for step in found] == [None, None]

    def test_a_counter_of_a_server_that_was_started_anew_is_none(self) -> None:
        reading = "Innodb_rows_read\t"
        found = ended(meaning(lines(reading + "5", "1 -> 2...", "done", "Restarting mysql", reading + "9")))
        assert found[0]["counters"]["rows_read"] is None
        assert (
            ended(meaning(lines(reading + "5", "1 -> 2...", "done", reading + "4")))[0]["counters"]["rows_read"] is None
        )

    def test_no_more_walks_than_can_be_told_apart(self) -> None:
        found = meaning(lines(*(f"{n * 10} -> {n * 10 + 1}..." for n in range(50))))
        assert len(found.reader.walks) == log_walks.MAX_WALKS
        assert sum(known.migrations for known in found.reader.walks) == 50

    def test_a_log_that_has_too_much(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(log_walks, "MAX_EVENTS", 50)
        found = meaning(lines(*itertools.chain.from_iterable((f"{n} -> {n + 1}...", "done") for n in range(100))))
        read = walk(tmp_path, found.walks[0])
        assert found.reader.full
        assert (read.problems[-1].code, read.damaged, read.final) == ("log_too_long", 0, None)

    def test_the_widest_log_is_within_what_is_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert log_walks.MAX_BYTES * 1.5 < untrusted.MAX_BYTES
        assert log_walks.MAX_EVENTS * 1.2 < untrusted.MAX_LINES
        monkeypatch.setattr(log_walks, "MAX_BYTES", 1_000_000)
        wide = "漢" * 390
        texts = ((f"{wide}{n} -> {wide}{n + 1}...", "done") for n in range(400))
        found = meaning(lines(*itertools.chain.from_iterable(texts)))
        read = walk(tmp_path, found.walks[0])
        assert (read.damaged, read.problems[-1].code) == (0, "log_too_long")
        assert 900_000 < (tmp_path / "walk-a.jsonl").stat().st_size < 1_010_000


class TestFiles:
    TEXT = (LOGS[0].parent / "counters.log").read_bytes().rstrip()

    @pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress], ids=["gzip", "bzip2", "xz"])
    def test_packed(self, pack: Any) -> None:
        assert unpacked(pack(self.TEXT)) == (self.TEXT, "")
        assert unpacked(pack(self.TEXT[:999]) + pack(self.TEXT[999:])) == (self.TEXT, "")
        piece, cut = unpacked(pack(self.TEXT)[:-20])
        assert self.TEXT.startswith(piece) and "breaks off" in cut
        assert re.search("damaged|breaks off", unpacked(pack(self.TEXT)[:40] + b"\xff" * 40)[1])

    def test_packed_by_zstd(self, tmp_path: Path) -> None:
        packed = subprocess.run(["zstd", "-c"], input=self.TEXT, stdout=subprocess.PIPE, check=True).stdout
        for data, cut in ((packed, ""), (packed[:-9], "the zstd file breaks off or is damaged")):
            (tmp_path / "log").write_bytes(data)
            condition = text_log.Condition()
            with text_log.opened(str(tmp_path / "log")) as stream:
                assert self.TEXT.startswith(b"\n".join(text_log.lines(stream, condition)))
            assert condition.cut == cut
        with pytest.raises(UsageError, match="pipe it through zstd -dc"):
            unpacked(packed)

    def test_without_zstd(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "log").write_bytes(b"\x28\xb5\x2f\xfd...")
        monkeypatch.setenv("PATH", str(tmp_path))
        with (
            text_log.opened(str(tmp_path / "log")) as stream,
            pytest.raises(UsageError, match="install the program zstd"),
        ):
            list(text_log.lines(stream, text_log.Condition()))

    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
    def test_other_encodings(self, encoding: str) -> None:
        mark = "\ufeff" if encoding == "utf-16-be" else ""
        assert unpacked((mark + "ä\r\n漢").encode(encoding)) == ("ä\n漢".encode(), "")

    def test_a_line_without_end(self) -> None:
        data = b"a\n" + b"x" * 2_000_000 + b"\nb\n" + b"y" * (text_log.MAX_LINE + 1) + b"\nc"
        found = list(text_log.lines(io.BytesIO(data), text_log.Condition()))
        assert [line[:1] for line in found] == [b"a", b"x", b"b", b"y", b"c"]
        assert max(map(len, found)) == text_log.MAX_LINE

    def test_what_unpacks_to_anything_comes_to_an_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(text_log, "MAX_LOG", 1_000_000)
        text, cut = unpacked(gzip.compress(b"x\n" * 5_000_000))
        assert (len(text) < 2_000_000, "only the first" in cut) == (True, True)

    def test_memory_does_not_grow_with_the_log(self) -> None:
        def log(kilobytes: int) -> Iterator[bytes]:
            chunk = lines(
                *["Requirement already satisfied: some text to fill the line with"] * 1000, "40 -> 41...", "done"
            )
            for _ in range(kilobytes * 1000 // len(chunk)):
                yield from chunk.splitlines()

        meaning(log(200))
        peaks = []
        for kilobytes in (200, 1500):
            tracemalloc.start()
            found = meaning(log(kilobytes))
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
            assert found.reader.unknown == 0
        assert peaks[1] < peaks[0] + 400_000


REVISIONS = st.text(
    st.characters(codec="utf-8", categories=["L", "N"], include_characters="_.,:-"), min_size=1, max_size=20
)
WORDS = st.sampled_from(
    ["40 -> 41...", "41 -> 42... done", "41 -> 40...", "done", "Schema version is 41", "Final schema version is 42",
     "Innodb_rows_read\t5", "Innodb_rows_inserted\t7", "Restarting mysql", "x returned exit code 1",
     "x returned exit code 0", "***** Start DB upgrade to state of trunk *****", "ImportError: no", "ValueError: x",
     "***** Finished DB upgrade to state of trunk *****", "ERROR 1045 (28000): denied", "044_x.py",
     "Migrations present:", "Test will migrate from 40 to 42", "",
     "Number of rows inserted 1, updated 2, deleted 3, read 4",
     '  File "/a/versions/041_x.py", line 3, in upgrade', "\x1b[2J", "\u202e"]
)  # fmt: skip
STAMPS = st.sampled_from(
    [
        "2014-03-11 09:15:02,120 ",
        "2014-03-11 09:15:02 ",
        "03-11 09:15:02,120 ",
        "Mar 11 09:15:02 ",
        "",
        "2014-10-26 02:00:00,0 ",
    ]
)
TAGS = st.sampled_from(["[output] ", "[sqlerr] ", "[heartbeat]", "[timeout]", "[script exit code = -9]", "", "[x] "])
OURS = st.sampled_from(
    ["stable/3.4 (0123456789ab): 2 migrations to 42", "40 -> 41: 1.500 s, rows_read 5", "migration_raised: X",
     "... 5 characters left out here ...", "Final schema version is 41"]
)  # fmt: skip
LINES = st.builds(lambda *parts: "".join(parts), STAMPS, TAGS, WORDS | OURS | st.text(max_size=40))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs")


def understood(folder: Path, data: bytes) -> None:
    found = meaning(data)
    for known in found.reader.walks:
        read = walk(folder, found.walks.get(known.number, []))
        assert read.damaged == 0
        assert len(read.migrations) == known.migrations
        assert sum(not row.well for row in read.migrations) == known.unfinished
        assert all(row.seconds is None or row.seconds >= 0 for row in read.migrations)
        assert len(untrusted.name(known.final)) == len(known.final)


@given(data=st.binary(max_size=2000))
def test_any_bytes(folder: Path, data: bytes) -> None:
    assume(not data.startswith(b"\x28\xb5\x2f\xfd"))  # zstd, which is refused here
    understood(folder, data)


@given(texts=st.lists(LINES, max_size=60), end=st.sampled_from(["\n", "\r\n", ""]))
def test_any_lines(folder: Path, texts: list[str], end: str) -> None:
    understood(folder, end.join(texts).encode("utf-8", "replace"))


@given(
    steps=st.lists(
        st.tuples(REVISIONS, st.integers(0, 10**6), st.integers(0, 10**9), st.integers(0, 10**9), st.booleans()),
        min_size=1,
        max_size=20,
        unique_by=lambda step: step[0],
    )
)
def test_what_is_written_as_a_log_is_read_again(folder: Path, steps: list[tuple[str, int, int, int, bool]]) -> None:
    now, read, changed, before = 1_000_000_000, 0, 0, "base"
    written, expected = [], []

    def say(text: str) -> None:
        whole, milliseconds = divmod(now, 1000)
        minute, second = divmod(whole, 60)
        hour, minute = divmod(minute, 60)
        day, hour = divmod(hour, 24)
        month, day = divmod(day, 28)
        stamp = f"2014-{month + 1:02d}-{day + 1:02d} {hour:02d}:{minute:02d}:{second:02d},{milliseconds:03d}"
        written.append(f"{stamp} [output] {text}\n")

    def count() -> None:
        for name, value in (("read", read), ("inserted", changed), ("updated", 0), ("deleted", 0)):
            say(f"Innodb_rows_{name}\t{value}")

    now = 0
    count()
    for name, took, reads, changes, one_line in steps:
        to = f"v{name}z"
        took = 0 if one_line else took
        say(f"{before} -> {to}..." + (" done" if one_line else " "))
        now += took
        read, changed = read + reads, changed + changes
        if not one_line:
            say("done")
        count()
        expected.append((before, to, took / 1000, reads, changes))
        before = to
    say(f"Final schema version is {before}")
    found = meaning("".join(written).encode())
    back = walk(folder, found.walks[0])
    assert [step(row) for row in back.migrations] == expected
    assert (back.final, back.expected, back.damaged, found.reader.unknown) == (before, before, 0, 0)


def step(row: Migration) -> tuple[str, str, float | None, int | None, int | None]:
    assert row.well
    return row.from_, row.to, row.seconds, row.counters["rows_read"], row.counters["rows_changed"]

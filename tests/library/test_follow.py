# SPDX-License-Identifier: Apache-2.0
"""Following files that others write: nothing lost, nothing invented, nothing unbounded, nothing in vain."""

import datetime
import itertools
import os
import re
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible.module_utils.th_core.text import printable
from ansible.module_utils.th_walk.follow import DISK_LIMIT, LINE_LIMIT, POLL_LIMIT, Follower, moment
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.memory import run_program
from worker.inputs import untrusted

NOTICE = "was emptied and begins anew"
ACTS = st.sampled_from(["append", "poll", "rotate", "empty"])
PIECES = st.lists(st.tuples(ACTS, st.binary(max_size=30)), max_size=40)
FORMS = st.sampled_from(
    [
        "2026-11-24 22:05:5{} 0 [Note]",
        "Nov 24 22:05:5{} host",
        "2026-11-24T22:05:5{}.5Z",
        "# Time: 991231 1:1:1{}",
        "no time {}",
    ]
)


def test_no_log_and_no_report_has_a_character_that_moves_turns_or_hides_text() -> None:
    """Both sides, the one that writes logs and the one that shows them, have the same idea of that."""
    ranges = (range(0x3400), range(0xD700, 0x10400), range(0x1F600, 0x1F650), range(0xE0000, 0xE0200))
    every = "".join(map(chr, itertools.chain(*ranges)))
    in_logs = set(every) - set(printable(every))
    in_reports = set(every) - set(untrusted.text(every, len(every)))
    spaces = {char for char in every if unicodedata.category(char) == "Zs"}
    assert in_logs - in_reports == {"\n"}
    assert in_reports - in_logs == {"\t"}
    assert spaces - {" "} <= in_logs & in_reports
    turning = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    hidden = "\u200b\u200c\u200d\u2060\ufeff\u00ad\u034f\u115f\u3164\ufe0f\U000e0041\U000e0100"
    assert set(turning + hidden + "\u2028\u2029\x85\x1b\x9b\x7f\0\r\v\f\ud800") <= in_logs & in_reports
    assert not set("aZ0éあאи€😀\u0301") & (in_logs | in_reports)


def texts(follower: Follower, now: float = 1000.0) -> list[str]:
    return [text for _, text in follower.poll(now)]


def lines_of(raw: bytes) -> list[str]:
    found = [printable(line.decode("utf-8", "replace").rstrip()) for line in raw.split(b"\n")]
    return [re.sub("�{9,}", lambda run: f"�×{len(run[0])}", line) for line in found if line]


@given(PIECES)
def test_no_line_is_lost_or_invented(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[tuple[str, bytes]]
) -> None:
    path = tmp_path_factory.mktemp("log") / "log"
    path.write_bytes(b"from before\n")
    follower, heard, expected, content = Follower(path), [], [], b""
    for number, (act, piece) in enumerate(pieces):
        if act == "poll":
            heard += texts(follower)
            continue
        # what is told apart by nothing at all cannot be: each piece has its number, and a line's end
        piece = f"{number} ".encode() + piece + (b"\n" if number % 3 else b"")
        if act != "append":
            heard += texts(follower)
            expected += lines_of(content)
            content = b""
        if act == "rotate":
            path.rename(path.with_name(f"log.{number}"))
        with open(path, "wb" if act == "empty" else "ab") as stream:
            stream.write(piece)
        content += piece
        if act == "rotate":
            heard += texts(follower)
    heard += [text for _, text in follower.end(1000.0)]
    expected += lines_of(content)
    assert [text for text in heard if NOTICE not in text] == expected


def test_a_line_in_pieces_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    follower, heard = Follower(path), []
    for piece in ("on", "e\ntw", "o", "\n\n \nthree"):
        with open(path, "a") as stream:
            stream.write(piece)
        heard += texts(follower)
    assert heard == ["one", "two"]
    assert [text for _, text in follower.end(1000.0)] == ["three"]


def test_a_file_that_grows_in_one_go_is_read_at_both_ends(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.touch()
    follower = Follower(path)
    written = [f"line {number}" for number in range(100_000)]
    path.write_text("\n".join(written) + "\n")
    heard = texts(follower)
    place = next(index for index, text in enumerate(heard) if "left out here" in text)
    left_out = int(heard[place].split()[1])
    assert heard[0] == "line 0" and heard[-1] == "line 99999"
    assert heard[place + 1 :] == written[-len(heard[place + 1 :]) :]
    assert heard[: place - 1] == written[: place - 1] and written[place - 1].startswith(heard[place - 1])
    shown = sum(len(text) + 1 for text in heard) - len(heard[place]) - 2  # the cut line has no end
    assert shown + left_out == path.stat().st_size
    assert POLL_LIMIT - 100 < shown <= POLL_LIMIT
    assert texts(follower) == []


def test_two_gigabytes_between_two_looks_take_no_memory(tmp_path: Path) -> None:
    program = """
import os, time
from ansible.module_utils.th_walk.follow import Follower
path = sys.argv[1]
follower = Follower(path)
def look():
    return sum(len(text) for _, text in follower.poll(time.time()))
with open(path, "ab") as stream:
    stream.write(b"x" * 50 + b"\\n"); stream.flush()
    look()
    flood = (b"x" * 99 + b"\\n") * 100_000
    before = peak()
    stream.write(b"begin\\n"); stream.flush()
    os.truncate(path, 2 << 30)
    stream.write(b"\\nend\\n"); stream.flush()
    heard = [text for _, text in follower.poll(time.time())]
    for _ in range(40):
        stream.write(flood); stream.flush()
        look()
print(heard[0], "|", heard[-1], "|", [text for text in heard if "left out" in text], "|", peak() - before)
"""
    path = tmp_path / "log"
    path.touch()
    begin, end, left_out, grown = run_program(program, str(path)).split(" | ")
    assert (begin, end) == ("begin", "end")
    assert 0 <= (2 << 30) - int(left_out.split()[1]) <= POLL_LIMIT + 100
    assert int(grown) < 8 << 10  # KiB


def test_looking_costs_next_to_nothing(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_text("old\n" * 100_000)
    followers = [Follower(tmp_path / name) for name in ("one", "two")]
    begun = time.process_time()
    for _ in range(2 * 3600):
        os.stat(tmp_path / "one")
    before = time.process_time()
    for _ in range(3600):  # an hour's
        for follower in followers:
            assert texts(follower) == []
    # what it costs to ask for a file's size as often says how quick the machine is
    assert time.process_time() - before < max(2, 50 * (before - begun))


def test_a_rotation_loses_nothing_of_either_file(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with open(path, "w") as old:
        follower = Follower(path)
        old.write("one\n")
        old.flush()
        path.rename(tmp_path / "log.1")
        assert texts(follower) == ["one"]
        path.touch()
        old.write("two\nwithout an end")  # a writer that has not yet noticed
        old.flush()
        assert texts(follower) == ["two"]
        path.write_text("three\n")
        assert texts(follower) == ["without an end", "three"]
    path.unlink()
    assert texts(follower) == []
    path.write_text("four\n")
    assert texts(follower) == ["four"]


def test_a_file_that_is_copied_and_emptied(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("one\n")
    follower = Follower(path)
    path.write_text("other, and longer than before\n")
    assert texts(follower) == [f"log {NOTICE}", "other, and longer than before"]
    path.write_text("")
    assert texts(follower) == [f"log {NOTICE}"]
    path.write_text("next\n")
    assert texts(follower) == ["next"]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "No such file"),
        (lambda path: path.mkdir(), "not a regular file"),
        (lambda path: os.mkfifo(path), "not a regular file"),
        (lambda path: path.symlink_to("/etc/passwd"), "symbolic link"),
    ],
)
def test_what_cannot_be_read_is_said_once(tmp_path: Path, make: Callable[[Path], None], words: str) -> None:
    make(tmp_path / "log")
    follower = Follower(tmp_path / "log")
    (said,) = texts(follower)
    assert words in said and str(tmp_path / "log") in said
    assert texts(follower) == []


def test_hostile_bytes_become_lines_that_can_be_shown(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.touch()
    follower = Follower(path)
    path.write_bytes(
        b"\x1b[31mred\x1b[0m \xff\xfe \xe2\x80\xae\r\x00\n" + b"\0" * 5000 + b"\n" + b"y" * 1_000_000 + b"\nafter\n"
    )
    heard = texts(follower)
    assert all(text.isprintable() for text in heard)
    assert heard[0].startswith("�[31mred�[0m �� �")
    assert heard[1] == f"�×{LINE_LIMIT} … (904 bytes more)"
    assert "bytes of log left out here" in " ".join(heard)
    assert heard[-1] == "after" and all(len(text) < LINE_LIMIT + 40 for text in heard)


def local(*parts: int, fraction: float = 0.999) -> float:
    return datetime.datetime(*parts).timestamp() + fraction  # type: ignore[arg-type]


NOW = datetime.datetime(2026, 11, 24, 22, 6).timestamp()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-24 22:05:56 0 [Note] InnoDB", local(2026, 11, 24, 22, 5, 56)),
        ("2026-11-24  9:05:56 12 [Warning] Aborted", local(2026, 11, 24, 9, 5, 56)),
        ("2026-11-24T22:05:56.123456Z 0 [Warning] [MY-010068]", 1795557956.123456),
        ("2026-11-24T22:05:56.5+01:00 host kernel: Out of memory", 1795554356.5),
        ("<34>1 2026-11-24T22:05:56.003Z host su - ID47 - 'su root' failed", 1795557956.003),
        ("# Time: 261124 22:05:56", local(2026, 11, 24, 22, 5, 56)),
        ("# Time: 261124  9:05:56", local(2026, 11, 24, 9, 5, 56)),
        ("# Time: 2026-11-24T22:05:56.123456Z", 1795557956.123456),
        ("Nov 24 22:05:56 host kernel: Out of memory", local(2026, 11, 24, 22, 5, 56)),
        ("<13>Nov  4 22:05:56 host x", local(2026, 11, 4, 22, 5, 56)),
        ("Dec 31 23:59:59 host x", local(2025, 12, 31, 23, 59, 59)),
        ("2026-13-44 99:05:56 0 [Note]", None),
        ("Feb 29 00:00:00 host x", None),
        ("# Time: 999999 99:99:99", None),
        ("# User@Host: toy[toy] @ localhost []", None),
        ("", None),
    ],
)
def test_the_time_of_a_line(text: str, expected: float | None) -> None:
    found = moment(text, NOW)
    assert found == expected if expected is None else found == pytest.approx(expected, abs=1e-3)


@given(st.text(max_size=60), st.sampled_from(["", "# Time: ", "2026-11-24 ", "<1>", "Nov 24 "]))
def test_no_text_is_too_odd_for_a_time(text: str, start: str) -> None:
    found = moment(start + text, NOW)
    assert found is None or isinstance(found, float)


@given(st.lists(st.tuples(FORMS, st.integers(0, 9), st.booleans()), max_size=30), st.booleans())
def test_times_never_fall_and_are_never_in_the_future(
    tmp_path_factory: pytest.TempPathFactory, lines: list[tuple[str, int, bool]], ours: bool
) -> None:
    path = tmp_path_factory.mktemp("log") / "log"
    path.touch()
    follower, last, now = Follower(path, ours=ours), 0.0, NOW - 30
    follower.seen(now)
    for form, digit, poll in lines:
        with open(path, "a") as stream:
            stream.write(form.format(digit) + "\n")
        os.utime(path, (now, now))
        now += 0.7
        if poll:
            for at, _ in follower.poll(now):
                assert last <= at <= now
                assert not ours or at >= NOW - 30
                last = at


def test_a_line_is_placed_by_its_own_time(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.touch()
    follower = Follower(path)
    now = time.time()
    follower.seen(now - 100)
    stamps = [now - 5.5, now - 3.25, now - 3600]
    with open(path, "w") as stream:
        for stamp in stamps:
            stream.write(datetime.datetime.fromtimestamp(stamp, datetime.UTC).isoformat() + " host says\n")
    placed = [at for at, _ in follower.poll(now + 1)]
    assert placed[:2] == pytest.approx(stamps[:2], abs=0.01)
    assert placed[2] == pytest.approx(now, abs=1)  # of another clock: when the file was written


def test_a_log_of_our_server_does_not_fill_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.touch()
    follower = Follower(path, ours=True)
    line = b"x" * 99 + b"\n"
    with open(path, "ab") as stream:
        for number in range(12):
            stream.write(f"{number}\n".encode() + line * 200_000)
            stream.flush()
            assert texts(follower)[0] == str(number)
    facts = path.stat()
    assert facts.st_size > 12 * 200_000 * len(line)
    assert facts.st_blocks * 512 < DISK_LIMIT + (48 << 20)
    with open(path, "rb") as stream:
        assert stream.read(102) == b"0\n" + line
        stream.seek(-len(line), os.SEEK_END)
        assert stream.read() == line


def test_a_log_of_somebody_else_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.touch()
    follower = Follower(path)
    path.write_bytes(b"x\n" * (100 << 20))
    assert len(texts(follower)) > 1
    assert path.stat().st_blocks * 512 >= 200 << 20
    path.unlink()

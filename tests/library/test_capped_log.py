# SPDX-License-Identifier: Apache-2.0
"""A log of bounded size: what of it is kept, however much is written."""

import re
from pathlib import Path

import pytest
from ansible.module_utils.th_sandbox.capped_log import CappedLog
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.memory import run_program

LIMIT = 20_000
NOTE = re.compile(rb"\.\.\. (\d+) bytes left out here \.\.\.")
LINES = st.lists(st.tuples(st.integers(0, 3000), st.booleans()), max_size=120)


def kept(path: Path) -> tuple[list[int], int, list[bytes]]:
    """The numbers of the lines that are there, the bytes that are said to be left out, and all lines."""
    raw = path.read_bytes().splitlines()
    notes = [int(found[1]) for line in raw if (found := NOTE.fullmatch(line))]
    return [int(line.split()[0]) for line in raw if not NOTE.fullmatch(line)], sum(notes), raw


@given(LINES)
def test_nothing_goes_unaccounted_for(tmp_path_factory: pytest.TempPathFactory, lines: list[tuple[int, bool]]) -> None:
    path = tmp_path_factory.mktemp("log") / "log"
    log, written, important = CappedLog(path, LIMIT), [], 0
    for number, (length, matters) in enumerate(lines):
        text = f"{number} {'x' * length}"
        log.line(text, important=matters)
        written.append(text.encode() + b"\n")
        important += matters * (len(text) + 1)
        assert path.stat().st_size <= LIMIT
    log.close()
    numbers, left_out, raw = kept(path)
    assert numbers == sorted(set(numbers))
    assert sum(len(written[number]) for number in numbers) + left_out == sum(map(len, written))
    assert [line + b"\n" for line in raw if not NOTE.fullmatch(line)] == [written[number] for number in numbers]
    total = sum(map(len, written))
    beginning = end = 0
    for number, text in enumerate(written):
        beginning += len(text)
        assert beginning > LIMIT // 2 or number in numbers
    for number, text in reversed(list(enumerate(written))):
        end += len(text)
        assert end > LIMIT // 16 or number in numbers
    assert total > LIMIT // 2 or not left_out
    if important <= LIMIT // 16:
        assert {number for number, (_, matters) in enumerate(lines) if matters} <= set(numbers)


def test_the_middle_of_a_flood_keeps_what_matters(tmp_path: Path) -> None:
    log = CappedLog(tmp_path / "log", 100_000, stamp=True)
    for number in range(50_000):
        log.line(f"noise {number}", "[output]")
        if number % 1000 == 500:
            log.line(f"step {number}", important=True)
    log.close()
    text = (tmp_path / "log").read_text()
    assert "noise 0\n" in text and "noise 49999\n" in text
    assert [int(number) for number in re.findall("step ([0-9]+)", text)] == list(range(500, 50_000, 1000))
    assert len(text) <= 100_000


def test_what_matters_has_a_bounded_share(tmp_path: Path) -> None:
    log = CappedLog(tmp_path / "log", 100_000)
    for number in range(50_000):
        log.line(f"step {number}", important=True)
    log.close()
    text = (tmp_path / "log").read_text()
    assert len(text) <= 100_000 and "step 49999\n" in text
    assert text.count("left out here") == 1


def test_the_file_is_whole_without_having_been_closed(tmp_path: Path) -> None:
    program = (
        "import os\nfrom ansible.module_utils.th_sandbox.capped_log import CappedLog\n"
        "log = CappedLog(sys.argv[1], 20_000)\n"
        "for number in range(10_000):\n    log.line(str(number))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    run_program(program, str(tmp_path / "log"), status=-9)
    numbers, left_out, _ = kept(tmp_path / "log")
    assert numbers[-1] == 9999 and left_out
    assert sum(len(f"{number}\n") for number in numbers) + left_out == sum(len(f"{n}\n") for n in range(10_000))


def test_two_gigabytes_take_no_memory(tmp_path: Path) -> None:
    program = (
        "from ansible.module_utils.th_sandbox.capped_log import CappedLog\n"
        "log = CappedLog(sys.argv[1], 10_000_000)\n"
        "line = 'x' * 8191\n"
        "for _ in range(100):\n    log.line(line)\n"
        "before = peak()\n"
        "for number in range((2 << 30) // 8192):\n"
        "    log.line(line)\n"
        "    if number % 1000 == 0: log.line(f'step {number}', important=True)\n"
        "print(peak() - before)\n"
    )
    grown = int(run_program(program, str(tmp_path / "log")))
    assert grown < 4 << 10  # KiB
    text = (tmp_path / "log").read_text()
    assert len(text) <= 10_000_000
    assert [int(number) for number in re.findall("step ([0-9]+)", text)] == list(range(0, (2 << 30) // 8192, 1000))


def test_each_line_of_a_text_is_stamped(tmp_path: Path) -> None:
    log = CappedLog(tmp_path / "log", 10_000, stamp=True)
    log.line("one\n2013-11-22 21:42:45,908 [output] 141 -> 142...", "[sqlerr]", at=1385156565.9085)
    log.close()
    assert (tmp_path / "log").read_text().splitlines() == [
        "2013-11-22 21:42:45,908 [sqlerr] one",
        "2013-11-22 21:42:45,908 [sqlerr] 2013-11-22 21:42:45,908 [output] 141 -> 142...",
    ]


def test_a_line_that_is_longer_than_all_the_room(tmp_path: Path) -> None:
    log = CappedLog(tmp_path / "log", 10_000)
    for _ in range(5):
        log.line("ä" * 50_000, important=True)
    log.close()
    assert (tmp_path / "log").stat().st_size <= 10_000
    assert all(line.endswith(" …") for line in (tmp_path / "log").read_text().splitlines() if "left out" not in line)


def test_what_was_there_before_stays(tmp_path: Path) -> None:
    for word in ("first", "second"):
        log = CappedLog(tmp_path / "log", 10_000)
        log.line(word)
        log.close()
        log.line("too late")
    assert (tmp_path / "log").read_text() == "first\nsecond\n"


def test_a_full_disk_ends_nothing() -> None:
    log = CappedLog("/dev/full", 10_000)
    for _ in range(1000):
        log.line("x" * 100, important=True)
    log.close()

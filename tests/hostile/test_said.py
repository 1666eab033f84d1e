# SPDX-License-Identifier: Apache-2.0
"""What a change says, on every way to us, takes no longer to read than its length lets one expect."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible.module_utils.th_core.text import printable
from ansible.module_utils.th_dump import seed_errors, sql_lexer
from ansible.module_utils.th_environment import requirements, uv_errors
from ansible.module_utils.th_git import errors
from ansible.module_utils.th_mask.mask import Masker
from ansible.module_utils.th_measure import sql_statement
from ansible.module_utils.th_sandbox.limits import BoxLimits, limit_in_output
from ansible.module_utils.th_walk.channel import MESSAGE_LIMIT, Channel, line_number, text
from ansible.module_utils.th_walk.follow import Follower
from ansible.module_utils.th_walk.last_output import said

from worker.history import text_walks
from worker.inputs import untrusted
from worker.verdict import Fault, Message, Outcome, advice, first_line, problems, result_text, sql_detail

from .test_patterns import grows

ALL = BoxLimits(1, 1, 1, 1, 1, 1, 1)
FRAGMENTS = (
    "(errno: 1 ", 'Got error 1 "', "[SQL: ", "(1062, 'a", "(1062, \"a\\", "Duplicate entry '", "ALTER TABLE t ADD ",
    "Traceback (most recent call last):\n", "a.b.c.", "a://b:c", "a@", "%25", "\\\\x7", "&amp;", "s3-cr3t ", "s 3 ",
    "[stderr] ", "error: ", "Because a ", "`a`.`b`, ", "''", "((", "a, ", "\x1b[", "\u202e", "\ufffd", " ", "\n", "0",
    "2026-01-01 00:00:00,000 [output] ", "a -> b... ", "x" * 99 + "\n", "CREATE TABLE `", "/*!", "-- ", "delimiter ",
)  # fmt: skip
"""What is said over and over."""


def follow(folder: Path) -> Callable[[str], object]:
    """Read a text as a log that somebody else has written."""

    def run(words: str) -> object:
        (folder / "log").write_text(words, "utf-8", "surrogatepass")
        return sum(1 for _ in Follower(folder / "log", whole=True).end(0.0))

    return run


def lexed(words: str) -> None:
    """Read a text as a dump."""
    lexer = sql_lexer.Lexer(lambda *_: None, lambda *_: None)
    raw = words.encode("utf-8", "replace")
    for start in range(0, len(raw), 4096):
        lexer.feed(raw[start : start + 4096])
    lexer.close()


def old_log(words: str) -> None:
    """Read a text as an old log."""
    walks = text_walks.LogReader()
    for line in words.encode("utf-8", "replace").split(b"\n"):
        walks.take(line)
    walks.close()


def result_line(words: str) -> str:
    """What a job has found, where that is all it has to go by."""
    message = Message("migration_raised", words, detail=words, rows=words)
    return first_line.of([message], Outcome.FAILURE, Fault.CHANGE)


MASKER = Masker({"s3-cr3t", "s3cr3t-of-a-server", "x" * 12})
READERS: dict[str, Callable[[str], object]] = {
    "the limit that a command speaks of": lambda words: limit_in_output(ALL, [words]),
    "the last words of a command": lambda words: said(words.split("\n")),
    "the words of a text that is shown": printable,
    "the secrets in a text": lambda words: MASKER.text(words),
    "the question about rows": sql_statement.questions,
    "why uv has failed": lambda words: uv_errors.cause(words.split("\n")),
    "the packages that uv names": lambda words: (requirements.named(words), requirements.absent(words)),
    "what git says": lambda words: (errors.is_transient(words, 1), errors.reason(words, 1, 1.0)),
    "what the client of a server says": lambda words: seed_errors.read_error(words).said,
    "a dump": lexed,
    "an old log": old_log,
    "the server's error in a detail": lambda words: (sql_detail.find(words), sql_detail.cause(words, last=True)),
    "the statement in a detail": lambda words: (sql_detail.statement(words), sql_detail.tidy(words)),
    "advice": lambda words: advice.of("migration_raised", words, words),
    "the first line of a result": result_line,
    "the line that Zuul is told": lambda words: (result_text.plain(words), result_text.result(words)),
    "what two failures have in common": problems.cause,
    "a text of an artifact": lambda words: (untrusted.text(words), untrusted.version(words), untrusted.escaped(words)),
}


@pytest.mark.parametrize("what", READERS)
def test_a_text_that_takes_long_to_read(what: str, stopped_by: Callable[[str], None]) -> None:
    for fragment in FRAGMENTS:
        wrong = grows(READERS[what], "", fragment, "]\0")
        assert not wrong, f"{what}: {wrong}"
    stopped_by("patterns that look at no character more often than a few times")


def test_a_log_that_takes_long_to_read(tmp_path: Path, stopped_by: Callable[[str], None]) -> None:
    read = follow(tmp_path)
    for fragment in FRAGMENTS:
        wrong = grows(read, "", fragment, "")
        assert not wrong, wrong
    stopped_by("reading line by line, and lines of a bounded length")


def test_the_talk_of_a_process_that_never_stops(stopped_by: Callable[[str], None]) -> None:
    """It sends a little all the time, so that there is always something to read, and never a whole message."""
    looks, enough = [], threading.Event()

    def look() -> None:
        looks.append(1)
        if len(looks) == 2:
            enough.set()

    channel = Channel(look)

    def chatter() -> None:
        while not enough.is_set():
            channel.other.send(b" ")
        channel.other.close()

    talking = threading.Thread(target=chatter)
    talking.start()
    try:
        assert channel.hear(300, lambda: True) is None
    finally:
        enough.set()
        talking.join()
        channel.close()
    assert len(looks) >= 2
    stopped_by("a look about once a second, whatever there is to read")


def test_a_message_that_never_ends(stopped_by: Callable[[str], None]) -> None:
    channel, sent = Channel(lambda: None), 0

    def shout() -> None:
        nonlocal sent
        with channel.other as other:
            try:
                while sent < 4 * MESSAGE_LIMIT:
                    sent += other.send(bytes(65536))
            except OSError:
                pass  # nobody listens any more

    shouting = threading.Thread(target=shout)
    shouting.start()
    assert channel.hear(300, lambda: True) is None
    channel.close()
    shouting.join()
    assert sent < 2 * MESSAGE_LIMIT
    stopped_by("a limit on the length of a message")


@pytest.mark.parametrize("value", [None, 1, [["x"] * 9] * 9, {"a": "b"}, True, "9" * 5000])
def test_a_message_of_other_types(value: object) -> None:
    channel = Channel(lambda: None)
    with channel.other as other:
        other.send(json.dumps({"error": {"text": value, "line": value}}).encode() + b"\n[" + b"[" * 5000 + b"\n")
        heard = channel.hear(300, lambda: True)
        assert heard is not None and channel.hear(300, lambda: True) == {}
    channel.close()
    facts = heard["error"]
    assert text(facts["text"], 40) == (value[:40] if isinstance(value, str) else "")
    assert line_number(facts["line"]) == (1 if value in (1, True) else 0)


def test_a_number_that_is_too_long_to_be_one() -> None:
    channel = Channel(lambda: None)
    with channel.other:
        os.write(channel.other.fileno(), b'{"done": ' + b"9" * 5000 + b"}\n")
        assert channel.hear(300, lambda: True) == {}
    channel.close()

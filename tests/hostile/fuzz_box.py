# SPDX-License-Identifier: Apache-2.0
"""What comes out of the box and the database: whatever it is, a walk goes on or ends with one known reason.

These are tests of test_fuzz.py.
"""

import contextlib
import json
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ansible.module_utils.th_core.artifacts import append_event
from ansible.module_utils.th_mask.mask import Masker, Stream
from ansible.module_utils.th_tools.alembic import overlapping
from ansible.module_utils.th_tools.tools import VERSIONS
from ansible.module_utils.th_walk.channel import Channel
from ansible.module_utils.th_walk.in_process import InProcessWalker
from ansible.module_utils.th_walk.walkers import Step, Surroundings, Target, WalkError, told
from hypothesis import example, given
from hypothesis import strategies as st

from worker.verdict import CODES, artifacts, decide

from .mutations import TEXTS, VALUES, as_lines, bounded, fuzz, mutated

# -- the channel of the walking process ----------------------------------------------------------------------------

SAID: list[Any] = [
    {"plan": [["a", "b"], ["b", "c"]], "heads": ["c"], "apps": {"shop": "/venv/lib/shop"}},
    {"plan": [["1", "2"]]},
    {"plan": []},
    {"done": 0},
    {"done": 1},
    {"error": {"text": "OperationalError: (1062, 'x')", "file": "/src/versions/a.py", "line": 3}},
    {"error": {"text": "x", "code": "several_heads", "import": True}},
    {"error": {"code": "ended"}},
    {"end": True},
]
ANYTHING = mutated(SAID) | st.dictionaries(st.sampled_from(["plan", "done", "error", "end", "heads", "apps"]), VALUES)


def ended(status: int) -> Any:
    """A process that has ended, as a walker sees it."""
    return SimpleNamespace(
        process=SimpleNamespace(poll=lambda: status),
        wait=lambda seconds: status,
        exceeded=lambda: None,
        limit_behind_failure=lambda *words: None,
        last_line=lambda seconds: None,
        tail=("Traceback (most recent call last):", "x" * 70_000),
    )


def walked(folder: Path, content: bytes, status: int, heads: tuple[str, ...]) -> list[WalkError]:
    """What a walk comes to whose process says this and ends."""
    around = SimpleNamespace(src=folder, venv=folder, start_time_limit=5.0, on_tick=lambda: None)
    settings = {"tool": "alembic", "versions": "alembic"}
    walker = InProcessWalker(settings, cast(Surroundings, around), folder, Target(heads), ["versions"], [])
    walker._channel = Channel(around.on_tick)
    walker._contained = ended(status)
    found = []
    with contextlib.closing(walker._channel), walker._channel.other as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        other.setblocking(False)
        other.send(content)
        other.shutdown(socket.SHUT_RDWR)
        try:
            while walker.next() is not None:
                end = walker.run(5)
                if end.error is not None:
                    raise end.error
        except WalkError as error:
            found.append(error)
    return found


@fuzz(150)
@given(content=as_lines(ANYTHING), status=st.sampled_from([0, 1, -9]), heads=st.sampled_from([("c",), ()]))
@example(content=b'{"plan": [["' + b"9" * 5000 + b'", "b"]]}\n{"done": 0}\n', status=0, heads=())
@example(content=b'{"error": {"text": "x", "file": "a\\u0000b", "line": ' + b"9" * 4000 + b"}}\n", status=1, heads=())
@example(content=b'{"plan": [["a", "b"]], "heads": ' + b"[" * 900 + b"]" * 900 + b"}\n", status=0, heads=("c",))
@example(content=b'{"plan": []}\n' * 5000, status=0, heads=())
def test_whatever_a_walking_process_says_the_walk_has_an_end(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, status: int, heads: tuple[str, ...]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    with bounded(content[:200]):
        found = walked(folder, content, status, heads)
    events = folder / "artifacts" / "walk-a.jsonl"
    events.unlink(missing_ok=True)
    for error in found:
        assert error.code in CODES and error.detail.replace("\t", " ").replace("\n", " ").isprintable()
        assert len(error.detail) < 30_000
        append_event(events, {"event": "error", "code": error.code, "detail": error.detail, "file": error.file,
                              "line": error.line})  # fmt: skip
    read = artifacts.read(folder / "artifacts")
    assert not found or [problem.code for problem in read.walks["a"].problems] == [error.code for error in found]
    assert decide.decide(read, ["a"]).outcome is not decide.Outcome.SUCCESS


# -- the tables in which a database says its version ---------------------------------------------------------------

NUMBERS = st.sampled_from(["1", "0", "-1", "9" * 5000, "0" * 5000, "٣", "²", "1_0", " 1", "1e9", "+1", "1" * 20])
ROWS = NUMBERS | TEXTS | st.sampled_from(["a", "b", "shop.0001_a", "shop.0002_b", ".", "x:", "api:1"])
NAMES = st.lists(ROWS, max_size=3)
TREES = st.dictionaries(ROWS, st.fixed_dictionaries({"down": NAMES}, optional={"replaces": NAMES}), max_size=6)


@fuzz(200)
@given(rows=st.lists(ROWS, max_size=6), prefix=st.sampled_from(["", "api", "shop"]), tree=TREES | st.none())
@example(rows=["9" * 5000], prefix="", tree={"1": {"down": []}})
@example(rows=["1"], prefix="", tree={"9" * 5000: {"down": []}})
def test_any_version_table_has_heads(rows: list[str], prefix: str, tree: dict[str, Any] | None) -> None:
    with bounded(rows):
        for style in ("alembic", "numbered", "django"):
            heads = VERSIONS[style].heads(rows, prefix, tree)
            assert heads == sorted(heads) and all(isinstance(head, str) for head in heads)
            if style == "alembic":
                assert len(set(heads)) == len(set(rows)), "what the tree does not know is kept"
        overlapping(rows, prefix, tree or {})
        for row in rows:
            numbered, way = VERSIONS["numbered"], [Step(row, "x")]
            assert told("base", numbered, way) and told(row, numbered, way) == row


# -- what is published ---------------------------------------------------------------------------------------------

STAMP = b"2026-11-30 19:00:00,123 "
PIECES = st.sampled_from([
    STAMP, STAMP + b"[output] ", STAMP + b"[sqlslo] ", b"\n", b"    ", b"remote: ", b"s3cret-7", b"%73", b"\\x73",
    b"&#1", b"2026-11-30 19:00:0", b"[output] ", b"\0", b"\xff", b"://u:p@", b"password=", b"'", b"\\",
]) | st.binary(max_size=5)  # fmt: skip


@fuzz(150)
@given(parts=st.lists(PIECES, max_size=30), block=st.integers(1, 40))
def test_any_text_is_masked_and_stays_as_long_as_it_is(parts: list[bytes], block: int) -> None:
    text = b"".join(parts)
    with bounded(text):
        whole = Masker(["s3cret-7", "another-s3cret"]).masked(text)
        stream = Stream(Masker(["s3cret-7"]))
        shown = b"".join(stream.feed(text[at : at + block]) for at in range(0, len(text), block)) + stream.end()
    assert len(whole) == len(text) == len(shown) and b"s3cret-7" not in whole + shown
    assert whole.count(b"\n") == text.count(b"\n")
    json.dumps(whole.decode("latin-1"))

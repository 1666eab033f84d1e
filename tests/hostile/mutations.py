# SPDX-License-Identifier: Apache-2.0
"""Documents as somebody would write them who means harm: a good one with something wrong in it, and plain bombs."""

import copy
import json
import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import yaml
from hypothesis import settings
from hypothesis import strategies as st

PATIENCE = 20
"""Seconds of processor time for one example; what takes longer is taken for a hang."""

WAITING = 600
"""Seconds for one example that waits, or has to wait for the processor."""

_EXAMPLES = int(os.environ.get("TH_FUZZ_EXAMPLES", "0"))


def fuzz(examples: int) -> settings:
    """So many examples of each test, or as many as TH_FUZZ_EXAMPLES says."""
    return settings(max_examples=_EXAMPLES or examples)


@contextmanager
def bounded(what: object = "") -> Iterator[None]:
    """Fail when what is done within takes longer than PATIENCE, or WAITING."""

    def hangs(number: int, frame: FrameType | None) -> None:
        raise AssertionError(f"no end after {PATIENCE} s of processor time, or {WAITING} s: {str(what)[:200]}")

    timers = {signal.ITIMER_PROF: (signal.SIGPROF, PATIENCE), signal.ITIMER_REAL: (signal.SIGALRM, WAITING)}
    before = {number: signal.signal(number, hangs) for number, _ in timers.values()}
    for timer, (_, seconds) in timers.items():
        signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        for timer in timers:
            signal.setitimer(timer, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def clear(text: str) -> bool:
    """Whether a text is one line that a terminal and a log can be given, and that can be written anywhere."""
    return bool(text.strip()) and text.isprintable() and len(text) <= 8000


SPICE = (
    "", " ", "\0", "a\0b", "\x1b[2J\x1b]0;owned\x07", "\x9b31m", "\r\nFAILURE", "\u202eevil\u2066", "\u2028", "\ufeff",
    "\ud800", "\udcff", "{{ lookup('pipe', 'id') }}", "{% raw %}", "!!python/object/apply:os.system [id]", "%s%n%(x)s",
    "../../etc/passwd", "/etc/shadow", "--upload-pack=id", "-x", "ext::sh -c id", "x" * 300, "v" * 70_000, "a->b",
    "NaN",
    "9" * 5000, "1e999", "0x" + "f" * 5000, "default", "_", ":", "a:b", ",", "<script>", "\N{GRINNING FACE}", "e\u0301",
)  # fmt: skip
TEXTS = st.sampled_from(SPICE) | st.text(max_size=12) | st.text(st.characters(codec=None), max_size=6)
NUMBERS = (
    st.integers()
    | st.floats()
    | st.sampled_from([0, -1, 1 << 63, -(1 << 63), 10**400, 1e308, -0.0, 5e-324, float("inf"), float("nan")])
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


def _places(document: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where in a document there is something."""
    items = enumerate(document) if isinstance(document, list) else ()
    for key, value in document.items() if isinstance(document, dict) else items:
        yield (*here, key)
        yield from _places(value, (*here, key))


@st.composite
def mutated(draw: st.DrawFn, documents: list[Any]) -> Any:
    """A good document in which up to three things are replaced, renamed, taken out, or put where they do not belong."""
    document = copy.deepcopy(draw(st.sampled_from(documents)))
    for _ in range(draw(st.integers(0, 3))):
        places = list(_places(document))
        if not places:
            break
        *way, last = draw(st.sampled_from(places))
        holder = document
        for key in way:
            holder = holder[key]
        how = draw(st.sampled_from(["value", "value", "text", "out", "key", "into", "twice"]))
        if how == "value":
            holder[last] = draw(VALUES)
        elif how == "text":
            holder[last] = draw(TEXTS)
        elif how == "out":
            del holder[last]
        elif how == "key" and isinstance(holder, dict):
            holder[draw(TEXTS)] = holder.pop(last)
        elif how == "into":
            holder[last] = [holder[last], {"x": holder[last]}]
        elif how == "twice" and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[last]))
    return document


@st.composite
def _damaged(draw: st.DrawFn, texts: st.SearchStrategy[bytes]) -> bytes:
    """Bytes that may have been cut, doubled, or had others put into them."""
    data = draw(texts)
    how = draw(st.sampled_from(["whole", "whole", "whole", "cut", "put", "double", "swap"]))
    place = draw(st.integers(0, len(data)))
    if how == "cut":
        return data[:place]
    if how == "put":
        return data[:place] + draw(st.binary(max_size=6) | st.sampled_from(_PUT)) + data[place:]
    if how == "double":
        return data + data[place:]
    return data[place:] + data[:place] if how == "swap" else data


_PUT = [
    b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"NaN", b"-Infinity", b"1" * 5000, b'"a":1,"a":2,', b"[" * 3000, b"{" * 3000,
    b'{"a":' * 2000, b"*x ", b"&x ", b"<<: *x\n", b"!!timestamp x\n", b"!!int ''\n", b"!!bool z\n", b"!!set {a}\n",
    b"? [a]\n: b\n", b"\n---\n", b"%YAML 9.9\n", b"\t", b"2022-13-45", b"0o9", b"1:99:99", b"\x85", b"\xe2\x80\xae",
]  # fmt: skip


def as_json(documents: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    """Documents as JSON, which may be damaged."""

    return _damaged(documents.map(lambda document: json.dumps(document).encode()))


def as_yaml(documents: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    """Documents as YAML, which may be damaged."""

    def dumped(document: Any) -> bytes:
        return yaml.safe_dump(document, allow_unicode=True).encode("utf-8", "replace")

    return _damaged(documents.map(dumped))


def as_lines(documents: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    """Documents as JSON, one a line, some of them damaged."""
    return _damaged(st.lists(as_json(documents), max_size=8).map(b"\n".join))


def _laughs(levels: int) -> bytes:
    lines = ['a0: &a0 ["lol", "lol"]']
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return ("\n".join(lines) + "\n").encode()


BOMBS: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "one line of ten megabytes": lambda: b"a: " + b"x" * 10_000_000,
    "one text of three megabytes": lambda: b'{"a": "' + b"x" * 3_000_000 + b'"}',
    "nothing but blanks": lambda: b" " * 300_000 + b"x",
    "lists in lists": lambda: b"[" * 20_000,
    "mappings in mappings": lambda: b'{"a":' * 20_000,
    "YAML lists in lists": lambda: b"- " * 20_000,
    "closed lists in lists": lambda: b"{\"a\": " + b"[" * 900 + b"]" * 900 + b"}",
    "a billion laughs": lambda: _laughs(12),
    "a list that holds itself": lambda: b"a: &a [*a]\n",
    "a mapping that holds itself": lambda: b"zuul_server: &a {x: *a}\nmigrations: *a\n_a: *a\n",
    "a mapping that is its own key": lambda: b"? &a {*a : 1}\n: 1\n",
    "a number of 5,000 digits": lambda: b'{"a": ' + b"9" * 5000 + b"}",
    "a YAML number of 5,000 digits": lambda: b"0x" + b"f" * 5000 + b": 1\n",
    "numbers that are none": lambda: b'{"a": NaN, "b": -Infinity, "c": 1e999}',
    "an object of Python's": lambda: b"a: !!python/object/apply:os.system [id]\n",
    "a day that is none": lambda: b"exclude_newer: 2022-02-30\n",
    "a time that is none": lambda: b"a: !!timestamp x\n",
    "a truth that is none": lambda: b"a: !!bool x\n",
    "a number without digits": lambda: b"a: !!int ''\n",
    "a list as a key": lambda: b"? [a]\n: 1\n",
    "a duplicate key": lambda: b'{"project": "a", "project": "b"}',
    "a lone surrogate": lambda: b'{"project": "\\ud800", "\\udfff": 1}',
    "zero bytes": lambda: b"\0" * 1000,
    "UTF-16": lambda: '{"project": "a"}'.encode("utf-16"),
    "no UTF-8": lambda: b'{"project": "\xff\xfe"}',
    "random bytes": lambda: random.Random(4).randbytes(100_000),
    "escapes as a key": lambda: b'{"\\u001b[2J\\u202e": 1}',
    "a gzip of zeros": lambda: b"\x1f\x8b\x08\x00" + b"\0" * 100,
}
"""What no reader may choke on, by its name."""

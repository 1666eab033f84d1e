# SPDX-License-Identifier: Apache-2.0
"""Working on texts of a change in a separate process, with limits on memory and processor time.

A text of a few kilobytes can make a parser run for hours, use all memory, or crash. One process works on all texts of
a call; a text that ends the process has no result, and another process continues with the next text.
"""

from __future__ import annotations

import faulthandler
import gc
import json
import os
import resource
import select
import signal
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

_Text = TypeVar("_Text")

CRASHES_LIMIT = 20
"""After so many texts that ended the process, no more are tried."""
SILENCE_LIMIT = 600.0
"""Seconds without a result after which the process is killed, however little processor time it has used."""
RESULT_LIMIT = 16 * 1024 * 1024
"""Maximum bytes of one result."""

_CHUNK = 1 << 16


@dataclass(frozen=True)
class Bounds:
    """What the work may use: processor `seconds` for one text, and `total` plus `each` for every text for all of them;
    bytes of address space in addition to what the process starts with."""

    seconds: float = 10.0
    total: float = 60.0
    each: float = 0.02
    memory: int = 1 << 30


@dataclass(frozen=True)
class Stopped:
    """Why there is no result for a text: a predicate whose subject is "it"."""

    reason: str


def in_a_process(
    texts: Sequence[_Text],
    work: Callable[[_Text], Any],
    bounds: Bounds | None = None,
    prepare: Callable[[], None] = lambda: None,
) -> list[Any | Stopped]:
    """The result of `work` for each text, converted to JSON and back, or why there is none.

    `prepare` is run first in the process and does not count towards the bounds.
    """
    bounds = bounds or Bounds()
    left = bounds.total + bounds.each * len(texts)
    results: list[Any | Stopped] = []
    crashes = 0
    while len(results) < len(texts):
        if crashes > CRASHES_LIMIT:
            stopped = Stopped(f"was not read: {crashes} files before it could not be, and no more are tried")
            return results + [stopped] * (len(texts) - len(results))
        found, spent, end = _run(texts[len(results) :], work, bounds, left, prepare)
        results += found
        left -= spent
        if len(results) < len(texts):
            results.append(Stopped(end))
            crashes += 1
    return results


def _run(
    texts: Sequence[_Text], work: Callable[[_Text], Any], bounds: Bounds, left: float, prepare: Callable[[], None]
) -> tuple[list[Any | Stopped], float, str]:
    """The results up to the text that ended the process, the processor time, and why it ended."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            gc.freeze()  # the parent's garbage, such as temporary files, must not be finalized in this process
            os.close(reading)
            _serve(texts, work, bounds, left, prepare, writing)
        finally:
            os._exit(0)
    os.close(writing)
    silent = True
    try:
        lines, silent = _lines(reading)
    finally:
        os.close(reading)
        if silent:
            os.kill(child, signal.SIGKILL)
        _, status, usage = os.wait4(child, 0)
    found = [_result(line, bounds) for line in lines]
    return found, usage.ru_utime + usage.ru_stime, _end(status, silent, bounds)


def _lines(channel: int) -> tuple[list[bytes], bool]:
    """The complete lines that were received, and whether reading stopped because no more came in time."""
    content = bytearray()
    waiting = select.poll()
    waiting.register(channel, select.POLLIN)
    deadline, silent = time.monotonic() + SILENCE_LIMIT, False
    while not silent:
        silent = not waiting.poll(max(0.0, deadline - time.monotonic()) * 1000)
        chunk = b"" if silent else os.read(channel, _CHUNK)
        if not chunk:
            break
        content += chunk
        if b"\n" in chunk:
            deadline = time.monotonic() + SILENCE_LIMIT
    return bytes(content).split(b"\n")[:-1], silent  # the last one is empty or incomplete


def _result(line: bytes, bounds: Bounds) -> Any | Stopped:
    kind, value = json.loads(line)
    return value if kind == "found" else Stopped(_why(kind, bounds))


def _why(kind: str, bounds: Bounds) -> str:
    return {
        "memory": f"takes more than {bounds.memory >> 20:,} MiB of memory to read: make it smaller",
        "deep": "is nested too deeply to be read: write it with less in each other",
        "long": f"gives more than {RESULT_LIMIT >> 20} MiB when it is read: make it smaller",
        "time": "was not read: the files together take too much of the processor to read: make them smaller",
    }[kind]


def _end(status: int, silent: bool, bounds: Bounds) -> str:
    if silent or (os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL)):
        return f"takes more than {bounds.seconds:g} s of the processor to read: make it smaller"
    return _why("deep", bounds)  # nothing else is known to crash a parser


def _serve(
    texts: Sequence[_Text],
    work: Callable[[_Text], Any],
    bounds: Bounds,
    left: float,
    prepare: Callable[[], None],
    channel: int,
) -> None:
    """Write one line of JSON for each text. Runs in the separate process, which may be killed at any point."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    faulthandler.disable()
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    warnings.simplefilter("ignore")  # such as those about invalid escapes in the text
    prepare()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with open("/proc/self/statm") as statm:
        used = int(statm.read().split()[0]) * resource.getpagesize()
    _lower(resource.RLIMIT_AS, used + bounds.memory)
    until = _spent() + left
    with open(channel, "wb") as answers:
        for text in texts:
            now = _spent()
            if now >= until:
                answers.write(b'["time", null]\n')
                continue
            _lower(resource.RLIMIT_CPU, int(now + bounds.seconds) + 1)
            answers.write(_line(text, work))
            answers.flush()


def _line(text: _Text, work: Callable[[_Text], Any]) -> bytes:
    try:
        line = json.dumps(["found", work(text)]).encode() + b"\n"
    except MemoryError:
        return b'["memory", null]\n'
    except RecursionError:
        return b'["deep", null]\n'
    return line if len(line) <= RESULT_LIMIT else b'["long", null]\n'


def _spent() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _lower(kind: int, most: int) -> None:
    _, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))

# SPDX-License-Identifier: Apache-2.0
"""TOML that somebody else has written, read with limits: keys of many parts take tomllib quadratic time.

What could be such a document is read in a process of its own, with a limit on processor time and memory.
"""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import signal
import tomllib
from typing import Any

LENGTH = 1024 * 1024
"""Characters of a document."""
SECONDS = 5
"""Of the processor."""
MEMORY = 512 << 20
"""Bytes of address space beside what the process begins with."""

_SMALL, _DOTS = 32 * 1024, 500
"""Characters, and dots among them, of a document that cannot take long."""


def read_toml(text: str) -> dict[str, Any]:
    """The document, with dates as text in one that is large. Raises ValueError for what is no TOML, or too much."""
    if len(text) > LENGTH:
        raise ValueError(f"longer than {LENGTH} characters")
    if len(text) <= _SMALL and text.count(".") <= _DOTS:
        return _parsed(text)
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(reading)
            _answer(text, writing)
        finally:
            os._exit(0)
    os.close(writing)
    try:
        with open(reading, "rb") as stream:
            answer = stream.read()
    finally:
        os.waitpid(child, 0)
    try:
        document = json.loads(answer)
    except (ValueError, RecursionError):
        document = None  # it was ended by a limit
    if not isinstance(document, dict):
        raise ValueError("no TOML, or too much of it")
    return document


def _parsed(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except Exception as error:  # whatever a version of Python raises
        raise ValueError(str(error) or type(error).__name__) from None


def _answer(text: str, channel: int) -> None:
    """Write the document as JSON. Runs in a process of its own, which may be killed at any point."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    faulthandler.disable()
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    with open("/proc/self/statm") as statm:
        used = int(statm.read().split()[0]) * resource.getpagesize()
    spent = int(sum(resource.getrusage(resource.RUSAGE_SELF)[:2]))
    for limit, most in ((resource.RLIMIT_AS, used + MEMORY), (resource.RLIMIT_CPU, spent + 1 + SECONDS)):
        _, hard = resource.getrlimit(limit)
        resource.setrlimit(limit, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answer = json.dumps(_parsed(text), default=str).encode()
    with open(channel, "wb") as out:
        out.write(answer)

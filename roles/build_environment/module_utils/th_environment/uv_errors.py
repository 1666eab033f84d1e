# SPDX-License-Identifier: Apache-2.0
"""Why uv has failed, from its last lines: its own words, and of what a build has printed the cause."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

LENGTH = 2000
_OF_UV, _OF_BUILD = 1200, 600
"""Characters of uv's own words, and of the build's."""
CAUSES = 3
"""How many lines of what a build has printed are shown."""

_BLOCK = re.compile(r"\s*\[(?P<name>stdout|stderr)\]\s*")
_BEGIN = ("error:", "\N{MULTIPLICATION SIGN} ", "x ")
_EMPTY_HINT = "hint: Build failures usually indicate"
# an exception, a compiler, a linker, a program that is missing, setuptools
_EXCEPTION = re.compile(
    r"\s*(?:[A-Za-z_]\w{0,60}\.){0,8}[A-Z]\w{0,60}(?:Error|Exception|Exit|NotFound|Failed)\b(?::|\s*$)"
)
_TOLD = re.compile(
    r"\bfatal error: |\b(?:error|ERROR|fatal): |: command not found|: not found\s*$|cannot find -l"
    r"|No such file or directory"
)


def cause(tail: Sequence[str]) -> str:
    """The words that say it, in one line: of a long one nothing is left out in which the reason stands."""
    begin = next((index for index, line in enumerate(tail) if line.lstrip().startswith(_BEGIN)), None)
    if begin is None or (tail[begin][:1].isspace() and not tail[begin].lstrip().startswith(_BEGIN[1:])):
        # uv's own beginning was pushed out by what the build has printed
        return _cut(_joined(_telling(tail)), LENGTH)
    uv, hints, blocks = _parts(tail[begin:])
    said = _cut(_joined(uv), _OF_UV)
    for name in ("stderr", "stdout"):
        if blocks.get(name):
            said += f" [{name}] {_cut(_joined(_telling(blocks[name])), _OF_BUILD)}"
            break
    told = [hint for hint in hints if not hint.strip().startswith(_EMPTY_HINT)]
    return _cut(_joined([said, *told]), LENGTH)


def _parts(lines: Iterable[str]) -> tuple[list[str], list[str], dict[str, list[str]]]:
    """uv's own lines, its hints, and what a build has printed, which is indented below a name in brackets."""
    uv: list[str] = []
    hints: list[str] = []
    blocks: dict[str, list[str]] = {}
    name, depth = "", 0
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if match := _BLOCK.fullmatch(line):
            name, depth = match["name"], indent
            blocks.setdefault(name, [])
        elif name and (not line.strip() or indent >= depth):
            blocks[name].append(line)
        elif line.strip():
            name = ""
            (hints if line.startswith("hint:") or hints else uv).append(line)
    return uv, hints, blocks


def _telling(lines: Sequence[str]) -> list[str]:
    """The lines of what was printed that say why: the last exception, the first errors, else the last lines."""
    full = [line for line in lines if line.strip()]
    raised = next((index for index in reversed(range(len(full))) if _EXCEPTION.match(full[index])), None)
    told = [line for line in full if _TOLD.search(line) and not _EXCEPTION.match(line)]
    told = told[: CAUSES - 1] + told[CAUSES - 1 :][-1:]
    if raised is not None:
        # a message of several lines goes on below it
        return [*told[:1], *full[raised : raised + CAUSES]] if told[:1] != full[raised : raised + 1] else told
    return told or full[-CAUSES:]


def _joined(lines: Iterable[str]) -> str:
    return " ".join(line.strip() for line in lines if line.strip())


def _cut(text: str, length: int) -> str:
    """A text of at most so many characters: its beginning, where the cause is, and its end, where the conclusion is."""
    if len(text) <= length:
        return text
    last = length // 4
    return f"{text[: length - last - 3]} … {text[-last:]}"

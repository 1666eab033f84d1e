# SPDX-License-Identifier: Apache-2.0
"""The reason of a failure of uv, from its last lines: its own message, and the cause in a build's output."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

LENGTH = 2000
_OF_UV, _OF_BUILD = 1200, 600
"""Maximum characters of uv's own message, and of the build's output."""
CAUSES = 3
"""Maximum lines of a build's output that are shown."""

_BLOCK = re.compile(r"\s*\[(?P<name>stdout|stderr)\]\s*")
_BEGIN = ("error:", "\N{MULTIPLICATION SIGN} ", "x ")
_EMPTY_HINT = "hint: Build failures usually indicate"
# an exception, a compiler, a linker, a program that is missing, setuptools
_EXCEPTION = re.compile(
    r"\s*(?:[A-Za-z_]\w{0,60}\.){0,8}[A-Z]\w{0,60}(?:Error|Exception|Exit|NotFound|Failed)\b(?::|\s*$)"
)
_ERROR = re.compile(
    r"\bfatal error: |\b(?:error|ERROR|fatal): |: command not found|: not found\s*$|cannot find -l"
    r"|No such file or directory"
)


def cause(tail: Sequence[str]) -> str:
    """The reason in one line; a long one is shortened without losing the part that matters."""
    begin = next((index for index, line in enumerate(tail) if line.lstrip().startswith(_BEGIN)), None)
    if begin is None or (tail[begin][:1].isspace() and not tail[begin].lstrip().startswith(_BEGIN[1:])):
        # the build's output has pushed out the beginning of uv's message
        return _cut(_joined(_causes(tail)), LENGTH)
    uv, hints, blocks = _parts(tail[begin:])
    message = _cut(_joined(uv), _OF_UV)
    for name in ("stderr", "stdout"):
        if blocks.get(name):
            message += f" [{name}] {_cut(_joined(_causes(blocks[name])), _OF_BUILD)}"
            break
    shown_hints = [hint for hint in hints if not hint.strip().startswith(_EMPTY_HINT)]
    return _cut(_joined([message, *shown_hints]), LENGTH)


def _parts(lines: Iterable[str]) -> tuple[list[str], list[str], dict[str, list[str]]]:
    """uv's own lines, its hints, and the output of a build, which is indented below a name in brackets."""
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


def _causes(lines: Sequence[str]) -> list[str]:
    """The lines of output that show the cause: the last exception and the first errors, otherwise the last lines."""
    full = [line for line in lines if line.strip()]
    raised = next((index for index in reversed(range(len(full))) if _EXCEPTION.match(full[index])), None)
    errors = [line for line in full if _ERROR.search(line) and not _EXCEPTION.match(line)]
    errors = errors[: CAUSES - 1] + errors[CAUSES - 1 :][-1:]
    if raised is not None:
        # a multi-line message continues below it
        return [*errors[:1], *full[raised : raised + CAUSES]] if errors[:1] != full[raised : raised + 1] else errors
    return errors or full[-CAUSES:]


def _joined(lines: Iterable[str]) -> str:
    return " ".join(line.strip() for line in lines if line.strip())


def _cut(text: str, length: int) -> str:
    """The text, shortened to `length` characters: its beginning has the cause and its end the conclusion."""
    if len(text) <= length:
        return text
    last = length // 4
    return f"{text[: length - last - 3]} … {text[-last:]}"

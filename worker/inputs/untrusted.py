# SPDX-License-Identifier: Apache-2.0
"""Reads values from files that a change under test may have written: bounded, of the right type, and safe to show.

Every function returns something usable for any input, and never raises.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import stat
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MAX_BYTES = 64 * 1024 * 1024
"""The maximum number of bytes read from a file."""

MAX_LINE = 256 * 1024
MAX_LINES = 100_000
MAX_TEXT = 4_000
MAX_NAME = 400
MAX_VERSION = 20_000
"""The maximum length of a version, in characters; in a Django project, a version has a head for each app."""

# Unicode's Default_Ignorable_Code_Point characters that Python considers printable, and the Braille blank: texts that
# differ only in these look the same. Control, bidi and zero-width characters and line separators are not printable.
# th_contain.printable has the same list.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_BRIEF = 80
_CHANGED = "…#"


def text(value: object, limit: int = MAX_TEXT) -> str:
    """A text, cut to `limit` characters, that cannot move the cursor or change the text direction; "" if not a str."""
    if not isinstance(value, str):
        return ""
    cut = value if len(value) <= limit else value[: limit - 1] + "…"
    return "".join(map(_harmless, cut))


def escaped(text: str) -> str:
    """A text on one line, with invisible characters as Python escapes: a newline as ``\\n``."""
    return "".join(
        char if char.isprintable() and not _INVISIBLE.match(char) else char.encode("unicode_escape").decode()
        for char in text
    )


def name(value: object) -> str:
    """A name (a revision, a stage, a file): like `text`, on one line."""
    return text(value, MAX_NAME).replace("\n", " ")


def version(value: object) -> str:
    """A version (a revision, or several joined by commas): like `name`, but different versions never look the same.

    A digest of the original is appended if it had to be cut or cleaned, or if it looks as if it had such a digest.
    """
    if not isinstance(value, str):
        return ""
    if len(value) <= MAX_VERSION and "\n" not in value and text(value, MAX_VERSION) == value and _CHANGED not in value:
        return value
    digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{name(value)}{_CHANGED}{digest[:32]}"


def brief(version: str) -> str:
    """A version shortened for people: the beginning of the first revision, and the number of others."""
    first, *others = version.split(",")
    shown = first if len(first) <= _BRIEF else first[: _BRIEF - 1] + "…"
    if len(version) <= _BRIEF:
        return version
    return f"{shown} and {len(others)} more" if others else shown


def number(value: object) -> float | None:
    """A finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def integer(value: object) -> int | None:
    """An integer that fits in 64 bits, or None."""
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 1 << 63:
        return None
    return value


def items(value: object) -> list[tuple[str, Any]]:
    """The items of a mapping; an empty list for any other value."""
    return list(value.items()) if isinstance(value, dict) else []


def sequence(value: object) -> list[Any]:
    """The value if it is a list; otherwise, an empty list."""
    return value if isinstance(value, list) else []


def mappings(value: object) -> list[dict[str, Any]]:
    """The items of a list that are mappings; an empty list for any other value."""
    return [item for item in sequence(value) if isinstance(item, dict)]


def names(folder: Path) -> list[str]:
    """The names in a folder, sorted; an empty list if it cannot be read."""
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def document(path: Path) -> dict[str, Any]:
    """The JSON object in a file; {} if there is none."""
    value = _parsed(_content(path))
    return value if isinstance(value, dict) else {}


def events(path: Path) -> Iterator[dict[str, Any] | None]:
    """The JSON objects in a file, one per line; None for a line that is not one, and where a limit is exceeded."""
    content = _content(path)
    for index, line in enumerate(content.split(b"\n", MAX_LINES)):
        if index == MAX_LINES:
            yield None
        elif line.strip():
            value = _parsed(line) if len(line) <= MAX_LINE else None
            yield value if isinstance(value, dict) else None
    if len(content) == MAX_BYTES:
        yield None


def beyond(path: Path) -> str:
    """Which limit the events in a file exceed, so that not all of them are read; "" if none."""
    content = _content(path)
    if len(content) == MAX_BYTES:
        return f"it is larger than {MAX_BYTES:,} bytes"
    lines = content.split(b"\n")
    if len(lines) - 1 > MAX_LINES:
        return f"it has more than {MAX_LINES:,} lines"
    return f"it has a line of more than {MAX_LINE:,} bytes" if max(map(len, lines)) > MAX_LINE else ""


def _harmless(char: str) -> str:
    if char == "\n" or (char.isprintable() and not _INVISIBLE.match(char)):
        return char
    return " " if char == "\t" or unicodedata.category(char) == "Zs" else "\N{REPLACEMENT CHARACTER}"


def _content(path: Path) -> bytes:
    """The first MAX_BYTES of a regular file; empty for anything else at that path."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return b""
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return b""
        with open(handle, "rb", closefd=False) as stream:
            return stream.read(MAX_BYTES)
    except OSError:
        return b""
    finally:
        os.close(handle)


def _parsed(data: bytes) -> object:
    try:
        value: object = json.loads(data.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return value

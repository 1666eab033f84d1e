# SPDX-License-Identifier: Apache-2.0
"""Finding the line of a project's files that requires a package which cannot be installed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ansible.module_utils.th_core.text import printable

FILE_LIMIT = 1024 * 1024
FILES_LIMIT = 50
"""Maximum number of files that are read when they include each other."""
ROWS_LIMIT = 20_000
"""Maximum lines that are read from all files together."""
PLACES_SHOWN = 3
TEXT_LIMIT = 200
LINE_LIMIT = 2000
"""So many characters of a line are read."""

# phrases after which uv names a package
_NAMED = re.compile(
    r"(?:Because|because|and|only|requires?|depends? on|versions? of|mismatch for|found:"
    r"|Failed to (?:build|download|fetch|read|prepare|extract|unzip|parse)(?: [a-z]{1,30}){0,10})"
    r" `?(?P<name>[A-Za-z0-9][A-Za-z0-9._-]{0,200})"
)
_ABSENT = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]{0,200}) was not found|no versions? of (?P<other>[A-Za-z0-9][\w.-]{0,200})"
)
# messages in which uv itself gives the place
_POSITION = re.compile(r"in `(?P<file>[^`]{1,1000})` at position (?P<position>\d{1,9})")
_LINE = re.compile(
    r"`?(?<![^`\s])(?P<file>[^`\s]{1,500}):(?P<line>\d{1,9}):\d"
    r"|Invalid `(?P<toml>pyproject\.toml)`.{0,1000}? at line (?P<number>\d{1,9})"
)
# the output of a build, which can contain any name
_BUILDS_WORDS = re.compile(r"\[std(?:out|err)\].*?(?=hint: |\Z)", re.DOTALL)
_NOT_THERE = re.compile(r"not found at: `?file://(?P<path>[^`\s]{1,4000})")
_REQUIREMENT = re.compile(r"\s*(?:(?:-e|--editable)[ =]\s*)?(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)")
_EGG = re.compile(r"#egg=(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)")
_INCLUDE = re.compile(r"\s*(?:-r|--requirement|-c|--constraint)[ =]?\s*(?P<file>[^\s#]+)")
_QUOTED = re.compile(
    r"""["'](?P<name>[A-Za-z0-9][A-Za-z0-9._-]{0,199})[ \t]{0,20}(?:\[[^\]]{0,100}\][ \t]{0,20})?(?=[<>=!~;@"'(])"""
)
_OWN_NAME = re.compile(r"\s*name\s*=")


@dataclass(frozen=True)
class Place:
    """A line of a file of the checkout that names a package."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}"


def file_in(src: Path, name: str) -> Path | None:
    """A regular file of the checkout; None if it does not exist, or leads out of the checkout by a symbolic link."""
    try:
        path = Path(os.path.realpath(src / name))
        return path if path.is_file() and path.is_relative_to(os.path.realpath(src)) else None
    except (OSError, ValueError):  # not a valid file name: too long, or with a zero byte
        return None


def places(src: Path, files: Iterable[str], output: str) -> list[Place]:
    """The lines that uv's `output` is about: those of the first package named there that occurs in the files.

    `files` are requirement and constraint files; pyproject.toml, setup.cfg and setup.py are read as well.
    """
    output = _BUILDS_WORDS.sub("", output)
    direct = _direct(src, output)
    if direct:
        return direct
    lines = list(islice(_lines(src, files), ROWS_LIMIT))
    missing = _NOT_THERE.search(output)
    if missing:
        path = os.path.relpath(missing["path"], os.path.realpath(src))
        return [place for _, place in lines if path in place.text][:1]
    by_name: dict[str, list[Place]] = {}
    for name, place in lines:
        by_name.setdefault(name, []).append(place)
    for match in _NAMED.finditer(output):
        if output[match.end() :].startswith(" @ file:"):
            continue  # the checkout itself
        wanted = normal(match["name"].rstrip(".-_"))
        if found := by_name.get(wanted):
            return found[:PLACES_SHOWN]
    return []


def absent(output: str) -> set[str]:
    """The packages that uv has not found at all, or not in the required version."""
    return {normal((match["name"] or match["other"]).rstrip(".-_")) for match in _ABSENT.finditer(output)}


def normal(name: str) -> str:
    """A package's normalized name."""
    return re.sub(r"[-_.]+", "-", name).lower()


def named(requirement: str) -> str:
    """The package of a requirement; "" if it names none."""
    match = _REQUIREMENT.match(requirement)
    return normal(match["name"].rstrip(".-_")) if match else ""


def _direct(src: Path, output: str) -> list[Place]:
    """The place that uv itself gives: a file, and a position or a line in it."""
    at_position, at_line = _POSITION.search(output), _LINE.search(output)
    if at_position:
        file = _inside(src, at_position["file"])
        text = _text(src, file)
        number = text.encode()[: int(at_position["position"])].count(b"\n") + 1
    elif at_line:
        file = _inside(src, at_line["file"] or at_line["toml"])
        text = _text(src, file)
        number = int(at_line["line"] or at_line["number"])
    else:
        return []
    rows = _rows(text)
    return [_place(file, number, rows[number - 1])] if 0 < number <= len(rows) else []


def _inside(src: Path, file: str) -> str:
    """A file's path relative to the checkout."""
    return os.path.relpath(os.path.join(src, file), src)


def _text(src: Path, name: str) -> str:
    path = file_in(src, name) if name and not name.startswith("..") else None
    if path is None or path.stat().st_size > FILE_LIMIT:
        return ""
    return path.read_text("utf-8", "replace")


def _rows(text: str) -> list[str]:
    return [row[:LINE_LIMIT] for row in text.splitlines()]


def _lines(src: Path, files: Iterable[str]) -> Iterator[tuple[str, Place]]:
    """All lines that name a package, with its normalized name: requirement files first, then the project's own."""
    queue = [name for name in files if "://" not in name]
    seen: list[str] = []
    while queue and len(seen) < FILES_LIMIT:
        file = os.path.normpath(queue.pop(0))
        if file in seen:
            continue
        seen.append(file)
        for number, row in enumerate(_rows(_text(src, file)), 1):
            include = _INCLUDE.match(row)
            if include and "://" not in include["file"]:
                queue.append(os.path.join(os.path.dirname(file), include["file"]))
            match = _EGG.search(row) or _REQUIREMENT.match(row)
            if not include and row.strip() and not row.lstrip().startswith("#"):
                yield normal(match["name"].rstrip(".-_")) if match else "", _place(file, number, row)
    for file in ("pyproject.toml", "setup.cfg", "setup.py"):
        for number, row in enumerate(_rows(_text(src, file)), 1):
            if file == "setup.cfg":
                match = _REQUIREMENT.match(row) if row[:1].isspace() else None
                matches = [match] if match else []
            else:
                matches = [] if _OWN_NAME.match(row) else list(_QUOTED.finditer(row))
            for match in matches:
                yield normal(match["name"].rstrip(".-_")), _place(file, number, row)


def _place(file: str, number: int, row: str) -> Place:
    text = re.split(r"\s#", row, maxsplit=1)[0].strip().rstrip("\\, ").strip()
    return Place(printable(file), number, printable(text)[:TEXT_LIMIT])

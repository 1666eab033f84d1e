# SPDX-License-Identifier: Apache-2.0
"""Alembic's configuration file, as a change brings it: what it says of where the scripts are."""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterator, Mapping

HERE = "/root-of-the-repository/"
"""Stands for it in the values that ``%(here)s`` is part of; no other absolute path is allowed there."""

LINE_LIMIT = 1000
"""Characters; configparser looks at a longer line for hours when it is made of blanks."""
VALUE_LIMIT = 10_000
"""Characters of a value, also of one that other values are part of."""
REFERENCES_LIMIT = 1000
"""How many references are followed for one value."""

_KEYS = (
    "script_location",
    "version_locations",
    "version_path_separator",
    "path_separator",
    "recursive_version_locations",
)
_REFERENCE = re.compile(r"%(?:%|\(([^)]+)\)s)")


def read_ini(content: bytes, folder: str, section: str) -> dict[str, str]:
    """A section of alembic's configuration file, ``%(here)s`` filled in; empty when it cannot be read."""
    parser = configparser.ConfigParser({"here": HERE + folder}, strict=False, interpolation=None)
    text = content.decode("utf-8", "replace")
    if "\0" in text or any(len(line) > LINE_LIMIT for line in text.split("\n")):
        return {}
    settings: dict[str, str] = {}
    try:
        parser.read_string(text)
        known = dict(parser.items(section)) if parser.has_section(section) else {}
        for name in _KEYS:
            if name in known:
                settings[name] = _filled(known[name], known, iter(range(REFERENCES_LIMIT))).strip()
    except configparser.Error:
        return settings
    return settings


def _filled(value: str, known: Mapping[str, str], left: Iterator[int], depth: int = 0) -> str:
    """A value with those that it refers to, as configparser fills it in. Raises configparser.Error.

    That has no bound: ten values that each name the next ten times are ten thousand million characters. `left` are the
    references that may still be followed.
    """
    if depth > configparser.MAX_INTERPOLATION_DEPTH or next(left, None) is None:
        raise configparser.InterpolationError("", "", "nested too deeply")
    parts: list[str] = []
    size = position = 0
    for match in _REFERENCE.finditer(value):
        name = match[1].lower() if match[1] else ""
        if name and name not in known:
            raise configparser.InterpolationError(name, "", "is not there")
        filled = "%" if not name else known[name] if name == "here" else _filled(known[name], known, left, depth + 1)
        parts += [value[position : match.start()], filled]
        size += match.start() - position + len(filled)
        position = match.end()
        if size > VALUE_LIMIT:
            raise configparser.InterpolationError(name, "", "is too long")
    parts.append(value[position:])
    whole = "".join(parts)
    if len(whole) > VALUE_LIMIT or "%" in _REFERENCE.sub("", value):
        raise configparser.InterpolationError("", "", "cannot be filled in")
    return whole


def split_locations(settings: Mapping[str, str]) -> list[str]:
    """The folders of ``version_locations``, split as alembic does (``alembic/config.py``)."""
    locations = settings.get("version_locations", "")
    separator = settings.get("path_separator") or settings.get("version_path_separator") or ""
    by_name = {"space": " ", "newline": "\n", "os": ":", ":": ":", ";": ";"}
    parts = locations.split(by_name[separator]) if separator in by_name else re.split(r", *|(?: +)", locations)
    return [part.strip() for part in parts if part.strip()]

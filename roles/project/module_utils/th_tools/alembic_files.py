# SPDX-License-Identifier: Apache-2.0
"""Alembic's configuration files, which a change may have altered: their options for where the scripts are.

Alembic 1.16 and later read two, an ini and the table ``tool.alembic`` of a pyproject.toml; each option is the ini's
where that has it (``alembic/config.py``, ``get_alembic_option``).
"""

from __future__ import annotations

import configparser
import posixpath
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ansible.module_utils.th_parse.limited import Stopped, in_a_process

HERE = "/root-of-the-repository/"
"""Stands for the repository's root in values with ``%(here)s``; other absolute paths are not allowed there."""

SMALL = 16 * 1024
"""Bytes of a file that is quick to parse whatever it contains."""

LINE_LIMIT = 1000
"""Characters; configparser can take hours for a longer line of blanks."""
VALUE_LIMIT = 10_000
"""Characters of a value after interpolation."""
REFERENCES_LIMIT = 1000
"""How many references are followed for one value."""

TOML_LIMIT = 256 * 1024
"""Characters of a pyproject.toml; larger ones are ignored."""
TOML_LINE_LIMIT = 5000

_KEYS = (
    "script_location",
    "version_locations",
    "version_path_separator",
    "path_separator",
    "recursive_version_locations",
    "prepend_sys_path",
)
_REFERENCE = re.compile(r"%(?:%|\(([^)]{1,500})\)s)")


class TooMuchError(Exception):
    """A file that takes too long or too much memory to parse; the text is the reason, in words that follow "it"."""


def read_ini(content: bytes, folder: str, section: str) -> dict[str, str]:
    """A section of alembic's configuration file, ``%(here)s`` filled in; empty when it cannot be read.

    Raises TooMuchError.
    """
    found: dict[str, str] = _within_limits(content, lambda text: _read_ini(text, folder, section))
    return found


def read_toml(content: bytes, folder: str) -> dict[str, Any]:
    """The table ``tool.alembic`` of a pyproject.toml, ``%(here)s`` filled in; empty when it cannot be read.

    Lists stay lists; what is neither a list of texts, nor a text, nor true or false is left out. Raises TooMuchError.
    """
    found: dict[str, Any] = _within_limits(content, lambda text: _read_toml(text, folder))
    return found


def _within_limits(content: bytes, read: Callable[[bytes], Any]) -> Any:
    """The parsed file; a large one is parsed in a process with limits, as both parsers can be made to take hours."""
    if len(content) <= SMALL:
        return read(content)
    (found,) = in_a_process([content], read)
    if isinstance(found, Stopped):
        raise TooMuchError(found.reason)
    return found


def _read_ini(content: bytes, folder: str, section: str) -> dict[str, str]:
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


def _read_toml(content: bytes, folder: str) -> dict[str, Any]:
    text = content.decode("utf-8", "replace")
    if len(text) > TOML_LIMIT or any(len(line) > TOML_LINE_LIMIT for line in text.split("\n")):
        return {}
    try:
        document: Any = tomllib.loads(text)
        table = document.get("tool", {}).get("alembic", {})
    except (ValueError, RecursionError, AttributeError):
        return {}
    known = {"here": HERE + folder}
    settings: dict[str, Any] = {}
    for name in _KEYS:
        value = table.get(name) if isinstance(table, dict) else None
        left = iter(range(REFERENCES_LIMIT))
        try:
            if isinstance(value, bool):
                settings[name] = value
            elif isinstance(value, str):
                settings[name] = _filled(value, known, left)
            elif isinstance(value, list) and all(isinstance(one, str) for one in value):
                settings[name] = [_filled(one, known, left) for one in value]
        except configparser.Error:
            continue
    return settings


def _filled(value: str, known: Mapping[str, str], left: Iterator[int], depth: int = 0) -> str:
    """A value with its references interpolated as by configparser. Raises configparser.Error.

    Unlike there, it is bounded: ten values that each refer to the next ten times make ten billion characters. `left`
    counts the references that may still be followed.
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


def split_locations(settings: Mapping[str, Any]) -> list[str]:
    """The folders of ``version_locations``, split as alembic does."""
    names = ("path_separator", "version_path_separator")
    return _split(settings, "version_locations", names, r", *|(?: +)")


def split_paths(settings: Mapping[str, Any]) -> list[str]:
    """The folders of ``prepend_sys_path``, split as alembic does."""
    return _split(settings, "prepend_sys_path", ("path_separator",), r", *|(?: +)|:")


def _split(settings: Mapping[str, Any], name: str, separators: tuple[str, ...], otherwise: str) -> list[str]:
    value = settings.get(name) or ""
    if isinstance(value, str):
        separator = next((settings[one] for one in separators if settings.get(one)), "")
        by_name = {"space": " ", "newline": "\n", "os": ":", ":": ":", ";": ";"}
        value = value.split(by_name[separator]) if separator in by_name else re.split(otherwise, value)
    return [part.strip() for part in value if part.strip()] if isinstance(value, list) else []


def toml_files(config: str, workdir: str) -> list[str]:
    """The TOML files that may have alembic's table, for a project with the configuration file `config`.

    That is `config` itself if it is TOML, else the pyproject.toml of the working directory and the one beside the ini.
    """
    if config.endswith(".toml"):
        return [config]
    folders = (workdir, posixpath.dirname(config))
    return list(dict.fromkeys(posixpath.normpath(posixpath.join(folder, "pyproject.toml")) for folder in folders))

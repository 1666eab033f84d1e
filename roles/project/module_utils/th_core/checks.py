# SPDX-License-Identifier: Apache-2.0
"""Checking a document that a person has written: each value by its key, with errors that name the key."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.th_core.text import printable

Check = Callable[[str, Any], Any]
"""Takes the key (for the message) and the value; returns the value to use, or raises `WrongKey`."""


MESSAGE_LIMIT = 2000
"""Maximum characters of an error."""


class WrongKey(Exception):  # noqa: N818 - it is about a key
    """A key with a value that cannot be used: its path, and what it must be."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(one_line(f"{key}: {problem}" if key else problem))


def one_line(words: str) -> str:
    """A message that quotes the document, as one printable line."""
    return " ".join(printable(words if len(words) <= MESSAGE_LIMIT else words[: MESSAGE_LIMIT - 1] + "…").split())


def text(key: str, value: Any) -> str:
    """Any text."""
    if not isinstance(value, str):
        raise WrongKey(key, "must be a text (in quotes when it looks like a number)")
    if "\0" in value:
        raise WrongKey(key, "must not hold a zero byte")
    return value


def boolean(key: str, value: Any) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise WrongKey(key, "must be true or false")
    return value


def integer(least: int, most: int) -> Check:
    """A whole number in a range."""

    def check(key: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise WrongKey(key, f"must be a whole number from {least} to {most}, not {value!r}")
        return value

    return check


def matching(pattern: re.Pattern[str], what: str) -> Check:
    """A text that matches a pattern; `what` describes it."""

    def check(key: str, value: Any) -> str:
        if not pattern.fullmatch(text(key, value)):
            raise WrongKey(key, f"{value!r} is not {what}")
        return str(value)

    return check


def one_of(*choices: str) -> Check:
    """One of a few words."""

    def check(key: str, value: Any) -> str:
        if value not in choices:
            raise WrongKey(key, f"must be one of {', '.join(choices)}, not {value!r}")
        return str(value)

    return check


def inside(key: str, value: Any) -> str:
    """A relative path that does not leave its folder."""
    path = os.path.normpath(text(key, value)) if value != "" else ""
    if path.startswith(("/", "..")) or any(char in path for char in "\r\n"):
        raise WrongKey(key, f"{value!r} must be a path in the checkout")
    return path


def list_of(check_one: Check, least: int = 0) -> Check:
    """A list of at least `least` items, each checked."""

    def check(key: str, value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise WrongKey(key, "must be a list")
        if len(value) < least:
            raise WrongKey(key, "must not be empty")
        return [check_one(f"{key}[{index}]", one) for index, one in enumerate(value)]

    return check


def map_of(check_key: Check, check_one: Check) -> Check:
    """A mapping, each key and value checked."""

    def check(key: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise WrongKey(key, "must be a mapping")
        return {check_key(key, name): check_one(f"{key}.{name}", one) for name, one in value.items()}

    return check


@dataclass(frozen=True)
class Key:
    """A key of a mapping: how its value is checked, and its default."""

    check: Check
    default: Any = None
    required: bool = False


def fields(keys: Mapping[str, Key], given_only: bool = False) -> Check:
    """A mapping with known keys. Missing ones get their defaults, or stay missing with `given_only`."""

    def check(key: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise WrongKey(key, "must be a mapping")
        prefix = f"{key}." if key else ""
        for name in value:
            if name not in keys:
                raise WrongKey(f"{prefix}{name}", f"unknown key; known are {', '.join(sorted(keys))}")
        checked = {}
        for name, kind in keys.items():
            if name in value:
                checked[name] = kind.check(f"{prefix}{name}", value[name])
            elif kind.required:
                raise WrongKey(f"{prefix}{name}", "is missing")
            elif not given_only:
                checked[name] = kind.default
        return checked

    return check

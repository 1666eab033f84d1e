# SPDX-License-Identifier: Apache-2.0
"""The names of revisions, in the artifacts and in a database, and which come below others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ansible.module_utils.th_core.text import printable

Revisions = Mapping[str, Mapping[str, Any]]

MOST = 5
"""Names that a message has at most."""
DIGITS = 18
"""Digits of a version that has a number; what has more is a text, which no tree knows."""


def prefixed(name: str, prefix: str) -> str:
    """A revision's name in the artifacts: ``<database>:<revision>``, or plain for the database without a name."""
    return f"{prefix}:{name}" if prefix else name


def number_of(text: str) -> int | None:
    """The number that a text is; None for one that is none, or too long for a version's."""
    return int(text) if len(text) <= DIGITS and text.isascii() and text.isdecimal() else None


def owned(revisions: Iterable[str], prefix: str) -> list[str]:
    """Those of the artifacts' revisions that are the database's own, as its tool calls them."""
    start = prefixed("", prefix)
    return [revision.removeprefix(start) for revision in revisions if revision.startswith(start)]


def listed(names: Sequence[str]) -> str:
    """Some names, as a message has them."""
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return ", ".join(printable(name)[:64] for name in names[:MOST]) + more


def below(names: Iterable[str], next_below: Callable[[str], Iterable[str]]) -> set[str]:
    """All that is reached from the names by going down; a name itself only where it is below another."""
    seen: set[str] = set()
    queue = list(names)
    while queue:
        more = [name for name in next_below(queue.pop()) if name not in seen]
        seen.update(more)
        queue += more
    return seen

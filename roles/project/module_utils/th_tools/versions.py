# SPDX-License-Identifier: Apache-2.0
"""The names of revisions in the artifacts and in a database, and which revisions are below others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ansible.module_utils.th_core.text import printable

Revisions = Mapping[str, Mapping[str, Any]]

MOST = 5
"""How many names a message lists at most."""
DIGITS = 18
"""Most digits of a numbered version; longer ones are taken as text, which is in no tree."""


def prefixed(name: str, prefix: str) -> str:
    """A revision's name in the artifacts: ``<database>:<revision>``, or plain for the database without a name."""
    return f"{prefix}:{name}" if prefix else name


def number_of(text: str) -> int | None:
    """A text as a number; None where it is not one, or is too long for a version."""
    return int(text) if len(text) <= DIGITS and text.isascii() and text.isdecimal() else None


def owned(revisions: Iterable[str], prefix: str) -> list[str]:
    """Those of the artifacts' revisions that belong to the database, by the names that its tool uses."""
    start = prefixed("", prefix)
    return [revision.removeprefix(start) for revision in revisions if revision.startswith(start)]


def listed(names: Sequence[str]) -> str:
    """Some names for a message."""
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return ", ".join(printable(name)[:64] for name in names[:MOST]) + more


def below(names: Iterable[str], next_below: Callable[[str], Iterable[str]]) -> set[str]:
    """Everything below the names; a name itself only where it is below another."""
    seen: set[str] = set()
    queue = list(names)
    while queue:
        more = [name for name in next_below(queue.pop()) if name not in seen]
        seen.update(more)
        queue += more
    return seen

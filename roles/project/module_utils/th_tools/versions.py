# SPDX-License-Identifier: Apache-2.0
"""From what a database's version table holds to its version: the heads, in the names that all artifacts use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

Revisions = Mapping[str, Mapping[str, Any]]

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


def heads_of(rows: Iterable[str], style: str, prefix: str, revisions: Revisions | None) -> list[str]:
    """The heads that a database is at, sorted; [] for the empty one.

    `rows` are those of its version table, `style` is the profile's ``versions``, `prefix` the database's name, and
    `revisions` those of `artifacts/checkout.json`, None when there is none. What the tree does not know is kept, so
    that it is found to be unknown.
    """
    if style == "numbered":
        return _of_numbers(rows, prefix, revisions or {})
    named = {prefixed(row, prefix) for row in rows}
    if style == "django" and revisions is not None:
        return _of_apps(named, prefix, revisions)
    return sorted(named)  # alembic's rows are the heads


def overlapping(rows: Iterable[str], prefix: str, revisions: Revisions) -> tuple[str, str] | None:
    """Two rows of alembic's version table, one of which comes after the other, which alembic refuses; None for none.

    Returned as the later and the earlier one, as alembic calls them (``RevisionMap._iterate_related_revisions``, which
    counts ``depends_on`` as well).
    """
    down = {name: set(facts.get("down") or ()) for name, facts in revisions.items()}
    names = {prefixed(row, prefix): row for row in rows}
    for name in sorted(names):
        if earlier := sorted((names.keys() & below([name], lambda one: down.get(one, ()))) - {name}):
            return names[name], names[earlier[0]]
    return None


def _of_numbers(rows: Iterable[str], prefix: str, revisions: Revisions) -> list[str]:
    known = {number for name in owned(revisions, prefix) if (number := number_of(name)) is not None}
    heads = set()
    for row in rows:
        number = number_of(row)
        # put under version control and not yet migrated: at 0, or just below the first script
        if number is None or (number and number != min(known, default=0) - 1):
            heads.add(prefixed(row if number is None else str(number), prefix))
    return sorted(heads)


def _of_apps(applied: set[str], prefix: str, revisions: Revisions) -> list[str]:
    """Django's table has a row for each migration of each app, also of apps that are not the project's own."""
    start = prefixed("", prefix)
    apps = {_app(name) for name in revisions if name.startswith(start)}
    rows = {row for row in applied if _app(row) in apps}
    replaces = {name: set(facts.get("replaces") or ()) for name, facts in revisions.items() if facts.get("replaces")}
    # a squashed migration stands for those that it replaces once they are gone from the tree (django's loader)
    count = -1
    while count != len(rows):
        count = len(rows)
        rows |= {new for new, old in replaces.items() if old <= rows and not old <= revisions.keys()}
    stands_for = {old: new for new, olds in replaces.items() if new in rows for old in olds if old != new}

    def now(name: str) -> str:
        passed = {name}
        while (newer := stands_for.get(name)) and newer not in passed:
            passed.add(newer)
            name = newer
        return name

    down: dict[str, set[str]] = {}
    for name, facts in revisions.items():
        parents = {now(item) for item in facts.get("down") or ()}
        down.setdefault(now(name), set()).update(parents - {now(name)})

    def under(names: Iterable[str]) -> set[str]:
        return below(names, lambda one: down.get(one, ()))

    applied = {now(name) for name in rows}
    heads = applied - under(applied)
    # a circle has no head: all of it stays, so that nothing of what a database holds is lost
    return sorted(heads | (applied - under(heads)))


def _app(name: str) -> str:
    return name.partition(".")[0]


def below(names: Iterable[str], next_below: Callable[[str], Iterable[str]]) -> set[str]:
    """All that is reached from the names by going down; a name itself only where it is below another."""
    seen: set[str] = set()
    queue = list(names)
    while queue:
        more = [name for name in next_below(queue.pop()) if name not in seen]
        seen.update(more)
        queue += more
    return seen

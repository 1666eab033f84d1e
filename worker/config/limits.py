# SPDX-License-Identifier: Apache-2.0
"""A dataset's limits on migrations, and the waivers for exceeding them (docs/datasets.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from worker.counters import MEASURED
from worker.inputs import untrusted as safe

SCHEMA, DATA, DOWNGRADE, AROUND = "schema", "data", "downgrade", "around"
"""The kinds of migrations: an upgrade, a command that moves data, a downgrade, and changes that a stage's code makes
outside of its migrations."""

_KINDS = (SCHEMA, DATA, DOWNGRADE, AROUND)
_NAMED = (DATA, AROUND)
"""The kinds that have no `from` revision; their `from` is the name of the kind."""


@dataclass(frozen=True)
class Waiver:
    """Excuses one migration (a key as in `keys_of`) for exceeding one limit, or any if `limit` is ""."""

    migration: str
    limit: str
    reason: str
    bug: str = ""

    @property
    def why(self) -> str:
        """The reason and the bug, on one line."""
        return f"{self.reason} ({self.bug})" if self.bug else self.reason


def keys_of(from_: str, to: str, kind: str) -> tuple[str, ...]:
    """The keys that apply to a migration, the most specific first.

    ``schema a->b`` applies to that kind only. Without a kind, ``data->…`` and ``around->…`` apply to those kinds only,
    even if a change has revisions of that name; all other keys apply to upgrades and downgrades.
    """
    step = f"{from_}->{to}"
    if not kind:
        return (step,)
    first, space, _ = from_.partition(" ")
    plain = kind == from_ if from_ in _NAMED else kind not in _NAMED and not (space and first in _KINDS)
    return (f"{kind} {step}", step) if plain else (f"{kind} {step}",)


@dataclass(frozen=True)
class DatasetLimits:
    """All limits of a dataset: `tables` by key of the limit; exceeding one in `warn_only` does not fail the job."""

    tables: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    warn_only: frozenset[str] = frozenset()
    waivers: tuple[Waiver, ...] = ()

    def allowed(self, key: str, from_: str, to: str, kind: str = "") -> float | None:
        """A migration's limit; None if there is none.

        The migration's own limit takes precedence, then that of its database (``api:default``), then ``default``.
        """
        table = self.tables.get(key, {})
        database, colon, _ = (from_ if to == "base" else to).partition(":")
        general = f"{database}:default" if colon and kind not in _NAMED else "default"
        for name in (*keys_of(from_, to, kind), general, "default"):
            if name in table:
                return table[name]
        return None

    def of_databases(self, key: str) -> dict[str, float]:
        """The defaults for single databases, by database name."""
        end = ":default"
        return {name.removesuffix(end): limit for name, limit in self._table(key) if name.endswith(end)}

    def of_migrations(self, key: str) -> dict[str, float]:
        """The limits for single migrations, by ``from->to``."""
        return {name: limit for name, limit in self._table(key) if "->" in name}

    def _table(self, key: str) -> list[tuple[str, float]]:
        return list(self.tables.get(key, {}).items())

    def waivers_of(self, from_: str, to: str, kind: str = "") -> tuple[Waiver, ...]:
        """The waivers that apply to a migration."""
        keys = keys_of(from_, to, kind)
        return tuple(waiver for waiver in self.waivers if waiver.migration in keys)

    def excuse(self, key: str, from_: str, to: str, kind: str = "") -> str:
        """Why it does not count that a migration exceeds a limit; "" if it does."""
        for waiver in self.waivers_of(from_, to, kind):
            if waiver.limit in ("", key):
                return f"waived: {waiver.why}"
        return "this limit only warns" if key in self.warn_only else ""


def of_engine(limits: Mapping[str, Any], engine: str) -> dict[str, Any]:
    """The limits in a dataset's file as they are on an engine, "" for none: its own tables take precedence."""
    found: dict[str, Any] = {}
    for key, table in limits.items():
        entries = dict(safe.items(table))
        general = {name: value for name, value in entries.items() if not isinstance(value, dict)}
        found[key] = {**general, **dict(safe.items(entries.get(engine)))} if isinstance(table, dict) else table
    return found


def read(limits: object, waivers: object) -> tuple[DatasetLimits, int]:
    """The limits and waivers in `dataset-<name>.json`, and the number of invalid entries."""
    tables: dict[str, dict[str, float]] = {}
    warn_only: set[str] = set()
    unusable = int(limits is not None and not isinstance(limits, dict))
    for key, table in safe.items(limits):
        entries = dict(safe.items(table))
        flag = entries.pop("warn_only", False)
        name = safe.name(key)
        if flag is True:
            warn_only.add(name)
        numbers = {safe.version(step): safe.number(limit) for step, limit in entries.items()}
        tables[name] = {step: limit for step, limit in numbers.items() if limit is not None}
        unusable += not isinstance(table, dict) or not isinstance(flag, bool) or len(tables[name]) < len(entries)
    found = [_waiver(item) for item in safe.mappings(waivers)]
    usable = tuple(waiver for waiver in found if waiver is not None)
    unusable += waivers is not None and not isinstance(waivers, list)
    unusable += len(safe.sequence(waivers)) - len(usable)
    return DatasetLimits(tables, frozenset(warn_only), usable), unusable


def _waiver(item: Mapping[str, Any]) -> Waiver | None:
    """Read a waiver; None if it has no migration or reason, or if its limit is unknown (which must not waive all)."""
    migration, limit = safe.version(item.get("migration")), item.get("limit", "")
    reason = safe.text(item.get("reason"), safe.MAX_NAME)
    if not migration or not reason or limit not in ("", *(counter.limit for counter in MEASURED)):
        return None
    return Waiver(migration, limit, reason, safe.name(item.get("bug")))


def plain(value: float) -> str:
    """A number formatted for people: ``1,234,567``, ``61.25``."""
    return f"{value:,.3f}".rstrip("0").rstrip(".")

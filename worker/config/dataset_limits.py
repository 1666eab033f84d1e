# SPDX-License-Identifier: Apache-2.0
"""The limits and waivers in a dataset's file, checked completely (docs/datasets.md)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from worker.config import engines
from worker.counters import MEASURED
from worker.errors import ConfigError
from worker.inputs.documents import Section

LIMITS = tuple(counter.limit for counter in MEASURED)
"""The limits that a dataset can set."""

WARN_ONLY = "warn_only"
"""The key in a limit's table: exceeding the limit is reported, but does not fail the job."""

WAIVER = ("migration", "limit", "reason", "bug")

Table = Mapping[str, float]
"""A limit's numbers by ``default``, ``<database>:default`` and ``from->to``, and WARN_ONLY."""


def tables(
    top: Section, databases: Sequence[str], used: Sequence[str], external: bool
) -> dict[str, dict[str, float | Table]]:
    """The limits that a dataset sets. The value of an engine's name is a table that takes precedence on that engine.

    `databases` are the profile's names, `used` the engines that the dataset names, `external` is whether it is on an
    external server. Raises ConfigError.
    """
    defaults = {"default", *(f"{name}:default" for name in databases if name)}
    found: dict[str, dict[str, float | Table]] = {}
    for key in (key for key in LIMITS if top.has(key)):
        table, read = top.section(key), dict[str, float | Table]()
        for name in table.names():
            if name in defaults or name == WARN_ONLY or not engines.NAME.fullmatch(name):
                read[name] = _entry(table, name, defaults)
            elif isinstance(value := table.value(name), dict):
                _check_engine(table, name, used, external)
                own = table.section(name, value)
                read[name] = {one: _entry(own, one, defaults) for one in own.names()}
            else:
                raise _unknown(table, name, defaults)
        found[key] = read
    return found


def waiver(given: Section) -> dict[str, str]:
    """A waiver. Raises ConfigError."""
    given.expect(*WAIVER)
    found = {key: given.text(key) for key in WAIVER if given.has(key)}
    for needed in ("migration", "reason"):
        if not found.get(needed, "").strip():
            raise given.error(needed, "is missing", "a waiver names the migration, and says why")
    if "->" not in found["migration"]:
        raise given.error("migration", f"{found['migration']!r} is not from->to")
    if found.get("limit", LIMITS[0]) not in LIMITS:
        problem = f"{found['limit']!r} is no limit"
        raise given.error("limit", problem, f"use one of {', '.join(LIMITS)}, or leave it out for all")
    return found


def _entry(table: Section, name: str, defaults: Collection[str]) -> float:
    if name != WARN_ONLY and name not in defaults and "->" not in name:
        raise _unknown(table, name, defaults)
    return table.flag(name) if name == WARN_ONLY else table.number(name)


def _unknown(table: Section, name: str, defaults: Collection[str]) -> ConfigError:
    return table.error(name, f"is neither {', '.join(sorted(defaults))} nor from->to")


def _check_engine(table: Section, name: str, used: Sequence[str], external: bool) -> None:
    if external:
        raise table.error(name, "is for an engine, and the dataset is on an external server", "take it out")
    if used and name not in used:
        problem = f"is for the engine {name}, on which the dataset is not walked"
        raise table.error(name, problem, f"take it out, or add {name} to engines")

# SPDX-License-Identifier: Apache-2.0
"""Formatting numbers, versions and endings for people; the page's filters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from worker.inputs import brief
from worker.verdict.artifacts import Migration


def size(value: float | None) -> str:
    """A size for people: ``1.2 MB``."""
    if value is None:
        return "–"
    amount = float(value)
    for unit in ("B", "kB", "MB", "GB"):
        if abs(amount) < 1000 or unit == "GB":
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    raise AssertionError("unreachable")


def seconds(value: float | None) -> str:
    """Seconds for people."""
    if value is None:
        return "–"
    if value < 60 or value >= 1e7:
        return f"{value:.2f} s" if value < 60 else f"{value:.3g} s"
    minutes, rest = divmod(int(value), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def count(value: float | None) -> str:
    """A number with separators."""
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.15g}"


def ending(migration: Migration) -> str:
    """How a migration that failed ended."""
    if not migration.ended:
        return "no end was seen"
    if migration.exit is None:
        return "ended by the worker"
    return f"killed by signal {-migration.exit}" if migration.exit < 0 else f"exit status {migration.exit}"


def moment(instant: str) -> str:
    """An instant of ISO 8601 for people: ``2026-11-23 23:39:24 UTC``."""
    return f"{instant[:10]} {instant[11:19]} UTC"


FILTERS: Mapping[str, Callable[[Any], str]] = {
    "bytes": size, "seconds": seconds, "count": count, "ending": ending, "moment": moment, "brief": brief,
}  # fmt: skip
"""The filters of the page, by name."""

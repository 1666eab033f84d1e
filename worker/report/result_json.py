# SPDX-License-Identifier: Apache-2.0
"""The parts of `result.json` (docs/artifacts.md), each as a document."""

from __future__ import annotations

from typing import Any

from worker.counters import COUNTERS
from worker.verdict import DatasetResult, Message, Problem
from worker.verdict.comparison import Comparison
from worker.verdict.judge import MigrationResult


def of_problem(problem: Problem) -> dict[str, str]:
    """What ended a first try."""
    return {"code": problem.code, "dataset": problem.dataset, "detail": problem.detail}


def of_message(message: Message) -> dict[str, Any]:
    """A message."""
    return {
        "level": message.level,
        "code": message.code,
        "text": message.text,
        "dataset": message.dataset,
        "detail": message.detail,
        "rows": message.rows,
        "fault": message.fault.value,
        "ours": message.fault.infrastructure,
        "counts": message.counts,
        "excuse": message.excuse,
        "explanation": message.explanation,
        "look": message.look,
        "remedy": message.remedy,
        "stage": message.stage,
        "kind": message.step,
        "from": message.from_,
        "to": message.to,
        "file": message.file,
        "line": message.line,
    }


def of_dataset(result: DatasetResult) -> dict[str, Any]:
    """The result for a dataset, with its migrations."""
    walk = result.walk
    return {
        "name": result.name,
        "result": result.outcome.name,
        "engine": result.engine,
        "server": walk.server if walk else "",
        "private": walk.private if walk else True,
        "databases": [
            {"name": item.name, "database": item.schema, "version": item.version}
            for item in (walk.databases if walk else ())
        ],
        "version": walk.version if walk else "",
        "expected": walk.expected if walk else None,
        "final": walk.final if walk else None,
        "migrations": [_migration(row) for row in result.migrations],
    }


def _migration(row: MigrationResult) -> dict[str, Any]:
    step = row.migration
    return {
        "stage": step.stage,
        "from": step.from_,
        "to": step.to,
        "kind": step.kind,
        "file": row.file,
        "seconds": step.seconds,
        "start_up": step.start_up,
        "rounds": step.rounds,
        **{counter.name: step.measured(counter) for counter in COUNTERS},
        "result": row.result,
        "by_change": row.by_change,
        "limits": dict(row.limits),
        "over": sorted(row.over),
        "excused": dict(row.excused),
        "remarks": dict(row.remarks),
    }


def of_comparison(comparison: Comparison) -> dict[str, Any]:
    """The migrations that differ on the engines of a dataset."""
    return {
        "dataset": comparison.dataset,
        "engines": [result.engine for result in comparison.results],
        "migrations": [
            {
                **{key: value for key, value in _migration(one.any).items() if key in ("stage", "from", "to", "kind")},
                "results": [row.result if row else None for row in one.rows],
                "differs": list(differs),
            }
            for one in comparison.migrations
            if (differs := one.differs)
        ],
    }

# SPDX-License-Identifier: Apache-2.0
"""Which failed walks are repeated without the change, and how that turned out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.module_utils.th_core.artifacts import read_json
from ansible.module_utils.th_core.control import base_of

CONTROLLED = (
    "walk_failed", "import_failed", "over_limit", "migration_raised", "migration_ended", "migration_killed",
    "version_unchanged", "version_not_in_tree", "version_mismatch",
)  # fmt: skip
"""Codes of errors whose cause may be merged already; timeouts are not among them."""
_COMPARED_KEYS = ("code", "detail", "from", "to", "file", "line")


def events_of(artifacts: Path, dataset: str) -> list[dict[str, Any]]:
    """The events of a dataset's walk."""
    try:
        lines = (artifacts / f"walk-{dataset}.jsonl").read_text("utf-8").splitlines()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines]


def failure_of(checkout: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The error that ended a walk, if it may occur without the change as well; else None.

    That is one in the change's stage, but not in a migration that the change itself brings.
    """
    errors = [event for event in events if event.get("event") == "error"]
    error = errors[-1] if errors else None
    if error is None or error.get("code") not in CONTROLLED or not base_of(checkout):
        return None
    change, touched = checkout["stages"][-1], checkout.get("touched", {})
    own = {*touched.get("added", ()), *touched.get("altered", ())}
    to = set() if error.get("kind") == "data" else set(str(error.get("to", "")).split(","))
    if error.get("stage", change["name"]) != change["name"] or not own.isdisjoint(to):
        return None
    return error


def needing_control(artifacts: Path, datasets: Sequence[str]) -> list[str]:
    """The datasets whose walks are repeated without the change: one of those that failed in the same way."""
    checkout = read_json(artifacts / "checkout.json")
    found: dict[tuple[Any, ...], str] = {}
    for name in datasets:
        failure = failure_of(checkout, events_of(artifacts, name)) if checkout else None
        if failure:
            found.setdefault(tuple(failure.get(key) for key in _COMPARED_KEYS), name)
    return list(found.values())


def without_change(checkout: Mapping[str, Any]) -> dict[str, Any]:
    """The checkout of the merge base alone, as if that were the change."""
    tree, base = checkout.get("base_tree", {}), base_of(checkout)
    stage = {"name": checkout.get("branch", "") or base[:12], "slug": "change", "kind": "change", "commit": base}
    stage |= {"heads": tree.get("heads", []), "folders": tree.get("folders", [])}
    kept = {name: checkout[name] for name in ("project", "branch", "base", "revisions") if name in checkout}
    return {**kept, "commit": base, "stages": [stage]}


def outcome_of(folder: Path, dataset: str) -> dict[str, Any]:
    """How the walk without the change ended: an outcome, and its error if it failed."""
    events = events_of(folder / "artifacts", dataset)
    error = next((event for event in reversed(events) if event.get("event") == "error"), None)
    if error is not None:
        outcome = "failed" if error.get("code") in CONTROLLED else "unknown"
        return {"outcome": outcome, **{key: error[key] for key in _COMPARED_KEYS if key in error}}
    if any(event.get("event") == "final" for event in events):
        return {"outcome": "passed"}
    return {"outcome": "unknown"}

# SPDX-License-Identifier: Apache-2.0
"""Comparing a failed build with one of the code that the change is based on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.th_environment.uv import TIME_LIMIT

CONTROLLED = ("environment_failed", "over_limit")
"""Codes of build failures whose cause may already be in merged code."""


def may_be_merged(failure: Mapping[str, Any]) -> bool:
    """Whether the failure may also occur without the change: not if the build was too slow."""
    return failure.get("code") in CONTROLLED and TIME_LIMIT not in str(failure.get("detail", ""))


def found_in(folder: Path) -> dict[str, Any]:
    """The outcome of the build without the change in a control's folder: the facts of a `control` event."""
    try:
        lines = (folder / "artifacts" / "errors.jsonl").read_text("utf-8", "replace").splitlines()
        event = json.loads(lines[-1])
    except (OSError, ValueError, IndexError):
        built = (folder / "artifacts" / "environment.json").is_file()
        return {"outcome": "passed"} if built else {"outcome": "unknown"}
    facts = {name: value for name, value in event.items() if name not in ("event", "at", "role", "dataset")}
    return {**facts, "outcome": "failed" if may_be_merged(event) else "unknown"}

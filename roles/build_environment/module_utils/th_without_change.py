# SPDX-License-Identifier: Apache-2.0
"""The environment of the code that a change is based on, built as the change's was: does it fail without the change?

It is built in a folder of its own below the job's, from git objects of the mirror alone: nothing that a process of the
change's has written is read. What comes of it is a `control` event (docs/artifacts.md); the verdict compares.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ansible.module_utils.th_artifacts import append_event, read_json, write_json
from ansible.module_utils.th_builder import Builder
from ansible.module_utils.th_capped import CappedLog
from ansible.module_utils.th_remove import remove
from ansible.module_utils.th_requirements import absent
from ansible.module_utils.th_step import StepError
from ansible.module_utils.th_uv import TIME_LIMIT

CONTROLLED = ("environment_failed", "over_limit")
"""Codes of a build's failure whose cause may be merged already."""
FOLDER = "control"
"""Where below the job's folder the code without the change lies, and what is made of it."""


def base_of(checkout: Mapping[str, Any]) -> str:
    """The commit that a change is based on; "" where there is no change to leave out."""
    base = checkout.get("base") or ""
    return "" if base == checkout.get("commit") else str(base)


def facts_of(error: StepError) -> dict[str, Any]:
    """What an `error` or a `control` event says of a failed build, with the packages that no index has."""
    facts = {"code": error.code, "detail": error.detail, **error.more}
    missing = sorted(absent(error.detail)) if error.code == "environment_failed" else []
    return {**facts, "missing": missing} if missing else facts


def _may_be_merged(error: StepError) -> bool:
    """Whether it is worth to look for a failure without the change: not for want of time."""
    return error.code in CONTROLLED and TIME_LIMIT not in error.detail


def control(params: Mapping[str, Any], log: CappedLog, error: StepError) -> None:
    """Build the environment without the change, after that of the change has failed, and write down how it went."""
    job_dir = Path(params["job_dir"])
    checkout = read_json(job_dir / "artifacts" / "checkout.json")
    base = base_of(checkout)
    if not base or not _may_be_merged(error):
        return
    folder, begun = job_dir / FOLDER, time.monotonic()
    log.line(f"Control: the same without the change, at {base}")
    facts: dict[str, Any] = {"outcome": "passed"}
    try:
        _prepare(folder, checkout)
        limit = min(params["time_limit"], params["control_time_limit"])
        Builder({**params, "job_dir": str(folder), "time_limit": limit}, log).build("change", "base", base)
    except StepError as found:
        facts = {**facts_of(found), "outcome": "failed" if _may_be_merged(found) else "unknown"}
    except OSError as found:
        facts = {"outcome": "unknown", "detail": str(found)}
    with suppress(StepError, OSError):
        remove(folder)
    said = {"event": "control", "role": "build_environment", "dataset": ""}
    place = {"stage": checkout.get("branch", ""), "commit": base, "seconds": round(time.monotonic() - begun, 3)}
    append_event(job_dir / "artifacts" / "errors.jsonl", {**said, **facts, **place})
    log.line(f"Control: {facts['outcome']}")


def _prepare(folder: Path, checkout: Mapping[str, Any]) -> None:
    """A folder like a job's, with what a build reads of one."""
    remove(folder)
    for path in (folder, folder / "artifacts", folder / "results"):
        path.mkdir(mode=0o700)
    told = {name: value for name, value in checkout.items() if name != "schema"}
    write_json(folder / "artifacts" / "checkout.json", told)

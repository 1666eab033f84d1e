# SPDX-License-Identifier: Apache-2.0
"""The environment of the code that a change is based on, built as the change's was: does it fail without the change?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.th_artifacts import read_json
from ansible.module_utils.th_builder import Builder
from ansible.module_utils.th_capped import CappedLog
from ansible.module_utils.th_control import base_of, compared, prepare
from ansible.module_utils.th_requirements import absent
from ansible.module_utils.th_step import StepError
from ansible.module_utils.th_uv import TIME_LIMIT

ROLE = "build_environment"
CONTROLLED = ("environment_failed", "over_limit")
"""Codes of a build's failure whose cause may be merged already."""


def facts_of(error: StepError) -> dict[str, Any]:
    """What an `error` or a `control` event says of a failed build, with the packages that no index has."""
    facts = {"code": error.code, "detail": error.detail, **error.more}
    missing = sorted(absent(error.detail)) if error.code == "environment_failed" else []
    return {**facts, "missing": missing} if missing else facts


def control(params: Mapping[str, Any], log: CappedLog, error: StepError) -> None:
    """Build the environment without the change, after that of the change has failed, and write down how it went."""
    job_dir = Path(params["job_dir"])
    checkout = read_json(job_dir / "artifacts" / "checkout.json")
    base = base_of(checkout)
    if not base or not _may_be_merged(error):
        return
    log.line(f"Control: the same without the change, at {base}")

    def build() -> None:
        folder = prepare(job_dir, checkout)
        limit = min(params["time_limit"], params["control_time_limit"])
        Builder({**params, "job_dir": str(folder), "time_limit": limit}, log).build("change", "base", base)

    def failed(found: StepError) -> dict[str, Any]:
        return {**facts_of(found), "outcome": "failed" if _may_be_merged(found) else "unknown"}

    log.line(f"Control: {compared(job_dir, ROLE, checkout, build, failed)}")


def _may_be_merged(error: StepError) -> bool:
    """Whether it is worth to look for a failure without the change: not for want of time."""
    return error.code in CONTROLLED and TIME_LIMIT not in error.detail

# SPDX-License-Identifier: Apache-2.0
"""How a step's module ends: with its result, or with one recorded failure that the verdict is computed from."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ansible.module_utils.th_core.artifacts import (
    cut,
    disk_full_message,
    forget_errors,
    not_recorded_message,
    report_error,
)

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


class StepError(Exception):
    """A failure whose reason is known.

    `code` is one of those in docs/artifacts.md; `detail` is one sentence for people, with the remedy, truncated to the
    length that is read; `more` has further fields of the error event, such as ``stage``.
    """

    def __init__(self, code: str, detail: str, **more: Any) -> None:
        detail = cut(detail)
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.more = more


def run_step(module: AnsibleModule, role: str, job_dir: str, step: Callable[[], dict[str, Any]]) -> None:
    """Run `step` and end the module with what it returns; a known failure is first recorded in errors.jsonl.

    Errors that an earlier run recorded in the same folder are dropped first.
    """
    try:
        if not module.check_mode:
            forget_errors(job_dir, role)
        result = step()
    except StepError as error:
        _fail(module, role, job_dir, error)
    except OSError as error:
        if not (detail := disk_full_message(error)):
            raise
        _fail(module, role, job_dir, StepError("disk_full", detail))
    else:
        module.exit_json(**result)


def _fail(module: AnsibleModule, role: str, job_dir: str, error: StepError) -> None:
    detail = error.detail
    try:
        report_error(job_dir, role, error.code, detail, **error.more)
    except OSError as problem:
        detail += f" ({not_recorded_message(job_dir, problem)})"
    module.fail_json(msg=detail, code=error.code)

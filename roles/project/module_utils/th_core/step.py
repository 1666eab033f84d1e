# SPDX-License-Identifier: Apache-2.0
"""How a stage's module ends: its result, or one clear sentence that the verdict can be computed from."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ansible.module_utils.th_core.artifacts import cut, forget_errors, full, report_error, unrecorded

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


class StepError(Exception):
    """A failure whose reason is known.

    `code` is one of docs/artifacts.md; `detail` one sentence for a person, with the remedy, cut to what is read of it;
    `more` further fields of the error's line, such as ``stage``.
    """

    def __init__(self, code: str, detail: str, **more: Any) -> None:
        detail = cut(detail)
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.more = more


def run_step(module: AnsibleModule, role: str, job_dir: str, step: Callable[[], dict[str, Any]]) -> None:
    """Run `step` and end the module with what it returns; a known failure is first recorded in errors.jsonl.

    What an earlier run in the same folder had recorded is forgotten before.
    """
    try:
        if not module.check_mode:
            forget_errors(job_dir, role)
        result = step()
    except StepError as error:
        _fail(module, role, job_dir, error)
    except OSError as error:
        if not (detail := full(error)):
            raise
        _fail(module, role, job_dir, StepError("disk_full", detail))
    else:
        module.exit_json(**result)


def _fail(module: AnsibleModule, role: str, job_dir: str, error: StepError) -> None:
    detail = error.detail
    try:
        report_error(job_dir, role, error.code, detail, **error.more)
    except OSError as problem:
        detail += f" ({unrecorded(job_dir, problem)})"
    module.fail_json(msg=detail, code=error.code)

# SPDX-License-Identifier: Apache-2.0
"""How a step of a build begins and ends as a module: from the file that the step before has left, to that file."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible.module_utils.th_core.step import StepError, run_step
from ansible.module_utils.th_environment.build import Build
from ansible.module_utils.th_environment.requirements import absent
from ansible.module_utils.th_sandbox.capped_log import CappedLog

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

ROLE = "build_environment"
BUILD = {"type": "path", "required": True}
"""The option `build` of each of these modules: what `find_environment` returns as such."""


def with_missing(error: StepError, kind: str) -> StepError:
    """A failure of a build, with the packages that no index has, where it is compared with one without the change."""
    missing = sorted(absent(error.detail)) if kind in ("change", "base") and error.code == "environment_failed" else []
    return StepError(error.code, error.detail, **{**error.more, "missing": missing}) if missing else error


def carry_on(build: Build, step: Callable[[Build, CappedLog], Mapping[str, Any] | None]) -> Mapping[str, Any]:
    """Take a step of a build, and leave the build as it is then for the next one. Raises StepError."""
    log = build.given.open_log()
    try:
        answer = step(build, log) or {}
        if "environment" not in answer:
            build.save()
        return answer
    except StepError as error:
        build.failure = {"code": error.code, "detail": error.detail}
        build.save()
        build.give_up()
        raise StepError(error.code, error.detail, **{**error.more, "stage": build.stage}) from None
    finally:
        log.close()


def run_build_step(module: AnsibleModule, step: Callable[[Build, CappedLog], Mapping[str, Any] | None]) -> None:
    """Run a step of a build as a module, and end it with the folders of the build as it is then."""
    file = Path(module.params["build"])

    def run() -> dict[str, Any]:
        os.umask(0o077)
        build = Build.read(file)
        try:
            answer = carry_on(build, step)
        except StepError as error:
            raise with_missing(error, build.kind) from None
        return {"changed": True, **answer, "venv": str(build.venv), "src": str(build.src)}

    run_step(module, ROLE, str(file.parent), run)

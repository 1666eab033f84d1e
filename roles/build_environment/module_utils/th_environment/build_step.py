# SPDX-License-Identifier: Apache-2.0
"""Running one step of a build as a module: it reads the state that the previous step has written, and updates it."""

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
"""The option `build` of each of these modules, which `find_environment` returns."""


def with_missing(error: StepError, kind: str) -> StepError:
    """A build failure, with the packages that no index has if it will be compared with a build without the change."""
    missing = sorted(absent(error.detail)) if kind in ("change", "base") and error.code == "environment_failed" else []
    return StepError(error.code, error.detail, **{**error.more, "missing": missing}) if missing else error


def continue_build(build: Build, step: Callable[[Build, CappedLog], Mapping[str, Any] | None]) -> Mapping[str, Any]:
    """Run a step of a build, and write the state for the next one. Raises StepError."""
    log = build.given.open_log()
    try:
        result = step(build, log) or {}
        if "environment" not in result:
            build.save()
        return result
    except StepError as error:
        build.failure = {"code": error.code, "detail": error.detail}
        build.save()
        build.give_up()
        raise StepError(error.code, error.detail, **{**error.more, "stage": build.stage}) from None
    finally:
        log.close()


def run_build_step(module: AnsibleModule, step: Callable[[Build, CappedLog], Mapping[str, Any] | None]) -> None:
    """Run a step of a build as a module, which returns the folders of the environment."""
    file = Path(module.params["build"])

    def run() -> dict[str, Any]:
        os.umask(0o077)
        build = Build.read(file)
        try:
            result = continue_build(build, step)
        except StepError as error:
            raise with_missing(error, build.kind) from None
        return {"changed": True, **result, "venv": str(build.venv), "src": str(build.src)}

    run_step(module, ROLE, str(file.parent), run)

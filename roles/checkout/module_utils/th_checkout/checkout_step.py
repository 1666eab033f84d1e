# SPDX-License-Identifier: Apache-2.0
"""How a step of a checkout begins and ends as a module: from the file that the step before has left, to that file."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible.module_utils.th_checkout.fetch import Fetch, Point
from ansible.module_utils.th_checkout.request import Request
from ansible.module_utils.th_core.artifacts import as_text, read_json, write_text
from ansible.module_utils.th_core.step import StepError, run_step
from ansible.module_utils.th_git.client import Git, RetryPolicy, join_url
from ansible.module_utils.th_git.mirror import Mirror
from ansible.module_utils.th_git.process import GitLimits
from ansible.module_utils.th_sandbox.capped_log import CappedLog, continued_log

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

ROLE = "checkout"
FILE = "checkout-steps.json"
STATE = {"type": "path", "required": True}
"""The option `state` of each step but the first: what `update_mirror` returns as such."""

Step = Callable[[Any, Point, float], Mapping[str, Any] | Point | None]
Maker = Callable[[Git, Mirror, Request, Path], Any]


def run_checkout_step(
    module: AnsibleModule,
    file: Path,
    begin: Callable[[], dict[str, Any]] | None,
    step: Step,
    make: Maker = Fetch,
) -> None:
    """Run a step as a module. `begin` makes what the steps leave to each other, else the file has it. `make` makes what
    a `step` works with.

    A `step` answers with what is under test, for the next one, or with what the module answers at the end of all.
    """

    def run() -> dict[str, Any]:
        os.umask(0o077)
        state = begin() if begin else read_json(file)
        if not state:
            raise StepError("playbook_failed", f"there is no {file}: the step update_mirror has to come first.")
        given, point = state["given"], Point(**state["point"])
        request = Request.of(given["job"], given["origin"])
        log = continued_log(file.parent / "results" / "git_prep.log", given["log_limit"], stamp=True)
        try:
            answer = step(_made(make, given, request, file.parent, log), point, state["begun"])
        finally:
            log.close()
        if isinstance(answer, Mapping):
            file.unlink(missing_ok=True)
            return {"changed": True, **answer}
        point = answer or point
        write_text(file, as_text({"given": given, "begun": state["begun"], "point": asdict(point)}), 0o600)
        return {"changed": True, "state": str(file), **asdict(point)}

    run_step(module, ROLE, str(file.parent), run)


def _made(make: Maker, given: Mapping[str, Any], request: Request, job_dir: Path, log: CappedLog) -> Any:
    patience = RetryPolicy(given["fetch_attempts"], given["fetch_time_limit"], given["fetch_backoff"])
    limits = GitLimits(job_dir / "src", *(given[f"{what}_limit"] for what in ("files", "bytes", "memory", "cpu")))
    git = Git(log, (request.url, request.origin), patience, limits)
    origin = join_url(request.origin, request.project)
    mirror = Mirror(git, Path(given["mirrors_dir"]), request.project, origin)
    return make(git, mirror, request, job_dir / "src")

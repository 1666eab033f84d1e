# SPDX-License-Identifier: Apache-2.0
"""Run a script on the checkout of a change, in a box."""

from __future__ import annotations

DOCUMENTATION = r"""
module: run_script
short_description: Run a script on the checkout of a change, in a box
description:
  - Runs it with the checkout as its working directory, with C(/bin/sh) if it is not executable. It may write to the
    checkout and to a folder of its own, and has no network.
  - Its arguments are the checkout, that folder and the build's id, then I(arguments). Its environment has
    C(TH_JOB_NAME), C(TH_RESULT_FILE) and the job's C(ZUUL_*).
  - What it prints goes to C(results/shell_output.log). What it writes to C(TH_RESULT_FILE) is its message.
  - After exit status 0 the message is in C(artifacts/plugin.json). Any other status is recorded as C(script_failed) in
    C(artifacts/errors.jsonl), with the message.
options:
  script:
    description: The script, relative to the checkout, or absolute where it is the operator's.
    type: str
    required: true
  arguments:
    description: Further arguments.
    type: list
    elements: str
    default: []
  merged:
    description: Whether the code that the change is based on has the script.
    type: bool
    default: false
  job:
    description: The job, C(th_job) of docs/artifacts.md.
    type: dict
    required: true
  job_dir:
    description: The job's folder, with the checkout in C(src).
    type: path
    required: true
  sandbox:
    description: The sandbox that it runs in; C(th_sandbox) of the role C(project).
    type: dict
    required: true
  time_limit:
    description: Seconds that it may take.
    type: float
    default: 3600
  log_limit:
    description: The maximum size of its log, in bytes.
    type: int
    default: 10485760
author: turbo-hipster
"""

EXAMPLES = r"""
- name: Run the project's tests
  run_script:
    script: tools/test.sh
    job: "{{ th_job }}"
    job_dir: "{{ th_job_dir }}"
    sandbox: "{{ th_sandbox }}"
"""

RETURN = r"""
message:
  description: What the script has written to C(TH_RESULT_FILE).
  type: str
  returned: success
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.th_core.artifacts import write_json
from ansible.module_utils.th_core.remove import remove
from ansible.module_utils.th_core.step import run_step
from ansible.module_utils.th_sandbox.box import Box, Settings
from ansible.module_utils.th_sandbox.capped_log import CappedLog
from ansible.module_utils.th_sandbox.contain import base_environment, run_contained
from ansible.module_utils.th_script.script import RESULT, failure, find, message, variables


def run_script(params: Mapping[str, Any]) -> dict[str, Any]:
    """Run the script to its end; returns the module's result. Raises StepError."""
    job_dir = Path(params["job_dir"])
    src, work, home = job_dir / "src", job_dir / "script", job_dir / "home" / "script"
    (job_dir / "artifacts" / "plugin.json").unlink(missing_ok=True)
    script = find(params["script"], src, params["merged"])
    settings = Settings.of(params["sandbox"])
    remove(work)
    for folder in (work, home):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    box = Box(settings, [script.path] if script.operators else [], [src, work], [home])
    shell = [] if os.access(script.path, os.X_OK) else ["/bin/sh"]
    argv = [*shell, str(script.path), str(src), str(work), str(params["job"].get("id") or ""), *params["arguments"]]
    environment = base_environment(home, variables(params["job"], work / RESULT), settings.environment)
    log_file = job_dir / "results" / "shell_output.log"
    log_file.unlink(missing_ok=True)
    log = CappedLog(log_file, params["log_limit"])
    limit = params["time_limit"]
    try:
        result = run_contained(argv, cwd=src, env=environment, box=box, log=log, time_limit=limit)
    finally:
        log.close()
    reported = message(work)
    if error := failure(result, reported, limit):
        raise error
    document = {"message": reported, "exit": result.exit, "seconds": round(result.seconds, 3)}
    write_json(job_dir / "artifacts" / "plugin.json", document)
    return {"changed": True, "message": reported}


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "script": {"type": "str", "required": True},
            "arguments": {"type": "list", "elements": "str", "default": []},
            "merged": {"type": "bool", "default": False},
            "job": {"type": "dict", "required": True},
            "job_dir": {"type": "path", "required": True},
            "sandbox": {"type": "dict", "required": True},
            "time_limit": {"type": "float", "default": 3600},
            "log_limit": {"type": "int", "default": 10 * 1024 * 1024},
        }
    )
    os.umask(0o077)
    run_step(module, "shell_script", module.params["job_dir"], lambda: run_script(module.params))


if __name__ == "__main__":
    main()

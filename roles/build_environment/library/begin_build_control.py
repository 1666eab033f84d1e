# SPDX-License-Identifier: Apache-2.0
"""Prepare to build without the change the environment that could not be built with it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: begin_build_control
short_description: Prepare to build without the change the environment that could not be built with it
description:
  - Makes the folder C(control) in the job's, like that of a job that only builds the commit which the change is based
    on, if merged code may fail in the same way.
  - Removes the unfinished environment, if it was to be kept for other jobs.
options:
  job_dir:
    description: The job's folder.
    type: path
    required: true
  failed:
    description: The result of the task that failed.
    type: dict
    required: true
  task:
    description: The name of that task.
    type: str
    default: ""
  log:
    description: The log of the builds.
    type: path
    required: true
author: turbo-hipster
"""

EXAMPLES = r"""
- name: Prepare to build without the change what could not be built with it
  begin_build_control:
    job_dir: "{{ th_job_dir }}"
    failed: "{{ ansible_failed_result }}"
    task: "{{ ansible_failed_task.name }}"
    log: "{{ th_job_dir }}/results/environment.log"
  register: control
"""

RETURN = r"""
commit:
  description: The commit to build; nothing is to be built when it is empty.
  type: str
  returned: always
job_dir:
  description: The folder to build it in.
  type: str
  returned: always
begun:
  description: When the control began.
  type: float
  returned: always
failure:
  description: The failure, for C(end_build_control).
  type: dict
  returned: always
"""

from contextlib import suppress
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.th_core.artifacts import read_json
from ansible.module_utils.th_core.control import FOLDER, base_of, begin, end, prepare
from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_environment.build import FILE, Build
from ansible.module_utils.th_environment.build_step import ROLE
from ansible.module_utils.th_environment.without_change import may_be_merged

KEPT = ("code", "censored", "stdout", "stderr", "module_stdout", "module_stderr")
"""Keys of a failed task's result that are kept for the report."""


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "job_dir": {"type": "path", "required": True},
            "failed": {"type": "dict", "required": True},
            "task": {"type": "str", "default": ""},
            "log": {"type": "path", "required": True},
        }
    )
    job_dir, ended = Path(module.params["job_dir"]), module.params["failed"]
    state = read_json(job_dir / FILE)
    known = state.get("failure") or {}
    message = str(ended.get("msg", ""))
    if not known and not ended.get("code") and module.params["task"]:  # a step that an operator wrote
        message = f"{module.params['task']}: {message}"
    if not known and "given" in state:
        with suppress(StepError):
            Build.read(job_dir / FILE).give_up()
    failure = {"msg": message, **{name: ended[name] for name in KEPT if ended.get(name)}}
    checkout = read_json(job_dir / "artifacts" / "checkout.json")
    commit, begun = base_of(checkout), 0.0
    if not commit or state.get("kind") != "change" or not may_be_merged(known):
        commit = ""
    else:
        begun = begin(job_dir / "artifacts" / "errors.jsonl", ROLE, checkout, dataset="")
        with suppress(OSError), open(module.params["log"], "a", encoding="utf-8") as log:
            log.write(f"Control: the same without the change, at {commit}\n")
        try:
            prepare(job_dir, checkout)
        except (StepError, OSError) as error:
            end(job_dir, ROLE, checkout, begun, {"outcome": "unknown", "detail": str(error)})
            commit = ""
    module.exit_json(changed=bool(commit), commit=commit, job_dir=str(job_dir / FOLDER), begun=begun, failure=failure)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""Record the result of the build without the change, and fail as the build with it did."""

from __future__ import annotations

DOCUMENTATION = r"""
module: end_build_control
short_description: Record the result of the build without the change, and fail as the build with it did
description:
  - Appends the event C(control) to C(artifacts/errors.jsonl), and removes the folder of the control.
  - Always fails, with the failure that C(begin_build_control) was given.
options:
  job_dir:
    description: The job's folder.
    type: path
    required: true
  control:
    description: What C(begin_build_control) has returned.
    type: dict
    required: true
  log:
    description: The log of the builds.
    type: path
    required: true
author: turbo-hipster
"""

EXAMPLES = r"""
- name: Record the result of the control, and fail as the build did
  end_build_control:
    job_dir: "{{ th_job_dir }}"
    control: "{{ control }}"
    log: "{{ th_job_dir }}/results/environment.log"
"""

RETURN = r"""
code:
  description: The code of the failure, where it has one.
  type: str
  returned: failure
"""

from contextlib import suppress
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.th_core.artifacts import read_json
from ansible.module_utils.th_core.control import FOLDER, end
from ansible.module_utils.th_environment.build_step import ROLE
from ansible.module_utils.th_environment.without_change import found_in


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "job_dir": {"type": "path", "required": True},
            "control": {"type": "dict", "required": True},
            "log": {"type": "path", "required": True},
        }
    )
    job_dir, control = Path(module.params["job_dir"]), module.params["control"]
    if control.get("commit"):
        facts = found_in(job_dir / FOLDER)
        with suppress(OSError):  # a full disk: the failure itself is recorded
            end(job_dir, ROLE, read_json(job_dir / "artifacts" / "checkout.json"), control["begun"], facts)
            with open(module.params["log"], "a", encoding="utf-8") as log:
                log.write(f"Control: {facts['outcome']}\n")
    module.fail_json(**{"msg": "The environment could not be built.", **control.get("failure", {})})


if __name__ == "__main__":
    main()

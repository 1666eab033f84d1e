#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Prepare to repeat failed walks without the change."""

DOCUMENTATION = r"""
module: plan_control
short_description: Prepare to repeat failed walks without the change
description:
  - Creates the folder C(control) in the job's, like that of a job that tests only the merge base.
options:
  job_dir:
    description: The job's folder.
    type: path
    required: true
  datasets:
    description: The job's datasets, each with its C(name).
    type: list
    elements: dict
    required: true
author: The turbo-hipster developers
"""

EXAMPLES = r"""
- name: Prepare to walk without the change
  plan_control:
    job_dir: /var/lib/turbo-hipster/jobs/1
    datasets: "{{ th_datasets }}"
"""

RETURN = r"""
datasets:
  description: The datasets to walk without the change; only one of those that failed in the same way.
  type: list
  returned: always
commit:
  description: The merge base.
  type: str
  returned: always
job_dir:
  description: The folder of the control.
  type: str
  returned: always
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.th_core.artifacts import read_json
from ansible.module_utils.th_core.control import base_of, begin, prepare
from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_walk.controls import needing_control, without_change

ROLE = "run_migrations"


def main() -> None:
    """Run as a module of Ansible."""
    module = AnsibleModule(
        argument_spec={
            "job_dir": {"type": "path", "required": True},
            "datasets": {"type": "list", "elements": "dict", "required": True},
        }
    )
    job_dir = Path(module.params["job_dir"])
    checkout = read_json(job_dir / "artifacts" / "checkout.json")
    by_name = {one["name"]: one for one in module.params["datasets"]}
    datasets = [by_name[name] for name in needing_control(job_dir / "artifacts", list(by_name))]
    for one in datasets:
        begin(job_dir / "artifacts" / f"walk-{one['name']}.jsonl", ROLE, checkout)
    try:
        folder = prepare(job_dir, without_change(checkout))
    except (StepError, OSError) as error:
        module.fail_json(msg=f"The control cannot be prepared: {error}")
    module.exit_json(changed=True, datasets=datasets, commit=base_of(checkout), job_dir=str(folder))


if __name__ == "__main__":
    main()

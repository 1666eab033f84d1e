#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Record how the walks without the change ended, and remove their folder."""

DOCUMENTATION = r"""
module: record_control
short_description: Record how the walks without the change ended, and remove their folder
description:
  - Appends an event C(control) to C(artifacts/walk-<name>.jsonl), and keeps the walk's log as
    C(results/<name>-control.log).
options:
  job_dir:
    description: The job's folder.
    type: path
    required: true
  datasets:
    description: The names of the datasets that were to be walked without the change.
    type: list
    elements: str
    required: true
  seconds:
    description: How long they took in total.
    type: float
    default: 0
author: The turbo-hipster developers
"""

EXAMPLES = r"""
- name: Record how the walks without the change ended
  record_control:
    job_dir: /var/lib/turbo-hipster/jobs/1
    datasets: [user_001]
"""

RETURN = r"""
outcomes:
  description: By dataset, whether the walk without the change has C(failed), has C(passed), or C(unknown).
  type: dict
  returned: always
"""

import contextlib
import shutil
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.th_core.artifacts import append_event, read_json
from ansible.module_utils.th_core.control import FOLDER, event_of
from ansible.module_utils.th_core.remove import remove
from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_walk.controls import outcome_of

ROLE = "run_migrations"


def main() -> None:
    """Run as a module of Ansible."""
    module = AnsibleModule(
        argument_spec={
            "job_dir": {"type": "path", "required": True},
            "datasets": {"type": "list", "elements": "str", "required": True},
            "seconds": {"type": "float", "default": 0},
        }
    )
    job_dir = Path(module.params["job_dir"])
    checkout = read_json(job_dir / "artifacts" / "checkout.json")
    outcomes = {}
    for name in module.params["datasets"]:
        facts = outcome_of(job_dir / FOLDER, name)
        outcomes[name] = facts["outcome"]
        event = event_of(ROLE, checkout, module.params["seconds"], facts)
        with contextlib.suppress(OSError):  # a full disk must not fail the job here
            append_event(job_dir / "artifacts" / f"walk-{name}.jsonl", event)
            log = job_dir / FOLDER / "results" / f"{name}.log"
            if log.is_file():
                shutil.copyfile(log, job_dir / "results" / f"{name}-control.log")
    with contextlib.suppress(StepError, OSError):
        remove(job_dir / FOLDER)
    module.exit_json(changed=True, outcomes=outcomes)


if __name__ == "__main__":
    main()

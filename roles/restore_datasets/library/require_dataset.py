# SPDX-License-Identifier: Apache-2.0
"""Fail when none of a job's datasets could be restored."""

from __future__ import annotations

DOCUMENTATION = r"""
module: require_dataset
short_description: Fail when none of a job's datasets could be restored
description:
  - A dataset that was restored has a file C(artifacts/dataset-<name>.json). For any other, C(artifacts/errors.jsonl)
    has the reason.
options:
  job_dir:
    description: The job's folder.
    type: path
    required: true
  names:
    description: The names of the datasets.
    type: list
    elements: str
    required: true
author: The turbo-hipster developers
"""

EXAMPLES = r"""
- name: Require a dataset to test with
  require_dataset:
    job_dir: /var/lib/turbo-hipster/jobs/1
    names: "{{ th_datasets | map(attribute='name') }}"
"""

RETURN = r"""
restored:
  description: The names of the datasets that were restored.
  type: list
  returned: success
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.th_core.artifacts import reported_errors
from ansible.module_utils.th_dataset.restore_step import ROLE


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "job_dir": {"type": "path", "required": True},
            "names": {"type": "list", "elements": "str", "required": True},
        }
    )
    artifacts, names = Path(module.params["job_dir"]) / "artifacts", module.params["names"]
    restored = [name for name in names if (artifacts / f"dataset-{name}.json").exists()]
    if not restored:
        reasons = " ".join(reasons_of(module.params["job_dir"], names))
        module.fail_json(msg=f"None of the job's datasets could be restored. {reasons}")
    module.exit_json(restored=restored)


def reasons_of(job_dir: str, names: list[str]) -> list[str]:
    """The errors that the role has recorded for datasets, each with the name, in the order of `names`."""
    errors = reported_errors(job_dir, ROLE)
    return [f"{name}: {event.get('detail')}" for name in names for event in errors if event.get("dataset") == name]


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""Prove that the databases on an external server are in the state of the seed."""

from __future__ import annotations

DOCUMENTATION = r"""
module: prove_seed
short_description: Prove that the databases on an external server are in the state of the seed
description:
  - Compares preloaded databases with what the first job found there, table by table.
  - Refuses views, triggers, routines and events whose definer has more rights than the job.
  - Reads the versions of the databases, and writes C(artifacts/dataset-<name>.json).
options:
  restore:
    description: What C(begin_restore) returns as C(restore).
    type: path
    required: true
author: The turbo-hipster developers
"""

EXAMPLES = r"""
- name: Prove that the databases are in the state of the seed
  prove_seed:
    restore: "{{ __restore_datasets_step.restore }}"
  register: __restore_datasets_step
"""

RETURN = r"""
ready:
  description: Whether the dataset is restored and its server answers.
  type: bool
  returned: always
restore:
  description: The file that passes the state from step to step.
  type: str
  returned: when ready
folder:
  description: The folder of the dataset's server.
  type: str
  returned: when ready
facts:
  description: What C(artifacts/dataset-<name>.json) holds.
  type: dict
  returned: when ready
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.th_dataset.external_dataset import prove_seed
from ansible.module_utils.th_dataset.restore_step import RESTORE, run_restore_step


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec={"restore": RESTORE})

    run_restore_step(module, prove_seed)


if __name__ == "__main__":
    main()

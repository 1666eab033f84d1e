# SPDX-License-Identifier: Apache-2.0
"""Take a job's locks on a dataset's external server."""

from __future__ import annotations

DOCUMENTATION = r"""
module: take_locks
short_description: Take a job's locks on a dataset's external server
description:
  - Waits for preloaded databases that another job uses. A process holds the locks until the job has ended.
  - Drops what dead jobs have left on the server, and creates an account for this job, and databases unless they are
    preloaded.
options:
  restore:
    description: What C(begin_restore) returns as C(restore).
    type: path
    required: true
author: The turbo-hipster developers
"""

EXAMPLES = r"""
- name: Take the job's locks on the server
  take_locks:
    restore: "{{ __restore_datasets_step.restore }}"
  register: __restore_datasets_step
"""

RETURN = r"""
ready:
  description: Whether the dataset is ready for the next step.
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
databases:
  description: The job's databases on the server, by the profile's names.
  type: dict
  returned: when ready
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.th_dataset.external_dataset import take_locks
from ansible.module_utils.th_dataset.restore_step import RESTORE, run_restore_step


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec={"restore": RESTORE})

    run_restore_step(module, take_locks)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""Give the job its own copy of a dataset's snapshot."""

from __future__ import annotations

DOCUMENTATION = r"""
module: clone_snapshot
short_description: Give the job its own copy of a dataset's snapshot
description:
  - Clones it to C(data) in the dataset's folder, by reflink where the file system supports it, otherwise by copying.
  - If another job has meanwhile replaced the snapshot by one of a newer dump, that one is cloned.
options:
  restore:
    description: What C(begin_restore) returns as C(restore).
    type: path
    required: true
author: The turbo-hipster developers
"""

EXAMPLES = r"""
- name: Clone the snapshot
  clone_snapshot:
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
method:
  description: C(reflink) or C(copy).
  type: str
  returned: when ready
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.th_dataset.private_dataset import clone_snapshot
from ansible.module_utils.th_dataset.restore_step import RESTORE, run_restore_step


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec={"restore": RESTORE})

    run_restore_step(module, clone_snapshot)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""Import a dataset's dumps into a snapshot, where there is none of them."""

from __future__ import annotations

DOCUMENTATION = r"""
module: import_dump
short_description: Import a dataset's dumps into a snapshot, where there is none of them
description:
  - A snapshot is the data directory of a stopped server. It is kept, so that the first job with a dump imports it; jobs
    at the same time wait for the one that does.
  - A snapshot of an older dump of the same dataset is removed.
options:
  restore:
    description: What C(begin_restore) returns as C(restore).
    type: path
    required: true
author: The turbo-hipster developers
"""

EXAMPLES = r"""
- name: Import the dump into a snapshot, where there is none
  import_dump:
    restore: "{{ __restore_datasets_step.restore }}"
  register: __restore_datasets_step
"""

RETURN = r"""
ready:
  description: Whether the dataset is ready for the next step.
  type: bool
  returned: always
restore:
  description: The file that the steps leave to each other.
  type: str
  returned: when ready
folder:
  description: The folder of the dataset's server.
  type: str
  returned: when ready
snapshot:
  description: C(made), or C(hit) where it was there.
  type: str
  returned: when ready
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.th_dataset.private_dataset import import_dump
from ansible.module_utils.th_dataset.restore_step import RESTORE, run_restore_step


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec={"restore": RESTORE})

    run_restore_step(module, import_dump)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""Import a dataset's dumps into a snapshot, unless there is one already."""

from __future__ import annotations

DOCUMENTATION = r"""
module: import_dump
short_description: Import a dataset's dumps into a snapshot, unless there is one already
description:
  - A snapshot is the data directory of a stopped server. It is kept, so that a dump is imported only once, by the first
    job that needs it; other jobs at the same time wait for that one.
  - A snapshot of an older dump of the same dataset is removed.
options:
  restore:
    description: What C(begin_restore) returns as C(restore).
    type: path
    required: true
author: The turbo-hipster developers
"""

EXAMPLES = r"""
- name: Import the dump into a snapshot, unless there is one already
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
  description: The file that passes the state from step to step.
  type: str
  returned: when ready
folder:
  description: The folder of the dataset's server.
  type: str
  returned: when ready
snapshot:
  description: C(made), or C(hit) if there was one already.
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

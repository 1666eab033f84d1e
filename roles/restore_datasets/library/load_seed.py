# SPDX-License-Identifier: Apache-2.0
"""Load a dataset's dumps on its external server, or run the operator's reset command."""

from __future__ import annotations

DOCUMENTATION = r"""
module: load_seed
short_description: Load a dataset's dumps on its external server, or run the operator's reset command
description:
  - Empties the databases and loads the dumps with the job's account, or runs the command of the dataset's key C(reset),
    which brings preloaded databases back to the state of the seed.
options:
  restore:
    description: What C(begin_restore) returns as C(restore).
    type: path
    required: true
author: The turbo-hipster developers
"""

EXAMPLES = r"""
- name: Load the dumps, or run the operator's reset
  load_seed:
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
  description: C(import), C(reload) or C(reset).
  type: str
  returned: when ready
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.th_dataset.external_dataset import load_seed
from ansible.module_utils.th_dataset.restore_step import RESTORE, run_restore_step


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec={"restore": RESTORE})

    run_restore_step(module, load_seed)


if __name__ == "__main__":
    main()

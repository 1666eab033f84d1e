# SPDX-License-Identifier: Apache-2.0
"""Start a private server on a dataset's data directory."""

from __future__ import annotations

DOCUMENTATION = r"""
module: start_server
short_description: Start a private server on a dataset's data directory
description:
  - Starts it on C(data) in the dataset's folder, with a unix socket and without a network, and leaves it running.
  - Reads the versions of the databases, and writes C(artifacts/dataset-<name>.json).
options:
  restore:
    description: What C(begin_restore) returns as C(restore).
    type: path
    required: true
author: The turbo-hipster developers
"""

EXAMPLES = r"""
- name: Start a server on the clone
  start_server:
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
from ansible.module_utils.th_dataset.private_dataset import start_server
from ansible.module_utils.th_dataset.restore_step import RESTORE, run_restore_step


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec={"restore": RESTORE})

    run_restore_step(module, start_server)


if __name__ == "__main__":
    main()

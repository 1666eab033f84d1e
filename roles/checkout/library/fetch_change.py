# SPDX-License-Identifier: Apache-2.0
"""Fetch the change into a clone of the project's mirror."""

from __future__ import annotations

DOCUMENTATION = r"""
module: fetch_change
short_description: Fetch the change into a clone of the project's mirror
description:
  - Clones the mirror to C(src) in the job's folder, without sharing files with it, and fetches the change there.
  - The commit of the job must be reachable from its ref.
options:
  state:
    description: What C(update_mirror) returns as C(state).
    type: path
    required: true
author: turbo-hipster
"""

EXAMPLES = r"""
- name: Fetch the change into a clone of the project's mirror
  fetch_change:
    state: "{{ mirror.state }}"
"""

RETURN = r"""
state:
  description: The file that passes the state from step to step.
  type: str
  returned: success
commit:
  description: The commit under test.
  type: str
  returned: success
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.th_checkout.checkout_step import STATE, run_checkout_step


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec={"state": STATE})
    file = Path(module.params["state"])
    run_checkout_step(module, file, None, lambda checkout, point, begun: checkout.fetch())


if __name__ == "__main__":
    main()

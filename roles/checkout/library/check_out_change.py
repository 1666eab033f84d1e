# SPDX-License-Identifier: Apache-2.0
"""Check the change out, with its submodules."""

from __future__ import annotations

DOCUMENTATION = r"""
module: check_out_change
short_description: Check the change out, with its submodules
description:
  - Refuses a change that is too large, or that cannot be merged with its branch.
  - If submodules cannot be checked out, also tries those of the code without the change, for the verdict to compare.
options:
  state:
    description: What C(update_mirror) returns as C(state).
    type: path
    required: true
author: turbo-hipster
"""

EXAMPLES = r"""
- name: Check the change out, with its submodules
  check_out_change:
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
branch:
  description: The target branch; empty for a commit without one, such as a tag.
  type: str
  returned: success
tip:
  description: The commit at the branch's tip.
  type: str
  returned: success
base:
  description: The merge base of change and branch.
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
    run_checkout_step(module, file, None, lambda checkout, point, begun: checkout.check_out(point))


if __name__ == "__main__":
    main()

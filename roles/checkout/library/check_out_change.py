# SPDX-License-Identifier: Apache-2.0
"""Check the change out, with its submodules."""

from __future__ import annotations

DOCUMENTATION = r"""
module: check_out_change
short_description: Check the change out, with its submodules
description:
  - What is too much, or cannot be merged with its branch, is refused.
  - Submodules that cannot be checked out are tried without the change as well, for the verdict to compare.
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
  description: The file that the steps leave to each other.
  type: str
  returned: success
commit:
  description: The commit that is under test.
  type: str
  returned: success
branch:
  description: Its target branch; nothing where it has none, such as a tag.
  type: str
  returned: success
tip:
  description: The commit that the branch has now.
  type: str
  returned: success
base:
  description: The commit that the change and the branch have in common.
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

# SPDX-License-Identifier: Apache-2.0
"""Record which change was checked out, for a job that tests no migrations."""

from __future__ import annotations

DOCUMENTATION = r"""
module: record_change
short_description: Record which change was checked out, for a job that tests no migrations
description:
  - Writes C(artifacts/checkout.json), with the change as the only stage. It does not need the project's profile.
options:
  state:
    description: What C(update_mirror) returns as C(state).
    type: path
    required: true
  path:
    description: A file that the job needs, relative to the checkout. RV(merged) says whether merged code has it.
    type: str
    default: ""
author: turbo-hipster
"""

EXAMPLES = r"""
- name: Record which change was checked out
  record_change:
    state: "{{ mirror.state }}"
"""

RETURN = r"""
checkout:
  description: What C(artifacts/checkout.json) holds.
  type: dict
  returned: success
merged:
  description: Whether the code that the change is based on has I(path).
  type: bool
  returned: success
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.th_checkout.checkout_step import STATE, run_checkout_step
from ansible.module_utils.th_checkout.fetch import ChangeUnderTest
from ansible.module_utils.th_checkout.plain_checkout import PlainCheckout
from ansible.module_utils.th_core.artifacts import write_json


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec={"state": STATE, "path": {"type": "str", "default": ""}})
    file = Path(module.params["state"])

    def step(checkout: PlainCheckout, point: ChangeUnderTest, begun: float) -> dict[str, Any]:
        document = checkout.read(point, begun)
        write_json(file.parent / "artifacts" / "checkout.json", document)
        return {"checkout": document, "merged": checkout.merged(point, module.params["path"])}

    run_checkout_step(module, file, None, step, PlainCheckout)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""Read the migrations of the releases, the branch's tip and the change."""

from __future__ import annotations

DOCUMENTATION = r"""
module: read_migrations
short_description: Read the migrations of the releases, the branch's tip and the change
description:
  - Reads the trees of migrations from git, without running any of the project's code, and writes
    C(artifacts/checkout.json).
options:
  state:
    description: What C(update_mirror) returns as C(state).
    type: path
    required: true
  profile:
    description: The project's profile, as C(project_profile) returns it.
    type: dict
    required: true
author: turbo-hipster
"""

EXAMPLES = r"""
- name: Read the migrations of the releases, the branch's tip and the change
  read_migrations:
    state: "{{ mirror.state }}"
    profile: "{{ th_profile }}"
"""

RETURN = r"""
checkout:
  description: What C(artifacts/checkout.json) holds, without C(revisions).
  type: dict
  returned: success
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.th_checkout.checkout import Checkout
from ansible.module_utils.th_checkout.checkout_step import STATE, run_checkout_step
from ansible.module_utils.th_checkout.fetch import ChangeUnderTest
from ansible.module_utils.th_checkout.request import CheckoutRequest
from ansible.module_utils.th_core.artifacts import write_json
from ansible.module_utils.th_git.client import Git
from ansible.module_utils.th_git.mirror import Mirror


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec={"state": STATE, "profile": {"type": "dict", "required": True}})
    file, profile = Path(module.params["state"]), module.params["profile"]

    def step(checkout: Checkout, point: ChangeUnderTest, begun: float) -> dict[str, Any]:
        document = checkout.read(point, begun)
        write_json(file.parent / "artifacts" / "checkout.json", document)
        return {"checkout": {key: value for key, value in document.items() if key != "revisions"}}

    def make(git: Git, mirror: Mirror, request: CheckoutRequest, src: Path) -> Checkout:
        return Checkout(git, mirror, request, profile, src)

    run_checkout_step(module, file, None, step, make)


if __name__ == "__main__":
    main()

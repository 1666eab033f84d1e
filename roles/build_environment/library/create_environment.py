# SPDX-License-Identifier: Apache-2.0
"""Create the virtual environment."""

from __future__ import annotations

DOCUMENTATION = r"""
module: create_environment
short_description: Create the virtual environment
description:
  - Removes anything that is in its place first.
options:
  build:
    description: What C(find_environment) returns as C(build).
    type: path
    required: true
author: turbo-hipster
"""

EXAMPLES = r"""
- name: Create the virtual environment
  create_environment:
    build: "{{ __build_environment_found.build }}"
"""

RETURN = r"""
venv:
  description: The virtual environment. It is a different one once a step finds that something has to be built.
  type: str
  returned: success
src:
  description: The checkout.
  type: str
  returned: success
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.th_environment.build_step import BUILD, run_build_step


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec={"build": BUILD})

    run_build_step(module, lambda build, log: build.create(log))


if __name__ == "__main__":
    main()

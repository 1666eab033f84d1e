# SPDX-License-Identifier: Apache-2.0
"""Check out the commit that an environment is for."""

from __future__ import annotations

DOCUMENTATION = r"""
module: check_out_commit
short_description: Check out the commit that an environment is for
description:
  - Does nothing for the change, which is in the job's folder already.
  - Locks the project's mirror while reading it, and also checks out the commit's submodules.
options:
  build:
    description: What C(find_environment) returns as C(build).
    type: path
    required: true
author: turbo-hipster
"""

EXAMPLES = r"""
- name: Check out the commit that the environment is for
  check_out_commit:
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
from ansible.module_utils.th_environment.find import check_out


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec={"build": BUILD})

    run_build_step(module, check_out)


if __name__ == "__main__":
    main()

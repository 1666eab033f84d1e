# SPDX-License-Identifier: Apache-2.0
"""Install packages of an index by name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: install_packages
short_description: Install packages of an index by name
description:
  - Installs their wheels together with everything that earlier steps have asked for, under the same constraints.
  - A package that has no wheel, or is given by more than its name and version, is left to C(install_project).
options:
  build:
    description: What C(find_environment) returns as C(build).
    type: path
    required: true
  packages:
    description: Requirements, as in C(install.packages) of a profile.
    type: list
    elements: str
    default: []
author: turbo-hipster
"""

EXAMPLES = r"""
- name: Install the driver that our databases need
  install_packages:
    build: "{{ __build_environment_found.build }}"
    packages: ["PyMySQL>=1.1"]
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
    module = AnsibleModule(
        argument_spec={
            "build": BUILD,
            "packages": {"type": "list", "elements": "str", "default": []},
        }
    )
    packages = module.params["packages"]

    run_build_step(module, lambda build, log: build.install_packages(log, packages))


if __name__ == "__main__":
    main()

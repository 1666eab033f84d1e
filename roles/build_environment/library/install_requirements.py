# SPDX-License-Identifier: Apache-2.0
"""Install the requirements, with their constraints."""

from __future__ import annotations

DOCUMENTATION = r"""
module: install_requirements
short_description: Install the requirements, with their constraints
description:
  - Installs the wheels of the packages that the files name and that the project declares in C(pyproject.toml), through
    the cache that all jobs share.
  - This runs no code of the project or of a package. If a requirement is more than a name and version, or has no wheel,
    all of them are left to C(install_project).
options:
  build:
    description: What C(find_environment) returns as C(build).
    type: path
    required: true
  requirements:
    description: Files of the checkout; missing ones are skipped.
    type: list
    elements: str
    default: []
  constraints:
    description: Files of the checkout, or URLs. They also constrain the versions in all later steps.
    type: list
    elements: str
    default: []
  project:
    description: Whether and how C(install_project) will install the project.
    type: str
    choices: [editable, regular, none]
    default: none
  extras:
    description: The extras of the project.
    type: list
    elements: str
    default: []
author: turbo-hipster
"""

EXAMPLES = r"""
- name: Install what a lock file names
  install_requirements:
    build: "{{ __build_environment_found.build }}"
    requirements: [requirements.lock]
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
            "requirements": {"type": "list", "elements": "str", "default": []},
            "constraints": {"type": "list", "elements": "str", "default": []},
            "project": {"type": "str", "choices": ["editable", "regular", "none"], "default": "none"},
            "extras": {"type": "list", "elements": "str", "default": []},
        }
    )
    given = module.params
    files, project = (given["requirements"], given["constraints"]), (given["project"], given["extras"])

    run_build_step(module, lambda build, log: build.install_requirements(log, *files, *project))


if __name__ == "__main__":
    main()

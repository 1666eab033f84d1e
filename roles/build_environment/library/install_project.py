# SPDX-License-Identifier: Apache-2.0
"""Build what has no wheel, and install the project itself."""

from __future__ import annotations

DOCUMENTATION = r"""
module: install_project
short_description: Build what has no wheel, and install the project itself
description:
  - Runs code of the project, in the box, with a cache of its own.
  - If wheels alone are not enough, installs everything that earlier steps have asked for with one uv command.
  - Leaves out a project whose build says that it is not to be installed, but installs its dependencies.
options:
  build:
    description: What C(find_environment) returns as C(build).
    type: path
    required: true
  project:
    description: Whether, and how, the project is installed.
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
- name: Install the project, and what has to be built
  install_project:
    build: "{{ __build_environment_found.build }}"
    project: editable
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
            "project": {"type": "str", "choices": ["editable", "regular", "none"], "default": "none"},
            "extras": {"type": "list", "elements": "str", "default": []},
        }
    )
    project = (module.params["project"], module.params["extras"])

    run_build_step(module, lambda build, log: build.install_project(log, *project))


if __name__ == "__main__":
    main()

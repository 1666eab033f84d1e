#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Try an engine that was made, and keep it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: keep_engine
short_description: Try an engine that was made, and keep it
description:
  - Asks the engine's server for its version, in a box as a job's, and fails if it cannot be started there.
  - Writes down in C(engine.json) what the engine was made of, and puts it into its final place in one step.
options:
  build:
    description: What C(begin_engine) returns as C(build).
    type: path
    required: true
  packages:
    description: The versions of the packages that it was made of.
    type: dict
    default: {}
author: turbo-hipster
"""

EXAMPLES = r"""
- name: Keep the engine
  keep_engine:
    build: "{{ begun.build }}"
    packages: "{{ fetched.versions }}"
"""

RETURN = r"""
version:
  description: The version that its server has printed.
  type: str
  returned: success
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.th_engines.build import Build, finish, run_build_step
from ansible.module_utils.th_engines.tried import tried


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "build": {"type": "path", "required": True},
            "packages": {"type": "dict", "default": {}},
        }
    )

    def step(build: Build) -> dict[str, Any]:
        version = tried(build)
        finish(build, {"version": version, "packages": module.params["packages"]})
        return {"version": version}

    run_build_step(module, step)


if __name__ == "__main__":
    main()

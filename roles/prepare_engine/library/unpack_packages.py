#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Unpack Debian packages into an engine's folder."""

from __future__ import annotations

DOCUMENTATION = r"""
module: unpack_packages
short_description: Unpack Debian packages into an engine's folder
description:
  - Their files are unpacked, and no script of theirs is run.
options:
  build:
    description: What C(begin_engine) returns as C(build).
    type: path
    required: true
  files:
    description: The packages' files.
    type: list
    elements: path
    required: true
  left_out:
    description: Patterns of paths in the engine's folder that are not unpacked.
    type: list
    elements: str
    default: []
author: turbo-hipster
"""

EXAMPLES = r"""
- name: Unpack them
  unpack_packages:
    build: "{{ begun.build }}"
    files: "{{ fetched.files }}"
    left_out: [usr/share/doc/*]
"""

RETURN = r"""
folder:
  description: The folder that the files are in.
  type: str
  returned: success
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.th_engines.build import Build, run_build_step
from ansible.module_utils.th_engines.unpack import unpack_packages


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "build": {"type": "path", "required": True},
            "files": {"type": "list", "elements": "path", "required": True},
            "left_out": {"type": "list", "elements": "str", "default": []},
        }
    )

    def step(build: Build) -> dict[str, Any]:
        unpack_packages([Path(file) for file in module.params["files"]], Path(build.folder), module.params["left_out"])
        return {"folder": build.folder}

    run_build_step(module, step)


if __name__ == "__main__":
    main()

#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Unpack a vendor's tarball into an engine's folder."""

from __future__ import annotations

DOCUMENTATION = r"""
module: unpack_tarball
short_description: Unpack a vendor's tarball into an engine's folder
description:
  - Unpacks a tar archive of this machine (not compressed, or with gzip, bzip2 or xz), without its top folder, if its
    SHA-256 digest is the right one.
options:
  build:
    description: What C(begin_engine) returns as C(build).
    type: path
    required: true
  path:
    description: The tarball.
    type: path
    required: true
  sha256:
    description: Its SHA-256 digest.
    type: str
    required: true
  left_out:
    description: Patterns of paths in the engine's folder that are not unpacked.
    type: list
    elements: str
    default: []
author: turbo-hipster
"""

EXAMPLES = r"""
- name: Unpack the tarball
  unpack_tarball:
    build: "{{ begun.build }}"
    path: /srv/tarballs/mysql-8.4.tar.xz
    sha256: "{{ begun.origin.sha256 }}"
    left_out: [man/*]
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
from ansible.module_utils.th_engines.unpack import unpack_tarball


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "build": {"type": "path", "required": True},
            "path": {"type": "path", "required": True},
            "sha256": {"type": "str", "required": True},
            "left_out": {"type": "list", "elements": "str", "default": []},
        }
    )
    params = module.params

    def step(build: Build) -> dict[str, Any]:
        unpack_tarball(Path(params["path"]), params["sha256"], Path(build.folder), params["left_out"])
        return {"folder": build.folder}

    run_build_step(module, step)


if __name__ == "__main__":
    main()

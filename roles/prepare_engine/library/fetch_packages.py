#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Fetch an engine's packages, and all that they depend on, without installing them."""

from __future__ import annotations

DOCUMENTATION = r"""
module: fetch_packages
short_description: Fetch an engine's packages, and all that they depend on, without installing them
description:
  - Lets apt fetch them with a state, a cache and a source of its own, as if nothing were installed. Needs no root.
options:
  build:
    description: What C(begin_engine) returns as C(build).
    type: path
    required: true
  suite:
    description: The suite of Debian.
    type: str
    required: true
  packages:
    description: The packages.
    type: list
    elements: str
    required: true
  source:
    description: A source of packages, in one of the formats of sources.list(5), whose suite is replaced; the machine's
      own source of Debian when empty.
    type: str
    default: ""
  time_limit:
    description: Seconds that one command of apt may take.
    type: float
    default: 1800
author: turbo-hipster
"""

EXAMPLES = r"""
- name: Fetch the packages
  fetch_packages:
    build: "{{ begun.build }}"
    suite: sid
    packages: [mysql-server-core, mysql-client-core, coreutils, util-linux]
"""

RETURN = r"""
files:
  description: The packages' files.
  type: list
  elements: str
  returned: success
versions:
  description: The version of each package.
  type: dict
  returned: success
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.th_engines import packages, sources
from ansible.module_utils.th_engines.build import Build, run_build_step


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "build": {"type": "path", "required": True},
            "suite": {"type": "str", "required": True},
            "packages": {"type": "list", "elements": "str", "required": True},
            "source": {"type": "str", "default": ""},
            "time_limit": {"type": "float", "default": 1800},
        }
    )
    params = module.params

    def step(build: Build) -> dict[str, Any]:
        source = sources.source(params["source"], params["suite"], sources.codename())
        wanted = sorted(set(params["packages"]))
        files = packages.fetch(build.name, params["suite"], wanted, source, build.work, params["time_limit"])
        return {"files": list(map(str, files)), "versions": packages.versions(files)}

    run_build_step(module, step)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""Record what is installed, and keep the environment."""

from __future__ import annotations

DOCUMENTATION = r"""
module: keep_environment
short_description: Record what is installed, and keep the environment
description:
  - Writes the environment's entry of C(artifacts/environment.json). The packages are read from the names of their
    metadata folders.
  - From then on, other jobs find the environment if it is a kept one. Kept environments that were not used for a long
    time are removed.
options:
  build:
    description: What C(find_environment) returns as C(build).
    type: path
    required: true
author: turbo-hipster
"""

EXAMPLES = r"""
- name: Record what is installed, and keep it
  keep_environment:
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
environment:
  description: The entry of C(artifacts/environment.json).
  type: dict
  returned: success
prune_due:
  description: Whether the package caches have not been pruned for a day.
  type: bool
  returned: success
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.th_environment.build import Build
from ansible.module_utils.th_environment.build_step import BUILD, run_build_step
from ansible.module_utils.th_environment.package_caches import Caches
from ansible.module_utils.th_sandbox.capped_log import CappedLog


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec={"build": BUILD})

    def step(build: Build, log: CappedLog) -> dict[str, Any]:
        due = Caches(Path(build.given.cache_dir)).due()
        return {"environment": build.finish(log), "prune_due": due}

    run_build_step(module, step)


if __name__ == "__main__":
    main()

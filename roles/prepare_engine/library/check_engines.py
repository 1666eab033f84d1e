#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Report which engines are there, with their versions."""

from __future__ import annotations

DOCUMENTATION = r"""
module: check_engines
short_description: Report which engines are there, with their versions
description:
  - Asks the server of each engine for its version, in a box as a job's.
  - Problems are reported and do not fail the task, so that all of them are found at once.
options:
  engines:
    description: All engines, as in C(inventory/group_vars/all/engines.yaml).
    type: dict
    required: true
  engines_dir:
    description: The folder of the engines.
    type: path
    required: true
  dest:
    description: A file to write the report to, as JSON; no file when empty.
    type: path
    default: ""
author: turbo-hipster
"""

EXAMPLES = r"""
- name: See which engines are there
  check_engines:
    engines: "{{ engines }}"
    engines_dir: "{{ th_engines_dir }}"
"""

RETURN = r"""
report:
  description: For each engine its C(name), its C(version) or an empty text, and the C(problem), if there is one.
  type: list
  elements: dict
  returned: success
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.th_core.artifacts import write_json
from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_engines.entry import read
from ansible.module_utils.th_server import engine
from ansible.module_utils.th_server.mariadb import ServerError


def report(engines: dict[str, Any], engines_dir: Path) -> list[dict[str, str]]:
    """The findings, one for each engine: `name`, `version` and `problem`."""
    return [_finding(str(name), engines, engines_dir) for name in engines]


def _finding(name: str, engines: dict[str, Any], engines_dir: Path) -> dict[str, str]:
    try:
        read(name, engines, engines_dir)
        version = engine.version(engine.find(name, engines[name], engines_dir))
    except StepError as error:
        return {"name": name, "version": "", "problem": error.detail}
    except (ServerError, OSError) as error:
        return {"name": name, "version": "", "problem": str(error)}
    return {"name": name, "version": version, "problem": ""}


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "engines": {"type": "dict", "required": True},
            "engines_dir": {"type": "path", "required": True},
            "dest": {"type": "path", "default": ""},
        },
        supports_check_mode=True,
    )
    found = report(module.params["engines"], Path(module.params["engines_dir"]))
    if module.params["dest"]:
        write_json(Path(module.params["dest"]), {"engines": found})
    module.exit_json(changed=False, report=found)


if __name__ == "__main__":
    main()

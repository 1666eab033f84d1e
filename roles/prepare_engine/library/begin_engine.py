#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""See whether an engine is there, and begin to make one that is not."""

from __future__ import annotations

DOCUMENTATION = r"""
module: begin_engine
short_description: See whether an engine is there, and begin to make one that is not
description:
  - Compares what the engine was made of with what it would be made of now, which needs no network.
  - Waits while another run makes the same engine, and removes what a killed run has left.
  - Tries an engine that this machine has already, and fails if it does not work.
  - In check mode, no folder is made.
options:
  name:
    description: The name of the engine in O(engines).
    type: str
    required: true
  engines:
    description: All engines, as in C(inventory/group_vars/all/engines.yaml).
    type: dict
    required: true
  engines_dir:
    description: The folder of the engines.
    type: path
    required: true
  packages:
    description: Packages that each engine of Debian packages gets besides its own.
    type: list
    elements: str
    default: []
  left_out:
    description: Patterns of paths in the engine's folder that are not unpacked.
    type: list
    elements: str
    default: []
  renew:
    description: Whether to make it even if it is there.
    type: bool
    default: false
  time_limit:
    description: Seconds that making an engine may take.
    type: float
    default: 3600
author: turbo-hipster
"""

EXAMPLES = r"""
- name: See whether the engine is there
  begin_engine:
    name: mysql-9.7
    engines: "{{ engines }}"
    engines_dir: /var/lib/turbo-hipster/engines
  register: begun
"""

RETURN = r"""
kind:
  description: What it is made from, C(debian) or C(tarball); empty if this machine has it already.
  type: str
  returned: success
origin:
  description: What the engine's entry says about that.
  type: dict
  returned: success
build:
  description: The folder to make it in; empty if nothing has to be made.
  type: str
  returned: success
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_engines import build
from ansible.module_utils.th_engines.entry import read
from ansible.module_utils.th_engines.tried import works


def begin(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """The module's result. Raises StepError, OSError."""
    entry = read(params["name"], params["engines"], Path(params["engines_dir"]))
    recipe = entry.recipe(params["packages"], params["left_out"])
    about = {"kind": entry.kind, "origin": dict(entry.origin)}
    if not entry.kind:
        works(params["engines"], entry.name, Path(params["engines_dir"]))
        return {"changed": False, "build": "", **about}
    if check_mode:
        return {"changed": params["renew"] or not build.is_there(entry, recipe), "build": "", **about}
    family = str(params["engines"][entry.name]["family"])
    made = build.begin(entry, family, recipe, params["renew"], params["time_limit"])
    return {"changed": made is not None, "build": made.folder if made else "", **about}


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "engines": {"type": "dict", "required": True},
            "engines_dir": {"type": "path", "required": True},
            "packages": {"type": "list", "elements": "str", "default": []},
            "left_out": {"type": "list", "elements": "str", "default": []},
            "renew": {"type": "bool", "default": False},
            "time_limit": {"type": "float", "default": 3600},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**begin(module.params, module.check_mode))
    except StepError as error:
        module.fail_json(msg=error.detail, code=error.code)
    except OSError as error:
        module.fail_json(msg=build.problem(error, Path(module.params["engines_dir"])))


if __name__ == "__main__":
    main()

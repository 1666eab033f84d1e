#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Check whether dumps are whole, without a database server."""

from __future__ import annotations

DOCUMENTATION = r"""
module: check_dumps
short_description: Check whether dumps are whole, without a database server
description:
  - Reads each dump to its end and unpacks it on the way, as an import does.
  - Problems are reported and do not fail the task, so that all of them are found at once. The
    report contains no data from the rows.
options:
  dumps:
    description: The dumps, each with C(path) and the C(database) that it is for.
    type: list
    elements: dict
    required: true
  time_limit:
    description: Seconds that one dump may take; the state of a dump that takes longer is C(unknown).
    type: float
    default: 120
  dest:
    description: A file to write the report to, as JSON; no file when empty.
    type: path
    default: ""
author: turbo-hipster
"""

EXAMPLES = r"""
- name: Read dumps to their end
  check_dumps:
    dumps:
      - {path: /var/lib/turbo-hipster/datasets/user_001.sql.gz, database: mlflow}
"""

RETURN = r"""
report:
  description: For each dump its C(path), C(state) (C(whole), C(broken) or C(unknown)) and C(reason).
  type: list
  elements: dict
  returned: success
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.th_core.artifacts import write_json
from ansible.module_utils.th_dump.completeness import BROKEN, inspect


def report(dumps: list[dict[str, Any]], time_limit: float) -> list[dict[str, str]]:
    """The findings, one for each dump: `path`, `state` and `reason`."""
    found = []
    for dump in dumps:
        path = Path(str(dump["path"]))
        try:
            finding = inspect(path, str(dump.get("database", "")), time_limit)
            state, reason = finding.state, finding.reason
        except OSError as error:
            state, reason = BROKEN, f"it cannot be read: {error.strerror}"
        found.append({"path": str(path), "state": state, "reason": reason})
    return found


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "dumps": {"type": "list", "elements": "dict", "required": True},
            "time_limit": {"type": "float", "default": 120},
            "dest": {"type": "path", "default": ""},
        },
        supports_check_mode=True,
    )
    found = report(module.params["dumps"], module.params["time_limit"])
    if module.params["dest"]:
        write_json(Path(module.params["dest"]), {"dumps": found})
    module.exit_json(changed=False, report=found)


if __name__ == "__main__":
    main()

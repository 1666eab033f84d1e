#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Check whether preloaded databases lend more rights than a job has."""

from __future__ import annotations

DOCUMENTATION = r"""
module: check_servers
short_description: Check whether preloaded databases lend more rights than a job has
description:
  - Asks each external server, with the operator's account, for the definers of the views, triggers, routines and events
    in a dataset's databases, and for the rights of these accounts.
  - Problems are reported and do not fail the task, so that all of them are found at once.
options:
  servers:
    description: The datasets, each with its file's C(path), its C(server) as in that file, and its C(databases).
    type: list
    elements: dict
    required: true
  dest:
    description: A file to write the report to, as JSON; no file when empty.
    type: path
    default: ""
author: turbo-hipster
"""

EXAMPLES = r"""
- name: Check whether preloaded databases lend more rights than a job has
  check_servers:
    servers:
      - path: /var/lib/turbo-hipster/datasets/user_001.json
        server: {host: db1.example.org, user: turbo, password_file: /var/lib/turbo-hipster/datasets/db1.password}
        databases: [shop]
"""

RETURN = r"""
report:
  description: For each dataset its C(path) and the C(problems) that were found, a list.
  type: list
  elements: dict
  returned: success
"""

import tempfile
from pathlib import Path
from typing import Any

import pymysql
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.th_core.artifacts import write_json
from ansible.module_utils.th_dataset.lent_rights import lenders
from ansible.module_utils.th_server import external_server
from ansible.module_utils.th_server.mariadb import ServerError

SECONDS = 30


def report(servers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The findings, one for each dataset: `path` and `problems`."""
    return [{"path": str(one["path"]), "problems": _problems(one)} for one in servers]


def _problems(one: dict[str, Any]) -> list[str]:
    names = [str(name) for name in one["databases"]]
    with tempfile.TemporaryDirectory(prefix="th-check-") as folder:
        server = external_server.describe(Path(folder), one["server"], {name: name for name in names}, preloaded=True)
        try:
            with external_server.administrating(server, SECONDS) as connection:
                return lenders(connection, names, "")
        except (ServerError, pymysql.err.MySQLError, OSError) as error:
            return [str(error)]


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "servers": {"type": "list", "elements": "dict", "required": True},
            "dest": {"type": "path", "default": ""},
        },
        supports_check_mode=True,
    )
    found = report(module.params["servers"])
    if module.params["dest"]:
        write_json(Path(module.params["dest"]), {"servers": found})
    module.exit_json(changed=False, report=found)


if __name__ == "__main__":
    main()

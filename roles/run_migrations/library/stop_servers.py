#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Stop the private servers of a job, and drop what it has on external ones."""

DOCUMENTATION = r"""
module: stop_servers
short_description: Stop the private servers of a job, and drop what it has on external ones
description:
  - Only warns if an external server does not answer, because the next job there drops what this one has left.
options:
  job_dir:
    description: The job's folder.
    type: path
    required: true
  time_limit:
    description: Seconds that a server may take for a clean stop before it is killed.
    type: int
    default: 15
author: The turbo-hipster developers
"""

EXAMPLES = r"""
- name: Stop the private servers
  stop_servers:
    job_dir: /var/lib/turbo-hipster/jobs/1
"""

RETURN = r"""
stopped:
  description: The datasets whose private server was running, or that had something on an external one.
  type: list
  returned: always
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.th_server import mariadb
from ansible.module_utils.th_server.external_server import release


def main() -> None:
    """Run as a module of Ansible."""
    module = AnsibleModule(
        argument_spec={
            "job_dir": {"type": "path", "required": True},
            "time_limit": {"type": "int", "default": 15},
        }
    )
    stopped = []
    for file in sorted(Path(module.params["job_dir"]).glob("db/*/server.json")):
        try:
            server = mariadb.load(file.parent)
        except mariadb.ServerError as error:
            module.fail_json(msg=str(error))
        if not server.private and server.pid:
            try:
                release(server)
            except mariadb.ServerError as error:
                module.warn(str(error))
            stopped.append(file.parent.name)
        elif server.running():
            mariadb.stop(server, module.params["time_limit"])
            stopped.append(file.parent.name)
    module.exit_json(changed=bool(stopped), stopped=stopped)


if __name__ == "__main__":
    main()

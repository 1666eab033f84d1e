# SPDX-License-Identifier: Apache-2.0
"""Read a dataset's file, and remove what an earlier restore of it has left."""

from __future__ import annotations

DOCUMENTATION = r"""
module: begin_restore
short_description: Read a dataset's file, and remove what an earlier restore of it has left
description:
  - Later steps restore the dataset into a private server of the job, or on the external server that it names.
  - A dataset that a step cannot restore is a finding, not a failure of the task. It is recorded in
    C(artifacts/errors.jsonl) and returned as RV(ready=false), so that the job's other datasets are still tested.
options:
  job_dir:
    description: The job's folder.
    type: path
    required: true
  name:
    description: The dataset's name.
    type: str
    required: true
  config:
    description: The dataset's JSON file.
    type: path
    required: true
  databases:
    description:
      - The project's databases as in its profile, each with C(name), C(versions) (how versions are stored) and
        C(version_query) (the statement that reads them).
    type: list
    elements: dict
    required: true
  snapshots_dir:
    description: The folder of the snapshots.
    type: path
    required: true
  lock_program:
    description: The program that holds the job's locks on an external server.
    type: path
    required: true
  sandbox:
    description: The sandbox of a private server, and its limits; C(th_sandbox) of the role C(project).
    type: dict
    required: true
  engine:
    description: The name of the engine to restore the dataset on; when empty, its file or its dump decides.
    type: str
    default: ""
  engines:
    description: The engines of this machine, as in C(inventory/group_vars/all/engines.yaml).
    type: dict
    default: {}
  engines_dir:
    description: The folder of the engines' trees.
    type: path
    default: ""
  server_options:
    description: Options of a private server of MariaDB.
    type: list
    elements: str
    default: []
  mysql_options:
    description: Options of a private server of MySQL or Percona.
    type: list
    elements: str
    default: []
  import_time_limit:
    description: Seconds that the import of the dump may take.
    type: int
    default: 7200
  start_time_limit:
    description: Seconds that the server may take to answer.
    type: int
    default: 120
author: The turbo-hipster developers
"""

EXAMPLES = r"""
- name: Read the dataset's file
  begin_restore:
    job_dir: /var/lib/turbo-hipster/jobs/1
    name: user_001
    config: /var/lib/turbo-hipster/datasets/user_001.json
    databases: "{{ th_profile.databases }}"
    snapshots_dir: /var/lib/turbo-hipster/snapshots
    lock_program: "{{ role_path }}/files/hold_locks.py"
    sandbox: "{{ th_sandbox }}"
  register: step
"""

RETURN = r"""
ready:
  description: Whether the dataset is ready for the next step.
  type: bool
  returned: always
restore:
  description: The file that passes the state from step to step.
  type: str
  returned: when ready
folder:
  description: The folder of the dataset's server.
  type: str
  returned: when ready
server:
  description: C(private), or C(external) where the dataset names a server.
  type: str
  returned: when ready
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.th_dataset.restore_step import run_first_step


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "job_dir": {"type": "path", "required": True},
            "name": {"type": "str", "required": True},
            "config": {"type": "path", "required": True},
            "databases": {"type": "list", "elements": "dict", "required": True},
            "snapshots_dir": {"type": "path", "required": True},
            "lock_program": {"type": "path", "required": True},
            "sandbox": {"type": "dict", "required": True},
            "engine": {"type": "str", "default": ""},
            "engines": {"type": "dict", "default": {}},
            "engines_dir": {"type": "path", "default": ""},
            "server_options": {"type": "list", "elements": "str", "default": []},
            "mysql_options": {"type": "list", "elements": "str", "default": []},
            "import_time_limit": {"type": "int", "default": 7200},
            "start_time_limit": {"type": "int", "default": 120},
        }
    )

    run_first_step(module)


if __name__ == "__main__":
    main()

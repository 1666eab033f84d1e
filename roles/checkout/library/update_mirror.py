# SPDX-License-Identifier: Apache-2.0
"""Update the local mirror of a project's branches and tags."""

from __future__ import annotations

DOCUMENTATION = r"""
module: update_mirror
short_description: Update the local mirror of a project's branches and tags
description:
  - Fetches branches and tags into the project's mirror, which all jobs share, under a lock. A mirror that git cannot
    use is recreated.
  - What an earlier run has left in the job's folder is discarded.
  - Every git command of this and the following steps is logged to C(results/git_prep.log).
options:
  job:
    description: The job, C(th_job) of docs/artifacts.md.
    type: dict
    required: true
  job_dir:
    description: The job's folder.
    type: path
    required: true
  mirrors_dir:
    description: The folder of the mirrors.
    type: path
    required: true
  origin:
    description: Base URL of the branches and tags; that of the job when empty.
    type: str
    default: ""
  fetch_attempts:
    description: How many times a fetch is tried.
    type: int
    default: 3
  fetch_time_limit:
    description: Seconds that one attempt may take.
    type: float
    default: 300
  fetch_backoff:
    description: Seconds to wait after the first failed attempt; longer after each further one.
    type: float
    default: 1
  files_limit:
    description: How many files the checkout may hold.
    type: int
    default: 500000
  bytes_limit:
    description: Bytes that the checkout may take on the disk, including git's own files and the submodules.
    type: int
    default: 8589934592
  memory_limit:
    description: Bytes of memory that one git process may use for code that is not merged yet.
    type: int
    default: 2147483648
  cpu_limit:
    description: Seconds of processor time that one git process may use for code that is not merged yet.
    type: int
    default: 120
  log_limit:
    description: The maximum size of the log, in bytes.
    type: int
    default: 10485760
author: turbo-hipster
"""

EXAMPLES = r"""
- name: Update the project's mirror
  update_mirror:
    job: "{{ th_job }}"
    job_dir: "{{ th_job_dir }}"
    mirrors_dir: "{{ th_git_working_dir }}"
  register: mirror
"""

RETURN = r"""
state:
  description: The file that passes the state from step to step.
  type: str
  returned: success
"""

import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.th_checkout.checkout_step import FILE, run_checkout_step
from ansible.module_utils.th_core.artifacts import forget_walks


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "job": {"type": "dict", "required": True},
            "job_dir": {"type": "path", "required": True},
            "mirrors_dir": {"type": "path", "required": True},
            "origin": {"type": "str", "default": ""},
            "fetch_attempts": {"type": "int", "default": 3},
            "fetch_time_limit": {"type": "float", "default": 300},
            "fetch_backoff": {"type": "float", "default": 1},
            "files_limit": {"type": "int", "default": 500_000},
            "bytes_limit": {"type": "int", "default": 8 * 1024**3},
            "memory_limit": {"type": "int", "default": 2 * 1024**3},
            "cpu_limit": {"type": "int", "default": 120},
            "log_limit": {"type": "int", "default": 10 * 1024 * 1024},
        }
    )
    job_dir = Path(module.params["job_dir"])

    def begin() -> dict[str, Any]:
        for name in ("artifacts/checkout.json", FILE):
            (job_dir / name).unlink(missing_ok=True)
        forget_walks(job_dir)
        return {"given": dict(module.params), "begun": time.monotonic(), "point": {}}

    run_checkout_step(module, job_dir / FILE, begin, lambda checkout, point, begun: checkout.update())


if __name__ == "__main__":
    main()

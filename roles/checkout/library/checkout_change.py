# SPDX-License-Identifier: Apache-2.0
"""Check out a change, and find out what it means for the walk."""

from __future__ import annotations

DOCUMENTATION = r"""
module: checkout_change
short_description: Check out a change, and find out what it means for the walk
description:
  - Brings the project's mirror up to date, clones it to C(<job_dir>/src), fetches the change there and checks
    it out with its submodules.
  - Reads the trees of migrations of the releases, of the target branch's tip and of the change from git, without
    running any of the project's code, and writes C(artifacts/checkout.json).
  - Every git command is logged to C(results/git_prep.log).
options:
  job:
    description: The job, C(th_job) of docs/artifacts.md.
    type: dict
    required: true
  profile:
    description: The project's profile, as C(project_profile) returns it.
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
    description: How often a server is tried.
    type: int
    default: 3
  fetch_time_limit:
    description: How long one try may take, in seconds.
    type: float
    default: 300
  fetch_backoff:
    description: How long to wait after the first failed try, in seconds; longer after each further one.
    type: float
    default: 1
  files_limit:
    description: How many files the checkout may hold.
    type: int
    default: 500000
  bytes_limit:
    description: How much the checkout may take on the disk, with git's own files and the submodules, in bytes.
    type: int
    default: 8589934592
  memory_limit:
    description: How much memory one process of git may take for what is not merged yet, in bytes.
    type: int
    default: 2147483648
  cpu_limit:
    description: How much processor time one process of git may take for what is not merged yet, in seconds.
    type: int
    default: 120
  log_limit:
    description: How long the log may become, in bytes.
    type: int
    default: 10485760
author: turbo-hipster
"""

EXAMPLES = r"""
- name: Check out the change
  checkout_change:
    job: "{{ th_job }}"
    profile: "{{ th_profile }}"
    job_dir: "{{ th_job_dir }}"
    mirrors_dir: "{{ th_git_working_dir }}"
"""

RETURN = r"""
checkout:
  description: What C(artifacts/checkout.json) holds, without C(revisions).
  type: dict
  returned: success
"""

import os
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.th_artifacts import forget_walks, write_json
from ansible.module_utils.th_capped import CappedLog
from ansible.module_utils.th_checkout import Checkout
from ansible.module_utils.th_git import Git, Patience, join_url
from ansible.module_utils.th_git_process import Limits
from ansible.module_utils.th_mirror import Mirror
from ansible.module_utils.th_request import Request
from ansible.module_utils.th_step import run_step


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "job": {"type": "dict", "required": True},
            "profile": {"type": "dict", "required": True},
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
    params = module.params
    job_dir = Path(params["job_dir"])

    def step() -> dict[str, Any]:
        os.umask(0o077)
        (job_dir / "artifacts" / "checkout.json").unlink(missing_ok=True)
        forget_walks(job_dir)
        request = Request.of(params["job"], params["origin"])
        log = CappedLog(job_dir / "results" / "git_prep.log", params["log_limit"], stamp=True)
        try:
            patience = Patience(params["fetch_attempts"], params["fetch_time_limit"], params["fetch_backoff"])
            src = job_dir / "src"
            most = (params[f"{what}_limit"] for what in ("files", "bytes", "memory", "cpu"))
            limits = Limits(src, *most)
            git = Git(log, (request.url, request.origin), patience, limits)
            mirrors, origin = Path(params["mirrors_dir"]), join_url(request.origin, request.project)
            mirror = Mirror(git, mirrors, request.project, origin)
            document = Checkout(git, mirror, request, params["profile"], src).run()
        finally:
            log.close()
        write_json(job_dir / "artifacts" / "checkout.json", document)
        return {"changed": True, "checkout": {key: value for key, value in document.items() if key != "revisions"}}

    run_step(module, "checkout", str(job_dir), step)


if __name__ == "__main__":
    main()

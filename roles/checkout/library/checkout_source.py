# SPDX-License-Identifier: Apache-2.0
"""Check out a change, for a job that tests no migrations."""

from __future__ import annotations

DOCUMENTATION = r"""
module: checkout_source
short_description: Check out a change, for a job that tests no migrations
description:
  - Checks the change out to C(src) of the job's folder, with its submodules, as C(checkout_change) does, and needs no
    profile of the project.
  - Writes C(artifacts/checkout.json), with the change as the only stage, and C(results/git_prep.log).
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
  path:
    description: A file that the job needs, to find out whether merged code has it.
    type: str
    default: ""
  fetch_attempts:
    description: How many times a git server is tried.
    type: int
    default: 3
  fetch_time_limit:
    description: Seconds for one try.
    type: float
    default: 300
  fetch_backoff:
    description: Seconds before the second try; each further one waits twice as long.
    type: float
    default: 1
  files_limit:
    description: How many files a checkout may have.
    type: int
    default: 500000
  bytes_limit:
    description: Bytes that a checkout may have.
    type: int
    default: 8589934592
  memory_limit:
    description: Bytes of memory that one process of git may use.
    type: int
    default: 2147483648
  log_limit:
    description: How long the log may become, in bytes.
    type: int
    default: 10485760
author: turbo-hipster
"""

EXAMPLES = r"""
- name: Check out the change
  checkout_source:
    job: "{{ th_job }}"
    job_dir: "{{ th_job_dir }}"
    mirrors_dir: "{{ th_git_working_dir }}"
"""

RETURN = r"""
checkout:
  description: What C(artifacts/checkout.json) holds.
  type: dict
  returned: success
merged:
  description: Whether the code that the change is based on has I(path).
  type: bool
  returned: success
"""

import os
import posixpath
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.th_artifacts import write_json
from ansible.module_utils.th_capped import CappedLog
from ansible.module_utils.th_git import Git, Patience, join_url
from ansible.module_utils.th_git_files import file
from ansible.module_utils.th_git_process import Limits
from ansible.module_utils.th_mirror import Mirror
from ansible.module_utils.th_plain_checkout import PlainCheckout
from ansible.module_utils.th_request import Request
from ansible.module_utils.th_step import run_step


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "job": {"type": "dict", "required": True},
            "job_dir": {"type": "path", "required": True},
            "mirrors_dir": {"type": "path", "required": True},
            "origin": {"type": "str", "default": ""},
            "path": {"type": "str", "default": ""},
            "fetch_attempts": {"type": "int", "default": 3},
            "fetch_time_limit": {"type": "float", "default": 300},
            "fetch_backoff": {"type": "float", "default": 1},
            "files_limit": {"type": "int", "default": 500_000},
            "bytes_limit": {"type": "int", "default": 8 * 1024**3},
            "memory_limit": {"type": "int", "default": 2 * 1024**3},
            "log_limit": {"type": "int", "default": 10 * 1024 * 1024},
        }
    )
    params = module.params
    job_dir = Path(params["job_dir"])

    def step() -> dict[str, Any]:
        os.umask(0o077)
        (job_dir / "artifacts" / "checkout.json").unlink(missing_ok=True)
        request = Request.of(params["job"], params["origin"])
        log = CappedLog(job_dir / "results" / "git_prep.log", params["log_limit"], stamp=True)
        try:
            patience = Patience(params["fetch_attempts"], params["fetch_time_limit"], params["fetch_backoff"])
            src = job_dir / "src"
            limits = Limits(src, params["files_limit"], params["bytes_limit"], params["memory_limit"])
            git = Git(log, (request.url, request.origin), patience, limits)
            origin = join_url(request.origin, request.project)
            mirror = Mirror(git, Path(params["mirrors_dir"]), request.project, origin)
            document = PlainCheckout(git, mirror, request, {}, src).run()
            base, path = document["base"], posixpath.normpath(params["path"])
            outside = path == "." or path.startswith(("/", "../"))
            merged = bool(base and not outside and file(git, src, base, path) is not None)
        finally:
            log.close()
        write_json(job_dir / "artifacts" / "checkout.json", document)
        return {"changed": True, "checkout": document, "merged": merged}

    run_step(module, "checkout", str(job_dir), step)


if __name__ == "__main__":
    main()

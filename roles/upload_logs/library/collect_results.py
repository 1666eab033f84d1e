# SPDX-License-Identifier: Apache-2.0
"""Collect those results of a job that may be published, and mask secrets in them."""

from __future__ import annotations

DOCUMENTATION = r"""
module: collect_results
short_description: Collect those results of a job that may be published, and mask secrets in them
description:
  - Copies regular files and folders with harmless names. Symbolic links, devices, pipes, files with several names (hard
    links), hidden files and everything beyond a limit are left out and listed in C(left-out.txt).
  - Files and folders with names that a web server may act on are left out, too. Secrets are masked everywhere, byte for
    byte.
  - The copy is a new folder beside the place I(log_path) below I(root), so that one rename can put it there.
  - When it fails, C(upload_failed) is recorded in C(artifacts/errors.jsonl) and nothing is left behind.
options:
  source:
    description: The folder of the results.
    type: path
    required: true
  root:
    description: The folder below which the copy is made.
    type: path
    required: true
  log_path:
    description: The place below I(root) that the copy is for.
    type: str
    required: true
  job_dir:
    description: The job's folder, which its secrets are read from and errors are recorded in.
    type: path
    required: true
  file_limit:
    description: The largest file, in bytes.
    type: int
    default: 268435456
  total_limit:
    description: All files together, in bytes.
    type: int
    default: 1073741824
  count_limit:
    description: The number of files and folders.
    type: int
    default: 5000
  time_limit:
    description: Seconds that copying and masking may take; what is not copied by then is left out.
    type: float
    default: 400
  refused_extensions:
    description: Parts of a name after a dot that a web server may act on. Names with one of them are not published.
    type: list
    elements: str
    default: []
  datasets:
    description: The job's datasets, each with C(name) and C(config). Their passwords are masked.
    type: list
    elements: dict
    default: []
  addresses:
    description: URLs whose passwords and tokens are masked, in addition to those in the job's C(job.yaml).
    type: list
    elements: str
    default: []
  profile:
    description: The project's profile. Its secrets are masked if it can be read.
    type: path
    default: ""
  secrets:
    description: Further secrets to mask.
    type: list
    elements: str
    default: []
  secret_files:
    description: Files with further secrets, one per line.
    type: list
    elements: path
    default: []
author: turbo-hipster
"""

EXAMPLES = r"""
- name: Collect the results, leave out what must not be published, and mask secrets
  collect_results:
    source: /var/lib/turbo-hipster/jobs/1/results
    root: /var/www/logs
    log_path: 7/7/1/check/gate-real-db-upgrade/0123456
    job_dir: /var/lib/turbo-hipster/jobs/1
"""

RETURN = r"""
folder:
  description: The folder of the copy.
  type: path
  returned: success
left_out:
  description: What was not copied, and why.
  type: list
  elements: str
  returned: success
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.th_core.step import StepError, run_step
from ansible.module_utils.th_mask.mask import Masker
from ansible.module_utils.th_mask.secrets import collect, read_files, read_variables
from ansible.module_utils.th_publish.copy import Copy, CopyLimits
from ansible.module_utils.th_publish.place import beside, parts_of, remove


def secrets_of(params: Mapping[str, Any]) -> list[str]:
    """The secrets to mask: those of the job, the worker and the operator. Raises StepError ``upload_failed``."""
    job_dir = Path(params["job_dir"])
    profile = Path(params["profile"]) if params["profile"] else None
    known = collect(job_dir, params["datasets"], read_variables(job_dir / "job.yaml"), os.environ, profile)
    for address in params["addresses"]:
        known.add_addresses(address)
    known.operators.update(params["secrets"], read_files(params["secret_files"]))
    return known.worth_masking()


def collect_results(params: Mapping[str, Any]) -> dict[str, Any]:
    """Make the copy; returns the module's result. Raises StepError ``upload_failed``."""
    place = Path(params["root"], *parts_of(params["log_path"]))
    limits = CopyLimits(params["file_limit"], params["total_limit"], params["count_limit"], params["time_limit"])
    copy = Copy(limits, Masker(secrets_of(params)), frozenset(map(str.lower, params["refused_extensions"])))
    made: Path | None = None
    try:
        made = beside(place)
        copy.run(Path(params["source"]), made)
    except BaseException as error:
        if made is not None:
            remove(made)
        if not isinstance(error, OSError):
            raise
        where = f" {error.filename}" if error.filename else ""
        problem = f"The results cannot be collected for {place}: {error.strerror}{where}."
        raise StepError("upload_failed", problem) from None
    return {"changed": True, "folder": str(made), "left_out": copy.left_out}


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "source": {"type": "path", "required": True},
            "root": {"type": "path", "required": True},
            "log_path": {"type": "str", "required": True},
            "job_dir": {"type": "path", "required": True},
            "file_limit": {"type": "int", "default": 256 * 1024 * 1024},
            "total_limit": {"type": "int", "default": 1024 * 1024 * 1024},
            "count_limit": {"type": "int", "default": 5000},
            "time_limit": {"type": "float", "default": 400},
            "refused_extensions": {"type": "list", "elements": "str", "default": []},
            "datasets": {"type": "list", "elements": "dict", "default": []},
            # no_log keeps these out of the logs of module calls
            "addresses": {"type": "list", "elements": "str", "default": [], "no_log": True},
            "profile": {"type": "path", "default": ""},
            "secrets": {"type": "list", "elements": "str", "default": [], "no_log": True},
            "secret_files": {"type": "list", "elements": "path", "default": [], "no_log": False},
        }
    )
    run_step(module, "upload_logs", module.params["job_dir"], lambda: collect_results(module.params))


if __name__ == "__main__":
    main()

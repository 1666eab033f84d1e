# SPDX-License-Identifier: Apache-2.0
"""Report to the worker where the results of a job can be read."""

from __future__ import annotations

DOCUMENTATION = r"""
module: hand_back_url
short_description: Report to the worker where the results of a job can be read
description:
  - Writes C(published.json) into the job's folder. The worker reports that URL to Zuul.
  - If it is not a valid URL of a page, C(upload_failed) is recorded in C(artifacts/errors.jsonl).
options:
  url:
    description: An http, https or file URL without a password.
    type: str
    required: true
  job_dir:
    description: The job's folder.
    type: path
    required: true
author: turbo-hipster
"""

EXAMPLES = r"""
- name: Hand the URL back to the worker
  hand_back_url:
    url: https://logs.example.org/7/7/1/check/gate-real-db-upgrade/0123456/
    job_dir: /var/lib/turbo-hipster/jobs/1
"""

RETURN = r"""
url:
  description: Where the results can be read.
  type: str
  returned: success
"""

import re
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.th_core.artifacts import write_json
from ansible.module_utils.th_core.step import StepError, run_step

FILE = "published.json"
URL = re.compile(r"(https?://[^\s\"'<>\\`/?#@]{1,255}|file://)/[^\s\"'<>\\`]{0,2000}")
"""One line without spaces, quotes, user and password. The worker has the same rule (`worker.publish`)."""


def hand_back(url: str, job_dir: Path) -> dict[str, Any]:
    """Write the file; returns the module's result. Raises StepError ``upload_failed``."""
    if not (url.isascii() and url.isprintable() and URL.fullmatch(url)):
        problem = f"upload_logs_url: {url[:200]!r} is not the URL of published results"
        raise StepError("upload_failed", f"{problem}: set it in the task file that publishes them.")
    write_json(job_dir / FILE, {"url": url})
    return {"changed": True, "url": url}


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "job_dir": {"type": "path", "required": True},
        }
    )
    params = module.params

    def step() -> dict[str, Any]:
        return hand_back(params["url"], Path(params["job_dir"]))

    run_step(module, "upload_logs", params["job_dir"], step)


if __name__ == "__main__":
    main()

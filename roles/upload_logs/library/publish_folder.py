# SPDX-License-Identifier: Apache-2.0
"""Put a collected folder where people read it, whole or not at all."""

from __future__ import annotations

DOCUMENTATION = r"""
module: publish_folder
short_description: Put a collected folder where people read it, whole or not at all
description:
  - Moves the folder that C(collect_results) has made to its place by one rename. What was published there before is
    replaced; if that is identical, nothing changes.
  - Afterwards the folder is gone, even if it could not be published.
  - When it fails, C(upload_failed) is recorded in C(artifacts/errors.jsonl).
options:
  folder:
    description: The folder to publish, on the file system of I(root).
    type: path
    required: true
  root:
    description: The folder below which everything is published.
    type: path
    required: true
  log_path:
    description: The place below I(root).
    type: str
    required: true
  url:
    description: The URL of I(root).
    type: str
    required: true
  job_dir:
    description: The job's folder, in which errors are recorded.
    type: path
    required: true
author: turbo-hipster
"""

EXAMPLES = r"""
- name: Put the results at their place
  publish_folder:
    folder: /var/www/logs/7/7/1/check/gate-real-db-upgrade/.0123456.publishing-x
    root: /var/www/logs
    log_path: 7/7/1/check/gate-real-db-upgrade/0123456
    url: https://logs.example.org/
    job_dir: /var/lib/turbo-hipster/jobs/1
"""

RETURN = r"""
url:
  description: The URL of the published folder.
  type: str
  returned: success
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.th_core.step import StepError, run_step
from ansible.module_utils.th_publish.place import parts_of, put, remove, same, sync, url_of


def publish(params: Mapping[str, Any]) -> dict[str, Any]:
    """Move the folder to its place; returns the module's result. Raises StepError ``upload_failed``."""
    made = Path(params["folder"])
    try:
        parts = parts_of(params["log_path"])
        place = Path(params["root"], *parts)
        changed = not same(made, place)
        if changed:
            put(made, place)
            sync(place.parent)
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        raise StepError(
            "upload_failed", f"The results cannot be published to {place}: {error.strerror}{where}."
        ) from None
    finally:
        remove(made)
    return {"changed": changed, "url": url_of(params["url"], parts)}


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "folder": {"type": "path", "required": True},
            "root": {"type": "path", "required": True},
            "log_path": {"type": "str", "required": True},
            "url": {"type": "str", "required": True},
            "job_dir": {"type": "path", "required": True},
        }
    )
    run_step(module, "upload_logs", module.params["job_dir"], lambda: publish(module.params))


if __name__ == "__main__":
    main()

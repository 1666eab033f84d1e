# SPDX-License-Identifier: Apache-2.0
"""Remove package caches that are old or too large."""

from __future__ import annotations

DOCUMENTATION = r"""
module: prune_packages
short_description: Remove package caches that are old or too large
description:
  - C(pip_download_cache) contains one cache of downloaded wheels, and one per project for what it builds.
  - A cache that was begun more than O(days) ago is emptied as a whole, including packages that are no longer used.
  - While all caches together are larger than O(bytes), the least recently used one is emptied.
  - A cache that a build is using is left for the next time. What was removed is downloaded again when it is needed.
options:
  cache_dir:
    description: The folder of the caches.
    type: path
    required: true
  days:
    description: Days that a cache is used; 0 for no limit.
    type: float
    default: 30
  bytes:
    description: Bytes that all caches may take together; 0 for no limit.
    type: int
    default: 21474836480
author: turbo-hipster
"""

EXAMPLES = r"""
- name: Remove package caches that are older than a week or larger than 5 GiB
  prune_packages:
    cache_dir: "{{ th_pip_download_cache }}"
    days: 7
    bytes: 5368709120
"""

RETURN = r"""
removed:
  description: The folders whose content was removed.
  type: list
  elements: str
  returned: success
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.th_environment.package_caches import Caches


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "cache_dir": {"type": "path", "required": True},
            "days": {"type": "float", "default": 30},
            "bytes": {"type": "int", "default": 20 << 30},
        }
    )
    removed: list[str] = []
    try:
        removed = Caches(Path(module.params["cache_dir"])).prune(module.params["days"], module.params["bytes"])
    except OSError as error:  # not a reason to fail a job
        module.warn(f"{module.params['cache_dir']} cannot be pruned: {error}")
    module.exit_json(changed=bool(removed), removed=removed)


if __name__ == "__main__":
    main()

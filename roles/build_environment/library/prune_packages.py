# SPDX-License-Identifier: Apache-2.0
"""Remove caches of packages that are old or too large."""

from __future__ import annotations

DOCUMENTATION = r"""
module: prune_packages
short_description: Remove caches of packages that are old or too large
description:
  - Below C(pip_download_cache) there is one cache of downloaded wheels, and one for what each project builds.
  - A cache that was begun more than C(days) ago is removed as a whole, so that what nobody uses any more goes with it.
  - While all of them are larger than C(bytes), so is the one that was not used for the longest time.
  - A cache that a build uses at that moment is left for the next time. What is removed is downloaded again when it is
    needed.
options:
  cache_dir:
    description: The folder of the caches.
    type: path
    required: true
  days:
    description: How many days a cache is used; 0 for no limit.
    type: float
    default: 30
  bytes:
    description: How large all caches may be together; 0 for no limit.
    type: int
    default: 21474836480
author: turbo-hipster
"""

EXAMPLES = r"""
- name: Remove caches of packages that are older than a week or larger than 5 GiB
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
    except OSError as error:  # no job fails for want of it
        module.warn(f"{module.params['cache_dir']} cannot be pruned: {error}")
    module.exit_json(changed=bool(removed), removed=removed)


if __name__ == "__main__":
    main()

#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Find out which stages the job's datasets have to walk through."""

DOCUMENTATION = r"""
module: plan_walk
short_description: Find out which stages the job's datasets have to walk through
description:
  - Compares the versions of the restored datasets with the trees of migrations in C(artifacts/checkout.json).
  - Returns which environments are needed and not yet built, so that no release is built unnecessarily.
options:
  job_dir:
    description: The job's folder.
    type: path
    required: true
  datasets:
    description: The names of the job's datasets; those that were not restored are left out.
    type: list
    elements: str
    required: true
  databases:
    description:
      - The project's databases as in its profile. With Django, migrations may be in packages; then each
        release's environment is asked what its packages would migrate, even if the dataset has all migrations of the
        repository.
    type: list
    elements: dict
    default: []
author: The turbo-hipster developers
"""

EXAMPLES = r"""
- name: Find out which stages to walk through
  plan_walk:
    job_dir: /var/lib/turbo-hipster/jobs/1
    datasets: [user_001]
    databases: "{{ th_profile.databases }}"
"""

RETURN = r"""
datasets:
  description: The datasets that can be walked.
  type: list
  returned: always
wanted:
  description: The environments to build, in the form of the role C(build_environment).
  type: list
  returned: always
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.th_core.artifacts import forget_errors, read_json
from ansible.module_utils.th_core.step import StepError, run_step
from ansible.module_utils.th_walk.stages import WalkTree


def main() -> None:
    """Run as a module of Ansible."""
    module = AnsibleModule(
        argument_spec={
            "job_dir": {"type": "path", "required": True},
            "datasets": {"type": "list", "elements": "str", "required": True},
            "databases": {"type": "list", "elements": "dict", "default": []},
        },
        supports_check_mode=True,
    )
    job_dir = module.params["job_dir"]

    def step() -> dict[str, Any]:
        if not module.check_mode:  # the role build_environment itself forgets those of the change
            forget_errors(job_dir, "build_environment", about=lambda event: event.get("stage") != "change")
        return plan(Path(job_dir) / "artifacts", module.params["datasets"], module.params["databases"])

    run_step(module, "run_migrations", job_dir, step)


def plan(artifacts: Path, datasets: Sequence[str], databases: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The module's result. Raises StepError."""
    checkout = read_json(artifacts / "checkout.json")
    if not checkout:
        missing = artifacts / "checkout.json"
        raise StepError("playbook_failed", f"{missing} is not there: run playbooks/checkout.yaml first")
    tree = WalkTree(checkout)
    restored, wanted = [], {}
    for name in datasets:
        facts = read_json(artifacts / f"dataset-{name}.json")
        if facts:
            restored.append(name)
            if not tree.unknown(facts["version"]):
                wanted.update({stage.slug: stage for stage in tree.to_build(facts["version"], databases)})
    for item in read_json(artifacts / "environment.json").get("environments", []):
        wanted.pop(item["stage"], None)
    return {
        "changed": False,
        "datasets": restored,
        "wanted": [{"stage": stage.slug, "kind": stage.kind, "commit": stage.commit} for stage in wanted.values()],
    }


if __name__ == "__main__":
    main()

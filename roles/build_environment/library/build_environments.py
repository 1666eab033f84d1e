# SPDX-License-Identifier: Apache-2.0
"""Build the virtual environments of a job's stages, or take them from the cache."""

from __future__ import annotations

DOCUMENTATION = r"""
module: build_environments
short_description: Build the virtual environments of a job's stages, or take them from the cache
description:
  - The environment of the change is built in the job's folder, from the job's checkout.
  - Those of releases and of the target branch's tip, which are merged code, are kept for later jobs; so is that of a
    change which asks for the same packages as the code that it is based on, and for nothing else.
  - What is installed is said by the project's profile; uv installs it.
  - Writes C(artifacts/environment.json); the output of the builds goes to C(results/environment.log).
  - When that of the change cannot be built, the same is done without the change, and what came of it is written down.
options:
  wanted:
    description: The environments, each with C(stage) (the stage's slug), C(kind) and C(commit).
    type: list
    elements: dict
    required: true
    suboptions:
      stage:
        description: The slug of the stage.
        type: str
        required: true
      kind:
        description: Whose code it is.
        type: str
        choices: [change, release, tip, base]
        required: true
      commit:
        description: The commit, of all but the change.
        type: str
        default: ""
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
  environments_dir:
    description: The folder of the environments that are kept.
    type: path
    required: true
  cache_dir:
    description: The folder of the caches of packages.
    type: path
    required: true
  origin:
    description: Base URL of the branches and tags; that of the job when empty.
    type: str
    default: ""
  time_limit:
    description: How long one environment may take, in seconds.
    type: float
    default: 1800
  control_time_limit:
    description: How long the environment of a change that cannot be built may take without the change, in seconds.
    type: float
    default: 600
  cache_keep:
    description: How many environments are kept. Those used in the last 24 hours are kept in any case.
    type: int
    default: 20
  sandbox:
    description: What builds run in, C(th_sandbox) of the role C(project).
    type: dict
    required: true
  programs:
    description: The folder of the role's files.
    type: path
    required: true
  pass_environment:
    description: Names of environment variables of the worker that the builds get.
    type: list
    elements: str
    default: []
  log_limit:
    description: How long the log may become, in bytes.
    type: int
    default: 10485760
author: turbo-hipster
"""

EXAMPLES = r"""
- name: Build the environment of the change
  build_environments:
    wanted:
      - {stage: change, kind: change}
    job: "{{ th_job }}"
    profile: "{{ th_profile }}"
    job_dir: "{{ th_job_dir }}"
    mirrors_dir: "{{ th_git_working_dir }}"
    environments_dir: "{{ th_environments_dir }}"
    cache_dir: "{{ th_pip_download_cache }}"
    sandbox: "{{ th_sandbox }}"
    programs: "{{ role_path }}/files"
"""

RETURN = r"""
environments:
  description: The entries of C(artifacts/environment.json) of the stages that were asked for.
  type: list
  elements: dict
  returned: success
prune_due:
  description: Whether the caches of packages were not pruned for a day.
  type: bool
  returned: success
"""

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.th_artifacts import forget_walks, read_json, report_error, write_json
from ansible.module_utils.th_builder import Builder, merged
from ansible.module_utils.th_caches import Caches
from ansible.module_utils.th_capped import CappedLog
from ansible.module_utils.th_step import StepError, run_step
from ansible.module_utils.th_without_change import CONTROLLED, control, facts_of

ROLE = "build_environment"


def forget(artifact: Path, stages: Collection[str]) -> None:
    """Drop the entries of stages whose environments are to be built: a build that fails leaves none."""
    before = read_json(artifact).get("environments", [])
    kept = [entry for entry in before if entry["stage"] not in stages]
    if len(kept) != len(before):
        write_json(artifact, {"environments": kept})


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "wanted": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "stage": {"type": "str", "required": True},
                    "kind": {"type": "str", "choices": ["change", "release", "tip", "base"], "required": True},
                    "commit": {"type": "str", "default": ""},
                },
            },
            "job": {"type": "dict", "required": True},
            "profile": {"type": "dict", "required": True},
            "job_dir": {"type": "path", "required": True},
            "mirrors_dir": {"type": "path", "required": True},
            "environments_dir": {"type": "path", "required": True},
            "cache_dir": {"type": "path", "required": True},
            "origin": {"type": "str", "default": ""},
            "time_limit": {"type": "float", "default": 1800},
            "control_time_limit": {"type": "float", "default": 600},
            "cache_keep": {"type": "int", "default": 20},
            "sandbox": {"type": "dict", "required": True},
            "programs": {"type": "path", "required": True},
            "pass_environment": {"type": "list", "elements": "str", "default": [], "no_log": False},
            "log_limit": {"type": "int", "default": 10 * 1024 * 1024},
        }
    )
    params = module.params
    job_dir = Path(params["job_dir"])

    def step() -> dict[str, Any]:
        os.umask(0o077)
        artifact = job_dir / "artifacts" / "environment.json"
        log = CappedLog(job_dir / "results" / "environment.log", params["log_limit"])
        made: list[dict[str, Any]] = []
        forget_walks(job_dir)
        forget(artifact, [one["stage"] for one in params["wanted"]])
        try:
            builder = Builder(params, log)
            for one in params["wanted"]:
                try:
                    made.append(builder.build(one["stage"], one["kind"], one["commit"]))
                except StepError as error:
                    if one["kind"] != "change" or error.code not in CONTROLLED:
                        raise
                    # first the failure: a job may be ended in the middle of its control
                    report_error(job_dir, ROLE, **facts_of(error))
                    control(params, log, error)
                    module.fail_json(msg=error.detail, code=error.code)
                before = read_json(artifact).get("environments", [])
                write_json(artifact, {"environments": merged(before, made)})
        finally:
            log.close()
        due = Caches(Path(params["cache_dir"])).due()
        return {"changed": any(not one["cached"] for one in made), "environments": made, "prune_due": due}

    run_step(module, ROLE, str(job_dir), step)


if __name__ == "__main__":
    main()

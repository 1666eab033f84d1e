# SPDX-License-Identifier: Apache-2.0
"""Find a kept environment, or the place to build one."""

from __future__ import annotations

DOCUMENTATION = r"""
module: find_environment
short_description: Find a kept environment, or the place to build one
description:
  - Environments of releases and of the target branch's tip, which are merged code, are kept for later jobs. So is that
    of a change which requires the same packages as the code that it is based on, and nothing else.
  - A kept environment is recorded in C(artifacts/environment.json), and nothing has to be built.
  - Otherwise the other steps build the environment, in the job's folder or, if it is to be kept, in a new folder of
    O(environments_dir). If another run is building the same environment, this one waits for it.
  - What an earlier run has recorded of this environment is discarded.
options:
  stage:
    description: The slug of the stage.
    type: str
    required: true
  kind:
    description: The kind of the stage.
    type: str
    choices: [change, release, tip, base]
    required: true
  commit:
    description: The stage's commit; not needed for the change.
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
    description: The folder of the kept environments.
    type: path
    required: true
  cache_dir:
    description: The folder of the package caches.
    type: path
    required: true
  origin:
    description: Base URL of the branches and tags; that of the job when empty.
    type: str
    default: ""
  steps:
    description: A file that says how environments are built. When it changes, kept environments are no longer used.
    type: path
  time_limit:
    description: Seconds that all steps of one environment may take together.
    type: float
    default: 1800
  cache_keep:
    description: How many environments are kept. Those used in the last 24 hours are kept in any case.
    type: int
    default: 20
  sandbox:
    description: The sandbox that builds run in; C(th_sandbox) of the role C(project).
    type: dict
    required: true
  programs:
    description: The folder of the role's files.
    type: path
    required: true
  pass_environment:
    description: Names of the worker's environment variables that builds get.
    type: list
    elements: str
    default: []
  log:
    description: The log of the builds; C(results/environment.log) of the job's folder when not given.
    type: path
  log_limit:
    description: The maximum size of the log, in bytes.
    type: int
    default: 10485760
author: turbo-hipster
"""

EXAMPLES = r"""
- name: Look for a kept environment
  find_environment:
    stage: stable-3.4
    kind: release
    commit: 1f0c0d8a4c6c4f6b9d3a0d7a5c8e1b2f3a4b5c6d
    job: "{{ th_job }}"
    profile: "{{ th_profile }}"
    job_dir: "{{ th_job_dir }}"
    mirrors_dir: "{{ th_git_working_dir }}"
    environments_dir: "{{ th_environments_dir }}"
    cache_dir: "{{ th_pip_download_cache }}"
    sandbox: "{{ th_sandbox }}"
    programs: "{{ role_path }}/files"
  register: found
"""

RETURN = r"""
kept:
  description: Whether a kept environment was found and recorded.
  type: bool
  returned: success
build:
  description: The file that passes the state of the build from step to step.
  type: str
  returned: success
install:
  description: What to install; C(install) of the profile, or of the release if it has its own.
  type: dict
  returned: success
venv:
  description: The environment, or where it is to be built.
  type: str
  returned: success
src:
  description: The checkout.
  type: str
  returned: success
"""

import os
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.th_core.artifacts import as_text, write_text
from ansible.module_utils.th_core.step import StepError, run_step
from ansible.module_utils.th_environment.build import FILE
from ansible.module_utils.th_environment.build_step import ROLE, with_missing
from ansible.module_utils.th_environment.find import find_or_begin, forget


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "stage": {"type": "str", "required": True},
            "kind": {"type": "str", "choices": ["change", "release", "tip", "base"], "required": True},
            "commit": {"type": "str", "default": ""},
            "job": {"type": "dict", "required": True},
            "profile": {"type": "dict", "required": True},
            "job_dir": {"type": "path", "required": True},
            "mirrors_dir": {"type": "path", "required": True},
            "environments_dir": {"type": "path", "required": True},
            "cache_dir": {"type": "path", "required": True},
            "origin": {"type": "str", "default": ""},
            "steps": {"type": "path"},
            "time_limit": {"type": "float", "default": 1800},
            "cache_keep": {"type": "int", "default": 20},
            "sandbox": {"type": "dict", "required": True},
            "programs": {"type": "path", "required": True},
            "pass_environment": {"type": "list", "elements": "str", "default": [], "no_log": False},
            "log": {"type": "path"},
            "log_limit": {"type": "int", "default": 10 * 1024 * 1024},
        }
    )
    params = module.params
    stage, kind, job_dir = params["stage"], params["kind"], Path(params["job_dir"])

    def step() -> dict[str, Any]:
        os.umask(0o077)
        forget(job_dir, stage)
        try:
            build, kept = find_or_begin(params, stage, kind, params["commit"])
        except StepError as error:
            found = with_missing(error, kind)
            failure = {"code": found.code, "detail": found.detail}
            write_text(job_dir / FILE, as_text({"stage": stage, "kind": kind, "failure": failure}), 0o600)
            raise found from None
        return {
            "changed": not kept,
            "kept": kept,
            "build": str(build.file),
            "install": dict(build.recipe.install),
            "venv": str(build.venv),
            "src": str(build.src),
        }

    run_step(module, ROLE, str(job_dir), step)


if __name__ == "__main__":
    main()

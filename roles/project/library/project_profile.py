# SPDX-License-Identifier: Apache-2.0
"""Read a project's profile and make the job's folders."""

from __future__ import annotations

DOCUMENTATION = r"""
module: project_profile
short_description: Read a project's profile and make the job's folders
description:
  - Reads C(<projects_dir>/<project>.yaml), checks every key, and returns it with all defaults filled in.
  - Finds the steps that an operator has written for this project alone.
  - Makes the job's folder, with C(artifacts) and C(results) in it, accessible to its owner only.
  - Removes C(artifacts/times.json), which a worker leaves after its run and which does not describe this one.
  - A profile that is missing or wrong is recorded in C(artifacts/errors.jsonl) as C(no_profile) or
    C(profile_wrong).
options:
  project:
    description: The project, as in C(mlflow/mlflow).
    type: str
    required: true
  projects_dir:
    description: The folder of the profiles.
    type: path
    required: true
  job_dir:
    description: The job's folder.
    type: path
    required: true
  needed:
    description: Whether to read the profile; if not, the result has only C(name).
    type: bool
    default: true
author: turbo-hipster
"""

EXAMPLES = r"""
- name: Read the profile
  project_profile:
    project: mlflow/mlflow
    projects_dir: /etc/turbo-hipster/ansible/inventory/projects
    job_dir: /var/lib/turbo-hipster/jobs/1
"""

RETURN = r"""
profile:
  description: The profile as in C(docs/profiles.md), with every key present, and C(name) and C(file).
  type: dict
  returned: success
own_steps:
  description:
    - The task files in the folder that is named after the project, beside its profile, whose names begin with
      C(before-) or C(after-); without their endings.
  type: list
  elements: str
  returned: success
"""

import os
import re
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.th_core.artifacts import disk_full_message, keep_reserve
from ansible.module_utils.th_core.checks import WrongKey, one_line
from ansible.module_utils.th_core.step import StepError, run_step
from ansible.module_utils.th_core.strict_yaml import read_yaml
from ansible.module_utils.th_tools.profile import check_profile

PROJECT = re.compile(r"(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9._+-]*(/[A-Za-z0-9_][A-Za-z0-9._+-]*)*")


def checked(project: str) -> str:
    """The name of a project, if it is valid. Raises StepError ``no_profile``."""
    if not PROJECT.fullmatch(project):
        raise StepError("no_profile", f"th_job.project: {project!r} is not the name of a project.")
    return project


def load(projects_dir: Path, project: str) -> dict[str, Any]:
    """A project's profile with all its defaults. Raises StepError ``no_profile`` or ``profile_wrong``."""
    path = projects_dir / f"{checked(project)}.yaml"
    try:
        document = read_yaml(path)
    except (FileNotFoundError, NotADirectoryError):
        raise StepError(
            "no_profile", f"There is no profile for {project}: write {path} (see docs/profiles.md)."
        ) from None
    except OSError as error:
        raise StepError("profile_wrong", f"{path} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise StepError("profile_wrong", f"{path} is not YAML: {one_line(str(error))}") from None
    try:
        profile = check_profile(document)
    except WrongKey as error:
        raise StepError("profile_wrong", f"{path}: {error} (see docs/profiles.md).") from None
    return {"name": project, "file": str(path), **profile}


def own_steps(projects_dir: Path, project: str) -> list[str]:
    """The task files of a project's own steps, each by its place: ``before-…`` or ``after-…``."""
    files = (projects_dir / project).glob("*.yaml")
    return sorted(file.stem for file in files if file.stem.startswith(("before-", "after-")) and os.path.isfile(file))


def make_folders(job_dir: Path) -> bool:
    """Create the job's folders; returns whether any were missing."""
    changed = False
    for folder in (job_dir, job_dir / "artifacts", job_dir / "results"):
        if not folder.is_dir():
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir(mode=0o700)
            changed = True
    keep_reserve(job_dir)
    # of an earlier run by a worker, whose times are not those of this one
    (job_dir / "artifacts" / "times.json").unlink(missing_ok=True)
    return changed


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "project": {"type": "str", "required": True},
            "projects_dir": {"type": "path", "required": True},
            "job_dir": {"type": "path", "required": True},
            "needed": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    job_dir = Path(module.params["job_dir"])

    def step() -> dict[str, Any]:
        changed = False
        if not module.check_mode:
            try:
                changed = make_folders(job_dir)
            except OSError as error:
                if disk_full_message(error):
                    raise
                module.fail_json(msg=f"th_job_dir {job_dir} cannot be made: {error.strerror}.")
        projects_dir, project = Path(module.params["projects_dir"]), module.params["project"]
        profile = load(projects_dir, project) if module.params["needed"] else {"name": checked(project)}
        return {"changed": changed, "profile": profile, "own_steps": own_steps(projects_dir, project)}

    run_step(module, "project", str(job_dir), step)


if __name__ == "__main__":
    main()

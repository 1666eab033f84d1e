#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Check whether a project's repository matches its profile, without a job."""

from __future__ import annotations

DOCUMENTATION = r"""
module: check_repository
short_description: Check whether a project's repository matches its profile, without a job
description:
  - Updates the project's mirror as a job does, with the same git, keys and time limits, but tries only once.
  - Looks for the profile's releases, and for the migrations of each database in them and in the default branch.
  - Problems are reported and do not fail the task, so that all of them are found at once.
options:
  profile:
    description: The project's profile, as C(project_profile) returns it.
    type: dict
    required: true
  url:
    description: Base URL of the repositories; a slash and the project are appended.
    type: str
    required: true
  job_dir:
    description: A folder for git's log.
    type: path
    required: true
  mirrors_dir:
    description: The folder of the mirrors.
    type: path
    required: true
  fetch_time_limit:
    description: Seconds that the one attempt may take.
    type: float
    default: 300
  log_limit:
    description: The maximum size of the log, in bytes.
    type: int
    default: 10485760
  dest:
    description: A file to write the report to, as JSON; no file when empty.
    type: path
    default: ""
author: turbo-hipster
"""

EXAMPLES = r"""
- name: Check the repository
  check_repository:
    profile: "{{ th_profile }}"
    url: https://git.example.org
    job_dir: "{{ th_job_dir }}"
    mirrors_dir: "{{ th_git_working_dir }}"
"""

RETURN = r"""
report:
  description:
    - C(url); C(branch) and C(commit) of the default branch; the C(releases) that were found; the number of
      C(migrations) in the branch.
    - C(problems), each with C(code), C(detail), C(remedy) and C(warning), which is true if a job can run nevertheless.
  type: dict
  returned: success
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.th_checkout.request import CheckoutRequest
from ansible.module_utils.th_checkout.trees import TreeReader
from ansible.module_utils.th_core.artifacts import write_json
from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_core.text import mask, printable
from ansible.module_utils.th_git.client import Git, GitError, RetryPolicy, join_url
from ansible.module_utils.th_git.mirror import Mirror
from ansible.module_utils.th_sandbox.capped_log import CappedLog
from ansible.module_utils.th_tools.tools import tool_of


def look(params: Mapping[str, Any], log: CappedLog) -> dict[str, Any]:
    """Check the repository; returns the report. Raises StepError, GitError."""
    profile = params["profile"]
    request = CheckoutRequest.of({"project": profile["name"], "url": params["url"]}, "")
    url = join_url(request.origin, request.project)
    # no limits: only merged code is fetched
    git = Git(log, (request.origin,), RetryPolicy(1, params["fetch_time_limit"], 0))
    mirror = Mirror(git, Path(params["mirrors_dir"]), request.project, url)
    with mirror.locked():
        mirror.update()
    branch = mirror.main_branch()
    commit = git.commit(mirror.path, f"refs/heads/{branch}") if branch else None
    report: dict[str, Any] = {"url": mask(url), "branch": branch, "commit": commit, "releases": [], "migrations": 0}
    problems = report["problems"] = []
    if commit is None:
        detail = f"{mask(url)} has no default branch (its HEAD is {branch or 'none'})"
        problems.append(_problem("checkout_ref_gone", detail, "let the repository have one", warning=True))
    else:
        found, missing = _migrations(git, mirror.path, profile, branch, commit)
        report["migrations"] = found
        problems += missing
    for release in profile["releases"]:
        ref = release["ref"]
        at = git.commit(mirror.path, f"refs/heads/{ref}") or git.commit(mirror.path, f"refs/tags/{ref}")
        if at is None:
            detail = f"{profile['file']}: releases: {mask(url)} has no branch and no tag {ref}"
            problems.append(_problem("profile_wrong", detail, "correct the name, or take the release out"))
            continue
        report["releases"].append(release["name"])
        problems += [
            {**problem, "warning": True} for problem in _migrations(git, mirror.path, profile, ref, at)[1]
        ]
    return report


def _migrations(
    git: Git, repository: Path, profile: Mapping[str, Any], name: str, commit: str
) -> tuple[int, list[dict[str, Any]]]:
    """The number of migrations in a commit, and the problems with the places where they should be."""
    count, problems = 0, []
    for database in profile["databases"]:
        reader = TreeReader(git, repository, database)
        try:
            tree = reader.read(commit)
            places = reader.places(commit)
        except StepError as error:
            problems.append(_problem(error.code, f"{profile['file']}: {error.detail}", "correct the profile"))
            continue
        if places.outside:
            problems.append(_problem("profile_wrong", f"{profile['file']}: {places.outside}", "correct the profile"))
            continue
        count += len(tree.revisions)
        if not tree.revisions and not tree.unreadable:
            problems.append(_without(profile, database, name, places.folders))
    return count, problems


def _without(
    profile: Mapping[str, Any], database: Mapping[str, Any], name: str, folders: tuple[str, ...]
) -> dict[str, Any]:
    where = f"databases.{database['name']}" if database["name"] else "migrations"
    tool = tool_of(database)
    if folders and folders != ("",):
        detail = f"there is no migration in {', '.join(map(printable, folders))} of {name}"
    elif tool.by_app:
        detail = f"{name} has no app with migrations"
    else:
        detail = f"neither the profile nor {database.get('config') or 'a file'} of {name} says where migrations are"
    return _problem("profile_wrong", f"{profile['file']}: {where}: {detail}", f"correct {tool.keys_of_scripts}")


def _problem(code: str, detail: str, remedy: str, warning: bool = False) -> dict[str, Any]:
    return {"code": code, "detail": detail.rstrip("."), "remedy": remedy, "warning": warning}


def report_of(params: Mapping[str, Any]) -> dict[str, Any]:
    """The report, also when the check itself fails."""
    log = CappedLog(Path(params["job_dir"]) / "results" / "git_prep.log", params["log_limit"], stamp=True)
    try:
        return look(params, log)
    except StepError as error:
        problem = _problem(error.code, error.detail, "correct zuul_server.git_url, or what keeps git from it")
    except GitError as error:
        problem = _problem("checkout_failed", f"{error}", "look at the repository")
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        problem = _problem("playbook_failed", f"{where}{error.strerror}", "correct the permissions")
    finally:
        log.close()
    return {"url": "", "branch": "", "commit": None, "releases": [], "migrations": 0, "problems": [problem]}


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "profile": {"type": "dict", "required": True},
            "url": {"type": "str", "required": True},
            "job_dir": {"type": "path", "required": True},
            "mirrors_dir": {"type": "path", "required": True},
            "fetch_time_limit": {"type": "float", "default": 300},
            "log_limit": {"type": "int", "default": 10 * 1024 * 1024},
            "dest": {"type": "path", "default": ""},
        }
    )
    found = report_of(module.params)
    if module.params["dest"]:
        write_json(Path(module.params["dest"]), found)
    module.exit_json(changed=True, report=found)


if __name__ == "__main__":
    main()

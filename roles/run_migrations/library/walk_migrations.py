#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Walk the migrations of one dataset."""

DOCUMENTATION = r"""
module: walk_migrations
short_description: Walk a dataset through the migrations of every stage, one at a time, and measure each
description:
  - Runs the project's own code against the dataset's private server, one process a stage, and reads what each
    migration did from the server over a connection of its own.
  - Writes C(artifacts/walk-<name>.jsonl) and C(results/<name>.log) as it goes. The log also has the new lines of the
    server's error log, of its slow query log, and of the files of O(watch_logs), merged by time.
  - A migration that fails is a finding, not a failure of the task.
options:
  job_dir:
    description: The job's folder.
    type: path
    required: true
  name:
    description: The dataset's name.
    type: str
    required: true
  profile:
    description: The project's profile, as C(project_profile) returns it.
    type: dict
    required: true
  programs:
    description: The folder of the walking programs.
    type: path
    required: true
  sandbox:
    description: The sandbox that the project's code runs in; C(th_sandbox) of the role C(project).
    type: dict
    required: true
  migration_time_limit:
    description: Seconds after which a migration is ended.
    type: int
    default: 7200
  start_time_limit:
    description: Seconds that the project's code may take before the first and after the last migration.
    type: int
    default: 300
  time_limit:
    description: Seconds that the whole walk may take; 0 for no limit.
    type: int
    default: 0
  log_limit:
    description: Bytes that the dataset's log may grow to; its middle is left out then.
    type: int
    default: 10000000
  heartbeat:
    description: Seconds between two signs of life in the dataset's log.
    type: float
    default: 30
  slow_seconds:
    description: Statements that take this many seconds or longer are logged with how they were executed; 0 for none.
    type: float
    default: 1
  watch_logs:
    description: Further log files of the machine whose new lines are merged into the dataset's log.
    type: list
    elements: dict
    default: []
    suboptions:
      tag:
        description: What the lines are marked with, in square brackets.
        type: str
        default: syslog
      path:
        description: The file; not a symbolic link.
        type: path
        required: true
author: The turbo-hipster developers
"""

EXAMPLES = r"""
- name: Walk the migrations
  walk_migrations:
    job_dir: /var/lib/turbo-hipster/jobs/1
    name: user_001
    profile: "{{ th_profile }}"
    programs: "{{ role_path }}/files"
    sandbox: "{{ th_sandbox }}"
    watch_logs:
      - path: /var/log/syslog
"""

RETURN = r"""
code:
  description: The code of the error that ended the walk (docs/verdicts.md); empty when it was completed.
  type: str
  returned: always
detail:
  description: The error in words.
  type: str
  returned: always
control:
  description: Whether the same error may occur without the change, so that a control walk is worth it.
  type: bool
  returned: always
"""

import contextlib
import signal
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.th_core.artifacts import (
    disk_full_message,
    forget_errors,
    forget_walk,
    not_recorded_message,
    report_error,
)
from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_sandbox.box import Settings
from ansible.module_utils.th_server import mariadb
from ansible.module_utils.th_walk import logs
from ansible.module_utils.th_walk.controls import needing_control
from ansible.module_utils.th_walk.walk import DatasetWalk
from ansible.module_utils.th_walk.walkers import WalkLimits

ROLE = "run_migrations"
REMEDY = "run playbooks/restore-datasets.yaml first"


def main() -> None:
    """Run as a module of Ansible."""
    module = AnsibleModule(
        argument_spec={
            "job_dir": {"type": "path", "required": True},
            "name": {"type": "str", "required": True},
            "profile": {"type": "dict", "required": True},
            "programs": {"type": "path", "required": True},
            "migration_time_limit": {"type": "int", "default": 7200},
            "start_time_limit": {"type": "int", "default": 300},
            "time_limit": {"type": "int", "default": 0},
            "log_limit": {"type": "int", "default": 10_000_000},
            "sandbox": {"type": "dict", "required": True},
            "heartbeat": {"type": "float", "default": 30.0},
            "slow_seconds": {"type": "float", "default": 1.0},
            "watch_logs": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "tag": {"type": "str", "default": "syslog"},
                    "path": {"type": "path", "required": True},
                },
            },
        }
    )
    job_dir, name = Path(module.params["job_dir"]), module.params["name"]
    limits = WalkLimits(
        module.params["migration_time_limit"], module.params["start_time_limit"], module.params["log_limit"]
    )
    # raises SystemExit, so the walk's log is closed
    signal.signal(signal.SIGTERM, lambda *_: module.exit_json(failed=True, msg="terminated"))
    signal.signal(signal.SIGALRM, lambda *_: module.exit_json(failed=True, msg="the walk took too long"))
    signal.alarm(module.params["time_limit"])
    try:
        files = logs.files_to_follow(module.params["watch_logs"])
    except ValueError as problem:
        module.fail_json(msg=f"run_migrations_watch_logs: {problem}")
    options = logs.LogOptions(module.params["heartbeat"], module.params["slow_seconds"], files)
    walked = job_dir / "db" / name / "walked"
    if walked.exists():  # the results of that walk stay as they are
        module.fail_json(msg=f"{name} was walked already since it was restored: {REMEDY}", code="not_restored")
    try:
        try:
            forget_errors(job_dir, ROLE, name)
            forget_walk(job_dir / "artifacts" / f"walk-{name}.jsonl")
            (job_dir / "results" / f"{name}.log").unlink(missing_ok=True)
            server = running_server(job_dir, name)
            walked.touch()
            sandbox = Settings.of(module.params["sandbox"])
            walk = DatasetWalk(
                job_dir, name, module.params["profile"], limits, Path(module.params["programs"]), sandbox, options
            )
            error = walk.run()
        except mariadb.ServerError as problem:
            raise StepError("server_failed", str(problem)) from problem
        except OSError as problem:
            if not (detail := disk_full_message(problem)):
                raise
            raise StepError("disk_full", detail) from problem
    except StepError as problem:
        detail = f"{name}: {problem.detail}"
        try:
            report_error(job_dir, ROLE, problem.code, problem.detail, dataset=name)
        except OSError as unwritten:
            detail += f" ({not_recorded_message(job_dir, unwritten)})"
        module.fail_json(msg=detail, code=problem.code)
    results, size = job_dir / "results", limits.log_bytes
    with contextlib.suppress(OSError):  # these are for people; what the verdict needs has been written
        logs.excerpt(server.error_log, results / f"{name}-server.log", size)
        logs.excerpt(logs.slow_log(server), results / f"{name}-slow.log", size, needle="# Query_time:")
    outcome = {"code": error.code if error else "", "detail": error.detail if error else ""}
    module.exit_json(changed=True, **outcome, control=bool(error and needing_control(job_dir / "artifacts", [name])))


def running_server(job_dir: Path, name: str) -> mariadb.Server:
    """The dataset's server. Raises StepError when it does not run, ServerError when there never was one."""
    server = mariadb.load(job_dir / "db" / name)
    if server.running():
        return server
    where = "its server does not run (any more)" if server.private else "its databases are no longer held"
    code = "server_died" if server.private else "server_unreachable"
    raise StepError(code, f"{where}: {REMEDY}\n{server.last_words()}")


if __name__ == "__main__":
    main()

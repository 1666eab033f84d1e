#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Report the isolation in force where code of changes runs."""

from __future__ import annotations

DOCUMENTATION = r"""
module: sandbox_report
short_description: Report the isolation in force where code of changes runs
description:
  - Makes a box like those of builds and walks, and reads from inside which restrictions are in force.
  - Fails with the code C(sandbox_unavailable) if no box can be made.
options:
  sandbox:
    description: The sandbox that code of changes runs in; C(th_sandbox) of the role C(project).
    type: dict
    required: true
  jobs_dir:
    description: The folder of the jobs' folders. The box can write to a new folder in it, like the code of a job.
    type: path
    default: ""
  read_only:
    description: Folders that the code of a job can read; missing ones are left out.
    type: list
    elements: path
    default: []
  dest:
    description: A file to write the report to, as JSON, or C(error) with the reason of a failure; none when empty.
    type: path
    default: ""
author: turbo-hipster
"""

EXAMPLES = r"""
- name: Report the isolation in force
  sandbox_report:
    sandbox: "{{ th_sandbox }}"
"""

RETURN = r"""
report:
  description:
    - C(kind) and C(version) of the sandbox; C(namespaces) that are the box's own; C(no_new_privileges), C(seccomp) and
      C(capabilities) as the kernel has them; C(user) outside and inside; C(network), the interfaces inside.
    - C(cgroups) with their version (0 for none) and controllers; C(held) says for each limit of all processes together
      what enforces it; C(limits) are the values, 0 for none; C(rlimits) are those of one process, as read inside.
  type: dict
  returned: success
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.th_core.artifacts import write_json
from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_sandbox.box import Box, Settings
from ansible.module_utils.th_sandbox.cgroup_tree import ControlGroups
from ansible.module_utils.th_sandbox.cgroups import Group
from ansible.module_utils.th_sandbox.contain import Contained, base_environment

NAMESPACES = ("user", "pid", "mnt", "ipc", "uts", "cgroup", "net")
TIME_LIMIT = 20.0

_PROBE = """
for name in user pid mnt ipc uts cgroup net; do echo "ns $name $(readlink /proc/self/ns/$name)"; done
sed 's/^/status /' /proc/self/status
sed 's/^/limit /' /proc/self/limits
sed -n 's/^ *\\([^ :]*\\):.*/device \\1/p' /proc/net/dev
"""
_PLACES = """
echo x >"$TH_WRITABLE/in-the-box" && rm "$TH_WRITABLE/in-the-box" || exit 9
for folder in "$@"; do ls "$folder" >/dev/null || exit 9; done
"""
_CANNOT_WRITE = 9
_RLIMITS = {
    "open_files": "Max open files",
    "processes": "Max processes",
    "memory": "Max data size",
    "file_size": "Max file size",
    "cpu_seconds": "Max cpu time",
}


def report(settings: Settings, jobs_dir: str = "", read_only: Sequence[str] = ()) -> dict[str, Any]:
    """The restrictions in a box with these settings. Raises StepError ``sandbox_unavailable``."""
    output_lines: list[str] = []
    if not jobs_dir:
        status = _run(["/bin/sh", "-c", _PROBE], "/", Box(settings), output_lines)
    else:
        there = [Path(path) for path in read_only if os.path.exists(path)]
        try:
            with tempfile.TemporaryDirectory(prefix=".th-check-", dir=jobs_dir) as made:
                argv = ["/bin/sh", "-c", _PROBE + _PLACES, "sh", *map(str, there)]
                status = _run(argv, made, Box(settings, there, [Path(made)]), output_lines)
        except OSError as error:
            raise StepError("sandbox_unavailable", f"{jobs_dir}: {error.strerror}.") from None
    if status != 0:
        problem = " ".join(line for line in output_lines if not re.match("(ns|status|limit|device) ", line))[-500:]
        if status == _CANNOT_WRITE:
            problem = f"in the box, the folders of jobs cannot be used as outside: {problem}"
        raise StepError("sandbox_unavailable", f"The box cannot be used: {problem or 'it printed nothing'}.")
    inside = dict(re.findall(r"^status (\w+):\t(.*)$", "\n".join(output_lines), re.MULTILINE))
    own = [line.split()[1:] for line in output_lines if line.startswith("ns ")]
    return {
        "kind": settings.kind,
        "version": _version(settings.kind),
        "namespaces": [name for name, link in own if link != os.readlink(f"/proc/self/ns/{name}")],
        "no_new_privileges": inside["NoNewPrivs"] == "1",
        "seccomp": inside["Seccomp"] == "2",
        "capabilities": inside["CapEff"],
        "user": {"outside": os.geteuid(), "inside": int(inside["Uid"].split()[0])},
        "network": [line.split()[1] for line in output_lines if line.startswith("device ")],
        **_limits(settings, output_lines),
    }


def _run(argv: Sequence[str], folder: str, box: Box, output_lines: list[str]) -> int | None:
    """The exit status of a command in a box; None if it took too long."""
    environment = {**base_environment(folder), "TH_WRITABLE": folder}
    with Contained(argv, cwd=folder, env=environment, box=box, on_line=output_lines.append) as contained:
        try:
            status: int | None = contained.wait(TIME_LIMIT)
        except subprocess.TimeoutExpired:
            status = None
        contained.last_line(TIME_LIMIT)
    return status


def _limits(settings: Settings, output_lines: Sequence[str]) -> dict[str, Any]:
    places, held = ControlGroups.find() if settings.cgroups else ControlGroups(0), set[str]()
    if places.version:
        try:
            with Group(places, settings.limits) as group:
                held = group.held
        except OSError:
            places = ControlGroups(0)
    kernel = f"control group v{places.version}"
    by = {name: kernel if controller in held else "looking" for name, controller in _CONTROLLERS.items()}
    words = {
        name: next((line[31:].split()[0] for line in output_lines if line.startswith(f"limit {text}")), "")
        for name, text in _RLIMITS.items()
    }
    return {
        "cgroups": {"version": places.version, "controllers": sorted(held)},
        "held": {**by, "disk": "quota" if settings.disk_quota else "looking"},
        "limits": asdict(settings.limits),
        "rlimits": {name: int(word) if word.isdecimal() else word for name, word in words.items()},
    }


_CONTROLLERS: Mapping[str, str] = {"memory": "memory", "processes": "pids", "cpu_seconds": "cpu"}


def _version(kind: str) -> str:
    program = shutil.which("bwrap", path=os.environ.get("PATH", os.defpath) + ":/usr/bin:/bin")
    if kind == "none" or program is None:
        return ""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, timeout=TIME_LIMIT)
    return done.stdout.strip().removeprefix("bubblewrap ")


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "sandbox": {"type": "dict", "required": True},
            "jobs_dir": {"type": "path", "default": ""},
            "read_only": {"type": "list", "elements": "path", "default": []},
            "dest": {"type": "path", "default": ""},
        },
        supports_check_mode=True,
    )
    try:
        found = report(Settings.of(module.params["sandbox"]), module.params["jobs_dir"], module.params["read_only"])
    except StepError as error:
        if module.params["dest"]:
            write_json(Path(module.params["dest"]), {"error": error.detail})
        module.fail_json(msg=error.detail, code=error.code)
    if module.params["dest"]:
        write_json(Path(module.params["dest"]), found)
    module.exit_json(changed=False, report=found)


if __name__ == "__main__":
    main()

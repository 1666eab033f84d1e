#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Report which worker runs on a host, and whether it is the wanted one."""

from __future__ import annotations

DOCUMENTATION = r"""
module: worker_state
short_description: Report which worker runs on a host
description:
  - Reads what was started last, its process, whether the configuration is the wanted one, and which releases are
    installed.
  - Changes nothing.
options:
  home:
    description: The folder of all releases.
    type: path
    required: true
  config_file:
    description: The configuration in force. The wanted one is beside it, with the suffix C(.next).
    type: path
    required: true
  pid_file:
    description: The worker's PID file, used if the host has no systemd.
    type: path
    required: true
  release:
    description: The release that should be in force.
    type: str
    required: true
  wanted:
    description: A hash of everything that the worker should have been started with.
    type: str
    required: true
author: turbo-hipster
"""

EXAMPLES = r"""
- name: Read which worker runs on the host
  worker_state:
    home: /opt/turbo-hipster
    config_file: /etc/turbo-hipster/config.json
    pid_file: /run/turbo-hipster/th-worker.pid
    release: 0.1.0-3f9c21aa
    wanted: "{{ wanted }}"
"""

RETURN = r"""
as_wanted:
  description: Whether the wanted worker is running.
  type: bool
  returned: success
pid:
  description: The worker's process ID; 0 when none is running.
  type: int
  returned: success
release:
  description: The release in force; empty when there is none.
  type: str
  returned: success
releases:
  description: All installed releases, the newest first.
  type: list
  elements: str
  returned: success
systemd:
  description: Whether the host runs systemd.
  type: bool
  returned: success
"""

import os
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

UNIT = "turbo-hipster.service"
_SYSTEMD_RUNS = Path("/run/systemd/system")  # sd_booted(3)


def read(path: Path) -> bytes | None:
    """The contents of a file; None if it does not exist."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def installed(path: Path) -> float:
    """The time at which a release was installed."""
    return path.stat().st_mtime


def process(module: AnsibleModule, systemd: bool) -> int:
    """The worker's process ID; 0 when none is running."""
    if systemd:
        _, said, _ = module.run_command(["systemctl", "show", "--property=MainPID", "--value", UNIT], check_rc=True)
        return int(said.strip() or 0)
    try:
        pid = int(Path(module.params["pid_file"]).read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ValueError):
        return 0
    # the PID of a worker that died may be another process's by now
    return pid if b"th-worker" in command else 0


def state(module: AnsibleModule) -> dict[str, Any]:
    """The module's result."""
    home, config = Path(module.params["home"]), Path(module.params["config_file"])
    started = (read(home / "started") or b"").decode().strip()
    systemd = _SYSTEMD_RUNS.is_dir()
    pid = process(module, systemd)
    link = home / "current"
    release = os.readlink(link) if link.is_symlink() else ""
    same = release == module.params["release"] and read(config) == read(Path(f"{config}.next"))
    return {
        "as_wanted": bool(pid) and same and started == module.params["wanted"],
        "pid": pid,
        "releases": [path.parent.name for path in sorted(home.glob("*/.complete"), key=installed, reverse=True)],
        "release": release,
        "systemd": systemd,
    }


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "home": {"type": "path", "required": True},
            "config_file": {"type": "path", "required": True},
            "pid_file": {"type": "path", "required": True},
            "release": {"type": "str", "required": True},
            "wanted": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(changed=False, **state(module))
    except OSError as error:
        module.fail_json(msg=f"{error.filename}: {error.strerror}")


if __name__ == "__main__":
    main()

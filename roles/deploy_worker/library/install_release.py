#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Make a packed release of the worker usable on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: install_release
short_description: Make a packed release of the worker usable on a host
description:
  - Creates a virtual environment beside those of other releases, installs the package and its dependencies, and
    replaces the package's playbooks by those of the archive, if it has any.
  - Creates the link C(bin) to C(current/bin) beside the releases.
  - The file C(.complete) is written last. An environment without it is recreated, one with it is left unchanged.
options:
  home:
    description: The folder of all releases.
    type: path
    required: true
  release:
    description: The name of the release, as C(build_release) returns it.
    type: str
    required: true
  package:
    description: What to install, as C(build_release) returns it. Empty when the release must be installed already.
    type: str
    default: ""
  python:
    description: The Python interpreter.
    type: path
    required: true
  uv:
    description: The path of uv; venv and pip are used when empty.
    type: str
    default: ""
  arguments:
    description: Further arguments of C(pip install) or C(uv pip install).
    type: list
    elements: str
    default: []
author: turbo-hipster
"""

EXAMPLES = r"""
- name: Install the release
  install_release:
    home: /opt/turbo-hipster
    release: "{{ built.release }}"
    package: "{{ built.package }}"
    python: /usr/bin/python3
"""

RETURN = r"""
folder:
  description: The folder of the release, a virtual environment.
  type: str
  returned: success
"""

import shutil
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

_COMPLETE = ".complete"


def install(module: AnsibleModule, folder: Path, archive: Path) -> None:
    """Install the release into a new environment."""
    params = module.params
    python, uv = params["python"], params["uv"]
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    make = [uv, "venv", "--no-project", "--python", python] if uv else [python, "-m", "venv"]
    module.run_command([*make, str(folder)], check_rc=True)
    module.run_command(["tar", "--extract", "--file", str(archive)], cwd=str(folder), check_rc=True)
    words = [uv, "pip", "install", "--compile-bytecode", "--python", str(folder)]
    if not uv:
        words = [str(folder / "bin" / "python"), "-I", "-m", "pip", "install"]
    if (folder / "package" / "constraints.txt").exists():
        words += ["--constraint", "package/constraints.txt"]
    command = [*words, "--quiet", *params["arguments"], params["package"]]
    module.run_command(command, cwd=str(folder), check_rc=True)
    packaged = folder / "share" / "turbo-hipster"
    replace(folder / "playbooks", packaged)
    # compile them now: the worker cannot write bytecode into this folder
    modules = [str(path) for part in ("library", "module_utils") for path in packaged.glob(f"roles/*/{part}")]
    module.run_command([str(folder / "bin" / "python"), "-m", "compileall", "-q", *modules], check_rc=True)
    if not (folder.parent / "bin").is_symlink():
        # the unit and the init script start programs from here
        (folder.parent / "bin").symlink_to("current/bin")
    (folder / _COMPLETE).touch()


def replace(edited: Path, packaged: Path) -> None:
    """Replace the package's playbooks by edited ones, if there are any."""
    if not edited.is_dir():
        return
    for part in edited.iterdir():
        old = packaged / part.name
        if old.is_dir():
            shutil.rmtree(old)
        elif old.exists():
            old.unlink()
        part.rename(old)
    edited.rmdir()


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "home": {"type": "path", "required": True},
            "release": {"type": "str", "required": True},
            "package": {"type": "str", "default": ""},
            "python": {"type": "path", "required": True},
            "uv": {"type": "str", "default": ""},
            "arguments": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    home, name = Path(module.params["home"]), module.params["release"]
    folder = home / name
    done: dict[str, Any] = {"changed": not (folder / _COMPLETE).exists(), "folder": str(folder)}
    if (home / "bin").is_dir() and not (home / "bin").is_symlink():
        module.fail_json(msg=f"{home} is an environment that was made by hand; stop its worker, and move it away")
    if done["changed"] and not module.params["package"]:
        module.fail_json(msg=f"deploy_worker_release: {folder} is not here, or not whole; name another, or none")
    if done["changed"] and not module.check_mode:
        try:
            install(module, folder, home / f"{name}.tar.gz")
        except OSError as error:
            module.fail_json(msg=f"{error.filename or folder}: {error.strerror}")
    module.exit_json(**done)


if __name__ == "__main__":
    main()

#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Pack a release of the worker into one archive, named after its contents."""

from __future__ import annotations

DOCUMENTATION = r"""
module: build_release
short_description: Pack a release of the worker into one archive
description:
  - Puts the package, the versions of its dependencies, and edited playbooks, if there are any, into one archive. The
    name of the release contains a hash of them, so that the same contents always get the same name.
  - Runs on the control machine.
options:
  source:
    description: The checkout that the package is built from when O(package) is empty.
    type: path
    required: true
  package:
    description: A wheel, or a version from an index such as C(turbo-hipster==0.1.0). Built from O(source) when empty.
    type: str
    default: ""
  constraints:
    description: A file with versions of Python packages; none when empty.
    type: str
    default: ""
  playbooks:
    description: A folder with playbooks, roles, inventory and ansible.cfg (C(th init) makes one); none when empty.
    type: str
    default: ""
  folder:
    description: The folder for archives.
    type: path
    required: true
author: turbo-hipster
"""

EXAMPLES = r"""
- name: Pack the release
  build_release:
    source: /srv/turbo-hipster/source
    playbooks: /srv/turbo-hipster/playbooks
    folder: /srv/turbo-hipster/releases
"""

RETURN = r"""
release:
  description: The release's name; a version and the beginning of a hash.
  type: str
  returned: success
archive:
  description: The archive.
  type: str
  returned: success
package:
  description: The argument for pip install, relative to the unpacked archive.
  type: str
  returned: success
"""

import hashlib
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

PARTS = ("ansible.cfg", "inventory", "playbooks", "roles")
_PINNED = re.compile(r"turbo[-_.]hipster *== *([A-Za-z0-9.!+_-]+)")
_WHEEL = re.compile(r"turbo_hipster-([^-]+)-[^/]*\.whl")
_LEFT_OUT = {"__pycache__", ".git"}
# The earliest date in a zip file, so that the same files always make the same wheel.
_EPOCH = "315532800"


class BuildError(Exception):
    """The release cannot be packed; the text says why and what to do."""


def build_wheel(source: Path, folder: Path) -> Path:
    """Build the wheel of a checkout, from a source archive, so that no old files in `build` get into it."""
    if not (source / "setup.py").is_file():
        raise BuildError(f"deploy_worker_source: {source} is no checkout; name one, or set deploy_worker_package")
    command = [sys.executable, "-m", "uv", "build", "--quiet", "--out-dir", str(folder), str(source)]
    done = subprocess.run(
        command,
        env={**os.environ, "SOURCE_DATE_EPOCH": _EPOCH},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        raise BuildError(f"{' '.join(command)} has failed: {done.stdout.strip()}")
    return next(folder.glob("*.whl"))


def named(package: str) -> tuple[Path | None, str]:
    """The option `package`: the wheel, or None for a version from an index, and the version."""
    if pinned := _PINNED.fullmatch(package):
        return None, pinned[1]
    path = Path(package)
    if not path.is_file() or not _WHEEL.fullmatch(path.name):
        problem = f"deploy_worker_package: {package!r} is neither a wheel of turbo-hipster nor turbo-hipster==VERSION"
        raise BuildError(problem)
    return path, version_of(path)


def version_of(wheel: Path) -> str:
    """The version in a wheel's name."""
    found = _WHEEL.fullmatch(wheel.name)
    assert found, wheel
    return found[1]


def contents(params: dict[str, Any], wheel: Path | None) -> dict[str, Path]:
    """The contents of the archive: by name in it, the file."""
    found = {f"package/{wheel.name}": wheel} if wheel else {}
    if params["constraints"]:
        found["package/constraints.txt"] = Path(params["constraints"])
    if params["playbooks"]:
        top = Path(params["playbooks"])
        for part in PARTS:
            if not (top / part).exists():
                problem = f"deploy_worker_playbooks: there is no {top / part}; 'th init DIR' makes a whole copy"
                raise BuildError(problem)
            for path in sorted([top / part, *(top / part).rglob("*")]):
                if path.is_file() and not _LEFT_OUT & set(path.relative_to(top).parts):
                    found[f"playbooks/{path.relative_to(top)}"] = path
    return found


def digest(package: str, files: dict[str, Path]) -> str:
    """A hash of everything in the release."""
    whole = hashlib.sha256(f"{package}\n".encode())
    for name, path in files.items():
        executable = os.access(path, os.X_OK)
        whole.update(f"{hashlib.sha256(path.read_bytes()).hexdigest()} {executable:d} {name}\n".encode())
    return whole.hexdigest()[:8]


def pack(archive: Path, files: dict[str, Path]) -> None:
    """Write the archive, whole or not at all."""

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = "root"
        entry.mode = 0o755 if entry.mode & 0o100 else 0o644
        return entry

    fresh = archive.with_suffix(".part")
    with tarfile.open(fresh, "w:gz", compresslevel=1, dereference=True) as tar:
        for name, path in files.items():
            tar.add(path, name, recursive=False, filter=plain)
    fresh.rename(archive)


def build(params: dict[str, Any]) -> dict[str, Any]:
    """Build and pack the release; returns the module's result."""
    folder = Path(params["folder"])
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="build-", dir=folder) as made:
        if params["package"]:
            wheel, version = named(params["package"])
        else:
            wheel = build_wheel(Path(params["source"]), Path(made))
            version = version_of(wheel)
        files = contents(params, wheel)
        package = f"package/{wheel.name}" if wheel else f"turbo-hipster=={version}"
        release = f"{version}-{digest(package, files)}"
        archive = folder / f"{release}.tar.gz"
        changed = not archive.exists()
        if changed:
            pack(archive, files)
    return {"changed": changed, "release": release, "archive": str(archive), "package": package}


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "source": {"type": "path", "required": True},
            "package": {"type": "str", "default": ""},
            "constraints": {"type": "str", "default": ""},
            "playbooks": {"type": "str", "default": ""},
            "folder": {"type": "path", "required": True},
        }
    )
    try:
        module.exit_json(**build(module.params))
    except BuildError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename or module.params['folder']}: {error.strerror}")


if __name__ == "__main__":
    main()

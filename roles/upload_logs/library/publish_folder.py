# SPDX-License-Identifier: Apache-2.0
"""Copy a job's results to where people read them, whole or not at all."""

from __future__ import annotations

DOCUMENTATION = r"""
module: publish_folder
short_description: Copy a job's results to where people read them, whole or not at all
description:
  - Copies regular files and folders with harmless names; symbolic links, devices, pipes, files with several
    names (hard links), hidden files and whatever is beyond a limit are left out and listed in C(left-out.txt).
  - Names that a web server may act on are left out, too. Secrets are masked in everything, byte for byte.
  - The copy is made beside its place and put there by one rename. What was published there before is replaced.
  - When it fails, C(upload_failed) is recorded in C(artifacts/errors.jsonl) and nothing is left behind.
options:
  source:
    description: The folder to publish.
    type: path
    required: true
  root:
    description: The folder below which everything is published.
    type: path
    required: true
  log_path:
    description: The place below I(root).
    type: str
    required: true
  url:
    description: The URL of I(root).
    type: str
    required: true
  job_dir:
    description: The job's folder, for what goes wrong.
    type: path
    required: true
  file_limit:
    description: The largest file, in bytes.
    type: int
    default: 268435456
  total_limit:
    description: All files together, in bytes.
    type: int
    default: 1073741824
  count_limit:
    description: The number of files and folders.
    type: int
    default: 5000
  time_limit:
    description: For how long files are copied and secrets masked in them, in seconds; what is left then, is left out.
    type: float
    default: 400
  refused_extensions:
    description: Parts of a name, after a dot, that a web server may act on. No file or folder with one is published.
    type: list
    elements: str
    default: []
  datasets:
    description: The job's datasets, name and config of each. Their passwords are masked.
    type: list
    elements: dict
    default: []
  addresses:
    description: URLs whose passwords and tokens are masked, beside those in the job's C(job.yaml).
    type: list
    elements: str
    default: []
  profile:
    description: The project's profile, whose secrets are masked where it can be read.
    type: path
    default: ""
  secrets:
    description: Further secrets to mask.
    type: list
    elements: str
    default: []
  secret_files:
    description: Files with further secrets, one a line.
    type: list
    elements: path
    default: []
author: turbo-hipster
"""

EXAMPLES = r"""
- name: Publish the results
  publish_folder:
    source: /var/lib/turbo-hipster/jobs/1/results
    root: /var/www/logs
    log_path: 7/7/1/check/gate-real-db-upgrade/0123456
    url: https://logs.example.org/
    job_dir: /var/lib/turbo-hipster/jobs/1
"""

RETURN = r"""
url:
  description: Where the published folder is read.
  type: str
  returned: success
left_out:
  description: What was not published, and why.
  type: list
  elements: str
  returned: success
"""

import ctypes
import errno
import filecmp
import os
import re
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.th_copy import Copy, Limits
from ansible.module_utils.th_mark import mark
from ansible.module_utils.th_mask import Masker
from ansible.module_utils.th_secrets import collect, read_files, read_variables
from ansible.module_utils.th_step import StepError, run_step

STALE = 3600
"""Seconds after which what an interrupted upload left behind is removed by the next one of the same build."""

PART = re.compile(r"[A-Za-z0-9_+~][A-Za-z0-9_.+@~=,:-]{0,254}")
"""A part of a place. The worker's request has the same rule: no job runs to its end and cannot be published then."""

PLACE_LENGTH = 1000

SHOWN = 100
"""Characters of a place's name in that of the folder in which the copy is made, which must not become too long."""

AT_FDCWD = -100  # fcntl.h
RENAME_EXCHANGE = 2  # renameat2(2)


def secrets_of(params: Mapping[str, Any]) -> list[str]:
    """What is to be masked: a job's secrets, the worker's, and the operator's. Raises StepError ``upload_failed``."""
    job_dir = Path(params["job_dir"])
    profile = Path(params["profile"]) if params["profile"] else None
    known = collect(job_dir, params["datasets"], read_variables(job_dir / "job.yaml"), os.environ, profile)
    for address in params["addresses"]:
        known.add_addresses(address)
    known.operators.update(params["secrets"], read_files(params["secret_files"]))
    return known.worth_masking()


def same(one: Path, other: Path) -> bool:
    """Whether two published folders hold the same names and contents."""
    if not other.is_dir() or other.is_symlink():
        return False
    names = sorted(os.listdir(one))
    if names != sorted(os.listdir(other)):
        return False
    for name in names:
        if (one / name).is_dir():
            if not same(one / name, other / name):
                return False
        elif not (other / name).is_file() or not filecmp.cmp(one / name, other / name, shallow=False):
            return False
    return True


def put(made: Path, place: Path) -> None:
    """Put a folder at its place in one step; what is there goes where the folder was."""
    try:
        os.rename(made, place)
        return
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
    if place.is_dir() and not (place / "index.html").is_file():
        problem = f"{place} holds something else than a result: th_job.log_path must be the build's own."
        raise StepError("upload_failed", problem)
    libc = ctypes.CDLL(None, use_errno=True)
    arguments = (AT_FDCWD, os.fsencode(made), AT_FDCWD, os.fsencode(place), RENAME_EXCHANGE)
    if libc.renameat2(*arguments) == 0:
        return
    if ctypes.get_errno() not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(place))
    # a file system that cannot swap two names
    aside = made.with_name(made.name + ".before")
    os.rename(place, aside)
    os.rename(made, place)
    os.rename(aside, made)


def remove(path: Path) -> None:
    """Remove what is at a path, if there is anything."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def parts_of(log_path: str) -> list[str]:
    """The parts of a place to publish at. Raises StepError ``upload_failed``."""
    parts = log_path.split("/")
    if len(log_path) > PLACE_LENGTH or not all(PART.fullmatch(part) for part in parts):
        problem = f"th_job.log_path: {log_path[:80]!r} is not a place to publish at"
        raise StepError("upload_failed", f"{problem}: parts of letters, digits and _ . + @ ~ = , : -, relative.")
    return parts


def publish(params: Mapping[str, Any]) -> dict[str, Any]:
    """Copy and put in place; the module's result. Raises StepError ``upload_failed``."""
    parts = parts_of(params["log_path"])
    place = Path(params["root"], *parts)
    beside = f".{parts[-1][:SHOWN]}.publishing-"
    url = f"{params['url'].rstrip('/')}/{quote('/'.join(parts))}/"
    limits = Limits(params["file_limit"], params["total_limit"], params["count_limit"], params["time_limit"])
    copy = Copy(limits, Masker(secrets_of(params)), frozenset(map(str.lower, params["refused_extensions"])))
    made: Path | None = None
    try:
        make_parents(place.parent)
        for path in place.parent.glob(f"{beside}*"):
            if time.time() - path.lstat().st_mtime > STALE:
                remove(path)
        made = Path(tempfile.mkdtemp(prefix=f"{beside}{mark()}-", dir=place.parent))
        copy.run(Path(params["source"]), made)
        changed = not same(made, place)
        if changed:
            put(made, place)
            sync(place.parent)
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        raise StepError(
            "upload_failed", f"The results cannot be published to {place}: {error.strerror}{where}."
        ) from None
    finally:
        if made is not None:
            remove(made)
    return {"changed": changed, "url": url, "left_out": copy.left_out}


def make_parents(folder: Path) -> None:
    """Make the folders above a place, readable for everyone whatever the umask is."""
    for path in (*reversed(folder.parents), folder):
        if not path.is_dir():
            try:
                path.mkdir(0o755)
                path.chmod(0o755)
            except FileExistsError:  # another job's upload was faster; when it is a file, what follows says so
                pass


def sync(folder: Path) -> None:
    """Have a rename in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "source": {"type": "path", "required": True},
            "root": {"type": "path", "required": True},
            "log_path": {"type": "str", "required": True},
            "url": {"type": "str", "required": True},
            "job_dir": {"type": "path", "required": True},
            "file_limit": {"type": "int", "default": 256 * 1024 * 1024},
            "total_limit": {"type": "int", "default": 1024 * 1024 * 1024},
            "count_limit": {"type": "int", "default": 5000},
            "time_limit": {"type": "float", "default": 400},
            "refused_extensions": {"type": "list", "elements": "str", "default": []},
            "datasets": {"type": "list", "elements": "dict", "default": []},
            # what is listed here is in no log of the module's calls
            "addresses": {"type": "list", "elements": "str", "default": [], "no_log": True},
            "profile": {"type": "path", "default": ""},
            "secrets": {"type": "list", "elements": "str", "default": [], "no_log": True},
            "secret_files": {"type": "list", "elements": "path", "default": [], "no_log": False},
        }
    )
    run_step(module, "upload_logs", module.params["job_dir"], lambda: publish(module.params))


if __name__ == "__main__":
    main()

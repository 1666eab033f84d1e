# SPDX-License-Identifier: Apache-2.0
"""Copy a job's results to where people read them, whole or not at all."""

from __future__ import annotations

DOCUMENTATION = r"""
module: publish_folder
short_description: Copy a job's results to where people read them, whole or not at all
description:
  - Copies regular files and folders with harmless names; symbolic links, devices, pipes, files with several
    names (hard links), hidden files and whatever is beyond a limit are left out and listed in C(left-out.txt).
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
import stat
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.th_contain import printable
from ansible.module_utils.th_step import StepError, run_step

LEFT_OUT = "left-out.txt"
LEFT_OUT_LINES = 1000
DEPTH_LIMIT = 20
BLOCK = 1024 * 1024
STALE = 3600
"""Seconds after which what an interrupted upload left behind is removed by the next one of the same build."""

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+@=,-]{0,199}")
PLACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+@=,:~ -]*")
FIRST = {"index.html": 0, "result.json": 1}

AT_FDCWD = -100  # fcntl.h
RENAME_EXCHANGE = 2  # renameat2(2)


@dataclass
class Copy:
    """A copy under way: what is left of the limits, and what had to be left out."""

    file_limit: int
    room: int
    count: int
    left_out: list[str] = field(default_factory=list)

    def folder(self, source: int, target: int, below: str = "", depth: int = 0) -> None:
        """Copy an open folder's entries into another open folder."""
        with os.scandir(source) as entries:
            names = sorted((entry.name for entry in entries), key=lambda name: (FIRST.get(name, 2), name))
        for name in names:
            shown = below + name
            if not NAME.fullmatch(name) or shown == LEFT_OUT:
                self._leave(shown, "its name")
            elif self.count <= 0:
                self._leave(shown, "too many files")
            else:
                self.count -= 1
                self._entry(source, target, name, shown, depth)
        os.fsync(target)

    def _entry(self, source: int, target: int, name: str, shown: str, depth: int) -> None:
        try:
            # a pipe must not block, a device must not be touched: look before, and again at what was opened
            if not stat.S_ISREG(mode := os.stat(name, dir_fd=source, follow_symlinks=False).st_mode):
                if not stat.S_ISDIR(mode):
                    self._leave(shown, "neither a file nor a folder")
                    return
                flags = os.O_DIRECTORY
            else:
                flags = os.O_NONBLOCK
            handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | flags, dir_fd=source)
        except OSError as error:
            self._leave(shown, error.strerror or "cannot be opened")
            return
        try:
            about = os.fstat(handle)
            if stat.S_ISDIR(about.st_mode):
                if depth >= DEPTH_LIMIT:
                    self._leave(shown, "too deep")
                    return
                self._into(handle, target, name, shown, depth)
            elif not stat.S_ISREG(about.st_mode):
                self._leave(shown, "neither a file nor a folder")
            elif about.st_nlink != 1:
                self._leave(shown, "a file with several names")
            elif about.st_size > self.file_limit:
                self._leave(shown, f"{about.st_size} bytes, the limit is {self.file_limit}")
            elif about.st_size > self.room:
                self._leave(shown, f"{about.st_size} bytes, and {self.room} are left for the whole")
            else:
                self.room -= about.st_size
                self._file(handle, target, name, about)
        finally:
            os.close(handle)

    def _into(self, source: int, target: int, name: str, shown: str, depth: int) -> None:
        os.mkdir(name, 0o755, dir_fd=target)
        below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=target)
        try:
            os.fchmod(below, 0o755)
            self.folder(source, below, shown + "/", depth + 1)
        finally:
            os.close(below)

    def _file(self, source: int, target: int, name: str, about: os.stat_result) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        handle = os.open(name, flags, 0o644, dir_fd=target)
        try:
            os.fchmod(handle, 0o644)
            left = about.st_size  # what is appended meanwhile is not part of the copy
            while left and (block := os.read(source, min(BLOCK, left))):
                left -= len(block)
                while block:
                    block = block[os.write(handle, block) :]
            os.utime(handle, ns=(about.st_mtime_ns, about.st_mtime_ns))
            os.fsync(handle)
        finally:
            os.close(handle)

    def _leave(self, shown: str, reason: str) -> None:
        if len(self.left_out) < LEFT_OUT_LINES:
            self.left_out.append(f"{printable(os.fsencode(shown).decode('utf-8', 'replace'))}: {reason}")
        elif len(self.left_out) == LEFT_OUT_LINES:
            self.left_out.append("... and more")


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


def publish(params: Mapping[str, Any]) -> dict[str, Any]:
    """Copy and put in place; the module's result. Raises StepError ``upload_failed``."""
    parts = params["log_path"].strip("/").split("/")
    if not all(PLACE.fullmatch(part) for part in parts):
        raise StepError("upload_failed", f"th_job.log_path: {params['log_path']!r} is not a place to publish at.")
    place = Path(params["root"], *parts)
    url = f"{params['url'].rstrip('/')}/{quote('/'.join(parts))}/"
    copy = Copy(params["file_limit"], params["total_limit"], params["count_limit"])
    made: Path | None = None
    try:
        make_parents(place.parent)
        for path in place.parent.glob(f".{parts[-1]}.publishing-*"):
            if time.time() - path.lstat().st_mtime > STALE:
                remove(path)
        made = Path(tempfile.mkdtemp(prefix=f".{parts[-1]}.publishing-", dir=place.parent))
        fill(Path(params["source"]), made, copy)
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


def fill(source: Path, made: Path, copy: Copy) -> None:
    """Copy everything into a new folder, and the list of what was left out."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    target = os.open(made, flags)
    try:
        handle = os.open(source, flags)
        try:
            copy.folder(handle, target)
        finally:
            os.close(handle)
        if copy.left_out:
            with open(made / LEFT_OUT, "x", encoding="utf-8") as stream:
                stream.write("".join(f"{line}\n" for line in copy.left_out))
                stream.flush()
                os.fchmod(stream.fileno(), 0o644)
                os.fsync(stream.fileno())
        os.fchmod(target, 0o755)
        os.fsync(target)
    finally:
        os.close(target)


def make_parents(folder: Path) -> None:
    """Make the folders above a place, readable for everyone whatever the umask is."""
    if not folder.is_dir():
        make_parents(folder.parent)
        try:
            folder.mkdir(0o755)
            folder.chmod(0o755)
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
        }
    )
    run_step(module, "upload_logs", module.params["job_dir"], lambda: publish(module.params))


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""The place of a job's results: its name, and how a folder is moved there atomically."""

from __future__ import annotations

import ctypes
import errno
import filecmp
import os
import re
import shutil
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

from ansible.module_utils.th_core.mark import mark
from ansible.module_utils.th_core.step import StepError

STALE = 3600
"""Seconds after which leftovers of an interrupted upload are removed by the next upload of the same build."""

PART = re.compile(r"[A-Za-z0-9_+~][A-Za-z0-9_.+@~=,:-]{0,254}")
"""One component of a place. The worker checks requests with the same rule, so that every job can be published."""

PLACE_LENGTH = 1000

SHOWN = 100
"""Characters of a place's name that are part of the name of the folder for the copy, which must not get too long."""

AT_FDCWD = -100  # fcntl.h
RENAME_EXCHANGE = 2  # renameat2(2)


def parts_of(log_path: str) -> list[str]:
    """The components of a place to publish at. Raises StepError ``upload_failed`` for an invalid one."""
    parts = log_path.split("/")
    if len(log_path) > PLACE_LENGTH or not all(PART.fullmatch(part) for part in parts):
        problem = f"th_job.log_path: {log_path[:80]!r} is not a place to publish at"
        raise StepError("upload_failed", f"{problem}: parts of letters, digits and _ . + @ ~ = , : -, relative.")
    return parts


def url_of(url: str, parts: list[str]) -> str:
    """The URL of a place, from the URL of the root."""
    return f"{url.rstrip('/')}/{quote('/'.join(parts))}/"


def beside(place: Path) -> Path:
    """A new folder beside a place, with a name that identifies the place; leftovers of interrupted uploads are removed.

    Raises OSError.
    """
    prefix = f".{place.name[:SHOWN]}.publishing-"
    make_parents(place.parent)
    for path in place.parent.glob(f"{prefix}*"):
        if time.time() - path.lstat().st_mtime > STALE:
            remove(path)
    return Path(tempfile.mkdtemp(prefix=f"{prefix}{mark()}-", dir=place.parent))


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
    """Move a folder to its place atomically; what was there before is moved to the folder's former path."""
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
    # the file system cannot exchange two names
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


def make_parents(folder: Path) -> None:
    """Create the folders above a place, readable for everyone regardless of the umask."""
    for path in (*reversed(folder.parents), folder):
        if not path.is_dir():
            try:
                path.mkdir(0o755)
                path.chmod(0o755)
            except FileExistsError:  # another upload was faster; if it is a file, the next operation fails
                pass


def sync(folder: Path) -> None:
    """Make a rename in a folder survive a power failure."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

# SPDX-License-Identifier: Apache-2.0
"""The redo log in a data directory: a large file, or several, of which a stopped server has hardly used anything."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

_FILES = ("ib_logfile*", "#innodb_redo/*")


def free_unused(data: Path) -> None:
    """Make holes of what the redo log has not used, so that nobody has to copy it.

    Where the file system has none, or no space for a copy, the log stays as it is.
    """
    for path in _files(data):
        copy = data / f"{path.name}.copy"
        done = subprocess.run(
            ["cp", "-a", "--reflink=never", "--sparse=always", "--", str(path), str(copy)],
            capture_output=True,
            check=False,
        )
        if done.returncode == 0:
            copy.replace(path)
        else:
            copy.unlink(missing_ok=True)


def reserve(data: Path) -> None:
    """Reserve the space of the whole redo log again: a server ends when it cannot write its log.

    Raises OSError, with ENOSPC for a full disk.
    """
    for path in _files(data):
        with path.open("rb+") as file:
            if size := os.fstat(file.fileno()).st_size:
                os.posix_fallocate(file.fileno(), 0, size)


def _files(data: Path) -> list[Path]:
    return [path for pattern in _FILES for path in sorted(data.glob(pattern)) if path.is_file()]

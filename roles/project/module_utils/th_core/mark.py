# SPDX-License-Identifier: Apache-2.0
"""Names for what a job has to put outside its folder, by which the worker finds it even after the job has died."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path


def mark() -> str:
    """The part of such a name that identifies the job; `worker.job_dir.mark_of` derives the same from its folder."""
    return hashlib.sha256(os.fsencode(os.environ.get("TH_JOB_DIR", ""))).hexdigest()[:16]


def short_folder() -> Path:
    """A new folder for a Unix socket, whose path would be too long in the job's folder (unix(7))."""
    return Path(tempfile.mkdtemp(prefix=f"th-{mark()}-", dir="/tmp"))

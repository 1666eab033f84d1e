# SPDX-License-Identifier: Apache-2.0
"""What a job has to put outside of its folder is named so that the worker finds it, also that of a dead job."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path


def mark() -> str:
    """What such a name has in it: the same as `worker.job_dir.mark_of` has for the job's folder."""
    return hashlib.sha256(os.fsencode(os.environ.get("TH_JOB_DIR", ""))).hexdigest()[:16]


def short_folder() -> Path:
    """A new folder for a unix socket, where the path of one in the job's folder would be too long (unix(7))."""
    return Path(tempfile.mkdtemp(prefix=f"th-{mark()}-", dir="/tmp"))

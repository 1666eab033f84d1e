# SPDX-License-Identifier: Apache-2.0
"""Removing what untrusted code has left: folders of any depth, without permissions, and links to anywhere."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from ansible.module_utils.th_core.step import StepError


def remove(path: Path) -> None:
    """Remove a file, a symbolic link (never its target) or a folder with its contents, if it exists.

    Raises StepError ``playbook_failed`` when something could not be removed.
    """
    if not os.path.lexists(path):
        return
    # rm instead of shutil, which recurses and cannot remove a very deep folder
    erase, repair = ["rm", "-rf", "--", str(path)], ["chmod", "-R", "u+rwX", "--", str(path)]
    problem = ""
    for command in (erase, repair, erase):
        if command is repair and path.is_symlink():
            continue
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if not os.path.lexists(path):
            return
        problem = done.stderr.strip()[:1000]
    raise StepError("playbook_failed", f"{path} cannot be removed: {problem}")

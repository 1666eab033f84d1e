# SPDX-License-Identifier: Apache-2.0
"""Removing what code that is not ours has left: folders as deep as it likes, without rights, links to anywhere."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from ansible.module_utils.th_core.step import StepError


def remove(path: Path) -> None:
    """Remove a file, a link (never what it leads to) or a folder with all that is in it; it need not be there.

    Raises StepError ``playbook_failed`` when something is left.
    """
    if not os.path.lexists(path):
        return
    # by rm and not by shutil, which recurses: a folder can be too deep for that
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

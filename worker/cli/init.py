# SPDX-License-Identifier: Apache-2.0
"""`th init DIR`: a copy of the playbooks, roles and inventory, for editing."""

import argparse
import os
import shutil
from pathlib import Path
from typing import Any

from worker.config import default_ansible_dir
from worker.errors import UsageError

PARTS = ("playbooks", "roles", "inventory", "ansible.cfg")


def add_parser(subparsers: Any) -> None:
    """Add the command's parser."""
    parser = subparsers.add_parser("init", help="copy playbooks, roles and inventory, for editing")
    parser.add_argument("dir", metavar="DIR", help="the folder to copy to; it is made, or must have none of them")


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    target = Path(args.dir).absolute()
    source = default_ansible_dir()
    for part in PARTS:
        if os.path.lexists(target / part):
            raise UsageError(f"{target / part} is there already and is not overwritten; name another folder")
    try:
        target.mkdir(parents=True, exist_ok=True)
        for part in PARTS:
            if (source / part).is_dir():
                ignored = shutil.ignore_patterns("__pycache__", "*.pyc", ".*_cache")
                shutil.copytree(source / part, target / part, ignore=ignored)
            else:
                shutil.copy2(source / part, target / part)
    except (OSError, shutil.Error) as error:
        raise UsageError(f"{target}: cannot copy from {source} ({error})") from error
    print(f"copied {', '.join(PARTS)} to {target}")
    print("to use the copy, set this key in the configuration and start th-worker again:")
    print(f"    ansible_dir: {target}")
    return 0

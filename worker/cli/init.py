# SPDX-License-Identifier: Apache-2.0
"""`th init DIR`: copy the playbooks, roles and inventory for editing, or compare such a copy with this version."""

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from worker.cli import playbooks_copy
from worker.cli.playbooks_copy import PARTS, Stamp
from worker.config import default_ansible_dir
from worker.errors import UsageError
from worker.version import version


def add_parser(subparsers: Any) -> None:
    """Add the command's parser."""
    parser = subparsers.add_parser("init", help="copy playbooks, roles and inventory, for editing")
    parser.add_argument("dir", metavar="DIR", help="the folder to copy to; it is made, or must have none of them")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        "--diff",
        action="store_true",
        help="copy nothing: show how the copy in DIR differs from what this version would copy; 1 when it is behind",
    )
    instead.add_argument(
        "--merged",
        action="store_true",
        help="copy nothing: note that the copy in DIR has what this version changed",
    )


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    target = Path(args.dir).absolute()
    if not (args.diff or args.merged):
        return _copy(target)
    if not (target / "playbooks").is_dir():
        raise UsageError(f"{target} has no playbooks: it is not a copy that 'th init' has made")
    try:
        return _diff(target) if args.diff else _note_merge(target)
    except OSError as error:
        raise UsageError(f"{target}: cannot be compared with {default_ansible_dir()} ({error})") from error


def _copy(target: Path) -> int:
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
        Stamp(version(), playbooks_copy.digests(target)).write(target)
    except (OSError, shutil.Error) as error:
        raise UsageError(f"{target}: cannot copy from {source} ({error})") from error
    print(f"copied {', '.join(PARTS)} to {target}")
    print("to use the copy, set this key in the configuration and start th-worker again:")
    print(f"    ansible_dir: {target}")
    return 0


def _diff(target: Path) -> int:
    source, own = default_ansible_dir(), f"turbo-hipster {version()}"
    differences, stamp = playbooks_copy.compare(source, target), Stamp.read(target)
    behind = any(difference.state in playbooks_copy.BEHIND for difference in differences)
    for difference in differences:
        print(f"{difference.path}: {difference.state.value}")
    for difference in differences:
        sys.stdout.writelines(playbooks_copy.lines(source, target, difference.path, own))
    if not differences:
        print(f"{target} is what {own} would copy")
    elif stamp.version:
        print(f"the copy was made from turbo-hipster {stamp.version}; the diff leads to {own}")
    if behind:
        print(f"once the copy has what it needs of this: th init --merged {target}")
    return int(behind)


def _note_merge(target: Path) -> int:
    source = default_ansible_dir()
    Stamp(version(), playbooks_copy.digests(source)).write(target)
    edited = len(playbooks_copy.compare(source, target))
    print(f"{target} has what turbo-hipster {version()} changed; {edited} of its files are edited")
    return 0

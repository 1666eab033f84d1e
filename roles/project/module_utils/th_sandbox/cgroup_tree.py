# SPDX-License-Identifier: Apache-2.0
"""Finding the control groups, and those in which this process may create its own (cgroups(7)).

It creates groups only below its own group, whose limits apply to them, too. With version 2 that group must have been
delegated: by systemd to a service or scope with ``Delegate=yes``, or to a container as its root group.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

LEAF = "th-others"
"""The subgroup that takes the processes of this process's group."""

_V1 = {"memory": "memory", "pids": "pids", "cpu": "cpuacct"}


@dataclass(frozen=True)
class ControlGroups:
    """The groups below which groups can be created: `folders` by controller, all the same with version 2."""

    version: int
    folders: Mapping[str, Path] = field(default_factory=dict)

    @classmethod
    def find(cls, proc: Path = Path("/proc/self")) -> Self:
        """Those that this process can use; `version` is 0 if there are none."""
        try:
            own = _own(proc / "cgroup")
            mounts = list(_mounts(proc / "mountinfo"))
        except OSError:
            return cls(0)
        for kind, _, root, point in mounts:
            if kind == "cgroup2" and "" in own and (folder := _inside(point, root, own[""])):
                folder = folder.parent if folder.name == LEAF else folder
                if controllers := _delegated_controllers(folder):
                    return cls(2, dict.fromkeys(controllers, folder))
        folders = {}
        for name, controller in _V1.items():
            for kind, options, root, point in mounts:
                if kind == "cgroup" and controller in options and controller in own:
                    folder = _inside(point, root, own[controller])
                    if folder and os.access(folder, os.W_OK | os.X_OK) and _counts_children(folder):
                        folders[name] = folder
        return cls(1, folders) if folders else cls(0)


def folders_of(pid: int) -> list[Path]:
    """The folders of the groups that a process is in, even if it has ended and has not been reaped yet."""
    try:
        own = _own(Path(f"/proc/{pid}/cgroup"))
        mounts = list(_mounts(Path("/proc/self/mountinfo")))
    except OSError:
        return []
    found = []
    for kind, options, root, point in mounts:
        for controllers, path in own.items():
            if kind == ("cgroup" if controllers else "cgroup2") and (not controllers or controllers in options):
                folder = _inside(point, root, path)
                if folder and folder.is_dir():
                    found.append(folder)
    return list(dict.fromkeys(found))


def _own(file: Path) -> dict[str, str]:
    """The path of a process's group by controller, which is "" for version 2."""
    found = {}
    for line in file.read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        found.update(dict.fromkeys(controllers.split(","), path))
    return found


def _mounts(file: Path) -> Iterator[tuple[str, Sequence[str], str, Path]]:
    """File system type, its options, root and mount point of every mount (proc_pid_mountinfo(5))."""
    for line in file.read_text().splitlines():
        before, _, after = line.partition(" - ")
        words, rest = before.split(), after.split()
        if len(words) >= 5 and len(rest) >= 3:
            yield rest[0], rest[2].split(","), _plain(words[3]), Path(_plain(words[4]))


def _plain(word: str) -> str:
    return word.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")


def _inside(point: Path, root: str, path: str) -> Path | None:
    """The folder of a group in a mount that shows the hierarchy from `root` on; None if it is outside of that."""
    if ".." in path.split("/"):
        return None
    if root == "/":
        return point / path.lstrip("/")
    if path == root or path.startswith(root.rstrip("/") + "/"):
        return point / path.removeprefix(root).lstrip("/")
    return None


def _delegated_controllers(folder: Path) -> list[str]:
    """The controllers that a version 2 group can enable for its subgroups; none if it was not delegated to us."""
    try:
        there = (folder / "cgroup.controllers").read_text().split()
        writable = os.access(folder, os.W_OK | os.X_OK) and os.access(folder / "cgroup.subtree_control", os.W_OK)
        if not writable or not (os.geteuid() or _delegated(folder)):
            return []
    except OSError:
        return []
    found = [name for name in ("memory", "pids") if name in there]
    return [*found, "cpu"] if found else []


def _delegated(folder: Path) -> bool:
    """Whether the group was delegated; to be asked for root, who can write to all of them."""
    for name in ("trusted.delegate", "user.delegate"):
        with contextlib.suppress(OSError):
            return os.getxattr(folder, name) == b"1"
    return not (folder / "cgroup.type").exists()  # the root group of a container or of the machine


def _counts_children(folder: Path) -> bool:
    try:
        return (folder / "memory.use_hierarchy").read_text().strip() == "1"
    except OSError:
        return True

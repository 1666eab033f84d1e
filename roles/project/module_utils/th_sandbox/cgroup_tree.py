# SPDX-License-Identifier: Apache-2.0
"""Where control groups are, and below which of them this process may make its own (cgroups(7)).

That is only ever the one that it is in, so what holds for it holds for them, too. With version 2 that one must be ours:
systemd says so of a service or scope with ``Delegate=yes``, and a container of its root.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

LEAF = "th-others"
"""The group, below ours, of the processes that were in ours."""

_V1 = {"memory": "memory", "pids": "pids", "cpu": "cpuacct"}


@dataclass(frozen=True)
class Places:
    """The groups below which groups can be made: `folders` by controller; with version 2 they are the same."""

    version: int
    folders: Mapping[str, Path] = field(default_factory=dict)

    @classmethod
    def find(cls, proc: Path = Path("/proc/self")) -> Self:
        """What there is for this process; `version` is 0 where there is nothing."""
        try:
            own = _own(proc / "cgroup")
            mounts = list(_mounts(proc / "mountinfo"))
        except OSError:
            return cls(0)
        for kind, _, root, point in mounts:
            if kind == "cgroup2" and "" in own and (folder := _inside(point, root, own[""])):
                folder = folder.parent if folder.name == LEAF else folder
                if given := _given(folder):
                    return cls(2, dict.fromkeys(given, folder))
        folders = {}
        for name, controller in _V1.items():
            for kind, options, root, point in mounts:
                if kind == "cgroup" and controller in options and controller in own:
                    folder = _inside(point, root, own[controller])
                    if folder and os.access(folder, os.W_OK | os.X_OK) and _counts_children(folder):
                        folders[name] = folder
        return cls(1, folders) if folders else cls(0)


def folders_of(pid: int) -> list[Path]:
    """The folders of the groups that a process is in, also of one that has ended and is waited for."""
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
    """The path of a process's group by controller; that of version 2 has no controller's name."""
    found = {}
    for line in file.read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        found.update(dict.fromkeys(controllers.split(","), path))
    return found


def _mounts(file: Path) -> Iterator[tuple[str, Sequence[str], str, Path]]:
    """Kind, options of the file system, root and place of every mount (proc_pid_mountinfo(5))."""
    for line in file.read_text().splitlines():
        before, _, after = line.partition(" - ")
        words, rest = before.split(), after.split()
        if len(words) >= 5 and len(rest) >= 3:
            yield rest[0], rest[2].split(","), _plain(words[3]), Path(_plain(words[4]))


def _plain(word: str) -> str:
    return word.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")


def _inside(point: Path, root: str, path: str) -> Path | None:
    """Where a group's folder is, below a mount that shows the hierarchy from `root` on; None outside of it."""
    if ".." in path.split("/"):
        return None
    if root == "/":
        return point / path.lstrip("/")
    if path == root or path.startswith(root.rstrip("/") + "/"):
        return point / path.removeprefix(root).lstrip("/")
    return None


def _given(folder: Path) -> list[str]:
    """The controllers that a group of version 2 may give to groups below it; none where it is not ours."""
    try:
        there = (folder / "cgroup.controllers").read_text().split()
        ours = os.access(folder, os.W_OK | os.X_OK) and os.access(folder / "cgroup.subtree_control", os.W_OK)
        if not ours or not (os.geteuid() or _delegated(folder)):
            return []
    except OSError:
        return []
    found = [name for name in ("memory", "pids") if name in there]
    return [*found, "cpu"] if found else []


def _delegated(folder: Path) -> bool:
    """Whether root has been given this group: root can write to all of them."""
    for name in ("trusted.delegate", "user.delegate"):
        with contextlib.suppress(OSError):
            return os.getxattr(folder, name) == b"1"
    return not (folder / "cgroup.type").exists()  # the root, of a container or of the machine


def _counts_children(folder: Path) -> bool:
    try:
        return (folder / "memory.use_hierarchy").read_text().strip() == "1"
    except OSError:
        return True

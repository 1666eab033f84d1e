# SPDX-License-Identifier: Apache-2.0
"""Where control groups can be made, as the files of different machines tell it; and what is done there."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from ansible.module_utils.th_core.processes import start_time
from ansible.module_utils.th_sandbox import cgroups
from ansible.module_utils.th_sandbox.cgroup_tree import LEAF, ControlGroups
from ansible.module_utils.th_sandbox.cgroups import PREFIX, Group, remove_left
from ansible.module_utils.th_sandbox.limits import BoxLimits, Exceeded

LIMITS = BoxLimits(memory=64 << 20, processes=20, cpu_seconds=10)
V2 = "25 20 0:22 {root} {at} rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"
V1 = "3{n} 30 0:3{n} {root} {at}/{name} rw - cgroup cgroup rw,{name}"


@pytest.fixture
def machine(tmp_path: Path) -> Callable[..., Path]:
    """Makes the files that a process sees: its groups, the mounts, and folders with files as the kernel has them."""

    def make(own: str, *mounts: str, files: Mapping[str, str]) -> Path:
        proc = tmp_path / "proc"
        proc.mkdir()
        (proc / "cgroup").write_text(own)
        (proc / "mountinfo").write_text("20 1 8:1 / / rw - ext4 /dev/root rw\n" + "\n".join(mounts) + "\n")
        for name, content in files.items():
            path = tmp_path / "cg" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return proc

    return make


def v2(folder: str, controllers: str = "cpuset cpu io memory pids", enabled: str = "") -> dict[str, str]:
    return {
        f"{folder}/cgroup.controllers": controllers,
        f"{folder}/cgroup.subtree_control": enabled,
        f"{folder}/cgroup.procs": "",
    }


def test_version_2_in_a_container(machine: Callable[..., Path], tmp_path: Path) -> None:
    """Its root is its own."""
    proc = machine("0::/\n", V2.format(root="/", at=tmp_path / "cg"), files=v2("."))
    folder = tmp_path / "cg"
    assert ControlGroups.find(proc) == ControlGroups(2, {"memory": folder, "pids": folder, "cpu": folder})


def test_version_2_in_a_service(machine: Callable[..., Path], tmp_path: Path) -> None:
    """Who is not root can write to what is delegated alone; of root, systemd's mark is needed."""
    own = "system.slice/turbo-hipster.service"
    files = v2(own) | {f"{own}/cgroup.type": "domain\n"}
    proc = machine(f"0::/{own}\n", V2.format(root="/", at=tmp_path / "cg"), files=files)
    assert ControlGroups.find(proc).version == (2 if os.geteuid() else 0)
    os.setxattr(tmp_path / "cg" / own, "user.delegate", b"1")
    assert ControlGroups.find(proc).folders["memory"] == tmp_path / "cg" / own
    # a process that was moved to the leaf is where it was
    (tmp_path / "cg" / own / LEAF).mkdir()
    (proc / "cgroup").write_text(f"0::/{own}/{LEAF}\n")
    assert ControlGroups.find(proc).folders["memory"] == tmp_path / "cg" / own


@pytest.mark.parametrize(
    ("own", "root", "controllers"),
    [
        ("0::/\n", "/", "cpu io"),  # nothing to limit with
        ("0::/../other\n", "/", "memory pids"),  # outside of what can be seen
        ("0::/a\n", "/b", "memory pids"),
        ("", "/", "memory pids"),
    ],
)
def test_version_2_that_is_of_no_use(
    machine: Callable[..., Path], tmp_path: Path, own: str, root: str, controllers: str
) -> None:
    proc = machine(own, V2.format(root=root, at=tmp_path / "cg"), files=v2(".", controllers) | v2("a", controllers))
    assert ControlGroups.find(proc) == ControlGroups(0)


def test_version_1_with_what_the_mounts_show(machine: Callable[..., Path], tmp_path: Path) -> None:
    at = tmp_path / "cg"
    own = "5:pids:/docker/abc/x\n4:memory:/docker/abc\n3:cpu,cpuacct:/\n2:name=systemd:/\n0::/\n"
    mounts = [
        V1.format(n=1, root="/docker/abc", at=at, name="pids"),
        V1.format(n=2, root="/docker/abc", at=at, name="memory"),
        V1.format(n=3, root="/", at=at, name="cpu,cpuacct"),
        V2.format(root="/", at=at / "unified"),
    ]
    files = {"pids/x/tasks": "", "memory/memory.use_hierarchy": "1\n", "cpu,cpuacct/tasks": ""}
    proc = machine(own, *mounts, files=files | v2("unified", ""))
    folders = {"memory": at / "memory", "pids": at / "pids" / "x", "cpu": at / "cpu,cpuacct"}
    assert ControlGroups.find(proc) == ControlGroups(1, folders)
    # where a group does not count what is in those below it, its own limit could be left
    (at / "memory" / "memory.use_hierarchy").write_text("0\n")
    assert set(ControlGroups.find(proc).folders) == {"pids", "cpu"}


def test_there_is_nothing(tmp_path: Path) -> None:
    assert ControlGroups.find(tmp_path) == ControlGroups(0)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kernel puts into a new group, and takes away with it."""
    make, remove = Path.mkdir, Path.rmdir

    def mkdir(self: Path, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        make(self, mode, parents, exist_ok)
        if self.name.startswith((PREFIX, LEAF)):
            names = "cgroup.procs memory.max memory.swap.max memory.oom.group memory.limit_in_bytes pids.max"
            for name in names.split():
                (self / name).write_text("")
            (self / "memory.events").write_text("low 0\noom 3\noom_kill 0\n")
            (self / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 0\n")
            (self / "pids.events").write_text("max 0\n")
            (self / "cpu.stat").write_text("usage_usec 1500000\nuser_usec 1\n")
            (self / "cpuacct.usage").write_text("2500000000\n")

    def rmdir(self: Path) -> None:
        for path in self.iterdir():
            path.unlink()
        remove(self)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    monkeypatch.setattr(Path, "rmdir", rmdir)


def group_in(folder: Path) -> Path:
    (found,) = folder.glob(f"{PREFIX}*")
    return found


@pytest.mark.usefixtures("kernel")
def test_a_group_of_version_2(tmp_path: Path) -> None:
    (tmp_path / "cgroup.subtree_control").write_text("")
    (tmp_path / "cgroup.procs").write_text("")
    with Group(ControlGroups(2, dict.fromkeys(("memory", "pids", "cpu"), tmp_path)), LIMITS) as group:
        made = group_in(tmp_path)
        assert (tmp_path / "cgroup.subtree_control").read_text() == "+memory +pids"
        values = {name: (made / name).read_text() for name in ("memory.max", "memory.swap.max", "memory.oom.group")}
        assert values == {"memory.max": "67108864", "memory.swap.max": "0", "memory.oom.group": "1"}
        assert (made / "pids.max").read_text() == "20"
        group.join()
        assert (made / "cgroup.procs").read_text() == "0"
        assert group.held == {"memory", "pids", "cpu"} and group.cpu_seconds() == 1.5
        assert group.exceeded() is None
        (made / "cpu.stat").write_text("usage_usec 10500000\n")
        assert group.exceeded() == Exceeded("cpu_seconds", 10)
        (made / "pids.events").write_text("max 1\n")
        assert group.exceeded() == Exceeded("processes", 20)
        (made / "memory.events").write_text("oom 1\noom_kill 1\n")
        assert group.exceeded() == Exceeded("memory", 64 << 20)
    assert not list(tmp_path.glob(f"{PREFIX}*"))


@pytest.mark.usefixtures("kernel")
def test_what_is_in_the_way_is_moved_to_a_leaf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a group without processes can give its controllers to others."""
    for name in ("cgroup.subtree_control", "cgroup.procs", "cgroup.type"):
        (tmp_path / name).write_text("")
    there = [[7, 8], [9], []]
    monkeypatch.setattr(cgroups, "_processes", lambda _: there.pop(0))
    with Group(ControlGroups(2, dict.fromkeys(("memory", "cpu"), tmp_path)), LIMITS):
        assert (tmp_path / LEAF / "cgroup.procs").read_text() == "9", "the last of three"
        assert (tmp_path / "cgroup.subtree_control").read_text() == "+memory"
    assert there == []


@pytest.mark.usefixtures("kernel")
def test_groups_of_version_1(tmp_path: Path) -> None:
    folders = {name: tmp_path / name for name in ("memory", "pids", "cpu")}
    for folder in folders.values():
        folder.mkdir()
    with Group(ControlGroups(1, folders), LIMITS) as group:
        memory, pids = group_in(folders["memory"]), group_in(folders["pids"])
        assert (memory / "memory.limit_in_bytes").read_text() == "67108864"
        assert not (memory / "memory.memsw.limit_in_bytes").exists(), "without an account of swap there is none"
        assert (pids / "pids.max").read_text() == "20" and group.cpu_seconds() == 2.5
        (memory / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n")
        assert group.exceeded() == Exceeded("memory", 64 << 20)
    assert [list(folder.iterdir()) for folder in folders.values()] == [[], [], []]


def test_a_group_that_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="not"), Group(ControlGroups(1, {"pids": tmp_path / "not-there"}), LIMITS):
        pass


def test_groups_of_the_dead_are_removed(tmp_path: Path) -> None:
    """A number that is another process's now is that of a dead one as well."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        alive = f"{PREFIX}{process.pid}-{start_time(process.pid)}-0"
        dead = f"{PREFIX}{process.pid}-1-0"
        for name in (alive, dead, "another"):
            (tmp_path / name).mkdir()
        remove_left(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == {alive, "another"}
        process.send_signal(signal.SIGKILL)
    remove_left(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"another"}

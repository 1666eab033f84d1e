# SPDX-License-Identifier: Apache-2.0
"""The box that code which is not ours runs in: bubblewrap, with what it may see, write and reach.

Files have the same paths inside as outside, so that environments, which hold paths, work in both. Who is inside is
nobody outside: the user `USER` without any capability, in namespaces of its own.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_sandbox import seccomp
from ansible.module_utils.th_sandbox.limits import DatabaseLimits, Limits

KINDS = ("bubblewrap", "none")
USER = 1000
"""The user and group inside, whoever it is outside."""

SHELL_SIGNAL = 128
"""What is added to a signal's number to make an exit status of it."""

SYSTEM_FOLDERS = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
"""On a merged system they are links into /usr, which is always there."""

SYSTEM_FILES = (
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/protocols",
    "/etc/services",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/pki/ca-trust",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/openssl.cnf",
    "/etc/crypto-policies",
)
"""What of /etc is needed to run programs; nothing in it is a secret."""

HIDDEN = ("/proc/keys", "/proc/key-users", "/proc/kcore", "/proc/timer_list", "/proc/sched_debug")
"""What /proc says of the whole machine and no process in a box needs."""

PLAIN_NAME = "localhost"
"""The host's name inside. Nothing in a box is to say what it is: what knows that it is tried out may do nothing."""

_MADE_FILES = {
    "/etc/passwd": f"root:x:0:0:root:/root:/bin/bash\nuser:x:{USER}:{USER}::/tmp:/bin/bash\n"
    "nobody:x:65534:65534::/nonexistent:/usr/sbin/nologin\n",
    "/etc/group": f"root:x:0:\nuser:x:{USER}:\nnogroup:x:65534:\n",
    "/etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}


@dataclass(frozen=True)
class Settings:
    """The variables ``sandbox_*`` of ``inventory/group_vars/all/sandbox.yaml``, without their prefix."""

    kind: str = "bubblewrap"
    build_network: bool = True
    build_hosts: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    read_only: tuple[str, ...] = ()
    seccomp: bool = True
    cgroups: bool = True
    disk_quota: bool = False
    limits: Limits = field(default_factory=Limits)
    database: DatabaseLimits = field(default_factory=DatabaseLimits)

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Settings:
        """The settings as a module is given them, complete. Raises StepError ``playbook_failed``."""
        try:
            values = dict(given)
            values["limits"] = Limits.of(values["limits"])
            for name in ("build_hosts", "environment", "read_only"):
                values[name] = tuple(map(str, values[name]))
            values["database"] = DatabaseLimits.of(values["database"])
            settings = cls(**values)
        except ValueError as error:
            raise StepError("playbook_failed", f"{error}.") from None
        except (TypeError, KeyError, AttributeError) as error:
            raise StepError("playbook_failed", f"The variables sandbox_* do not fit each other: {error}.") from None
        if settings.kind not in KINDS:
            raise StepError("playbook_failed", f"sandbox: {settings.kind!r} is none of {', '.join(KINDS)}.")
        for path in settings.read_only:
            if not os.path.isabs(path) or not os.path.exists(path):
                raise StepError("playbook_failed", f"sandbox_read_only: there is nothing at {path}.")
        return settings


@dataclass(frozen=True)
class Box:
    """What one command may see beside the system, and which of it it may write to.

    `in_memory` are folders that are empty at the beginning and gone at the end, whatever is at their place outside.
    What does not exist is left out. The only network is a loopback of the box's own. `shared` can be written to as
    well, but is not the job's: of what is in there only what has been written since then is held against the limit
    of the disk.
    A command that `outlives` whoever starts it is the first process inside, with the id that `Boxed.process` tells:
    nothing is left when it ends, and it ends with bubblewrap.
    """

    settings: Settings
    read_only: Sequence[Path] = ()
    writable: Sequence[Path] = ()
    in_memory: Sequence[Path] = ()
    shared: Sequence[Path] = ()
    outlives: bool = False

    @property
    def memory_folders(self) -> list[Path]:
        """The folders that are in memory."""
        return [] if self.settings.kind == "none" else [Path("/tmp"), Path("/dev/shm"), *self.in_memory]  # noqa: S108

    def around(self, argv: Sequence[str], cwd: Path | str) -> Boxed:
        """The command to start instead of `argv`. Raises StepError ``sandbox_unavailable``."""
        if self.settings.kind == "none":
            return Boxed(list(argv), cwd, boxed=False)
        program = shutil.which("bwrap", path=os.environ.get("PATH", os.defpath) + ":/usr/bin:/bin")
        if program is None:
            raise StepError("sandbox_unavailable", "bubblewrap is not installed: playbooks/prepare-host.yaml does it")
        boxed = Boxed([program], "/")
        words = self._namespaces() + self._system(boxed) + self._own()
        # in /proc are settings of the whole machine, which their owner may write to, who is root even where root has
        # no capability; and whom the kernel ends first (oom_score_adj)
        for path in ("/dev", "/proc", "/"):
            words += ["--remount-ro", path]
        words += ["--chdir", "/"]
        if self.settings.seccomp:
            words += ["--seccomp", boxed.file(_filter())]
        words += ["--json-status-fd", boxed.hear()]
        # from a file, for the command of the first process in a box can be read there
        boxed.argv += ["--args", boxed.file("".join(f"{word}\0" for word in words).encode())]
        boxed.argv += ["--", *self._limited(argv, cwd)]
        return boxed

    def _namespaces(self) -> list[str]:
        words = ["--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"]
        words += ["--unshare-cgroup-try", "--as-pid-1" if self.outlives else "--die-with-parent"]
        words += ["--disable-userns", "--new-session", "--cap-drop", "ALL"]
        return [*words, "--hostname", PLAIN_NAME, "--uid", str(USER), "--gid", str(USER)]

    def _system(self, boxed: Boxed) -> list[str]:
        words = ["--ro-bind", "/usr", "/usr", "--proc", "/proc", "--dev", "/dev"]
        for folder in SYSTEM_FOLDERS:
            if os.path.islink(folder):
                words += ["--symlink", os.readlink(folder), folder]
            else:
                words += ["--ro-bind-try", folder, folder]
        for path in HIDDEN:
            if os.path.isfile(path):
                words += ["--ro-bind", "/dev/null", path]
        for path in SYSTEM_FILES:
            words += ["--ro-bind-try", path, path]
        for path, content in _MADE_FILES.items():
            words += ["--ro-bind-data", boxed.file(content.encode()), path]
        for path in ("/tmp", "/dev/shm"):  # noqa: S108 - the box's own
            words += ["--size", str(self.settings.limits.tmp), "--perms", "1777", "--tmpfs", path]
        return [*words, "--symlink", "/tmp", "/var/tmp", "--dir", "/run"]  # noqa: S108 - the box's own

    def _own(self) -> list[str]:
        """The places of its own, those that lie in others after them."""
        size = str(self.settings.limits.tmp)
        ways = [("--ro-bind", path) for path in (*map(Path, self.settings.read_only), *self.read_only)]
        ways += [("--bind", path) for path in (*self.writable, *self.shared)] + [("", path) for path in self.in_memory]
        words: list[str] = []
        for way, path in sorted(ways, key=lambda item: len(item[1].parts)):
            if not way:
                words += ["--size", size, "--perms", "0700", "--tmpfs", str(path)]
            elif os.path.lexists(path):
                words += [way, str(path), str(path)]
        return words

    def _limited(self, argv: Sequence[str], cwd: Path | str) -> list[str]:
        if self.outlives:
            argv = ["/usr/bin/setpriv", "--pdeathsig", "KILL", "--", *argv]
        # entered from inside: a folder that the project has taken away, or has led elsewhere, is no fault of the box
        words = ["/usr/bin/env", f"--chdir={cwd}", "/usr/bin/prlimit"]
        # counted from inside, where nobody else's processes are counted with them
        processes = self.settings.limits.processes
        words.append(f"--nproc={processes}:{processes}" if processes else "--core=0:0")
        return [*words, "--", *argv]


class Boxed:
    """A command in its box: `argv` to start in `cwd` with the files `handles` open, and to be closed in the end."""

    def __init__(self, argv: list[str], cwd: Path | str, boxed: bool = True) -> None:
        self.argv = argv
        self.cwd = cwd
        self.handles: list[int] = []
        self._boxed = boxed
        self._said = -1
        self._told = b""

    def close(self) -> None:
        """Close all files."""
        self.started()
        if self._said >= 0:
            os.close(self._said)
            self._said = -1

    def file(self, content: bytes) -> str:
        """The number of a file with this content, as bubblewrap takes it."""
        handle = os.memfd_create("file")
        self.handles.append(handle)
        os.write(handle, content)
        os.lseek(handle, 0, os.SEEK_SET)
        return str(handle)

    def hear(self) -> str:
        """The number of the file where bubblewrap is to say how it goes."""
        self._said, status = os.pipe()
        self.handles.append(status)
        return str(status)

    def started(self) -> None:
        """Close what only the started process needs."""
        while self.handles:
            os.close(self.handles.pop())

    def made(self) -> bool:
        """Of a command that has ended by itself: whether its box could be made at all. To be asked once."""
        while self._hears():
            pass
        return not self._boxed or b'"exit-code"' in self._told

    def process(self, started: int) -> int:
        """The id of the command's process, where that with the id `started` was: of a box, the first one inside.

        0 where the box could not be made.
        """
        if not self._boxed:
            return started
        while b"\n" not in self._told and self._hears():
            pass
        try:
            return int(json.loads(self._told.partition(b"\n")[0])["child-pid"])
        except (ValueError, KeyError):
            return 0

    def _hears(self) -> bool:
        """Hear what bubblewrap says next; False when it is silent for ever."""
        said = os.read(self._said, 4096) if self._said >= 0 else b""
        self._told += said
        return bool(said)

    def told(self, status: int) -> int:
        """The command's own exit status, negative for a signal: bubblewrap tells of one as shells do."""
        return SHELL_SIGNAL - status if self._boxed and SHELL_SIGNAL < status < SHELL_SIGNAL + 65 else status


def _filter() -> bytes:
    try:
        return seccomp.program()
    except OSError as error:
        raise StepError("sandbox_unavailable", f"libseccomp cannot make the filter of system calls: {error}") from None

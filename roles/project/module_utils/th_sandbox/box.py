# SPDX-License-Identifier: Apache-2.0
"""The box that untrusted code runs in: bubblewrap, with what it may see, write and reach.

Files have the same paths inside as outside, so that virtual environments, which contain paths, work in both. Code runs
as the user `USER`, without capabilities, in its own namespaces.
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
from ansible.module_utils.th_sandbox.limits import BoxLimits, DatabaseLimits

KINDS = ("bubblewrap", "none")
USER = 1000
"""The numeric user and group inside, whatever they are outside."""

SHELL_SIGNAL = 128
"""Shells report a signal as this number plus that of the signal."""

SYSTEM_FOLDERS = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
"""On a merged-/usr system these are symbolic links into /usr, which is always in the box."""

LIBRARY_FILES = ("/etc/alternatives", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d")
"""Where the programs and libraries of the machine's own /usr are."""

SYSTEM_FILES = (
    *LIBRARY_FILES,
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
"""The files of /etc that programs need; none of them is secret."""

HIDDEN = ("/proc/keys", "/proc/key-users", "/proc/kcore", "/proc/timer_list", "/proc/sched_debug")
"""Files of /proc about the whole machine that no process in a box needs."""

PLAIN_NAME = "localhost"
"""The host name inside. It does not give the box away: code that knew it was being tested might behave."""

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
    limits: BoxLimits = field(default_factory=BoxLimits)
    database: DatabaseLimits = field(default_factory=DatabaseLimits)

    @classmethod
    def of(cls, variables: Mapping[str, Any]) -> Settings:
        """The settings from a module's complete parameters. Raises StepError ``playbook_failed``."""
        try:
            values = dict(variables)
            values["limits"] = BoxLimits.of(values["limits"])
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
    """What one command may see in addition to the system, and where it may write.

    `in_memory` are folders that start empty and are gone at the end, whatever exists at those paths outside. Paths that
    do not exist are left out. The only network is the box's own loopback. `shared` folders are writable, too, but not
    the job's own: only what is written to them from now on counts towards the disk limit.
    A command that `outlives` its parent process is the first process inside, with the id that `BoxedCommand.process`
    returns: nothing is left when it ends, and it ends with bubblewrap. `usr` is a folder that is shown as ``/usr``
    instead of the machine's, with libraries and tools (coreutils, util-linux) of its own.
    """

    settings: Settings
    read_only: Sequence[Path] = ()
    writable: Sequence[Path] = ()
    in_memory: Sequence[Path] = ()
    shared: Sequence[Path] = ()
    outlives: bool = False
    usr: Path | None = None

    @property
    def memory_folders(self) -> list[Path]:
        """All folders that exist in memory only."""
        return [] if self.settings.kind == "none" else [Path("/tmp"), Path("/dev/shm"), *self.in_memory]  # noqa: S108

    def around(self, argv: Sequence[str], cwd: Path | str) -> BoxedCommand:
        """The command to start instead of `argv`. Raises StepError ``sandbox_unavailable``."""
        if self.settings.kind == "none":
            return BoxedCommand(list(argv), cwd, boxed=False)
        program = shutil.which("bwrap", path=os.environ.get("PATH", os.defpath) + ":/usr/bin:/bin")
        if program is None:
            raise StepError("sandbox_unavailable", "bubblewrap is not installed: playbooks/prepare-host.yaml does it")
        boxed = BoxedCommand([program], "/")
        words = self._namespaces() + self._system(boxed) + self._own()
        # /proc has settings of the whole machine, which root may write even without any capability, and oom_score_adj
        for path in ("/dev", "/proc", "/"):
            words += ["--remount-ro", path]
        words += ["--chdir", "/"]
        if self.settings.seccomp:
            words += ["--seccomp", boxed.file(_filter())]
        words += ["--json-status-fd", boxed.status_pipe()]
        # in a file, because the box can read the command line of its first process
        boxed.argv += ["--args", boxed.file("".join(f"{word}\0" for word in words).encode())]
        boxed.argv += ["--", *self._limited(argv, cwd)]
        return boxed

    def _namespaces(self) -> list[str]:
        words = ["--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"]
        words += ["--unshare-cgroup-try", "--as-pid-1" if self.outlives else "--die-with-parent"]
        words += ["--disable-userns", "--new-session", "--cap-drop", "ALL"]
        return [*words, "--hostname", PLAIN_NAME, "--uid", str(USER), "--gid", str(USER)]

    def _system(self, boxed: BoxedCommand) -> list[str]:
        words = ["--ro-bind", str(self.usr or "/usr"), "/usr", "--proc", "/proc", "--dev", "/dev"]
        for folder in SYSTEM_FOLDERS:
            if self.usr:
                words += ["--symlink", f"usr{folder}", folder] if (self.usr / folder[1:]).is_dir() else []
            elif os.path.islink(folder):
                words += ["--symlink", os.readlink(folder), folder]
            else:
                words += ["--ro-bind-try", folder, folder]
        for path in HIDDEN:
            if os.path.isfile(path):
                words += ["--ro-bind", "/dev/null", path]
        for path in SYSTEM_FILES:
            if not (self.usr and path in LIBRARY_FILES):
                words += ["--ro-bind-try", path, path]
        for path, content in _MADE_FILES.items():
            words += ["--ro-bind-data", boxed.file(content.encode()), path]
        for path in ("/tmp", "/dev/shm"):  # noqa: S108 - the box's own
            words += ["--size", str(self.settings.limits.tmp), "--perms", "1777", "--tmpfs", path]
        return [*words, "--symlink", "/tmp", "/var/tmp", "--dir", "/run"]  # noqa: S108 - the box's own

    def _own(self) -> list[str]:
        """The mounts of the box's own folders, inner folders after outer ones."""
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
        # entered from inside, so that a folder which the project has removed or redirected is not an error of the box
        words = ["/usr/bin/env", f"--chdir={cwd}", "/usr/bin/prlimit"]
        # set from inside, where only the box's own processes count
        processes = self.settings.limits.processes
        words.append(f"--nproc={processes}:{processes}" if processes else "--core=0:0")
        return [*words, "--", *argv]


class BoxedCommand:
    """A command in its box: `argv` to start in `cwd`, with `handles` inherited; `close` it in the end."""

    def __init__(self, argv: list[str], cwd: Path | str, boxed: bool = True) -> None:
        self.argv = argv
        self.cwd = cwd
        self.handles: list[int] = []
        self._boxed = boxed
        self._status_fd = -1
        self._status_text = b""

    def close(self) -> None:
        """Close all files of this process."""
        self.started()
        if self._status_fd >= 0:
            os.close(self._status_fd)
            self._status_fd = -1

    def file(self, content: bytes) -> str:
        """The descriptor of a file with this content, as an argument of bubblewrap."""
        handle = os.memfd_create("file")
        self.handles.append(handle)
        os.write(handle, content)
        os.lseek(handle, 0, os.SEEK_SET)
        return str(handle)

    def status_pipe(self) -> str:
        """The descriptor that bubblewrap is to write its status to, as an argument."""
        self._status_fd, status = os.pipe()
        self.handles.append(status)
        return str(status)

    def started(self) -> None:
        """Close the files that only the started process needs."""
        while self.handles:
            os.close(self.handles.pop())

    def made(self) -> bool:
        """Whether the box of a command that has ended could be made at all. To be called once."""
        while self._read_status():
            pass
        return not self._boxed or b'"exit-code"' in self._status_text

    def process(self, started: int) -> int:
        """The id of the command's process, given that of the `started` one: in a box, the first process inside.

        It is 0 if the box could not be made.
        """
        if not self._boxed:
            return started
        while b"\n" not in self._status_text and self._read_status():
            pass
        try:
            return int(json.loads(self._status_text.partition(b"\n")[0])["child-pid"])
        except (ValueError, KeyError):
            return 0

    def _read_status(self) -> bool:
        """Read the next part of bubblewrap's status; False at its end."""
        part = os.read(self._status_fd, 4096) if self._status_fd >= 0 else b""
        self._status_text += part
        return bool(part)

    def exit_status(self, status: int) -> int:
        """The command's own exit status, negative for a signal, which bubblewrap reports like a shell."""
        return SHELL_SIGNAL - status if self._boxed and SHELL_SIGNAL < status < SHELL_SIGNAL + 65 else status


def _filter() -> bytes:
    try:
        return seccomp.program()
    except OSError as error:
        raise StepError("sandbox_unavailable", f"libseccomp cannot make the filter of system calls: {error}") from None

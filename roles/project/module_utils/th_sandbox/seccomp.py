# SPDX-License-Identifier: Apache-2.0
"""The system calls that are forbidden in a box, as a filter for the kernel (seccomp(2), BPF).

Everything else is allowed: namespaces decide what a build or a migration can touch, and this filter keeps it away from
parts of the kernel that namespaces do not isolate or that have been used to escape from them. The list follows the
default profiles of containers and of Flatpak.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from functools import cache

import pyseccomp

FORBIDDEN = (
    # other processes and the kernel's own secrets
    "ptrace", "process_vm_readv", "process_vm_writev", "kcmp", "pidfd_getfd", "perf_event_open", "bpf", "syslog",
    "lookup_dcookie", "fanotify_init", "name_to_handle_at", "open_by_handle_at", "userfaultfd",
    # keys are not in a mount or network namespace
    "add_key", "request_key", "keyctl",
    # mounts and namespaces
    "mount", "umount", "umount2", "move_mount", "open_tree", "fsopen", "fsconfig", "fsmount", "fspick",
    "mount_setattr", "pivot_root", "chroot", "unshare", "setns",
    # the machine
    "acct", "quotactl", "quotactl_fd", "swapon", "swapoff", "reboot", "kexec_load", "kexec_file_load", "init_module",
    "finit_module", "delete_module", "iopl", "ioperm", "settimeofday", "clock_settime", "clock_adjtime", "adjtimex",
    "vhangup", "nfsservctl", "uselib", "personality", "modify_ldt",
    # makes the kernel do work that no filter sees
    "io_uring_setup", "io_uring_enter", "io_uring_register",
    # memory that nobody outside can see or count
    "memfd_secret",
    # where memory lies
    "mbind", "migrate_pages", "move_pages", "get_mempolicy", "set_mempolicy", "set_mempolicy_home_node",
)  # fmt: skip

SYSTEM_V = ("shmget", "msgget", "semget")
"""Kernel memory that belongs to no process, whose size nobody outside the namespace can see."""

FAMILIES = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK)
"""The address families that are allowed in a box. Others (virtual machines, Bluetooth, raw packets, kernel
cryptography) are not all isolated by a network namespace."""

_MODES = {"chmod": 1, "fchmod": 1, "fchmodat": 2, "fchmodat2": 2, "creat": 1, "mknod": 1, "mknodat": 2}
"""Which argument of a call is a mode: a setuid file would run as the worker outside the box."""

_OPENING = {"open": (1, 2), "openat": (2, 3)}
"""The same for calls that create a file depending on their flags: the arguments for the flags and for the mode."""

_TMPFILE = os.O_TMPFILE & ~os.O_DIRECTORY
_CLONE_NEWUSER = 0x10000000  # clone(2)
_BUFFER, _SETPIPE = (socket.SOL_SOCKET, socket.SO_SNDBUF), 1031  # setsockopt(2), fcntl(2)
_INT = 0xFFFFFFFF
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C  # ioctl_tty(2), ioctl_console(2): injecting input into the terminal


@cache
def program() -> bytes:
    """The filter in the form that bubblewrap takes. Raises OSError if libseccomp does not work."""
    rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    refused, unknown = pyseccomp.ERRNO(errno.EPERM), pyseccomp.ERRNO(errno.ENOSYS)
    for name in FORBIDDEN:
        if _known(name):
            rules.add_rule(refused, name)
    # the first two have their flags in memory, which a filter cannot read, and callers fall back on clone and openat;
    # a kernel may be built without the others
    for name in ("clone3", "openat2", *SYSTEM_V):
        if _known(name):
            rules.add_rule(unknown, name)
    rules.add_rule(refused, "clone", pyseccomp.Arg(0, pyseccomp.MASKED_EQ, _CLONE_NEWUSER, _CLONE_NEWUSER))
    for request in (_TIOCSTI, _TIOCLINUX):
        rules.add_rule(refused, "ioctl", pyseccomp.Arg(1, pyseccomp.MASKED_EQ, _INT, request))
    for bit in (stat.S_ISUID, stat.S_ISGID):
        for name, argument in _MODES.items():
            if _known(name):
                rules.add_rule(refused, name, pyseccomp.Arg(argument, pyseccomp.MASKED_EQ, bit, bit))
        for name, (flags, mode) in _OPENING.items():
            for flag in (os.O_CREAT, _TMPFILE):  # without them the mode is whatever is left in the register
                if _known(name):
                    making = pyseccomp.Arg(flags, pyseccomp.MASKED_EQ, flag, flag)
                    rules.add_rule(refused, name, making, pyseccomp.Arg(mode, pyseccomp.MASKED_EQ, bit, bit))
    beyond = pyseccomp.ERRNO(errno.EAFNOSUPPORT)
    highest = max(FAMILIES)
    for call in ("socket", "socketpair"):
        for family in set(range(highest)) - set(FAMILIES):
            rules.add_rule(beyond, call, pyseccomp.Arg(0, pyseccomp.EQ, family))
        rules.add_rule(beyond, call, pyseccomp.Arg(0, pyseccomp.GT, highest))
    # sockets and pipes keep their default capacity, which th_sandbox.usage counts for them: a request for more succeeds
    # without effect (the kernel looks only at the lower half of an argument)
    level, option = (pyseccomp.Arg(at, pyseccomp.MASKED_EQ, _INT, what) for at, what in enumerate(_BUFFER, 1))
    rules.add_rule(pyseccomp.ERRNO(0), "setsockopt", level, option)
    rules.add_rule(refused, "fcntl", pyseccomp.Arg(1, pyseccomp.MASKED_EQ, _INT, _SETPIPE))
    handle = os.memfd_create("seccomp")
    with os.fdopen(handle, "r+b") as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()


def _known(name: str) -> bool:
    """Whether libseccomp knows a call on this architecture; a newer one may be missing, or have another name."""
    try:
        return int(pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name)) >= 0
    except (OSError, ValueError):
        return False

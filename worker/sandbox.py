# SPDX-License-Identifier: Apache-2.0
"""Whether bubblewrap can be used on this machine, and if not, why, and what to do about it.

The box itself is made by the roles (`roles/project/module_utils`); the worker only asks beforehand, so that it takes no
job whose code it could not confine.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from worker.config import UNCONFINED, Config
from worker.errors import ConfigError

PROGRAM = "bwrap"
NAMESPACES = ("user", "pid", "mount", "ipc", "uts", "cgroup", "net")
"""The namespaces that a box has of its own."""

OLDEST = (0, 8)
"""The first version with --disable-userns, without which what is in a box can make more namespaces."""

_BESIDE_PATH = ":/usr/bin:/bin"  # where the roles look too, whatever the worker's PATH is
_PROC = Path("/proc")
_SECONDS = 60.0  # of a machine that is too busy for more, too: it takes ten milliseconds
# What is the same in every box, with a program that does nothing.
_PROBE = (
    "--unshare-user --unshare-pid --unshare-net --unshare-ipc --unshare-uts --unshare-cgroup-try --disable-userns "
    "--die-with-parent --ro-bind / / --proc /proc --dev /dev true"
).split()
_INSTALL = "install the package bubblewrap (playbooks/prepare-host.yaml does)"
_CONTAINER = "run the worker outside of it, or give the container what bubblewrap needs"


def problem() -> str:
    """Why bubblewrap cannot be used here, and the remedy, in one line; "" when it can. Runs it once: some 5 ms."""
    program = _program()
    if not program:
        return f"bubblewrap is not installed; {_INSTALL}"
    try:
        done = _run(program, *_PROBE)
    except (OSError, subprocess.SubprocessError) as error:
        return f"{program} cannot be run ({error}); reinstall the package bubblewrap"
    if done.returncode == 0:
        return ""
    message = (done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"])[0]
    message = message.removeprefix(f"{PROGRAM}: ")
    return f"{_reason(program, message)} [bwrap: {message[:200]}]"


def demand(config: Config) -> None:
    """ConfigError when the configuration wants a sandbox that cannot be used here."""
    if config.confined and (why := problem()):
        remedy = f"or set {UNCONFINED!r}, with which the code of every change can do what this user can"
        raise ConfigError(config.path, "sandbox", why, remedy)


def version() -> str:
    """What `bwrap --version` says of itself ("0.8.0"), or ""."""
    program = _program()
    return _version(program) if program else ""


def _program() -> str | None:
    return shutil.which(PROGRAM, path=os.environ.get("PATH", os.defpath) + _BESIDE_PATH)


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_SECONDS,
        env={**os.environ, "LC_ALL": "C"},
    )


def _version(program: str) -> str:
    try:
        found = re.search(r"\d{1,9}(\.\d{1,9}){1,5}", _run(program, "--version").stdout)
    except (OSError, subprocess.SubprocessError):
        return ""
    return found[0] if found else ""


def _reason(program: str, message: str) -> str:
    found = _version(program)
    if found and tuple(map(int, found.split("."))) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        return f"bubblewrap {found} is too old, at least {oldest} is needed; install a newer one (Debian 12 has 0.8.0)"
    if "mount proc" in message.lower():
        remedy = "do not mask it (docker: --security-opt systempaths=unconfined; Kubernetes: procMount: Unmasked)"
        return f"/proc cannot be mounted: the container that this runs in masks parts of it; {remedy}"
    if forbidden := _forbidden():
        return forbidden
    if "ENOSPC" in message:
        return f"no more user namespaces can be made: this runs in a sandbox or a container itself; {_CONTAINER}"
    return f"bubblewrap does not work here; see what this says: bwrap {' '.join(_PROBE)}"


def _forbidden() -> str:
    """What of the kernel forbids user namespaces, as far as it says so."""
    if os.geteuid() and _setting("kernel.unprivileged_userns_clone") == "0":
        return "the kernel forbids user namespaces; sysctl kernel.unprivileged_userns_clone=1 (and in /etc/sysctl.d)"
    if _setting("user.max_user_namespaces") == "0":
        return "the kernel allows no user namespaces; sysctl user.max_user_namespaces=10000 (and in /etc/sysctl.d)"
    if os.geteuid() and _setting("kernel.apparmor_restrict_unprivileged_userns") == "1":
        remedy = "give bwrap a profile with 'userns,' in /etc/apparmor.d (docs/configuration.md, 'sandbox')"
        return f"AppArmor forbids user namespaces (kernel.apparmor_restrict_unprivileged_userns=1); {remedy}"
    status = _read(_PROC / "self" / "status")
    if re.search(r"^Seccomp:\s*2$", status, re.MULTILINE):
        remedy = f"{_CONTAINER} (docker: --security-opt seccomp=unconfined)"
        return f"a seccomp filter forbids namespaces: this runs in a container; {remedy}"
    return ""


def _setting(name: str) -> str:
    return _read(_PROC / "sys" / name.replace(".", "/")).strip()


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""

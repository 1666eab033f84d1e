# SPDX-License-Identifier: Apache-2.0
"""Machines to deploy to: each has a file system, processes and a name of its own, and is reached by ssh.

What such a host has at first is what this machine has; what it writes is its own, and gone with it. The network is
shared. Its first process is this module, run as a program. Needs root.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.kit.waiting import HOST, free_port, wait_until

UV = "/opt/uv"
"""Where a host has uv, as this one may lie where a host has nothing of ours."""
SETTINGS = """\
Port {port}
ListenAddress {address}
HostKey /etc/ssh/host_key
AuthorizedKeysFile /etc/ssh/host_user.pub
PidFile none
StrictModes no
UsePAM no
Subsystem sftp internal-sftp
"""


@dataclass(frozen=True)
class Machine:
    """A host that runs; `key` is the private key that root's door opens to."""

    name: str
    port: int
    key: Path

    @property
    def ssh(self) -> list[str]:
        """Options of ssh."""
        return [
            *("-i", str(self.key), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
            *("-o", "LogLevel=ERROR"),
        ]

    def run(self, *words: str) -> str:
        """Run a command there; what it printed."""
        command = ["ssh", "-p", str(self.port), *self.ssh, f"root@{HOST}", *words]
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True).stdout

    def variables(self) -> dict[str, object]:
        """What an inventory says of it."""
        return {
            "ansible_host": HOST,
            "ansible_port": self.port,
            "ansible_user": "root",
            "ansible_ssh_common_args": " ".join(self.ssh),
            "ansible_python_interpreter": "/usr/bin/python3",
        }


@contextlib.contextmanager
def machine(folder: Path, name: str) -> Iterator[Machine]:
    """Let a host run until the end of the block."""
    folder.mkdir(parents=True)
    for key in ("host_key", "host_user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)], check=True)
    port = free_port()
    (folder / "sshd_config").write_text(SETTINGS.format(port=port, address=HOST))
    unshare = ["unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--propagation", "private"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*unshare, sys.executable, "-m", "tests.integration.hosts", str(folder), name], stdout=log, stderr=log
        )
    try:
        wait_until(lambda: _listens(port) or process.poll() is not None)
        assert process.poll() is None, (folder / "log").read_text()
        yield Machine(name, port, folder / "host_user")
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), 1):
        return True
    return False


def _enter(folder: Path, name: str) -> None:
    """Make `/` a layer of our own over the machine's, and give us its name."""

    def mount(*words: str | Path) -> None:
        subprocess.run(["mount", *map(str, words)], check=True)

    layer = folder / "layer"
    layer.mkdir()
    mount("-t", "tmpfs", "tmpfs", layer)
    root, upper, work = (layer / part for part in ("root", "upper", "work"))
    for part in (root, upper, work):
        part.mkdir()
    mount("-t", "overlay", "overlay", "-o", f"lowerdir=/,upperdir={upper},workdir={work}", root)
    for special in ("dev", "sys"):
        mount("--rbind", f"/{special}", root / special)
    mount("-t", "proc", "proc", root / "proc")
    for empty in ("tmp", "run"):
        mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", root / empty)
    (root / UV.lstrip("/")).touch()
    mount("--bind", Path(sys.executable).parent / "uv", root / UV.lstrip("/"))
    for file in ("host_key", "host_user.pub", "sshd_config"):
        (root / "etc" / "ssh" / file).write_bytes((folder / file).read_bytes())
        (root / "etc" / "ssh" / file).chmod(0o600)
    # root's own settings here are none of a new host's, and may cost a quarter of a second for each command
    for file in (".bashrc", ".profile", ".bash_profile"):
        (root / "root" / file).write_text("")
    (root / "run" / "sshd").mkdir()
    (root / "run" / "old").mkdir()
    subprocess.run(["pivot_root", str(root), str(root / "run" / "old")], check=True)
    os.chdir("/")
    subprocess.run(["umount", "--lazy", "/run/old"], check=True)
    subprocess.run(["hostname", name], check=True)


if __name__ == "__main__":
    _enter(Path(sys.argv[1]), sys.argv[2])
    subprocess.Popen(["/usr/sbin/sshd", "-D", "-e"])
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    while True:  # as the first process of a machine does: bury the dead
        os.wait()

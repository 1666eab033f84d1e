# SPDX-License-Identifier: Apache-2.0
"""What an attacker would like to reach: a worker's files and processes, other jobs, caches, listeners on loopback.

All of it is the tests' own. What listens answers with `TOKEN`; what may be read holds it; so an attack has worked when
it can say the token, or when one of the things here is no longer what it was.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.kit.service import GearServer
from tests.kit.waiting import free_port

TOKEN = "7h3-s3cr3t-0f-7h3-w0rk3r"
STOLEN = "STOLEN"
"""What an attack prints when it has got somewhere."""
_numbers = itertools.count()
GUARDED = ("etc", "jobs", "cache", "datasets", "home")

_NEIGHBOUR = f"""
import ctypes, os, sys, time
ctypes.CDLL(None).prctl(0x59616d61, -1, 0, 0, 0)  # may be traced by anybody, where Yama guards: prctl(2)
held = open(os.memfd_create("held"), "w+")
held.write("{TOKEN}")
held.flush()
print(held.fileno(), flush=True)
time.sleep(3600)
"""


class World:
    """The installation that is attacked, below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.restore()
        self.tcp = self.udp = self.tcp6 = 0
        self.gearman = free_port()
        # these names are of the whole machine
        self.abstract = f"\0turbo-hipster-neighbour-{os.getpid()}-{next(_numbers)}"
        self.neighbour: subprocess.Popen[str]
        self.neighbour_file = 0
        self._sockets: list[socket.socket] = []

    @staticmethod
    def files() -> dict[str, str]:
        """The files that are there, each with the token."""
        return {
            "etc/config.yaml": f"zuul_server: {{git_url: 'https://zuul:{TOKEN}@git.example.org'}}\n",
            "home/.ssh/id_ed25519": f"-----BEGIN {TOKEN}\n",
            "jobs/other/job.yaml": f"th_job: {{url: 'https://{TOKEN}@git.example.org'}}\n",
            "jobs/other/artifacts/walk-first.jsonl": f'{{"event": "final", "version": "{TOKEN}"}}\n',
            "jobs/other/db/first/admin.cnf": f"[client]\npassword={TOKEN}\n",
            "cache/packages/wheels/index/thing.whl": TOKEN,
            "cache/environments/abc/venv/lib/thing.py": f"token = '{TOKEN}'\n",
            "cache/git/org/toy.git/config": f"[core]\n# {TOKEN}\n",
            "cache/snapshots/first-1/data/toy/t.ibd": TOKEN,
            "datasets/first/seed.sql": f"INSERT INTO t VALUES ('{TOKEN}');\n",
        }

    def restore(self) -> None:
        """Put every file there as it was."""
        for name, text in self.files().items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            path.write_text(text)
            path.chmod(0o600)

    def digest(self, besides: Path) -> str:
        """What the guarded files and their names are, but for those of one job."""
        found = hashlib.sha256()
        for name in GUARDED:
            for path in sorted((self.root / name).rglob("*")):
                if path.is_relative_to(besides):
                    continue
                state = path.lstat()
                found.update(f"{path.relative_to(self.root)} {state.st_mode} {state.st_nlink}\n".encode())
                if path.is_file():
                    found.update(path.read_bytes())
        return found.hexdigest()

    @contextmanager
    def living(self) -> Iterator[World]:
        """With its listeners and a process of the worker's."""
        gear = GearServer(self.gearman)
        gear.start()
        try:
            self.tcp = self._listen(socket.AF_INET, ("127.0.0.1", 0))
            self.tcp6 = self._listen(socket.AF_INET6, ("::1", 0))
            self._listen(socket.AF_UNIX, self.abstract)
            self._listen(socket.AF_UNIX, str(self.root / "jobs" / "s"))
            self.udp = self._listen(socket.AF_INET, ("127.0.0.1", 0), socket.SOCK_DGRAM)
            with self._neighbours():
                yield self
        finally:
            for one in self._sockets:
                one.close()
            gear.kill()

    @contextmanager
    def _neighbours(self) -> Iterator[None]:
        self.neighbour = self._start_neighbour()
        try:
            yield
        finally:
            self.neighbour.kill()
            self.neighbour.wait()

    def _start_neighbour(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", _NEIGHBOUR, TOKEN], env={"SECRET": TOKEN}, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        self.neighbour_file = int(process.stdout.readline())
        process.stdout.close()
        return process

    def unharmed(self) -> bool:
        """Whether the neighbour runs as it did; a new one takes the place of one that does not."""
        if psutil.Process(self.neighbour.pid).status() == psutil.STATUS_SLEEPING:
            return True
        self.neighbour.kill()
        self.neighbour.wait()
        self.neighbour = self._start_neighbour()
        return False

    def left(self, mark: str) -> list[psutil.Process]:
        """The living processes that have a word in their command; they are ended."""
        found = []
        for process in psutil.process_iter():
            try:
                if mark in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                    process.send_signal(signal.SIGKILL)
                    found.append(process)
            except psutil.Error:
                pass
        return found

    def _listen(self, family: int, address: object, kind: int = socket.SOCK_STREAM) -> int:
        here = socket.socket(family, kind)
        here.bind(address)  # type: ignore[arg-type]
        self._sockets.append(here)
        answer: Callable[[], None] = lambda: self._answer(here)  # noqa: E731
        if kind == socket.SOCK_DGRAM:
            answer = lambda: self._answer_datagrams(here)  # noqa: E731
        else:
            here.listen()
        threading.Thread(target=answer, daemon=True).start()
        name = here.getsockname()
        return int(name[1]) if isinstance(name, tuple) else 0

    def _answer(self, here: socket.socket) -> None:
        while True:
            try:
                other, _ = here.accept()
            except OSError:
                return
            with other:
                other.sendall(TOKEN.encode())

    def _answer_datagrams(self, here: socket.socket) -> None:
        while True:
            try:
                _, sender = here.recvfrom(4096)
                here.sendto(TOKEN.encode(), sender)
            except OSError:
                return


def is_root() -> bool:
    """Whether we may do what only root may."""
    return os.geteuid() == 0

# SPDX-License-Identifier: Apache-2.0
"""Code that takes more than it is given: each bomb against a small limit of its own, which is raised and lets it pass.

Every bomb is bounded by itself, so that it does no harm where a limit does not hold.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pyseccomp
import pytest
from ansible.module_utils.th_sandbox.box import Box
from ansible.module_utils.th_sandbox.capped_log import CappedLog
from ansible.module_utils.th_sandbox.cgroup_tree import ControlGroups
from ansible.module_utils.th_sandbox.contain import CommandResult, base_environment, run_contained
from ansible.module_utils.th_sandbox.disk import Disk
from ansible.module_utils.th_sandbox.unnamed_files import UnnamedFiles
from ansible.module_utils.th_sandbox.usage import Process, ProcessorTime

from tests.kit import boxes

from .world import is_root

PATIENCE = 300
HOLD = 2 * PATIENCE
"""Seconds that a bomb keeps what it has taken, when it is to be ended before that."""

FORKS = """
    for _ in range(60):
        if not os.fork():
            time.sleep(hold)
            os._exit(0)
    while True:
        try:
            os.wait()
        except ChildProcessError:
            break
"""
FORKS_ALL_THE_SAME = """
    children = 0
    end = time.monotonic() + hold
    while children < 60 or time.monotonic() < end:
        try:
            if children < 60 and not os.fork():
                time.sleep(hold)
                os._exit(0)
            children += 1
        except OSError:
            time.sleep(0.01)
"""
FORKS_APART = """
    for _ in range(60):
        if not os.fork():
            os.setsid()
            if not os.fork():
                time.sleep(hold)
            os._exit(0)
    time.sleep(hold)
"""
THREADS = """
    import threading
    threading.stack_size(256 << 10)
    for _ in range(60):
        threading.Thread(target=time.sleep, args=(hold,)).start()
"""
LISTS = """
    kept = [bytearray(b'x') * (10 << 20) for _ in range(10)]
    time.sleep(hold)
"""
SHARED_PAGES = """
    kept = mmap.mmap(-1, 100 << 20)
    for _ in range(100):
        kept.write(bytes(1 << 20))
    time.sleep(hold)
"""
A_FILE_COPIED_ON_WRITE = """
    with open('file', 'wb') as file:
        file.truncate(100 << 20)
    with open('file', 'rb') as file:
        kept = mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    for _ in range(100):
        kept.write(bytes(1 << 20))
    time.sleep(hold)
"""
MANY_TOGETHER = """
    for _ in range(3):
        if not os.fork():
            kept = bytearray(b'x') * (30 << 20)
            time.sleep(hold)
            os._exit(0)
    while sum(os.wait()[1] for _ in range(3)):
        sys.exit('one was killed')
"""
FILES_IN_SHARED_MEMORY = """
    for number in range(10):
        with open(f'/dev/shm/{number}', 'wb') as file:
            file.write(bytes(10 << 20))
    time.sleep(hold)
"""
FILES_WITHOUT_A_NAME_IN_MEMORY = """
    handle = os.memfd_create('x')
    for number in range(10):
        os.write(handle, bytes(10 << 20))
    time.sleep(hold)
"""
ONE_BUSY = """
    while time.process_time() < 1.1:
        pass
"""
SEVERAL_BUSY = """
    for _ in range(3):
        if not os.fork():
            while time.process_time() < 0.4:
                pass
            os._exit(0)
    for _ in range(3):
        os.wait()
    time.sleep(hold)
"""
OPEN_FILES = """
    kept = [open('/dev/null') for _ in range(100)]
"""
A_LARGE_FILE = """
    with open('file', 'wb') as file:
        for _ in range(30):
            file.write(bytes(1 << 20))
"""
A_LARGE_FILE_AND_NO_CARE = """
    import signal
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    with open('file', 'wb') as file:
        for _ in range(30):
            file.write(bytes(1 << 20))
"""
FILES = """
    for number in range(80):
        with open(f'file{number}', 'wb') as file:
            file.write(bytes(1 << 20))
    time.sleep(hold)
"""
SMALL_FILES = """
    for number in range(400):
        open(f'file{number}', 'w').close()
    time.sleep(hold)
"""
A_FILE_WITHOUT_A_NAME = """
    with open('file', 'wb') as file:
        os.unlink('file')
        for number in range(80):
            file.write(bytes(1 << 20))
            file.flush()
        time.sleep(hold)
"""
FILES_THAT_NOBODY_MAY_SEE = """
    os.mkdir('folder')
    for number in range(80):
        with open(f'folder/file{number}', 'wb') as file:
            file.write(bytes(1 << 20))
    os.chmod('folder', 0)
    time.sleep(hold)
"""
FILES_IN_TMP = """
    with open('/tmp/file', 'wb') as file:
        file.write(bytes(30 << 20))
"""
WRITE = """
    import ctypes, shutil, socket, threading
    libc = ctypes.CDLL(None)
    def files():
        # one after the other, each below the limit
        for _ in range(4):
            file = open('file', 'w+b')
            os.unlink('file')
            file.write(bytes(20 << 20))
            file.flush()
            yield file
    def leave():
        time.sleep(hold)
        os._exit(0)
"""
IN_A_QUEUE = WRITE + """
    ends = socket.socketpair()
    for file in files():
        socket.send_fds(ends[0], [b'x'], [file.fileno()])
        file.close()
    leave()
"""
IN_A_QUEUE_IN_A_QUEUE = WRITE + """
    others = socket.socketpair()
    for file in files():
        ends = socket.socketpair()
        socket.send_fds(ends[0], [b'x'], [file.fileno()])
        socket.send_fds(others[0], [b'x'], [ends[1].fileno()])
        for one in (file, *ends):
            one.close()
    leave()
"""
IN_A_QUEUE_OF_WHO_LISTENS = WRITE + """
    there, here = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    there.bind('socket')
    there.listen()
    here.connect('socket')
    for file in files():
        socket.send_fds(here, [b'x'], [file.fileno()])
        file.close()
    here.close()
    leave()
"""
MAPPED_AND_CLOSED = WRITE + """
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    for file in files():
        libc.mmap(None, 4096, 1, 1, file.fileno(), 0)
        file.close()
    leave()
"""
IN_A_TABLE_OF_A_THREAD = WRITE + """
    libc.clone.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
    kept = []
    for file in files():
        kept.append(ctypes.create_string_buffer(1 << 16))
        top = ctypes.addressof(kept[-1]) + (1 << 16) - 4096 & ~15
        assert libc.clone(ctypes.cast(libc.sleep, ctypes.c_void_p), top, 0x10900, int(hold) + 1) > 0
        file.close()
    leave()
"""
BY_A_THREAD_WHOSE_PROCESS_LOOKS_DEAD = WRITE + """
    def go_on():
        time.sleep(0.1)
        kept = list(files())
        leave()
    threading.Thread(target=go_on).start()
    libc.syscall(exit_thread, 0)
"""
NOT_DUMPABLE = WRITE + """
    libc.prctl(4, 0, 0, 0, 0)
    kept = list(files())
    leave()
"""
NOT_READABLE = WRITE + """
    shutil.copy(shutil.which('sleep', path='/usr/bin:/bin'), 'program')
    os.chmod('program', 0o111)
    for file in files():
        if not os.fork():
            os.set_inheritable(file.fileno(), True)
            os.execv('program', ['program', str(int(hold))])
        file.close()
    leave()
"""
BY_A_CALL_THAT_HAS_NOT_RETURNED = WRITE + """
    def stay(file):
        ends = os.pipe()
        for _ in range(2):  # the second one returns when somebody reads the pipe
            os.sendfile(ends[1], file, 0, 1 << 20)
    for file in files():
        threading.Thread(target=stay, args=(file.fileno(),), daemon=True).start()
        tasks = sorted(os.listdir('/proc/self/task'), key=int)
        while open(f'/proc/self/task/{tasks[-1]}/stat').read().split()[2] != 'S':
            time.sleep(0.01)
        file.close()
    leave()
"""
UNNAMED_IN_MEMORY_IN_A_QUEUE = WRITE + """
    ends = socket.socketpair()
    for number in range(10):
        file = os.memfd_create('x')
        os.write(file, bytes(10 << 20))
        socket.send_fds(ends[0], [b'x'], [file])
        os.close(file)
    time.sleep(hold)
"""
LISTS_OF_A_PROCESS_THAT_LOOKS_DEAD = WRITE + """
    def go_on():
        kept = mmap.mmap(-1, 100 << 20)
        for _ in range(100):
            kept.write(bytes(1 << 20))
        time.sleep(hold)
        os._exit(0)
    threading.Thread(target=go_on).start()
    libc.syscall(exit_thread, 0)
"""
IN_SOCKETS = """
    import socket
    kept = []
    for number in range(500):
        ends = socket.socketpair()
        ends[0].setblocking(False)
        try:
            while True:
                ends[0].send(bytes(4096))
        except BlockingIOError:
            pass
        kept.append(ends)
    time.sleep(hold)
"""
IN_PIPES = """
    kept = []
    for number in range(1200):
        ends = os.pipe()
        kept.append(ends)
        os.set_blocking(ends[1], False)
        try:
            while True:
                os.write(ends[1], bytes(4096))
        except BlockingIOError:
            pass
    time.sleep(hold)
"""
TABLES_OF_PAGES_THAT_ARE_NONE = """
    import ctypes
    libc, size, step = ctypes.CDLL(None), 50 << 30, 2 << 20
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    libc.mmap.restype = ctypes.c_void_p
    place = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000, -1, 0)
    libc.madvise(ctypes.c_void_p(place), ctypes.c_size_t(size), 15)  # by pages, not by large ones
    for address in range(place, place + size, step):
        ctypes.c_ubyte.from_address(address).value
    time.sleep(hold)
"""
FILES_WITHOUT_CONTENT_IN_MEMORY = """
    for number in range(100_000):
        os.close(os.open(f'/dev/shm/{number}', os.O_CREAT))
    time.sleep(hold)
"""
CHILDREN_THAT_NOBODY_WAITS_FOR = """
    import signal
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for _ in range(20 if hold else 2):  # none of which is seen when a busy machine looks seldom
        if not (child := os.fork()):
            while time.process_time() < 0.7:
                pass
            time.sleep(2 if hold else 0)  # so that it is seen
            os._exit(0)
        try:
            os.waitpid(child, 0)
        except ChildProcessError:
            pass
    time.sleep(hold)
"""

BOMBS: dict[str, tuple[str, str, Any, Any]] = {
    "keeps all rows in a list": (LISTS, "memory", "64M", "256M"),
    "maps a file and writes to its copy": (A_FILE_COPIED_ON_WRITE, "memory", "64M", "256M"),
    "burns processor time": (ONE_BUSY, "cpu_seconds", 1, 10),
    "keeps files open": (OPEN_FILES, "open_files", 64, 256),
    "writes one large file": (A_LARGE_FILE, "file_size", "20M", "40M"),
    "writes one large file and does not care": (A_LARGE_FILE_AND_NO_CARE, "file_size", "20M", "40M"),
    "fills the disk": (FILES, "disk", "50M", "200M"),
    "fills the disk with files that are empty": (SMALL_FILES, "disk", "1M", "50M"),
    "fills the disk with a file that has no name": (A_FILE_WITHOUT_A_NAME, "disk", "50M", "200M"),
    "fills the disk where nobody may look": (FILES_THAT_NOBODY_MAY_SEE, "disk", "50M", "200M"),
    "keeps a file in a socket's queue": (IN_A_QUEUE, "disk", "50M", "200M"),
    "keeps a file in a queue that is in another one": (IN_A_QUEUE_IN_A_QUEUE, "disk", "50M", "200M"),
    "keeps a file in a connection that nobody takes": (IN_A_QUEUE_OF_WHO_LISTENS, "disk", "50M", "200M"),
    "keeps files that are mapped and closed": (MAPPED_AND_CLOSED, "disk", "50M", "200M"),
    "keeps a file in a thread's own table": (IN_A_TABLE_OF_A_THREAD, "disk", "50M", "200M"),
    "keeps a file in a process that looks dead": (BY_A_THREAD_WHOSE_PROCESS_LOOKS_DEAD, "disk", "50M", "200M"),
    "keeps a file where it cannot be dumped": (NOT_DUMPABLE, "disk", "50M", "200M"),
    "keeps a file in a program that nobody may read": (NOT_READABLE, "disk", "50M", "200M"),
    "keeps a file in a call that does not return": (BY_A_CALL_THAT_HAS_NOT_RETURNED, "disk", "50M", "200M"),
    "fills /tmp": (FILES_IN_TMP, "tmp", "16M", "64M"),
}
"""What it does: its code, the limit, a value that it goes over and one that it does not."""

TOGETHER: dict[str, tuple[str, str, Any, Any]] = {
    "forks": (FORKS, "processes", 40, 200),
    "forks and does not care": (FORKS_ALL_THE_SAME, "processes", 40, 200),
    "forks what detaches itself": (FORKS_APART, "processes", 40, 200),
    "starts threads": (THREADS, "processes", 40, 200),
    "maps pages to share": (SHARED_PAGES, "memory", "64M", "256M"),
    "is many processes that each stay below": (MANY_TOGETHER, "memory", "64M", "256M"),
    "fills /dev/shm": (FILES_IN_SHARED_MEMORY, "memory", "64M", "256M"),
    "fills files in memory that have no name": (FILES_WITHOUT_A_NAME_IN_MEMORY, "memory", "64M", "256M"),
    "keeps files in memory in a queue": (UNNAMED_IN_MEMORY_IN_A_QUEUE, "memory", "64M", "256M"),
    "keeps lists in a process that looks dead": (LISTS_OF_A_PROCESS_THAT_LOOKS_DEAD, "memory", "64M", "256M"),
    "fills sockets": (IN_SOCKETS, "memory", "64M", "512M"),
    "fills pipes": (IN_PIPES, "memory", "64M", "512M"),
    "reads where there is nothing": (TABLES_OF_PAGES_THAT_ARE_NONE, "memory", "64M", "512M"),
    "makes files in memory without content": (FILES_WITHOUT_CONTENT_IN_MEMORY, "memory", "64M", "512M"),
    "has children that nobody waits for": (CHILDREN_THAT_NOBODY_WAITS_FOR, "cpu_seconds", 1, 10),
    "is several that burn processor time": (SEVERAL_BUSY, "cpu_seconds", 1, 10),
}
"""The same of what no limit of one process holds."""

WAYS = {"in a control group": True, "looked at": False} if ControlGroups.find().version else {"looked at": False}
"""How they are held: with control groups where this user has some, and without."""


def run(code: str, folder: Path, hold: float = 0, limit: int = 100_000, **changed: Any) -> CommandResult:
    """Run some Python in a box that may write to `folder`, its present folder; `changed` are variables."""
    names = f"hold, exit_thread = {hold}, {pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, 'exit')}"
    source = f"import mmap, os, sys, time\n{names}\n{textwrap.dedent(code)}"
    box = Box(boxes.settings(**changed), [Path(sys.prefix), Path(sys.base_prefix)], [folder])
    argv = [sys.executable, "-I", "-S", "-c", source]
    log = CappedLog(folder.parent / "log", limit)
    return run_contained(argv, cwd=folder, env=base_environment("/tmp"), box=box, log=log, time_limit=PATIENCE)


def show(bomb: tuple[str, str, Any, Any], folder: Path, **changed: Any) -> str:
    """Show that a limit ends it, and says so, and that a higher one lets it pass; what is said."""
    code, limit, small, large = bomb
    for name in ("small", "large"):
        (folder / name).mkdir()
    ended = run(code, folder / "small", hold=HOLD, **changed, **{limit: small})
    assert ended.exceeded is not None and ended.exceeded.limit == limit, ended
    assert ended.seconds < PATIENCE or ended.exit not in (0, None), ended
    assert str(ended.exceeded).endswith(f"(sandbox_{limit})")
    said = str(ended.exceeded)
    ended = run(code, folder / "large", **changed, **{limit: large})
    assert ended.exit == 0 and ended.exceeded is None, ended
    return said


@pytest.mark.parametrize("name", BOMBS)
def test_it(name: str, tmp_path: Path, stopped_by: Callable[[str], None]) -> None:
    stopped_by(show(BOMBS[name], tmp_path))


@pytest.mark.parametrize("cgroups", WAYS)
@pytest.mark.parametrize("name", TOGETHER)
def test_it_together(name: str, cgroups: str, tmp_path: Path, stopped_by: Callable[[str], None]) -> None:
    stopped_by(show(TOGETHER[name], tmp_path, cgroups=WAYS[cgroups]))


if is_root():  # nobody else can mount something that is as good as a quota

    def test_it_fills_what_the_kernel_gives_a_job(tmp_path: Path, stopped_by: Callable[[str], None]) -> None:
        """Where the operator says that this is the job's own; else it is the disk of all, and nobody's fault."""
        folder = tmp_path / "job"
        folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=60M", "none", folder], check=True)
        try:
            for quota in (True, False):
                ended = run(FILES, folder, disk_quota=quota)
                assert ended.exit == 1 and "No space left" in ended.tail[-1], ended
                assert str(ended.exceeded) == ("quota of the disk, 60 MiB (sandbox_disk_quota)" if quota else "None")
                for path in folder.iterdir():
                    path.unlink()
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)
        stopped_by("sandbox_disk_quota")


def test_what_is_not_there_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "box").mkdir()
    sparse = "with open('file', 'wb') as file:\n    file.truncate(10 << 30)"
    assert run(sparse, tmp_path / "box", disk="10M", file_size=0).exceeded is None
    reserved = "mmap.mmap(-1, 4 << 30, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ)"
    assert run(reserved, tmp_path / "box", memory="64M").exit == 0


def test_a_limit_that_is_met_and_survived_is_no_failure(tmp_path: Path) -> None:
    survived = """
        try:
            kept = bytearray(300 << 20)
        except MemoryError:
            print("MemoryError: so it takes less")
    """
    (tmp_path / "box").mkdir()
    ended = run(survived, tmp_path / "box", memory="64M")
    assert ended.exit == 0 and ended.exceeded is None


def test_a_flood_of_words_stays_in_its_log(tmp_path: Path) -> None:
    (tmp_path / "box").mkdir()
    ended = run("for n in range(100_000):\n    print(f'line {n}', flush=n % 1000 == 0)", tmp_path / "box", limit=20_000)
    text = (tmp_path / "log").read_text()
    assert ended.exit == 0 and ended.tail[-1] == "line 99999"
    assert len(text) <= 20_000 and "line 0\n" in text and "line 99999\n" in text
    assert " bytes left out here ..." in text


def test_what_others_have_written_to_a_shared_folder_does_not_count(tmp_path: Path) -> None:
    shared, own = tmp_path / "shared", tmp_path / "own"
    for folder in (shared, own):
        folder.mkdir()
    (shared / "before").write_bytes(bytes(30 << 20))
    time.sleep(0.02)  # the clock of a file system is coarse
    disk = Disk([own], [shared], 20 << 20)
    assert not disk.scan(lambda _: UnnamedFiles())
    (shared / "since").write_bytes(bytes(30 << 20))
    assert disk.scan(lambda _: UnnamedFiles())


@pytest.mark.parametrize(
    ("found", "over"),
    [
        (UnnamedFiles(), False),
        (UnnamedFiles(hidden=True), True),
        (UnnamedFiles(written=30 << 20), True),
        (UnnamedFiles(written=10 << 20), False),
        (UnnamedFiles({(1, 1): 15 << 20, (1, 2): 6 << 20}), True),
    ],
)
def test_what_is_missing_on_a_disk_that_others_fill_too(
    found: UnnamedFiles, over: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is held against who has written as much, or has a place to hide it."""
    free = 100 << 20
    monkeypatch.setattr(Disk, "_free_bytes", lambda _: free)
    disk = Disk([tmp_path], [], 20 << 20)
    assert not disk.scan(lambda _: found if found.used else UnnamedFiles(hidden=True)) or found.used
    free += 50 << 20  # somebody else has given some back
    assert not disk.scan(lambda _: UnnamedFiles(hidden=True))
    free -= 30 << 20
    assert disk.scan(lambda _: found) == over


def test_the_time_of_who_is_gone_is_counted_once() -> None:
    first, child = Process(1, 0, 1, 0, 1.0, 0.0, 5), Process(2, 1, 1, 0, 2.0, 0.0, 6)
    ledger = ProcessorTime()
    assert ledger.seconds([first, child]) == 3.0
    assert ledger.seconds([replace(first, cpu=1.5, waited=2.25)]) == 3.75, "its parent has waited"
    assert ledger.seconds([replace(first, cpu=1.5, waited=2.25), replace(child, start_time=7)]) == 5.75
    assert ledger.seconds([replace(first, cpu=1.75, waited=2.25)]) == 6.0, "nobody has waited"
    assert ledger.seconds([]) == 6.0


def test_the_dead_of_a_command_are_not_kept(tmp_path: Path) -> None:
    before = dead()
    assert run(FORKS_APART, tmp_path, kind="none").exit == 0
    assert dead() == before


def dead() -> set[int]:
    """The children of this process that have ended and were not asked how."""
    return {child.pid for child in psutil.Process().children() if child.status() == psutil.STATUS_ZOMBIE}

# SPDX-License-Identifier: Apache-2.0
"""Code that takes more than it is given: each bomb against a small limit of its own, which is raised and lets it pass.

Every bomb is bounded by itself, so that it does no harm where a limit does not hold.
"""

from __future__ import annotations

import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from ansible.module_utils.th_box import Box
from ansible.module_utils.th_capped import CappedLog
from ansible.module_utils.th_contain import Ended, base_environment, run_contained
from ansible.module_utils.th_disk import Disk
from ansible.module_utils.th_hierarchy import Places

from tests.library import boxes

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
    "is several that burn processor time": (SEVERAL_BUSY, "cpu_seconds", 1, 10),
}
"""The same of what no limit of one process holds."""

WAYS = {"in a control group": True, "looked at": False} if Places.find().version else {"looked at": False}
"""How they are held: with control groups where this user has some, and without."""


def run(code: str, folder: Path, hold: float = 0, limit: int = 100_000, **changed: Any) -> Ended:
    """Run some Python in a box that may write to `folder`, its present folder; `changed` are variables."""
    source = f"import mmap, os, sys, time\nhold = {hold}\n{textwrap.dedent(code)}"
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
    assert not disk.scan(lambda _: {})
    (shared / "since").write_bytes(bytes(30 << 20))
    assert disk.scan(lambda _: {})


def test_the_dead_of_a_command_are_not_kept(tmp_path: Path) -> None:
    before = dead()
    assert run(FORKS_APART, tmp_path, kind="none").exit == 0
    assert dead() == before


def dead() -> set[int]:
    """The children of this process that have ended and were not asked how."""
    return {child.pid for child in psutil.Process().children() if child.status() == psutil.STATUS_ZOMBIE}

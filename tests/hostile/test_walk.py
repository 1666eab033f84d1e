# SPDX-License-Identifier: Apache-2.0
"""Changes that try to get out while their migrations are walked: each first works as a program of the same user, then
runs as a migration of a project, where it gets nowhere, is reported, and leaves nothing behind."""

import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyseccomp
import pytest
from ansible.module_utils.th_server import mariadb
from ansible.module_utils.th_walk.walk import Walk
from ansible.module_utils.th_walk.walkers import Limits

from tests.kit import boxes, bytecode, toy

from . import changes
from .attacks import ATTACKS, Attack
from .build_attacks import RUNNER
from .world import STOLEN, TOKEN, World, is_root

GOT = re.compile(rf"(^|\] ){STOLEN}( |$)", re.MULTILINE)
KEY = 0x7458 << 16 | os.getpid() & 0xFFFF
"""Of a segment of shared memory; other runs of these tests have another."""
IPC_RMID = 0  # shmctl(2)


class Walker:
    """Walks changes on one server, each in a job's folder of its own."""

    def __init__(self, world: World, server: mariadb.Server) -> None:
        self.world, self.server = world, server
        self.programs = world.root / "programs"
        shutil.copytree(toy.PROGRAMS, self.programs)
        self.venv = world.root / "venv"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(self.venv)], check=True)
        (packages,) = self.venv.glob("lib/python3*/site-packages")
        (shared,) = (path for path in sys.path if path.endswith("site-packages") and path.startswith(sys.prefix))
        (packages / "shared.pth").write_text(f"{shared}\n")
        self.bytecode = world.root / "bytecode"
        self.bytecode.mkdir(mode=0o700)
        modules = ("alembic.command", "alembic.autogenerate", "sqlalchemy.orm", "sqlalchemy.dialects.mysql", "pymysql")
        bytecode.keep(self.venv, *modules, folder=self.bytecode)
        self.sandbox = boxes.settings(read_only=[sys.prefix])

    def told(self, job_dir: Path) -> dict[str, Any]:
        """What an attack knows."""
        world = self.world
        calls = ("add_key", "bpf", "setsockopt")
        number = {name: pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name) for name in calls}
        return {
            "root": str(world.root), "pid": world.neighbour.pid, "file": world.neighbour_file, "mark": job_dir.name,
            "tcp": world.tcp, "tcp6": world.tcp6, "udp": world.udp, "gearman": world.gearman, "key": KEY,
            "abstract": world.abstract,
            "folder": str(job_dir), "src": str(job_dir / "src"), "venv": str(self.venv),
            "bytecode": str(self.bytecode), "programs": str(self.programs),
            **number,
            "perf": pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, "perf_event_open"),
        }  # fmt: skip

    def spoilt(self) -> list[Path]:
        """What attacks have put to the walking programs, the environment and its bytecode."""
        places = (self.programs, self.venv / "lib", self.bytecode)
        return [path for place in places for path in place.glob("th_attack*")]

    def job(self, name: str) -> Path:
        """The folder of a job that is about to walk."""
        job_dir = self.world.root / "jobs" / f"{name}-{os.getpid()}"  # a name that is in no other run of these tests
        for folder in (job_dir, job_dir / "src", job_dir / "artifacts", job_dir / "results"):
            folder.mkdir(mode=0o700)
        toy.emptied(self.server, job_dir)
        return job_dir

    def walk(self, job_dir: Path, layout: changes.Layout, where: str, body: str) -> list[dict[str, Any]]:
        """Walk a change that does `body`; its events."""
        src = job_dir / "src"
        changes.write(src, layout, where, body, self.told(job_dir))
        database = changes.artifacts(job_dir, src, layout)
        path = job_dir / "artifacts" / "environment.json"
        (built,) = json.loads(path.read_text())["environments"]
        built |= {"venv": str(self.venv), "bytecode": str(self.bytecode)}
        path.write_text(json.dumps({"environments": [built]}))
        limits = Limits(toy.PATIENCE, toy.PATIENCE, 100_000)
        Walk(job_dir, toy.NAME, toy.profile(database), limits, self.programs, self.sandbox).run()
        return toy.events(job_dir, toy.NAME)

    def plainly(self, job_dir: Path, body: str) -> str:
        """Run the same as a program of this user; what it says."""
        told = {**self.told(job_dir), "folder": str(job_dir), "src": str(job_dir / "src")}
        code = f"import json; W = json.loads({json.dumps(json.dumps(told))})\n{textwrap.dedent(body).strip()}"
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=job_dir / "src", capture_output=True, text=True, timeout=300, check=False
        )
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def walker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walker]:
    world = World(tmp_path_factory.mktemp("world"))
    server = toy.start(world.root / "server" / toy.NAME)
    try:
        with world.living():
            yield Walker(world, server)
    finally:
        mariadb.stop(server, 0)


def left_behind(world: World, job_dir: Path) -> list[str]:
    """What a job has left on the machine; it is removed."""
    libc = ctypes.CDLL(None, use_errno=True)
    found = [f"process {process.pid}" for process in world.left(job_dir.name)]
    for folder in ("/tmp", "/dev/shm"):
        path = Path(folder, job_dir.name)
        if path.exists():
            path.unlink()
            found.append(str(path))
    if (number := libc.shmget(KEY, 0, 0)) >= 0:
        libc.shmctl(number, IPC_RMID, None)
        found.append("a segment of shared memory")
    return found


def has_worked(world: World, job_dir: Path, said: str) -> bool:
    """Whether an attack has got what it wanted."""
    return any([GOT.search(said), left_behind(world, job_dir), not world.unharmed()])


def targets(attack: Attack) -> bool:
    """Whether this user could do it at all, so that it can be shown."""
    return attack.shown and (is_root() or not attack.root)


def show(walker: Walker, attack: Attack, job_dir: Path) -> None:
    """Show that it works as a program of this user; nothing of it is left."""
    (job_dir / "artifacts" / "walk-toy.jsonl").touch()
    said = walker.plainly(job_dir, attack.body)
    assert has_worked(walker.world, job_dir, said), f"it does not work at all: {attack.tries}: {said}"
    walker.world.restore()
    for path in walker.spoilt():
        path.unlink()


def hold(walker: Walker, job_dir: Path, layout: changes.Layout, by: str, body: str) -> str:
    """Walk a change that does `body`, and see that it gets nowhere and is reported; what it has said."""
    before = walker.world.digest(job_dir)
    events = walker.walk(job_dir, layout, by, body)
    said = (job_dir / "results" / "toy.log").read_text()
    assert not has_worked(walker.world, job_dir, said), said
    assert TOKEN not in said
    assert walker.world.digest(job_dir) == before
    # it is reported: the walk has come to an end, with a reason or at the change's version
    assert events[-1]["event"] in ("final", "error"), events
    assert not (job_dir / "results" / "result.json").exists()
    assert not walker.spoilt()
    return said


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.tries)
def test_a_change_tries(walker: Walker, attack: Attack, stopped_by: Callable[[str], None]) -> None:
    number = ATTACKS.index(attack)
    if targets(attack):
        job_dir = walker.job(f"open-{number}")
        show(walker, attack, job_dir)
        shutil.rmtree(job_dir)
    job_dir = walker.job(f"boxed-{number}")
    hold(walker, job_dir, changes.LAYOUTS[number % len(changes.LAYOUTS)], attack.by, attack.body)
    shutil.rmtree(job_dir)
    stopped_by(attack.stopped)


TOGETHER = [attack for attack in ATTACKS if attack.tries != "to kill everything that it can"]
"""What can be tried by one change: that one ends the walk."""

if not is_root():

    @pytest.mark.parametrize("by", [changes.MIGRATION, changes.ENV_PY, changes.PACKAGE])
    def test_a_change_that_tries_everything(walker: Walker, by: str, stopped_by: Callable[[str], None]) -> None:
        """For who cannot wait for a walk of each: all that is tried from one place, each in a process of its own."""
        attacks = [attack for attack in TOGETHER if attack.by == by]
        for attack in filter(targets, attacks):
            job_dir = walker.job(f"open-{ATTACKS.index(attack)}")
            show(walker, attack, job_dir)
            shutil.rmtree(job_dir)
        job_dir = walker.job(f"boxed-{by}")
        bodies = [textwrap.dedent(attack.body).strip() for attack in attacks]
        place = job_dir / "src" / "said"
        hold(walker, job_dir, changes.FLAT, by, f"{RUNNER}\nrun({str(place)!r}, {bodies!r}, W)")
        for number, attack in enumerate(attacks):
            said = (place / str(number)).read_text()
            assert not GOT.search(said) and TOKEN not in said, f"{attack.tries}: {said}"
        shutil.rmtree(job_dir)
        stopped_by(", ".join(sorted({attack.stopped for attack in attacks})))


def test_the_next_job_is_unharmed(walker: Walker) -> None:
    job_dir = walker.job("next")
    events = walker.walk(job_dir, changes.FLAT, changes.MIGRATION, "op.execute('UPDATE t SET name = NULL')")
    assert events[-1]["event"] == "final", events
    assert events[-1]["version"] == "b2"

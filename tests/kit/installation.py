# SPDX-License-Identifier: Apache-2.0
"""A whole installation on loopback: a git server, datasets, a profile, a configuration, and th-worker itself."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.kit.git_server import Repository, daemon
from tests.kit.service import Gearmand, Packet, Zuul
from tests.kit.waiting import free_port, wait_until

from . import shared, toy

PROJECT = "org/toy"
JOB = "gate-toy"
FINAL = ("complete", "fail", "exception")
PATIENCE = 1200.0
"""Seconds that a whole job may take, on the slowest machine."""

QUICK = 0.35
"""Seconds that `slowness` measures where nothing else runs."""

TABLE = "op.create_table('t', sa.Column('id', sa.Integer, primary_key=True), sa.Column('name', sa.String(50)))"
INDEX = "op.create_index('ix_name', 't', ['name'])"
DUMP = """-- MariaDB dump 10.19  Distrib 10.11.6-MariaDB, for debian-linux-gnu (x86_64)
CREATE TABLE alembic_version (version_num varchar(32) NOT NULL PRIMARY KEY);
INSERT INTO alembic_version VALUES ('a1');
CREATE TABLE t (id int PRIMARY KEY AUTO_INCREMENT, name varchar(50));
INSERT INTO t (name) SELECT CONCAT('name', seq % 500) FROM seq_1_to_1000;
-- Dump completed on 2026-01-01  0:00:00
"""
TIP = DUMP.replace("('a1')", "('c3')").replace("name varchar(50))", "name varchar(50), note varchar(9))")
"""A dump of a database at the branch's tip: no stage before the change is walked."""
PROFILE: dict[str, Any] = {
    "install": {
        "requirements": ["requirements.txt"],
        "packages": ["alembic", "sqlalchemy", "pymysql"],
        "project": "none",
    },
    "releases": ["stable/1"],
    "migrations": {"tool": "alembic", "config": "alembic.ini", "script_location": "migrations"},
}
DATASET: dict[str, Any] = {
    "project": PROJECT,
    "type": "mysql",
    "db_user": "toy",
    "db_pass": "secret-of-the-dataset",
    "database": "toy",
    "seed_data": "seed.sql",
    "maximum_migration_times": {"default": 60},
    "XInnodb_rows_changed": {"default": 500},
    "Innodb_rows_read": {"default": 100_000, "b2->c3": 5},
}


def script(revision: str, down: Any, body: str = "pass", downgrade: str = "") -> dict[str, str]:
    """A migration as a file of the repository."""
    return {f"migrations/versions/{revision}_.py": toy.migration(revision, down, body, downgrade)}


class Answer:
    """What Zuul saw of a build."""

    def __init__(self, packets: list[Packet]) -> None:
        self.packets = packets
        self.finals = [packet.kind for packet in packets if packet.kind in FINAL]
        self.data = [packet.data for packet in packets if packet.kind == "data"]
        self.result = self.data[-1].get("result")
        self.url = str(self.data[-1].get("url", ""))

    @property
    def folder(self) -> Path:
        """The published folder."""
        return Path(self.url.removeprefix("file://"))

    @property
    def document(self) -> dict[str, Any]:
        """The published result.json; a build that was canceled is answered before it is there."""
        wait_until((self.folder / "result.json").is_file, PATIENCE)
        document: dict[str, Any] = json.loads((self.folder / "result.json").read_text())
        return document

    @property
    def codes(self) -> list[str]:
        """The codes of the published messages."""
        return [message["code"] for message in self.document["messages"]]

    def everything(self) -> str:
        """The text of all published files."""
        return "".join(path.read_text(errors="replace") for path in self.folder.rglob("*") if path.is_file())

    def said(self) -> str:
        """Everything that the messages say."""
        return json.dumps(self.document["messages"])


def project(folder: Path) -> Repository:
    """The project's repository, made in a folder."""
    repository = Repository(folder)
    base = {
        "alembic.ini": "[alembic]\nscript_location = migrations\nsqlalchemy.url =\n",
        "migrations/env.py": toy.ENV_PY,
        "requirements.txt": "",
    }
    repository.commit({**base, **script("a1", None, TABLE)}, "The beginning")
    repository.commit(script("b2", "a1", "op.add_column('t', sa.Column('note', sa.String(9)))"), "Add notes")
    repository.git("branch", "stable/1")
    no_way_back = "raise NotImplementedError('no way back')"
    repository.commit(script("c3", "b2", INDEX, no_way_back), "Index the names")
    return repository


class World:
    """The installation. `root` holds all of it but `packages`, uv's cache, and the environments in `kept`."""

    def __init__(self, root: Path, url: str, packages: Path, kept: Path | None = None) -> None:
        self.root, self.url, self.packages, self._number = root, url, packages, 0
        self.environments = (kept or root) / "environments"
        shared.share_empty_data(root / "snapshots")
        self.repository = project(root / "served" / PROJECT) if kept is None else self._copied(kept / "project")
        self.profile(PROFILE)
        self.dataset("first")
        self.config_path = root / "config.yaml"
        self.port = free_port()
        self.configure()

    def _copied(self, made: Path) -> Repository:
        """A copy of the one repository of all processes of the tests: its commits, and so their environments, are the
        same."""
        with open(made.with_name("project.lock"), "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not made.exists():
                fresh = made.with_name("project.new")
                project(fresh)
                fresh.rename(made)
        folder = self.root / "served" / PROJECT
        shutil.copytree(made, folder, symlinks=True)
        return Repository(folder)

    def configure(self, **keys: Any) -> Path:
        """Write the configuration, with further keys."""
        root = self.root
        jobs = [
            {"name": JOB, "plugin": "gate_real_db_upgrade", "datasets_dir": str(root / "datasets")},
            {"name": "gate-three", "plugin": "gate_real_db_upgrade", "datasets_dir": str(root / "three")},
            {"name": "gate-ways", "plugin": "gate_real_db_upgrade", "datasets_dir": str(root / "ways")},
            {"name": "gate-dumps", "plugin": "gate_real_db_upgrade", "datasets_dir": str(root / "dumps")},
            {"name": "gate-none", "plugin": "gate_real_db_upgrade", "datasets_dir": str(root / "no-datasets")},
        ]
        for folder in ("three", "ways", "dumps", "no-datasets"):
            (root / folder).mkdir(exist_ok=True)
        document = {
            "zuul_server": {"gearman_host": "embedded", "gearman_port": self.port},
            "debug_log": str(root / "debug.log"),
            "jobs_working_dir": str(root / "jobs"),
            "projects_dir": str(root / "projects"),
            "pip_download_cache": str(self.packages),
            "environments_dir": str(self.environments),
            "jobs": jobs,
            "slots": 1,
            "sensors": {"load": 0},  # tests run on busy machines
            "status_socket": str(root / f"{uuid.uuid4().hex}.sock"),  # two workers may live at the same time
            "publish_logs": {
                "type": "local", "path": str(root / "logs"), "prepend_url": (root / "logs").as_uri(),
            },
        }  # fmt: skip
        self.config_path.write_text(yaml.safe_dump({**document, **keys}))
        return self.config_path

    def profile(self, document: Mapping[str, Any], project: str = PROJECT) -> None:
        """Write a project's profile."""
        path = self.root / "projects" / f"{project}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(dict(document)))

    def dataset(self, name: str, folder: str = "datasets", dump: bytes | None = DUMP.encode(), **keys: Any) -> None:
        """Write a dataset; `dump` None leaves the dump out."""
        home = self.root / folder / name
        home.mkdir(parents=True, exist_ok=True)
        (home / "config.json").write_text(json.dumps({**DATASET, **keys}))
        if dump is not None:
            (home / "seed.sql").write_bytes(dump)

    def change(self, files: Mapping[str, str | None], subject: str = "A change") -> dict[str, str]:
        """Make a change on master; its job arguments, as Zuul has them."""
        self._number += 1
        ref = f"refs/zuul/master/Z{self._number:032x}"
        commit = self.repository.change(ref, files, subject)
        return self.arguments(ZUUL_REF=ref, ZUUL_COMMIT=commit, ZUUL_CHANGE=str(self._number))

    def migration(self, body: str) -> dict[str, str]:
        """Make a change that adds one migration after master's."""
        return self.change(script("d4", "c3", body))

    def arguments(self, **more: str) -> dict[str, str]:
        """Job arguments of a change."""
        number = more.get("ZUUL_CHANGE", "7")
        return {
            "ZUUL_PROJECT": PROJECT,
            "ZUUL_PIPELINE": "check",
            "ZUUL_URL": self.url,
            "ZUUL_VOTING": "1",
            "ZUUL_BRANCH": "master",
            "ZUUL_PATCHSET": "1",
            "BASE_LOG_PATH": f"{number[-2:]}/{number}/1",
            **more,
        }

    def ansible(self, **limits: Any) -> str:
        """A copy of the playbooks for editing, with limits of its own; its folder."""
        folder = self.root / f"ansible-{'-'.join(limits)}"
        done = self.th("init", str(folder))
        assert done.returncode == 0, done.stderr
        (folder / "inventory" / "group_vars" / "all" / "limits.yaml").write_text(yaml.safe_dump(limits))
        return str(folder)

    def leftovers(self) -> list[str]:
        """What is left of jobs."""
        return leftovers(self.root / "jobs")

    def left_soon(self) -> list[str]:
        """What is left of jobs, after a pause: a test that waits shall not look at all processes all the time."""
        time.sleep(0.1)
        return self.leftovers()

    def th(self, *words: str, patience: float = PATIENCE, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run `th` to its end."""
        given = {"capture_output": True, "text": True, "timeout": patience, "stdin": subprocess.DEVNULL}
        return subprocess.run([program("th"), *words], **given, **options)


def leftovers(jobs: Path) -> list[str]:
    """What is left of the jobs below a folder: folders, processes, mounts."""
    left = [str(path) for path in jobs.iterdir()] if jobs.exists() else []
    mark = str(jobs)
    for process in psutil.process_iter():
        try:
            if process.environ().get("TH_JOB_DIR", "").startswith(mark) and process.status() != "zombie":
                left.append(f"{process.pid} {' '.join(process.cmdline())}")
        except psutil.Error:
            pass
    left += [line for line in Path("/proc/self/mounts").read_text().splitlines() if mark in line]
    return left


def slowness() -> float:
    """How many times slower than a quiet machine this one is at the moment, by what the start of a program takes."""
    begun = time.monotonic()
    subprocess.run([program("th"), "--help"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    return max(1.0, (time.monotonic() - begun) / QUICK)


def program(name: str) -> str:
    """A program of the environment that the tests run in."""
    return str(Path(sys.executable).parent / name)


class Worker:
    """th-worker as a process, and a Zuul for it."""

    def __init__(self, world: World, port: int) -> None:
        self.world = world
        with open(world.root / "worker.log", "ab") as log:
            self.process = subprocess.Popen(
                [program("th-worker"), "-c", str(world.config_path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.zuul = wait_until(lambda: self._connected(port))

    def _connected(self, port: int) -> Zuul | None:
        assert self.process.poll() is None, (self.world.root / "worker.log").read_text()
        try:
            return Zuul(port)
        except Exception:
            return None

    def launch(self, arguments: Mapping[str, str], job: str = JOB) -> str:
        """Hand in a build; its unique name."""
        unique = uuid.uuid4().hex
        self.zuul.launch(f"build:{job}", json.dumps({**arguments, "ZUUL_UUID": unique}).encode(), unique)
        return unique

    def packets(self, unique: str) -> list[Packet]:
        """What was seen of a build so far."""
        return self.zuul.packets[unique]

    def answer(self, unique: str, patience: float = PATIENCE, published: bool = True) -> Answer:
        """Wait for the end of a build, and see that nothing follows and, once it is `published`, nothing is left."""
        wait_until(lambda: [packet for packet in self.packets(unique) if packet.kind in FINAL], patience)
        time.sleep(0.2)
        answer = Answer(list(self.packets(unique)))
        assert len(answer.finals) == 1, answer.finals
        assert answer.packets[-1].kind in FINAL
        if published:
            # one that was canceled is answered first, and then published
            wait_until(lambda: not self.world.left_soon())
        return answer

    def run(self, arguments: Mapping[str, str], job: str = JOB) -> Answer:
        """Hand in a build and wait for its end."""
        return self.answer(self.launch(arguments, job))

    def wait_for(self, unique: str, words: str, patience: float = PATIENCE) -> None:
        """Wait until a build's progress says something."""
        wait_until(
            lambda: [packet for packet in self.packets(unique) if words in str(packet.data.get("progress", ""))],
            patience,
        )

    def stop(self) -> None:
        """End the worker."""
        self.zuul.shutdown()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(PATIENCE)
        finally:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)


@contextmanager
def made(root: Path, packages: Path, kept: Path | None = None) -> Iterator[World]:
    """A world with its git server; with others it shares what is in `kept`."""
    (root / "served").mkdir(parents=True)
    with daemon(root / "served") as url:
        yield World(root, url, packages, kept)


@contextmanager
def working(world: World, gearmand: bool = False, **keys: Any) -> Iterator[Worker]:
    """A worker with its embedded server, or with the C server."""
    world.port = free_port()
    server = Gearmand(world.port) if gearmand else None
    if server:
        server.start()
        keys["zuul_server"] = {"gearman_host": "127.0.0.1", "gearman_port": world.port}
    world.configure(**keys)
    worker = Worker(world, world.port)
    try:
        yield worker
    finally:
        worker.stop()
        if server:
            server.kill()

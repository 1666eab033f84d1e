# SPDX-License-Identifier: Apache-2.0
"""What the load is put on: a small project with its dataset, short playbooks, a gearmand, and workers as processes."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import yaml

from demo.services import LOOPBACK, git_server, program
from demo.tools import DemoError, free_port, gearmand, listens, run
from worker.errors import TurboHipsterError
from worker.observe import status_socket

PROJECT = "load/shop"
GATE, PASSING, FAILING = "gate", "passing", "failing"
"""The jobs: a real one, and two that take a second."""
PATIENCE = 600.0

_MIGRATE = """\
mariadb --defaults-file="$1" "$2" < migrations/$(printf %03d "$3")_step.py &&
mariadb --defaults-file="$1" "$2" -e "UPDATE migrate_version SET version = $3"
"""
_PROFILE = {
    "install": {"requirements": [], "packages": [], "project": "none"},
    "releases": [],
    "migrations": {
        "tool": "command",
        "versions": "numbered",
        "version_locations": ["migrations"],
        "command": ["sh", "migrate.sh", "{files}/client.cnf", "{database}", "{version}"],
        "files": [
            {"path": "client.cnf", "content": "[client]\nuser={user}\npassword={password}\nsocket={socket}\n"},
        ],
    },
}
_DUMP = """\
-- MariaDB dump 10.19  Distrib 10.11.6-MariaDB, for debian-linux-gnu (x86_64)
CREATE TABLE migrate_version (repository_id varchar(250) PRIMARY KEY, repository_path text, version int);
INSERT INTO migrate_version VALUES ('shop', 'migrations', 1);
CREATE TABLE t (id int PRIMARY KEY AUTO_INCREMENT, name varchar(50));
INSERT INTO t (name) SELECT CONCAT('name', seq % 500) FROM seq_1_to_1000;
-- Dump completed on 2026-01-01  0:00:00
"""
GOOD, BAD = "ALTER TABLE t ADD COLUMN note varchar(9);\n", "ALTER TABLE t ADD UNIQUE (name);\n"
_SHORT = """\
- name: Take a second, and leave a process behind
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Start what would stay
      ansible.builtin.shell: |
        setsid sleep 600 >/dev/null 2>&1 </dev/null &
        sleep 1
        {{ th_plugin.last }}
      changed_when: false
"""


@dataclass(frozen=True)
class Place:
    """A folder with all that the load needs but the servers. `changes` are the refs of the gate's two changes."""

    root: Path
    git_url: str
    gearman_port: int
    changes: dict[str, tuple[str, str]]

    @property
    def jobs(self) -> Path:
        """The folder of the jobs' folders, which all workers share."""
        return self.root / "jobs"

    def configure(self, number: int, slots: int) -> Path:
        """Write the configuration of one worker."""
        path = self.root / f"worker-{number}.yaml"
        shared = {name: str(self.root / name) for name in ("snapshots_dir", "environments_dir", "git_working_dir")}
        document = {
            **shared,
            "zuul_server": {"gearman_host": LOOPBACK, "gearman_port": self.gearman_port},
            "debug_log": str(self.root / f"worker-{number}.log"),
            "status_socket": str(self.root / f"{number}.sock"),
            "slots": slots,
            "sensors": {"load": 0},  # more than the machine can do is what it is here for
            "jobs_working_dir": str(self.jobs),
            "pip_download_cache": str(self.root / "packages"),
            "projects_dir": str(self.root / "projects"),
            "ansible_dir": str(self.root / "ansible"),
            "jobs": [
                {"name": GATE, "plugin": "gate_real_db_upgrade", "datasets_dir": str(self.root / "datasets")},
                {"name": PASSING, "plugin": "short", "last": "true"},
                {"name": FAILING, "plugin": "short", "last": "exit 1"},
            ],
            "publish_logs": {"path": str(self.root / "logs")},
        }
        path.write_text(yaml.safe_dump(document))
        return path

    def left(self) -> dict[str, int]:
        """How many processes, mounts, folders and temporary files of jobs there are."""
        mounts = sum(str(self.jobs) in line for line in Path("/proc/self/mounts").read_text().splitlines())
        folders = len(list(self.jobs.iterdir())) if self.jobs.is_dir() else 0
        temporary = len(list((self.root / "tmp").iterdir()))
        processes = len(list(self._processes()))
        return {"processes": processes, "mounts": mounts, "folders": folders, "temporary files": temporary}

    def hit(self, chance: random.Random) -> bool:
        """Kill an ansible-playbook or a database server of a job; whether there was one."""
        found = [process for process in self._processes() if _is_target(process)]
        with contextlib.suppress(psutil.Error, IndexError):
            chance.choice(found).kill()
            return True
        return False

    def _processes(self) -> Iterator[psutil.Process]:
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                ours = process.environ().get("TH_JOB_DIR", "").startswith(str(self.jobs))
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    yield process


@contextlib.contextmanager
def place(root: Path) -> Iterator[Place]:
    """Make all of it in an empty folder, and serve the project."""
    changes = _repository(root / "served" / PROJECT)
    (root / "tmp").mkdir()
    (root / "projects" / PROJECT).parent.mkdir(parents=True)
    (root / "projects" / f"{PROJECT}.yaml").write_text(yaml.safe_dump(_PROFILE))
    dataset = root / "datasets" / "shop"
    dataset.mkdir(parents=True)
    (dataset / "seed.sql").write_text(_DUMP)
    keys = {"project": PROJECT, "type": "mysql", "db_user": "shop", "db_pass": "shop", "database": "shop"}
    (dataset / "config.json").write_text(json.dumps({**keys, "seed_data": "seed.sql"}))
    run([program("th"), "init", root / "ansible"])
    short = root / "ansible" / "playbooks" / "short"
    short.mkdir()
    (short / "run.yaml").write_text(_SHORT)
    with git_server(root / "served") as url:
        yield Place(root, url, free_port(), changes)


def _repository(folder: Path) -> dict[str, tuple[str, str]]:
    """The project, at its second migration, and a good and a bad third one: ref and commit of each."""
    folder.mkdir(parents=True)
    person = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org"}
    person |= {"GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.org"}

    def git(*words: str) -> str:
        return run(["git", *words], cwd=folder, environment=person).decode().strip()

    def commit(files: dict[str, str]) -> str:
        for name, text in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)
        git("add", "-A")
        git("commit", "--quiet", "-m", "A step")
        return git("rev-parse", "HEAD")

    git("init", "--quiet", "--initial-branch", "master")
    commit({"migrate.sh": _MIGRATE, "migrations/001_step.py": "SELECT 1;\n", "migrations/002_step.py": GOOD})
    changes = {}
    for number, (name, text) in enumerate({"good": GOOD.replace("note", "more"), "bad": BAD}.items(), 1):
        git("checkout", "--quiet", "--detach", "master")
        ref = f"refs/zuul/master/Z{number:032x}"
        changes[name] = ref, commit({"migrations/003_step.py": text})
        git("update-ref", ref, "HEAD")
    git("checkout", "--quiet", "master")
    return changes


class Gearmand:
    """The C server, with a queue on the disk."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._process: subprocess.Popen[bytes] | None = None
        self.restarts = 0

    def start(self) -> None:
        """Start it, and wait until it listens."""
        found = gearmand()
        queue = ["--queue-type", "libsqlite3", "--libsqlite3-db", str(self._place.root / "queue.sqlite")]
        port = self._place.gearman_port
        with open(self._place.root / "gearmand.log", "ab") as log:
            self._process = subprocess.Popen(
                [found, "--listen", LOOPBACK, "--port", str(port), "--log-file", "stderr", *queue],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        _wait(lambda: listens(port), f"gearmand does not listen on port {port}")

    def restart(self) -> None:
        """Kill it as a power failure would, and start it again a second later."""
        self.kill()
        time.sleep(1)
        self.start()
        self.restarts += 1

    def kill(self) -> None:
        """End it at once."""
        if self._process:
            self._process.kill()
            self._process.wait()


class Worker:
    """One worker, which is a new process each time that it was killed."""

    def __init__(self, place: Place, number: int, slots: int) -> None:
        self.number = number
        self._config = place.configure(number, slots)
        self._socket = place.root / f"{number}.sock"
        self._log = place.root / f"worker-{number}.err"
        self._temporary = place.root / "tmp"
        self._process: subprocess.Popen[bytes]
        self.kills = 0

    def start(self) -> None:
        """Start the process; does not wait."""
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(
                [program("th-worker"), "-c", self._config],
                env={**os.environ, "TMPDIR": str(self._temporary)},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def kill(self) -> None:
        """Kill the process with SIGKILL, its jobs running, and start it again."""
        self._process.kill()
        self._process.wait()
        self.kills += 1
        self.start()

    def stop(self) -> int:
        """Ask it to end; its exit status."""
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            return self._process.wait()

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def look(self) -> tuple[int, int]:
        """How many jobs its process has ended, and its resident memory in bytes; zeros while it does not answer."""
        try:
            document = json.loads(status_socket.ask(self._socket))
            memory: int = psutil.Process(self._process.pid).memory_info().rss
        except (TurboHipsterError, OSError, ValueError, psutil.Error):
            if self._process.poll() is not None:
                raise DemoError(f"worker {self.number} has ended by itself; see {self._log}") from None
            return 0, 0
        return sum(total["count"] for total in document["totals"]), memory

    def wait(self) -> None:
        """Wait until it takes jobs."""
        _wait(lambda: self.look()[1] > 0, f"worker {self.number} does not answer; see {self._log}")


@contextlib.contextmanager
def running(workers: Sequence[Worker], gearmand: Gearmand) -> Iterator[None]:
    """Run all of it; none of the processes outlives this."""
    gearmand.start()
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.wait()
        yield
    finally:
        for worker in workers:
            with contextlib.suppress(AttributeError, ProcessLookupError):
                os.killpg(worker.pid, signal.SIGKILL)
        gearmand.kill()


def _is_target(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        words = process.cmdline()
        return process.name() == "mariadbd" or any(Path(word).name == "ansible-playbook" for word in words[:2])
    return False


def _wait(condition: Callable[[], bool], trouble: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise DemoError(trouble)
        time.sleep(0.05)

# SPDX-License-Identifier: Apache-2.0
"""One job's folder: what is in it, whose it is, and how nothing of it is left behind.

    <jobs_working_dir>/<id>/
      .owner       locked by the worker while it lives
      job.yaml     what the playbooks are given
      src/ venv/ home/ db/<dataset>/
      tmp/         temporary files of the playbooks
      artifacts/   what the playbooks found out
      results/     what gets published
      runner/      ansible-runner's own folders, one an invocation

Every process that a job starts has `MARKER` with the folder's path in its environment; that is how the processes
of a job are found, also those of a worker that has died. What a job has to put elsewhere, a socket whose path would be
too long and results on their way to be published, has `mark_of` the folder in its name.
"""

from __future__ import annotations

import fcntl
import glob
import hashlib
import json
import logging
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, Self

import psutil

from worker.errors import ConfigError, InfrastructureError
from worker.inputs import documents

log = logging.getLogger(__name__)

MARKER = "TH_JOB_DIR"
OWNER = ".owner"
FIRST_TRY = "first-try"
DETAIL_LIMIT = 4000  # characters; more is not read
_SHOWN = 100  # as th_place shortens the name of a place
_LARGE = ("db", "src", "venv", "home")
TERM_PATIENCE = 3.0
KILL_PATIENCE = 4.0


class JobDir:
    """The folder of one job, made 0700. A context manager that ends the job's processes and removes it.

    `keep` leaves the folder (not the processes); it may be set until the context is left.
    """

    def __init__(self, jobs_working_dir: Path, job_id: str, keep: bool = False) -> None:
        self.keep = keep
        self._invocations = 0
        try:
            self.root = _create(jobs_working_dir, job_id)
            self._owner = _lock(self.root)
            for folder in (self.artifacts, self.results, self.temporary, self.root / "runner"):
                folder.mkdir(mode=0o700)
        except OSError as error:
            raise InfrastructureError("job_folder", f"{jobs_working_dir}: {error.strerror}") from error

    @property
    def job_yaml(self) -> Path:
        """What the playbooks are given (0600)."""
        return self.root / "job.yaml"

    @property
    def artifacts(self) -> Path:
        """What the playbooks have found out."""
        return self.root / "artifacts"

    @property
    def results(self) -> Path:
        """What gets published."""
        return self.root / "results"

    @property
    def temporary(self) -> Path:
        """Where temporary files of the playbooks go."""
        return self.root / "tmp"

    def runner(self) -> Path:
        """A fresh folder for one invocation of ansible-runner: in a used one, the first call's settings win."""
        self._invocations += 1
        folder = self.root / "runner" / str(self._invocations)
        folder.mkdir(mode=0o700)
        return folder

    def write_job_yaml(self, variables: dict[str, Any]) -> None:
        """Write what the playbooks are given."""
        with open(os.open(self.job_yaml, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
            stream.write(documents.ansible_variables(variables))

    def report(self, code: str, detail: str, dataset: str = "") -> None:
        """Put what only the worker knows to the artifacts (docs/artifacts.md, errors.jsonl)."""
        event = {"event": "error", "role": "worker", "code": code, "detail": detail[:DETAIL_LIMIT], "dataset": dataset}
        with open(self.artifacts / "errors.jsonl", "a", encoding="utf-8") as stream:
            stream.write(json.dumps(event, ensure_ascii=False) + "\n")

    def make_room(self) -> bool:
        """Remove what is large and neither published nor kept, when the disk is full; returns whether it was."""
        if self.keep:
            return False
        for name in _LARGE:
            _remove_tree(self.root / name)
        return True

    def end_processes(self) -> None:
        """End every process of the job: SIGTERM, and SIGKILL a little later."""
        _end_processes(self.root)

    def begin_again(self) -> Path:
        """Make the folder what it was at the beginning, for a second try; returns where the first one's results are.

        They and its artifacts are kept in `results`, to be published. Raises InfrastructureError.
        """
        self.end_processes()
        first = self.root / FIRST_TRY
        try:
            self.results.rename(first)
            self.artifacts.rename(first / "artifacts")
            _remove_elsewhere(self.root)
            for path in self.root.iterdir():
                if path.name not in (OWNER, "runner", FIRST_TRY):
                    _remove_tree(path)
            for folder in (self.artifacts, self.results, self.temporary):
                folder.mkdir(mode=0o700)
            return first.rename(self.results / FIRST_TRY)
        except OSError as error:
            raise InfrastructureError("job_folder", f"{self.root}: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # what goes wrong here is logged; it never changes a verdict
        try:
            self.end_processes()
            if self.keep:
                (self.root / OWNER).unlink()  # what is kept is no leftover
                log.info("the job's folder is kept: %s", self.root)
            else:
                _remove(self.root)
        except Exception:
            log.exception("%s: the job's processes or folder could not be removed", self.root)
        finally:
            os.close(self._owner)


def remove_leftovers(jobs_working_dir: Path) -> list[str]:
    """Remove the folders, and end the processes, of jobs whose worker is no longer there; returns their names."""
    removed = []
    for owner in sorted(jobs_working_dir.glob(f"*/{OWNER}")):
        try:
            handle = os.open(owner, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # its own worker, or another that starts, was faster
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # what was removed while we waited may be another job's by now
            if os.path.samestat(os.fstat(handle), owner.stat()):
                _end_processes(owner.parent)
                _remove(owner.parent)
                removed.append(owner.parent.name)
        except (BlockingIOError, FileNotFoundError):
            pass  # its worker lives, or has removed it
        except Exception:
            log.exception("%s: what a dead worker has left could not be removed", owner.parent)
        finally:
            os.close(handle)
    return removed


def _create(jobs_working_dir: Path, job_id: str) -> Path:
    jobs_working_dir.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        # the same build can be handed out twice, when its server has lost sight of the first
        root = jobs_working_dir / (job_id if number == 1 else f"{job_id}.{number}")
        try:
            root.mkdir(mode=0o700)
            return root
        except FileExistsError:
            number += 1


def _lock(root: Path) -> int:
    # locked before it has its name, so that no other worker's `remove_leftovers` can come between
    unnamed = root / f"{OWNER}.new"
    handle = os.open(unnamed, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(handle, fcntl.LOCK_EX)
    os.write(handle, f"{os.getpid()}\n".encode())
    unnamed.rename(root / OWNER)
    return handle


def _end_processes(root: Path) -> None:
    for number, patience in ((signal.SIGTERM, TERM_PATIENCE), (signal.SIGKILL, KILL_PATIENCE)):
        deadline = time.monotonic() + patience
        signaled: set[int] = set()
        while living := _processes(root):
            for process in living:
                if number == signal.SIGKILL or process.pid not in signaled:
                    signaled.add(process.pid)
                    try:
                        process.send_signal(number)
                    except psutil.NoSuchProcess:
                        pass
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        if not living:
            return
    log.error("processes of %s cannot be ended: %s", root, [process.pid for process in living])


def _processes(root: Path) -> list[psutil.Process]:
    marked: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(MARKER) == str(root):
                marked[process.pid] = process
                marked.update({child.pid: child for child in process.children(recursive=True)})
        except psutil.Error:
            pass  # gone, or not ours to look at
    return [process for process in marked.values() if _alive(process)]


def _alive(process: psutil.Process) -> bool:
    try:
        return process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False


def mark_of(root: Path) -> str:
    """What the names of a job's files outside of its folder have in them; the roles' `th_core.mark` is the same."""
    return hashlib.sha256(os.fsencode(root)).hexdigest()[:16]


def _remove(root: Path) -> None:
    _remove_elsewhere(root)
    _remove_tree(root)


def _remove_tree(root: Path) -> None:
    # by rm and not by shutil, which recurses: a change can make its folders as deep as it likes
    remove, repair = ["rm", "-rf", "--", str(root)], ["chmod", "-R", "u+rwX", "--", str(root)]
    for command in (remove, repair, remove):
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if not os.path.lexists(root):
            return
    log.error("%s cannot be removed: %s", root, done.stderr.strip()[:1000])


def _remove_elsewhere(root: Path) -> None:
    """Remove what a job has outside of its folder."""
    mark = mark_of(root)
    found = list(Path("/tmp").glob(f"th-{mark}-*"))  # noqa: S108 - the name is ours, and nobody can guess the rest
    try:
        variables = documents.read_mapping(root / "job.yaml")
        place = Path(variables["th_publish_path"] or root, variables["th_job"]["log_path"])
        found += place.parent.glob(f".{glob.escape(place.name[:_SHOWN])}.publishing-{mark}-*")
    except (ConfigError, KeyError, TypeError):
        pass  # it never came so far
    for path in found:
        if path.lstat().st_uid == os.geteuid():
            _remove_tree(path)

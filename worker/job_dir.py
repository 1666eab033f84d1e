# SPDX-License-Identifier: Apache-2.0
"""One job's folder: its content, its owner, and its complete removal.

    <jobs_working_dir>/<id>/
      .owner       locked by the worker while it lives
      job.yaml     the playbooks' variables
      src/ venv/ home/ db/<dataset>/
      tmp/         temporary files of the playbooks
      artifacts/   the results of the steps, for later steps and the verdict
      results/     the files to publish
      runner/      ansible-runner's own folders, one per invocation

Every process that a job starts has `MARKER` with the folder's path in its environment. This is how the processes of a
job are found, even if its worker has died. Files that a job has to put elsewhere, such as a socket whose path would be
too long, or results while they are being published, have `mark_of` the folder in their names.
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
DETAIL_LIMIT = 4000  # characters; readers ignore the rest
_SHOWN = 100  # characters; th_place cuts names to the same length
_LARGE = ("db", "src", "venv", "home")
TERM_PATIENCE = 3.0
KILL_PATIENCE = 4.0


class JobDir:
    """The folder of one job (0700). A context manager that ends the job's processes and removes the folder.

    With `keep`, the folder (not the processes) is left; it may be set until the context is left.
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
        """The file with the playbooks' variables (0600)."""
        return self.root / "job.yaml"

    @property
    def artifacts(self) -> Path:
        """The folder for artifacts."""
        return self.root / "artifacts"

    @property
    def results(self) -> Path:
        """The folder with the files to publish."""
        return self.root / "results"

    @property
    def temporary(self) -> Path:
        """The folder for the playbooks' temporary files."""
        return self.root / "tmp"

    def runner(self) -> Path:
        """Create a folder for one invocation of ansible-runner; in a used one, the first settings would still apply."""
        self._invocations += 1
        folder = self.root / "runner" / str(self._invocations)
        folder.mkdir(mode=0o700)
        return folder

    def write_job_yaml(self, variables: dict[str, Any]) -> None:
        """Write the playbooks' variables."""
        with open(os.open(self.job_yaml, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
            stream.write(documents.ansible_variables(variables))

    def report(self, code: str, detail: str, dataset: str = "") -> None:
        """Add an error that only the worker knows to the artifacts (docs/artifacts.md, errors.jsonl)."""
        event = {"event": "error", "role": "worker", "code": code, "detail": detail[:DETAIL_LIMIT], "dataset": dataset}
        with open(self.artifacts / "errors.jsonl", "a", encoding="utf-8") as stream:
            stream.write(json.dumps(event, ensure_ascii=False) + "\n")

    def make_room(self) -> bool:
        """Remove large folders that are not published, because the disk is full; returns False if they must be kept."""
        if self.keep:
            return False
        for name in _LARGE:
            _remove_tree(self.root / name)
        return True

    def end_processes(self) -> None:
        """End every process of the job: with SIGTERM, and with SIGKILL a few seconds later."""
        _end_processes(self.root)

    def begin_again(self) -> Path:
        """Reset the folder for a second try; returns the folder with the results of the first one.

        They are kept in `results` together with its artifacts, to be published. Raises InfrastructureError.
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
        # errors here are only logged, and never change a verdict
        try:
            self.end_processes()
            if self.keep:
                (self.root / OWNER).unlink()  # so that `remove_leftovers` leaves the folder
                log.info("the job's folder is kept: %s", self.root)
            else:
                _remove(self.root)
        except Exception:
            log.exception("%s: the job's processes or folder could not be removed", self.root)
        finally:
            os.close(self._owner)


def remove_leftovers(jobs_working_dir: Path) -> list[str]:
    """Remove the folders and end the processes of jobs whose worker no longer runs; returns the folders' names."""
    removed = []
    for owner in sorted(jobs_working_dir.glob(f"*/{OWNER}")):
        try:
            handle = os.open(owner, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # already removed, by its own worker or by another one that is starting
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # the folder may have been removed meanwhile, and created by another job
            if os.path.samestat(os.fstat(handle), owner.stat()):
                _end_processes(owner.parent)
                _remove(owner.parent)
                removed.append(owner.parent.name)
        except (BlockingIOError, FileNotFoundError):
            pass  # its worker is alive, or has removed it
        except Exception:
            log.exception("%s: what a dead worker has left could not be removed", owner.parent)
        finally:
            os.close(handle)
    return removed


def _create(jobs_working_dir: Path, job_id: str) -> Path:
    jobs_working_dir.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        # Gearman may hand out the same build twice, after it has lost the connection of the first
        root = jobs_working_dir / (job_id if number == 1 else f"{job_id}.{number}")
        try:
            root.mkdir(mode=0o700)
            return root
        except FileExistsError:
            number += 1


def _lock(root: Path) -> int:
    # locked before it is renamed, so that another worker's `remove_leftovers` never sees it unlocked
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
            pass  # it has ended, or is another user's
    return [process for process in marked.values() if _alive(process)]


def _alive(process: psutil.Process) -> bool:
    try:
        return process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False


def mark_of(root: Path) -> str:
    """The mark in the names of a job's files outside of its folder; the roles' `th_core.mark` computes the same."""
    return hashlib.sha256(os.fsencode(root)).hexdigest()[:16]


def _remove(root: Path) -> None:
    _remove_elsewhere(root)
    _remove_tree(root)


def _remove_tree(root: Path) -> None:
    # with rm, because shutil recurses, and a change can nest folders arbitrarily deep
    remove, repair = ["rm", "-rf", "--", str(root)], ["chmod", "-R", "u+rwX", "--", str(root)]
    for command in (remove, repair, remove):
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if not os.path.lexists(root):
            return
    log.error("%s cannot be removed: %s", root, done.stderr.strip()[:1000])


def _remove_elsewhere(root: Path) -> None:
    """Remove a job's files outside of its folder."""
    mark = mark_of(root)
    found = list(Path("/tmp").glob(f"th-{mark}-*"))  # noqa: S108 - names have the job's mark, and the owner is checked
    try:
        variables = documents.read_mapping(root / "job.yaml")
        place = Path(variables["th_publish_path"] or root, variables["th_job"]["log_path"])
        found += place.parent.glob(f".{glob.escape(place.name[:_SHOWN])}.publishing-{mark}-*")
    except (ConfigError, KeyError, TypeError):
        pass  # the job did not get as far as publishing
    for path in found:
        if path.lstat().st_uid == os.geteuid():
            _remove_tree(path)

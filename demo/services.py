# SPDX-License-Identifier: Apache-2.0
"""What the demo lets run beside itself, on the loopback address: a git server and a worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import yaml

from demo import engines
from demo.dataset import Dataset
from demo.tools import DemoError, free_port, listens, run

JOB = "gate-real-db-upgrade_mlflow"
LOOPBACK = "127.0.0.1"
_START_SECONDS = 300
_STOP_SECONDS = 20  # what a worker needs to end a job that runs


@dataclass(frozen=True)
class Worker:
    """A worker that takes jobs at ``gearman`` (host:port); ``published`` is where its results go."""

    gearman: str
    published: Path
    process: subprocess.Popen[bytes]

    @property
    def memory(self) -> int:
        """Its resident memory, in bytes."""
        try:
            return int(psutil.Process(self.process.pid).memory_info().rss)
        except psutil.Error:
            raise DemoError("the worker has ended") from None


@contextmanager
def git_server(base: Path) -> Iterator[str]:
    """Serve the repositories below ``base``; give the URL that ZUUL_URL would be."""
    port = free_port()
    # git has its own way of finding the daemon's program: ask it, so that what we start is what we end.
    daemon = Path(run(["git", "--exec-path"]).decode().strip()) / "git-daemon"
    command: list[str | Path] = [
        daemon,
        "--export-all",
        f"--base-path={base}",
        f"--listen={LOOPBACK}",
        f"--port={port}",
    ]
    with _running([*command, "--reuseaddr", "--informative-errors", base], base.parent / "git.log") as process:
        _wait_for(port, process, "git daemon", base.parent / "git.log")
        yield f"git://{LOOPBACK}:{port}"


@contextmanager
def worker(work: Path, dataset: Dataset, sandbox: str = "bubblewrap", beside: str = "") -> Iterator[Worker]:
    """Run a worker with an embedded Gearman server, all its folders below ``work``.

    Several may run there, each with another word for ``beside``: they share what is kept from job to job.
    """
    port = free_port()
    published = work / "logs"
    name = f"-{beside}" if beside else ""
    path = work / f"config{name}.yaml"
    configuration = _configuration(work, dataset, published, port)
    configuration |= {"sandbox": sandbox, "debug_log": str(work / f"debug{name}.log")}
    path.write_text(yaml.safe_dump(configuration, sort_keys=False))
    log = work / f"worker{name}.log"
    with _running([program("th-worker"), "-c", path], log) as process:
        _wait_for(port, process, "th-worker", log)
        yield Worker(f"{LOOPBACK}:{port}", published, process)


def program(name: str) -> Path:
    """Return a program of the environment that the demo runs in."""
    path = Path(sys.executable).parent / name
    if not path.exists():
        raise DemoError(f"there is no {path}: run the demo with `make demo`")
    return path


def _configuration(work: Path, dataset: Dataset, published: Path, port: int) -> dict[str, object]:
    return {
        "zuul_server": {"gearman_host": "embedded", "gearman_port": port},
        "jobs_working_dir": str(work / "jobs"),
        "git_working_dir": str(work / "mirrors"),
        "pip_download_cache": str(work / "packages"),
        "snapshots_dir": str(work / "snapshots"),
        "environments_dir": str(work / "environments"),
        "engines_dir": str(engines.FOLDER),
        "jobs": [{"name": JOB, "plugin": "gate_real_db_upgrade", "datasets_dir": str(dataset.folder)}],
        "publish_logs": {"type": "local", "path": str(published), "prepend_url": f"{published.as_uri()}/"},
        "sensors": {"load": 0},  # who has started it waits for it, however busy the machine is
    }


@contextmanager
def _running(command: Sequence[str | Path], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program until the end of the block. In a session of its own: Ctrl-C is ours, and its end too."""
    with log.open("wb") as words:
        process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=words,
            stderr=words,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes], name: str, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not listens(port):
        if process.poll() is not None or time.monotonic() > deadline:
            words = log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
            raise DemoError(f"{name} did not start: {words[-1]} ({log})")
        time.sleep(0.05)

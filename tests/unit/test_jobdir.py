# SPDX-License-Identifier: Apache-2.0
"""A job's folder: private, locked while its worker lives, and gone without a trace."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from worker import job_dir
from worker.errors import InfrastructureError
from worker.job_dir import MARKER, JobDir, remove_leftovers


def start(root: Path, script: str) -> subprocess.Popen[bytes]:
    """A process of the job, which has said that it is ready."""
    process = subprocess.Popen(
        ["/bin/sh", "-c", script], env={MARKER: str(root), "PATH": os.environ["PATH"]}, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def test_the_folder_is_private_and_removed(tmp_path: Path) -> None:
    with JobDir(tmp_path / "jobs", "b1") as folder:
        assert folder.root == tmp_path / "jobs" / "b1"
        assert folder.root.stat().st_mode & 0o777 == 0o700
        folder.write_job_yaml({"th_job": {"id": "b1"}})
        assert folder.job_yaml.stat().st_mode & 0o777 == 0o600
        assert folder.runner() != folder.runner()
    assert not folder.root.exists()


def test_a_kept_folder_stays(tmp_path: Path) -> None:
    with JobDir(tmp_path, "b1") as folder:
        folder.keep = True
    assert folder.root.is_dir()


def test_the_same_build_twice_has_two_folders(tmp_path: Path) -> None:
    with JobDir(tmp_path, "b1") as first, JobDir(tmp_path, "b1") as second:
        assert first.root != second.root


def test_what_a_change_made_unreadable_is_removed_too(tmp_path: Path) -> None:
    with JobDir(tmp_path, "b1") as folder:
        inner = folder.root / "src" / "inner"
        inner.mkdir(parents=True)
        (inner / "file").write_text("x")
        (folder.root / "src" / "link").symlink_to("/etc/hostname")
        inner.chmod(0)
        (folder.root / "src").chmod(0o500)
    assert not folder.root.exists()
    assert Path("/etc/hostname").exists()


def test_processes_are_ended_also_those_that_will_not(tmp_path: Path) -> None:
    with JobDir(tmp_path, "b1") as folder:
        begun = time.monotonic()
        polite = start(folder.root, "trap 'exit 3' TERM; sleep 3600 & echo ready; wait")
        stubborn = start(folder.root, "trap '' TERM; sleep 3600 & echo ready; wait")
        # without the mark in its environment, but below a process that has it
        hidden = start(folder.root, "env -i sleep 600 & echo ready; wait")
        child = psutil.Process(hidden.pid).children()
        started = time.monotonic()
    # three processes have started before: they say how quick the machine is
    assert time.monotonic() - started < max(10, 20 * (started - begun))
    assert polite.wait(300) == 3
    assert stubborn.wait(300) == -signal.SIGKILL
    assert not psutil.pid_exists(child[0].pid) or child[0].status() == psutil.STATUS_ZOMBIE


def test_leftovers_of_a_dead_worker_are_removed_and_those_of_a_living_one_are_not(tmp_path: Path) -> None:
    dead = subprocess.run(
        [
            sys.executable,
            "-c",
            "import os, sys\nfrom pathlib import Path\nfrom worker.job_dir import JobDir\n"
            "folder = JobDir(Path(sys.argv[1]), 'dead')\nprint(folder.root)\nos._exit(0)",
            str(tmp_path),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    left = start(Path(dead.stdout.strip()), "echo ready; exec sleep 600")
    with JobDir(tmp_path, "living") as living:
        ours = start(living.root, "echo ready; exec sleep 600")
        assert remove_leftovers(tmp_path) == ["dead"]
        assert left.wait(300) == -signal.SIGTERM
        assert ours.poll() is None
        assert living.root.exists() and not (tmp_path / "dead").exists()
    assert ours.wait(300) == -signal.SIGTERM


def test_nothing_else_in_the_folder_of_jobs_is_touched(tmp_path: Path) -> None:
    (tmp_path / "somebody's").mkdir()
    assert remove_leftovers(tmp_path) == []
    assert (tmp_path / "somebody's").is_dir()


def test_leftovers_that_go_by_themselves_are_nobodys_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between looking and locking, another worker removes one, and a job of the same name begins in another."""
    for name in ("gone", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / job_dir.OWNER).touch()
    real = os.open

    def late(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_CREAT:
            return real(path, flags, mode)
        if path.parent.name == "gone":
            path.unlink()
        handle = real(path, flags)
        path.rename(path.with_name("another"))
        path.touch()
        return handle

    monkeypatch.setattr(os, "open", late)
    assert remove_leftovers(tmp_path) == []
    assert (tmp_path / "new").is_dir()


def test_a_folder_that_cannot_be_made_is_our_trouble(tmp_path: Path) -> None:
    (tmp_path / "jobs").write_text("a file")
    with pytest.raises(InfrastructureError) as caught:
        JobDir(tmp_path / "jobs", "b1")
    assert caught.value.code == "job_folder"


def test_patience_is_within_what_a_stop_allows() -> None:
    assert job_dir.TERM_PATIENCE + job_dir.KILL_PATIENCE < 10


def deepen(folder: Path, levels: int) -> None:
    """Make folders as deep as a change can, beyond what a path can name."""
    script = "import os, sys\nfor _ in range(int(sys.argv[1])):\n    os.mkdir('d')\n    os.chdir('d')"
    subprocess.run([sys.executable, "-c", script, str(levels)], cwd=folder, check=True)


def test_folders_deeper_than_any_path_are_removed(tmp_path: Path) -> None:
    with JobDir(tmp_path, "b1") as folder:
        deepen(folder.root, 3000)
    assert not folder.root.exists()


def test_a_folder_that_cannot_be_removed_stops_neither_a_job_nor_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(root: Path) -> None:
        raise RecursionError(root)

    monkeypatch.setattr(job_dir, "_remove", fail)
    with JobDir(tmp_path, "b1") as folder:
        pass
    assert folder.root.exists()
    assert remove_leftovers(tmp_path) == []


def test_what_was_kept_is_no_leftover(tmp_path: Path) -> None:
    with JobDir(tmp_path, "b1", keep=True) as folder:
        pass
    assert remove_leftovers(tmp_path) == []
    assert folder.root.is_dir()


def test_a_second_try_finds_an_empty_folder_and_the_first_ones_results(tmp_path: Path) -> None:
    with JobDir(tmp_path, "b1") as folder:
        folder.write_job_yaml({"th_job": {"id": "b1"}})
        folder.report("git_unreachable", "down")
        (folder.results / "git_prep.log").write_text("down")
        (folder.root / "src" / "inner").mkdir(parents=True)
        os.mkfifo(folder.root / "src" / "job.yaml")  # nothing that the change has written is read
        process = start(folder.root, "echo ready; exec sleep 60")
        first = folder.begin_again()
        assert process.wait(300) == -signal.SIGTERM
        assert first == folder.results / "first-try"
        assert sorted(path.name for path in first.iterdir()) == ["artifacts", "git_prep.log"]
        assert "git_unreachable" in (first / "artifacts" / "errors.jsonl").read_text()
        assert list(folder.artifacts.iterdir()) == []
        names = [".owner", "artifacts", "results", "runner", "tmp"]
        assert sorted(path.name for path in folder.root.iterdir()) == names
        assert [path.stat().st_mode & 0o777 for path in (folder.artifacts, folder.results)] == [0o700, 0o700]
    assert not folder.root.exists()

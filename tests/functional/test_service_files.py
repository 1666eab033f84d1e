# SPDX-License-Identifier: Apache-2.0
"""The files by which a machine starts the worker and rotates its log, tried with the programs that read them."""

import contextlib
import getpass
import gzip
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.kit import ROOT
from tests.kit.service import write_config
from tests.kit.waiting import PATIENCE, gone, wait_until

ETC = ROOT / "etc"
UNIT = ETC / "systemd/turbo-hipster.service"
INIT = ETC / "init.d/turbo-hipster"
SBIN = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
Done = subprocess.CompletedProcess[str]


def run(*words: str | Path, **environment: str) -> Done:
    env = {**SBIN, **environment}
    return subprocess.run(words, env=env, capture_output=True, text=True, check=False, timeout=PATIENCE)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A th-worker as it would be installed."""
    path = tmp_path / "th-worker"
    path.write_text(f'#!/bin/sh\ncd {ROOT} && exec {sys.executable} -m tests.functional.fake_worker "$@"\n')
    path.chmod(0o755)
    return path


class TestUnit:
    def settings(self) -> list[str]:
        return [line for line in UNIT.read_text().splitlines() if line and line[0] not in "#["]

    def test_systemd_understands_it(self, tmp_path: Path, program: Path) -> None:
        text, count = re.subn(r"(?m)^ExecStart=\S+", f"ExecStart={program}", UNIT.read_text())
        assert count == 1
        unit = tmp_path / UNIT.name
        unit.write_text(text)
        done = run("systemd-analyze", "verify", "--man=no", unit)
        assert (done.returncode, done.stderr) == (0, "")
        unit.write_text(text.replace("KillMode=mixed", "KillMode=some"))
        assert "kill mode" in run("systemd-analyze", "verify", "--man=no", unit).stderr, "it looks at what it is given"

    def test_it_waits_longer_than_the_worker_needs(self) -> None:
        assert "TimeoutStopSec=40" in self.settings()

    def test_every_setting_of_hardening_has_its_reason(self) -> None:
        text = UNIT.read_text()
        hardening = text[text.index("# Hardening.") : text.index("# Left out")]
        lines = hardening.splitlines()
        for number, line in enumerate(lines):
            if line and line[0] != "#":
                assert lines[number - 1] != "", line

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount what systemd would mount")
    @pytest.mark.parametrize(
        ("setting", "mounts", "works"),
        [
            ("ProtectSystem=full", "mount --bind /usr /usr && mount -o remount,bind,ro /usr", True),
            ("ProtectHome=yes", "mount -t tmpfs -o mode=000,ro tmpfs /home", True),
            ("PrivateTmp=yes", "mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs /var/tmp", True),
            ("ProtectKernelTunables=yes", "mount --rbind /proc/sys /proc/sys", False),
            ("ProtectKernelLogs=yes", "mount --bind /dev/null /proc/kmsg", False),
        ],
    )
    def test_bubblewrap_works_with_what_it_sets(self, setting: str, mounts: str, works: bool) -> None:
        assert (setting in self.settings()) == works
        assert works or setting.removesuffix("=yes") in UNIT.read_text(), "it says why not"
        box = "bwrap --unshare-all --unshare-user --disable-userns --ro-bind / / --proc /proc --dev /dev true"
        nobody = f"setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs --bounding-set=-all {box}"
        done = run("unshare", "--mount", "--propagation", "private", "sh", "-c", f"{mounts} && {nobody}")
        assert (done.returncode == 0) == works, done.stderr
        assert works or "mount proc" in done.stderr


class Script:
    """The init script, with its paths in a folder of a test."""

    def __init__(self, folder: Path, program: Path) -> None:
        self.pid_file = folder / "run/th-worker.pid"
        self.defaults = folder / "defaults"
        values = {
            "DAEMON": program, "CONFIG": folder / "config.json", "RUN_AS": getpass.getuser(), "PIDFILE": self.pid_file,
            "STOP_SECONDS": int(PATIENCE / 2),
        }  # fmt: skip
        self.defaults.write_text("".join(f"{key}={value}\n" for key, value in values.items()))

    def __call__(self, word: str) -> Done:
        return run("sh", INIT, word, TH_DEFAULTS=str(self.defaults))

    @property
    def process(self) -> psutil.Process:
        return psutil.Process(int(self.pid_file.read_text()))


@pytest.fixture
def script(tmp_path: Path, program: Path) -> Iterator[Script]:
    script = Script(tmp_path, program)
    yield script
    if script.pid_file.exists():
        with contextlib.suppress(psutil.NoSuchProcess):
            script.process.kill()


@pytest.fixture
def configured(tmp_path: Path) -> Path:
    """The log of a worker that is configured."""
    path = tmp_path / "log/debug.log"
    write_config(tmp_path, 0, "embedded", debug_log=str(path))
    return path


class TestInitScript:
    def test_the_shell_understands_it(self) -> None:
        done = run("shellcheck", "--shell=sh", INIT)
        assert (done.returncode, done.stdout) == (0, "")
        assert os.access(INIT, os.X_OK)

    def test_it_starts_and_stops(self, script: Script, configured: Path) -> None:
        assert script("status").returncode == 3
        assert script("reload").returncode == 7
        done = script("start")
        assert (done.returncode, done.stdout, done.stderr) == (0, "turbo-hipster has started\n", "")
        first = script.process
        assert script("status").stdout == f"turbo-hipster runs, as process {first.pid}\n"
        again = script("start")
        assert (again.returncode, again.stdout) == (0, "turbo-hipster runs already\n")
        assert script("restart").returncode == 0
        assert gone(first)
        assert script.process.pid != first.pid
        assert script("stop").returncode == 0
        assert not script.pid_file.exists()
        assert script("status").returncode == 3
        assert script("stop").returncode == 0, "as a package's removal wants it"

    def test_a_pid_file_of_one_that_died(self, script: Script, configured: Path) -> None:
        assert script("start").returncode == 0
        script.process.kill()
        script.process.wait(PATIENCE)
        assert script("status").returncode == 1
        assert script("start").returncode == 0
        assert script("stop").returncode == 0

    def test_a_wrong_configuration_is_told(self, script: Script, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text("{}")
        done = script("start")
        assert done.returncode == 1
        assert "th-worker: " in done.stderr
        assert script("status").returncode == 3

    def test_what_is_not_there(self, script: Script, program: Path) -> None:
        program.unlink()
        assert script("start").returncode == 5
        assert script("surprise").returncode == 5

    def test_its_usage(self, script: Script) -> None:
        done = script("surprise")
        assert done.returncode == 2
        assert done.stderr.startswith("usage: ")


class TestLogrotate:
    @pytest.fixture
    def rotate(self, tmp_path: Path, script: Script, configured: Path) -> Callable[[], None]:
        text = (ETC / "logrotate.d/turbo-hipster").read_text()
        group = run("id", "-gn").stdout.strip()
        for old, new in {
            "/var/log/turbo-hipster": str(configured.parent),
            "su turbo-hipster turbo-hipster": f"su {getpass.getuser()} {group}",
            "invoke-rc.d --quiet turbo-hipster": f"TH_DEFAULTS={script.defaults} sh {INIT}",
        }.items():
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "logrotate.conf"
        path.write_text(text)

        def rotate() -> None:
            done = run("logrotate", "--force", "--state", str(tmp_path / "state"), str(path))
            assert (done.returncode, done.stderr) == (0, "")

        return rotate

    def test_the_worker_goes_on_in_a_new_file(
        self, script: Script, configured: Path, rotate: Callable[[], None]
    ) -> None:
        def goes_on() -> bool:
            return configured.exists() and "was read again" in configured.read_text()

        assert script("start").returncode == 0
        wait_until(lambda: "takes build:job build:job2" in configured.read_text())
        rotate()
        wait_until(goes_on)
        rotate()
        wait_until(goes_on)
        open_files = {file.path for file in script.process.open_files()}
        assert str(configured) in open_files
        assert str(configured.with_suffix(".log.1")) not in open_files
        assert script("stop").returncode == 0
        first, second, third = (configured.with_name(f"debug.log{suffix}") for suffix in (".2.gz", ".1", ""))
        assert sorted(configured.parent.iterdir()) == [third, second, first]
        assert "takes build:job" in gzip.decompress(first.read_bytes()).decode()
        assert "takes build:job" not in second.read_text() + third.read_text()
        assert third.read_text().endswith("has ended\n")


def test_the_programs_are_there() -> None:
    """They are in the list of packages for development (roles/prepare_host)."""
    needed = ("logrotate", "shellcheck", "start-stop-daemon", "systemd-analyze", "unshare", "setpriv")
    assert [name for name in needed if not shutil.which(name, path=SBIN["PATH"])] == []

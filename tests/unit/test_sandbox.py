# SPDX-License-Identifier: Apache-2.0
"""Why bubblewrap cannot be used: from the real one where a kernel can be made to refuse it, else from a stand-in."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.kit import ROOT
from tests.kit.service import write_config
from worker import sandbox
from worker.cli import main
from worker.config import config

ASK = [sys.executable, "-c", "from worker import sandbox; print(sandbox.problem())"]
FILTER = """
import ctypes, struct, sys
# seccomp(2): clone() with CLONE_NEWUSER is not permitted, as in a container; everything else is
arch, clone = {"x86_64": (0xC000003E, 56), "aarch64": (0xC00000B7, 220)}[__import__("os").uname().machine]
code = [(0x20, 0, 0, 4), (0x15, 0, 5, arch), (0x20, 0, 0, 0), (0x15, 0, 3, clone), (0x20, 0, 0, 16),
        (0x45, 0, 1, 0x10000000), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7FFF0000)]
program = b"".join(struct.pack("HBBI", *line) for line in code)
held = ctypes.create_string_buffer(program, len(program))
fprog = struct.pack("HxxxxxxP", len(code), ctypes.addressof(held))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, fprog, 0, 0) == 0
from worker import sandbox
print(sandbox.problem())
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put a bwrap first in PATH that does what the lines of shell say; without them, none is there at all."""

    def put(*lines: str) -> None:
        folder = tmp_path / "bin"
        folder.mkdir()
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin" if lines else str(folder))
        monkeypatch.setattr(sandbox, "_BESIDE_PATH", "")
        if lines:
            (folder / "bwrap").write_text("\n".join(["#!/bin/sh", *lines, ""]))
            (folder / "bwrap").chmod(0o755)

    return put


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A /proc that says these settings, for a user that is not root."""

    def say(**settings: str) -> None:
        for name, value in settings.items():
            path = tmp_path / "proc" / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(value)
        monkeypatch.setattr(sandbox, "_PROC", tmp_path / "proc")
        monkeypatch.setattr(os, "geteuid", lambda: 1000)

    return say


def asked(*before: str) -> str:
    done = subprocess.run([*before, *ASK], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_real_one_works_here() -> None:
    assert sandbox.problem() == ""
    assert tuple(map(int, sandbox.version().split("."))) >= sandbox.OLDEST


class TestARealKernel:
    def test_no_user_namespaces(self) -> None:
        forbid = 'echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"'
        said = asked("unshare", "--user", "--map-root-user", "sh", "-c", forbid, "-")
        assert said.startswith("the kernel allows no user namespaces; sysctl user.max_user_namespaces=")

    def test_inside_of_another_sandbox(self) -> None:
        said = asked("bwrap", "--unshare-user", "--disable-userns", "--dev-bind", "/", "/")
        assert said.startswith("no more user namespaces can be made: this runs in a sandbox or a container itself; ")

    def test_a_container_that_masks_proc(self) -> None:
        mask = 'mount --bind /dev/null /proc/keys; exec "$@"'
        said = asked("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mask, "-")
        assert said.startswith("/proc cannot be mounted: the container that this runs in masks parts of it; ")
        assert said.endswith("[bwrap: Can't mount proc on /newroot/proc: Operation not permitted]")

    def test_a_container_that_filters_system_calls(self) -> None:
        done = subprocess.run([sys.executable, "-c", FILTER], cwd=ROOT, capture_output=True, text=True)
        assert done.stdout.startswith("a seccomp filter forbids namespaces: this runs in a container; "), done.stderr


class TestAStandIn:
    def test_not_installed(self, fake: Any) -> None:
        fake()
        assert sandbox.problem() == (
            "bubblewrap is not installed; install the package bubblewrap (playbooks/prepare-host.yaml does)"
        )
        assert sandbox.version() == ""

    def test_too_old(self, fake: Any) -> None:
        fake(
            'if [ "$1" = --version ]; then echo bubblewrap 0.6.1; exit; fi',
            'echo "bwrap: Unknown option --disable-userns" >&2; exit 1',
        )
        assert sandbox.problem() == (
            "bubblewrap 0.6.1 is too old, at least 0.8 is needed; install a newer one (Debian 12 has 0.8.0) "
            "[bwrap: Unknown option --disable-userns]"
        )

    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            ({"sys__kernel__unprivileged_userns_clone": "0\n"}, "sysctl kernel.unprivileged_userns_clone=1"),
            ({"sys__user__max_user_namespaces": "0\n"}, "sysctl user.max_user_namespaces="),
            ({"sys__kernel__apparmor_restrict_unprivileged_userns": "1\n"}, "a profile with 'userns,'"),
            ({"self__status": "Name:\tx\nSeccomp:\t2\n"}, "seccomp=unconfined"),
            ({"sys__user__max_user_namespaces": "9\n", "self__status": "Seccomp:\t0\n"}, "what this says: bwrap --"),
        ],
    )
    def test_what_the_kernel_says(self, fake: Any, kernel: Any, settings: dict[str, str], said: str) -> None:
        fake('[ "$1" = --version ] || echo "bwrap: No permissions to create a new namespace" >&2; exit 1')
        kernel(**settings)
        problem = sandbox.problem()
        assert said in problem and problem.endswith("[bwrap: No permissions to create a new namespace]")

    @pytest.mark.parametrize("lines", [["exit 3"], ["printf '\\377\\n' >&2; exit 1"], ["kill -9 $$"]])
    def test_one_that_says_nothing_of_use(self, fake: Any, lines: list[str]) -> None:
        fake(*lines)
        assert sandbox.problem().count("\n") == 0 and "[bwrap: " in sandbox.problem()

    def test_one_that_hangs(self, fake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sandbox, "_SECONDS", 0.1)
        fake("exec sleep 60")
        assert "cannot be run (" in sandbox.problem() and "timed out" in sandbox.problem()


class TestWhoAsks:
    JOB = ("--job", "job", "--project", "org/project", "--url", "http://zuul.example.org/p", "--ref", "refs/zuul/m/Z1")

    @pytest.mark.parametrize("command", ["th-worker", "th run"])
    def test_nothing_starts_without_it(
        self, fake: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
    ) -> None:
        path = write_config(tmp_path, 0, host="embedded")
        fake()
        words = ["-c", str(path)]
        status = main.th_worker(words) if command == "th-worker" else main.th(["run", *words, *self.JOB])
        name = command.split()[0]
        assert (status, capsys.readouterr().err) == (
            2,
            f"{name}: {path}: sandbox: bubblewrap is not installed; install the package bubblewrap "
            "(playbooks/prepare-host.yaml does); or set 'none', with which the code of every change can do what this "
            "user can\n",
        )

    def test_none_asks_for_nothing(self, fake: Any, tmp_path: Path) -> None:
        fake()
        settings = config.load(write_config(tmp_path, 0, host="embedded", sandbox="none"))
        sandbox.demand(settings)
        assert not settings.confined

    def test_the_words_for_it(self, tmp_path: Path) -> None:
        path = write_config(tmp_path, 0, host="embedded")
        assert config.load(path).sandbox == "bubblewrap"
        path.write_text(json.dumps({**json.loads(path.read_text()), "sandbox": "off"}))
        with pytest.raises(config.ConfigError, match=r"sandbox: is 'off'; use one of bubblewrap, none"):
            config.load(path)

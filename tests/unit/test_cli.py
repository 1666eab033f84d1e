# SPDX-License-Identifier: Apache-2.0
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.kit import ROOT
from tests.kit.service import write_config
from worker.cli import arguments, check, display, main, run, surroundings
from worker.config import config
from worker.errors import UsageError
from worker.job import JobResult
from worker.progress import Progress
from worker.verdict import Message
from worker.verdict.artifacts import Artifacts
from worker.verdict.decide import of_messages
from worker.verdict.run_times import RunTimes

PROFILE = "migrations: {tool: alembic, script_location: migrations}\n"
JOB = ["--project", "org/project", "--url", "http://zuul.example.org/p", "--ref", "refs/zuul/master/Z1"]


class Job:
    """Stands in for worker.job.Job: ends at once with the messages it is given, or waits to be canceled."""

    def __init__(
        self, *messages: Message, folder: Path | None = None, wait: bool = False, times: RunTimes | None = None
    ) -> None:
        self.messages, self.folder, self.wait, self.times = messages, folder, wait, times
        self.canceled = threading.Event()
        self.request: Any = None
        self.config: Any = None

    def __call__(self, settings: Any, entry: Any, request: Any, observer: Callable[[Progress], None]) -> "Job":
        self.config, self.request, self.observer = settings, request, observer
        return self

    def run(self) -> JobResult:
        self.observer(Progress("checkout", 10, "fetching"))
        if self.wait:
            os.kill(os.getpid(), signal.SIGINT)
            assert self.canceled.wait(300)
        found = of_messages(self.messages)
        if self.times:
            found = replace(found, artifacts=Artifacts(None, (), {}, (), times=self.times))
        return JobResult(found, "http://logs/7/", self.folder, seconds=4.0, upload_seconds=1.0)

    def cancel(self, reason: str) -> None:
        assert reason == "stop"
        self.canceled.set()


@pytest.fixture(autouse=True)
def signals_as_before() -> Any:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    signal.set_wakeup_fd(-1)


@pytest.fixture
def run_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run `th run` with a stand-in for the job."""
    path = write_config(tmp_path, 4730)

    def run_it(job: Job, *options: str) -> int:
        monkeypatch.setattr(run.run, "__defaults__", (job,))
        return main.th(["run", "-c", str(path), *options])

    return run_it


class TestRun:
    def test_success(self, run_job: Any, capsys: pytest.CaptureFixture[str]) -> None:
        job = Job()
        assert run_job(job, "--job", "job", *JOB, "--change", "1234", "--patchset", "2") == 0
        output, progress = capsys.readouterr()
        assert output.splitlines()[-2:][0].endswith("http://logs/7/")
        assert output.splitlines()[-1].startswith("SUCCESS")
        assert progress == "[ 10%] fetching\n"
        assert job.request.log_path == f"34/1234/2/check/job/{job.request.id[:7]}"
        assert job.request.zuul["ZUUL_CHANGE_IDS"] == "1234,2"

    @pytest.mark.parametrize(
        ("message", "status", "word"),
        [
            (Message.of("migration_too_long", "a", "b", detail="61 s"), 1, "WARNING"),
            (Message.of("disk_full", detail="no space"), 3, "INFRASTRUCTURE"),
        ],
    )
    def test_what_fails(
        self, run_job: Any, capsys: pytest.CaptureFixture[str], message: Message, status: int, word: str
    ) -> None:
        assert run_job(Job(message), "--job", "job", *JOB) == status
        output = capsys.readouterr().out
        for part in (message.text, message.detail, message.kind.remedy, "http://logs/7/"):
            assert part in output
        assert output.splitlines()[-1].startswith(word)

    def test_json(self, run_job: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        job = Job(Message.of("migration_too_long", "a", "b"), folder=tmp_path)
        assert run_job(job, "--job", "build:job2", *JOB, "--json", "--keep") == 1
        document = json.loads(capsys.readouterr().out)
        assert document["result"] == "WARNING"
        assert document["messages"][0]["code"] == "migration_too_long"
        assert document["job"]["name"] == "job2"
        assert document["url"] == "http://logs/7/"
        assert document["folder"] == str(tmp_path)
        assert document["times"] is None, "of a job that has run no playbook"
        assert job.config.keep_job_dirs == "always"

    @pytest.mark.parametrize("options", [(), ("--profile",)])
    def test_where_the_time_went(self, run_job: Any, capsys: pytest.CaptureFixture[str], options: tuple[str]) -> None:
        assert run_job(Job(times=RunTimes(2.0, 0.5, ())), "--job", "job", *JOB, *options) == 0
        verdict, _, profile = capsys.readouterr().out.partition("\n\n")
        assert verdict.splitlines()[-1].startswith("SUCCESS")
        assert bool(profile) == bool(options)
        assert not options or re.search(r"Upload +1\.00 s +25\.0%", profile)

    def test_an_interrupt_cancels(self, run_job: Any) -> None:
        assert run_job(Job(wait=True), "--job", "job", *JOB) == 130

    def test_params(self, run_job: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        params = {
            "ZUUL_UUID": "abc",
            "ZUUL_PROJECT": "other",
            "ZUUL_URL": "http://zuul/p",
            "LOG_PATH": "x/y",
            "ZUUL_BRANCH": "stable/1",
        }
        (tmp_path / "params.json").write_text(json.dumps(params))
        job = Job()
        assert run_job(job, "--job", "job", "--params", str(tmp_path / "params.json"), "--branch", "master") == 0
        assert (job.request.id, job.request.project, job.request.branch) == ("abc", "other", "master")
        assert job.request.log_path == "x/y"

    @pytest.mark.parametrize(
        ("options", "error"),
        [
            (JOB, "th: --job: is missing; there are: job, job2"),
            (["--job", "none", *JOB], "th: --job: there is no job 'none'; there are: job, job2"),
            (["--job", "job", "--url", "http://zuul/p"], "th: --project (ZUUL_PROJECT): is missing"),
            (["--job", "job", *JOB, "--ref=--x"], "th: --ref (ZUUL_REF): '--x' begins with '-'"),
            (["--job", "job", "--params", "/nowhere"], "th: --params: /nowhere cannot be read"),
        ],
    )
    def test_wrong_use(
        self, run_job: Any, capsys: pytest.CaptureFixture[str], options: list[str], error: str
    ) -> None:
        assert run_job(Job(), *options) == 2
        output, errors = capsys.readouterr()
        assert output == ""
        assert errors.startswith(error)
        assert errors.count("\n") == 1

    @pytest.mark.parametrize("text", ["not json", "[]", "null", "\udcff"])
    def test_params_that_are_none(self, run_job: Any, tmp_path: Path, text: str) -> None:
        (tmp_path / "params.json").write_text(text, errors="surrogateescape")
        assert run_job(Job(), "--job", "job", "--params", str(tmp_path / "params.json")) == 2

    def test_the_only_job_needs_no_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = write_config(tmp_path, 4730, jobs=[{"name": "one", "plugin": "shell_script"}])
        job = Job()
        monkeypatch.setattr(run.run, "__defaults__", (job,))
        assert main.th(["run", "-c", str(path), *JOB]) == 0
        assert job.request.job_name == "one"


class TestArguments:
    def parse(self, *options: str) -> dict[str, Any]:
        import argparse

        parser = argparse.ArgumentParser()
        arguments.add_options(parser, job_required=False)
        return arguments.zuul_arguments(parser.parse_args(options), "job")

    def test_an_updated_branch(self) -> None:
        given = self.parse("--project", "p", "--url", "/srv", "--ref", "master", "--newrev", "a" * 40)
        assert given["ZUUL_REFNAME"] == "master"
        assert given["ZUUL_COMMIT"] == "a" * 40
        assert given["BASE_LOG_PATH"] == "aa/" + "a" * 40
        assert "ZUUL_CHANGE" not in given

    def test_two_builds_are_two(self) -> None:
        assert self.parse()["ZUUL_UUID"] != self.parse()["ZUUL_UUID"]

    def test_an_unknown_params_file(self) -> None:
        with pytest.raises(UsageError):
            self.parse("--params", "/nowhere")


class TestWorker:
    def test_a_bare_c_prints_the_path(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main.th_worker(["-c"]) == 0
        assert capsys.readouterr().out == "/etc/turbo-hipster/config.json\n"

    def test_a_configuration_that_is_not_there(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main.th_worker(["-c", "/nowhere/config.json"]) == 2
        assert capsys.readouterr().err.startswith("th-worker: /nowhere/config.json: cannot be read")

    def test_what_it_imports_before_the_first_job(self) -> None:
        code = "import sys, worker.service; print([m for m in ('ansible_runner','jinja2','rich') if m in sys.modules])"
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        assert done.stdout == "[]\n"


class TestInit:
    def test_the_copy_can_be_used(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        target = tmp_path / "a/copy"
        assert main.th(["init", str(target)]) == 0
        assert f"ansible_dir: {target}" in capsys.readouterr().out
        for part in ("playbooks/gate_real_db_upgrade/run.yaml", "roles", "inventory/hosts.yaml", "ansible.cfg"):
            assert (target / part).exists()
        assert list(target.rglob("__pycache__")) == []
        (tmp_path / "datasets").mkdir()
        job = {"name": "job", "plugin": "gate_real_db_upgrade", "datasets_dir": "datasets"}
        path = write_config(tmp_path, 1, ansible_dir=str(target), jobs=[job])
        assert config.load(path).ansible_dir == target

    def test_nothing_is_overwritten(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "roles").mkdir()
        assert main.th(["init", str(tmp_path)]) == 2
        assert "is there already" in capsys.readouterr().err
        assert [entry.name for entry in tmp_path.iterdir()] == ["roles"]

    def test_a_folder_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        assert main.th(["init", str(tmp_path / "file/copy")]) == 2


class TestCheck:
    @pytest.fixture
    def installation(self, tmp_path: Path) -> Path:
        """All that `th check` looks at, in order."""
        plugin = tmp_path / "ansible/playbooks/gate_real_db_upgrade"
        plugin.mkdir(parents=True)
        (plugin / "run.yaml").write_text("[]")
        (plugin.parent / "upload-logs.yaml").write_text("[]")
        (tmp_path / "ansible/inventory/projects/org").mkdir(parents=True)
        (tmp_path / "ansible/inventory/projects/org/project.yaml").write_text(PROFILE)
        inventory = ("inventory/hosts.yaml", "inventory/group_vars")
        for part in ("ansible.cfg", "roles", *inventory, "playbooks/read-profile.yaml"):
            (tmp_path / "ansible" / part).symlink_to(ROOT / part)
        (tmp_path / "datasets").mkdir()
        dataset = {
            "project": "org/project",
            "type": "mysql",
            "db_user": "u",
            "db_pass": "p",
            "database": "d",
            "seed_data": "one.sql",
        }
        (tmp_path / "datasets/one.json").write_text(json.dumps(dataset))
        (tmp_path / "datasets/one.sql").write_text("SELECT 1;")
        job = {"name": "job", "plugin": "gate_real_db_upgrade", "datasets_dir": "datasets"}
        return write_config(tmp_path, 0, host="embedded", jobs=[job])

    def failed(self, found: Iterable[check.Check]) -> list[check.Check]:
        # Whether the machine that runs this test has all tools is not what is tested here.
        return [one for one in found if not one.ok and one.name not in ("tool", "disk space")]

    def test_all_is_well(self, installation: Path) -> None:
        found = list(check.check(installation))
        assert self.failed(found) == []
        names = {one.name for one in found}
        assert names >= {"sandbox", "user"}
        assert names >= {"configuration", "jobs_working_dir", "disk space", "playbook", "dataset", "profile"}
        assert names >= {"gearman", "tool", "publish_logs.path"}
        assert not (installation.parent / "th").exists(), "a check makes nothing"

    def test_it_prints_lines_or_json(self, installation: Path, capsys: pytest.CaptureFixture[str]) -> None:
        status = main.th(["check", "-c", str(installation)])
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].startswith("[ok] configuration: ")
        assert main.th(["check", "-c", str(installation), "--json"]) == status
        document = json.loads(capsys.readouterr().out)
        assert len(document) == len(lines)
        assert status == (0 if all(one["ok"] for one in document) else 2)

    def test_the_configuration_alone(self, installation: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (installation.parent / "datasets" / "one.sql").unlink()
        assert main.th(["check", "--configuration", "-c", str(installation)]) == 0
        assert capsys.readouterr().out == f"[ok] configuration: {installation}: 1 job\n"
        installation.write_text("{}")
        assert main.th(["check", "--configuration", "-c", str(installation)]) == 2
        assert capsys.readouterr().out.startswith("[fail] configuration: ")

    @pytest.mark.parametrize(
        ("missing", "name", "shown"),
        [
            ("datasets/one.sql", "dataset", "datasets/one.sql"),
            ("datasets/one.json", "datasets", "datasets"),
            ("ansible/inventory/projects/org/project.yaml", "profile", "projects/org/project.yaml"),
            ("ansible/playbooks/upload-logs.yaml", "playbook", "playbooks/upload-logs.yaml"),
            ("ansible/playbooks/gate_real_db_upgrade/run.yaml", "configuration", "jobs[0].plugin"),
            ("config.json", "configuration", "config.json"),
        ],
    )
    def test_what_is_missing_is_named(
        self,
        installation: Path,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        missing: str,
        name: str,
        shown: str,
    ) -> None:
        (tmp_path / missing).unlink()
        assert main.th(["check", "-c", str(installation), "--json"]) == 2
        (failed,) = self.failed(check.Check(**one) for one in json.loads(capsys.readouterr().out))
        assert failed.name == name
        assert shown in failed.text

    @pytest.mark.parametrize(
        ("profile", "said"),
        [
            (PROFILE + "releses: [stable/1]\n", "releses: unknown key"),
            ("python: python3\n", "migrations: either this or databases must be there"),
            ("a: b: c\n", "is not YAML"),
        ],
    )
    def test_a_profile_that_a_job_would_refuse(
        self, installation: Path, tmp_path: Path, profile: str, said: str
    ) -> None:
        path = tmp_path / "ansible/inventory/projects/org/project.yaml"
        path.write_text(profile)
        (failed,) = self.failed(check.check(installation))
        assert failed.name == "profile"
        assert failed.text.startswith(str(path)) and said in failed.text and "\n" not in failed.text

    def test_a_broken_dataset(self, installation: Path, tmp_path: Path) -> None:
        (tmp_path / "datasets/one.json").write_text("{}")
        assert [one.name for one in self.failed(check.check(installation))] == ["dataset"]

    def test_a_folder_that_cannot_be_used(self, installation: Path, tmp_path: Path) -> None:
        settings = json.loads(installation.read_text())
        installation.write_text(json.dumps({**settings, "git_working_dir": "config.json/x"}))
        assert [one.name for one in self.failed(check.check(installation))] == ["git_working_dir"]

    def test_what_the_worker_takes_on(self, installation: Path, tmp_path: Path) -> None:
        (tmp_path / "datasets/one.json").unlink()  # its project's profile would be read by Ansible
        settings = json.loads(installation.read_text())
        sensors = {"disk_free": "1000T", "memory_free": 1, "load": 0}
        installation.write_text(json.dumps({**settings, "slots": 64, "sensors": sensors}))
        (tmp_path / "th/jobs").mkdir(parents=True)
        checks = list(check.check(installation))
        found = {one.name: one for one in checks}
        assert found["slots"].level == "warn"
        assert found["slots"].text.startswith("64 jobs at once; this machine is good for ")
        assert found["sensor"].text == "memory"
        said = [one.text for one in checks if one.name == "sensor" and one.level == "warn"]
        assert [text.partition(" free in ")[2] for text in said] == [
            f"{tmp_path}/th/jobs (jobs_working_dir), sensors.disk_free is 1024000.0 GiB"
        ]
        assert found["status_socket"].text == f"{tmp_path}/th/run (will be made)"

    def test_the_gearman_server(self, installation: Path, tmp_path: Path) -> None:
        (tmp_path / "datasets/one.json").unlink()  # its project's profile would be read by Ansible
        settings = json.loads(installation.read_text())
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            settings["zuul_server"] = {"gearman_host": "127.0.0.1", "gearman_port": port}
            installation.write_text(json.dumps(settings))
            assert [one.name for one in self.failed(check.check(installation))] == ["datasets"]
        _, failed = self.failed(check.check(installation))
        assert failed.name == "gearman"
        assert f"127.0.0.1:{port}" in failed.text

    def test_the_sandbox(self, installation: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def line() -> check.Check:
            return surroundings.isolation(config.load(installation))

        here = line()
        assert here.level == "ok" and here.text.startswith("bubblewrap 0.")
        assert here.text.endswith(f": own user, pid, mount, ipc, uts, cgroup and net namespaces; as uid {os.geteuid()}")
        monkeypatch.setattr(surroundings.sandbox, "problem", lambda: "it is not there; install it; reboot")
        assert line() == check.Check(False, "sandbox", "it is not there", "install it; reboot")
        installation.write_text(json.dumps({**json.loads(installation.read_text()), "sandbox": "none"}))
        assert line().level == "warn" and "runs unconfined" in line().text

    def test_the_limits(self, installation: Path, tmp_path: Path) -> None:
        (old,) = surroundings.limits(config.load(installation))
        assert old.level == "warn" and "older version" in old.text
        for part in ("playbooks/check-sandbox.yaml", "inventory/group_vars"):
            if not (tmp_path / "ansible" / part).exists():
                (tmp_path / "ansible" / part).symlink_to(ROOT / part)
        inside, here = surroundings.limits(config.load(installation))
        assert inside.level == "ok" and "no capability, a filter of system calls (seccomp), no network" in inside.text
        assert here.ok and "disk: looked at; one process: 4096 open files" in here.text

    @pytest.mark.parametrize(
        ("held", "memory", "level", "text"),
        [
            ("control group v2", 1, "ok", "memory, processes, processor time: control group v2; disk: looked at"),
            ("looking", 1, "warn", "memory, processes, processor time, disk: looked at"),
            ("control group v1", 0, "warn", "processes, processor time: control group v1; disk: looked at; memory: no"),
        ],
    )
    def test_what_holds_the_limits(self, held: str, memory: int, level: str, text: str) -> None:
        names = ("memory", "processes", "cpu_seconds")
        report = {
            "limits": {**dict.fromkeys(names, 1), "disk": 1, "memory": memory},
            "held": {**dict.fromkeys(names, held), "disk": "looking"},
            "rlimits": {"open_files": 1},
        }
        found = surroundings._limits(report)
        assert found.level == level and found.text.startswith(text)

    def test_what_a_box_is_without(self) -> None:
        report = {"no_new_privileges": True, "seccomp": False, "capabilities": "0" * 16, "network": ["lo"]}
        found = surroundings._inside(report)
        assert found.level == "warn" and "missing: a filter of system calls (seccomp)" in found.text

    @pytest.mark.parametrize(("uid", "level", "said"), [(0, "warn", "root, "), (54321, "ok", "a user without a name")])
    def test_the_user(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], uid: int, level: str, said: str
    ) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: uid)
        assert main.th(["check", "-c", "/nowhere"]) == 2
        assert f"[{level}] user: {said}" in capsys.readouterr().out

    def test_a_tool_that_is_missing(self, installation: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(surroundings, "PATH", "/nowhere")
        tools = [one for one in check.check(installation) if one.name == "tool"]
        assert tools and not any(one.ok for one in tools)
        assert any(one.remedy == "install zstd" for one in tools)


class TestDisplay:
    def test_a_bar_on_a_terminal(self) -> None:
        """On a terminal the text moves in place; what it leaves there is nothing."""
        code = (
            "from worker.cli.display import display\n"
            "with display() as shown:\n"
            "    shown.show(40, 'a [b] -> c'); shown._progress.refresh()\n"
        )
        ours, theirs = os.openpty()
        process = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, stderr=theirs, env={**os.environ, "TERM": "xterm", "COLUMNS": "80"}
        )
        os.close(theirs)
        output = os.read(ours, 65536).decode()
        os.close(ours)
        assert process.returncode == 0
        assert "40%" in output
        assert "a [b] -> c" in output

    def test_lines_elsewhere(self, capsys: pytest.CaptureFixture[str]) -> None:
        with display.display() as shown:
            for percent, text in ((1, "a"), (2, "a"), (3, "b"), (4, "")):
                shown.show(percent, text)
        assert capsys.readouterr().err == "[  1%] a\n[  3%] b\n"


def test_output_that_nobody_reads_is_no_error(tmp_path: Path) -> None:
    path = write_config(tmp_path, 0, host="embedded")
    code = f"import sys; from worker.cli.main import th; sys.exit(th(['check', '-c', {str(path)!r}]))"
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout and process.stderr
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    process.wait(300)

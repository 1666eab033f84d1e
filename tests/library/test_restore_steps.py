# SPDX-License-Identifier: Apache-2.0
"""The steps of a restore one by one: each can be done again, and none leaves anything behind when it is ended."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pymysql
import pytest
from ansible.module_utils.th_dataset.external_dataset import load_seed, prove_seed, take_locks
from ansible.module_utils.th_dataset.failure import RestoreError
from ansible.module_utils.th_dataset.private_dataset import clone_snapshot, import_dump, start_server
from ansible.module_utils.th_dataset.restore import Restore, RestoreOptions
from ansible.module_utils.th_dataset.restore_step import begin
from ansible.module_utils.th_server import mariadb

from tests.kit import ROOT
from tests.kit.waiting import wait_until
from worker.job_dir import JobDir

from . import restoring
from .external_jobs import DUMP as EXTERNAL_DUMP
from .external_jobs import Jobs, ask
from .test_restore import DUMP, Home, home, rows  # noqa: F401 - home is a fixture

SLEEP = "DO SLEEP(900);\n"


def begun(options: Mapping[str, Any]) -> Restore:
    return begin(RestoreOptions.of(options))


def left(restore: Restore) -> mariadb.Server:
    return mariadb.load(restore.folder)


@contextmanager
def running(module: str, options: Mapping[str, Any]) -> Iterator["subprocess.Popen[str]"]:
    """A module of the role as a process of its own."""
    path = ROOT / "roles" / "restore_datasets" / "library" / f"{module}.py"
    words = [sys.executable, "-P", str(ROOT / "roles" / "project" / "files" / "run_module.py"), str(path)]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": dict(options)}))
    process.stdin.close()
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def ended(process: "subprocess.Popen[str]") -> dict[str, Any]:
    """What it answers when it is told to end."""
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None
    answer: dict[str, Any] = json.loads(process.stdout.read())
    return answer


class TestPrivate:
    def test_each_step_can_be_taken_again(self, home: Home) -> None:  # noqa: F811
        restore = begun(home.options())
        assert restoring.again(restore, import_dump)["snapshot"] == "made"
        assert restoring.again(restore, import_dump)["snapshot"] == "hit"
        for _ in range(2):
            restoring.again(restore, clone_snapshot)
        first, second = (restoring.again(restore, start_server)["facts"] for _ in range(2))
        home.started.append(server := left(restore))
        assert first["version"] == second["version"] == ["a1"] and len(rows(server)) == 3
        assert [json.loads(line)["event"] for line in self.events(restore)] == ["restored"]
        with mariadb.connect(server, server.job_file, database="toy_db") as connection:
            mariadb.query(connection, "DELETE FROM t")
        (restore.folder / "walked").touch()
        restoring.again(restore, clone_snapshot)
        assert not server.running() and not (restore.folder / "walked").exists()
        assert not (restore.job_dir / "artifacts" / "dataset-toy.json").exists() and not self.events(restore)
        restoring.again(restore, start_server)
        home.started.append(left(restore))
        assert len(rows(left(restore))) == 3

    @staticmethod
    def events(restore: Restore) -> list[str]:
        path = restore.job_dir / "artifacts" / "walk-toy.jsonl"
        return path.read_text().splitlines() if path.exists() else []

    def test_no_password_is_among_what_the_steps_leave_to_each_other(self, home: Home) -> None:  # noqa: F811
        home.keys["db_pass"] = "pass-word"
        home.databases[0]["environment"] = {"TOKEN": "pass-word"}
        restore = begun(options := home.options())
        for step in restoring.PRIVATE:
            restoring.again(restore, step)
            assert "pass-word" not in restore.file.read_text() and restore.file.stat().st_mode & 0o777 == 0o600
        home.started.append(left(restore))
        assert "pass-word" in Path(options["config"]).read_text()

    def test_a_snapshot_that_another_job_has_replaced_by_a_newer_dumps(self, home: Home) -> None:  # noqa: F811
        restore = begun(home.options())
        restoring.again(restore, import_dump)
        home.dump.write_text(DUMP.replace("'one'", "'another'"))
        home.restore()
        restoring.again(restore, clone_snapshot)
        facts = restoring.again(restore, start_server)["facts"]
        home.started.append(left(restore))
        assert facts["snapshot"] == "hit" and rows(left(restore))[0] == (1, "another")

    def test_a_snapshot_that_is_gone_is_made_again(self, home: Home) -> None:  # noqa: F811
        restore = begun(home.options())
        restoring.again(restore, import_dump)
        shutil.rmtree(home.root / "snapshots")
        restoring.again(restore, clone_snapshot)
        facts = restoring.again(restore, start_server)["facts"]
        home.started.append(left(restore))
        assert facts["snapshot"] == "made" and facts["seconds"]["import"] > 0 and len(rows(left(restore))) == 3
        home.dump.unlink()
        shutil.rmtree(home.root / "snapshots")
        with pytest.raises(RestoreError, match=r"toy\.sql is not there") as caught:
            restoring.again(restore, clone_snapshot)
        assert caught.value.code == "seed_missing" and not left(restore).running()

    def test_what_a_redo_log_has_not_used_is_not_copied_and_all_of_it_is_reserved(self, home: Home) -> None:  # noqa: F811
        restore = begun(home.options())
        for step in (import_dump, clone_snapshot):
            restoring.again(restore, step)
        snapshot = Path(Restore.read(restore.file).snapshot)
        used, reserved = (Path(folder, "data", "ib_logfile0").stat() for folder in (snapshot, restore.folder))
        assert used.st_blocks * 512 < used.st_size / 2
        assert reserved.st_blocks * 512 >= reserved.st_size == used.st_size

    def test_nobody_removes_a_snapshot_while_it_is_cloned(
        self, home: Home, monkeypatch: pytest.MonkeyPatch  # noqa: F811
    ) -> None:
        restore = begun(home.options())
        restoring.again(restore, import_dump)
        locked = []
        clone = clone_snapshot.__globals__["clone"]

        def look(source: Any, target: Path) -> str:
            (lock,) = (home.root / "snapshots").glob(".toy-*.lock")
            locked.append(subprocess.run(["flock", "--nonblock", str(lock), "true"], check=False).returncode)
            return str(clone(source, target))

        monkeypatch.setitem(clone_snapshot.__globals__, "clone", look)
        restoring.again(restore, clone_snapshot)
        assert locked == [1]

    def test_a_datasets_file_that_is_edited_meanwhile(self, home: Home) -> None:  # noqa: F811
        """Else a server would be started with another database than the dump's, and would be empty."""
        restore = begun(home.options())
        for step in (import_dump, clone_snapshot):
            restoring.again(restore, step)
        home.keys["database"] = "renamed"
        home.options()
        with pytest.raises(RestoreError, match="was changed while the dataset was restored") as caught:
            restoring.again(restore, start_server)
        assert caught.value.code == "server_failed"

    @pytest.mark.parametrize(("step", "before"), [(clone_snapshot, "import_dump"), (start_server, "clone_snapshot")])
    def test_a_step_that_comes_too_early(self, home: Home, step: Callable[..., Any], before: str) -> None:  # noqa: F811
        restore = begun(home.options())
        with pytest.raises(RestoreError, match=f"the step {before} has to come first") as caught:
            restoring.again(restore, step)
        assert caught.value.code == "playbook_failed"

    def test_an_import_that_is_ended_leaves_nothing(self, home: Home) -> None:  # noqa: F811
        home.dump.write_text(DUMP.replace("-- Dump completed", f"{SLEEP}-- Dump completed"))
        restore = begun(home.options())
        snapshots = home.root / "snapshots"
        with running("import_dump", {"restore": str(restore.file)}) as process:
            (made,) = wait_until(lambda: list(snapshots.glob(".toy-*.making-*/server.json")))
            server = mariadb.load(made.parent)
            wait_until(lambda: asked(server, "DO SLEEP"))
            assert ended(process)["msg"] == "terminated"
        assert not server.running()
        assert [path.suffix for path in snapshots.iterdir() if path.name != "empty"] == [".lock"]

    def test_a_start_that_is_ended_leaves_no_server(self, home: Home) -> None:  # noqa: F811
        options = home.options()
        options["databases"] = [{**home.databases[0], "version_query": "SELECT SLEEP(900)"}]
        restore = begun(options)
        for step in (import_dump, clone_snapshot):
            restoring.again(restore, step)
        with running("start_server", {"restore": str(restore.file)}) as process:
            wait_until(lambda: (restore.folder / "server.json").exists())
            home.started.append(left(restore))
            wait_until(lambda: asked(left(restore), "SELECT SLEEP"))
            assert ended(process)["msg"] == "terminated"
        assert not left(restore).running()
        assert not (restore.job_dir / "artifacts" / "dataset-toy.json").exists()

    def test_a_job_that_is_canceled_between_two_steps_leaves_nothing(
        self, home: Home, monkeypatch: pytest.MonkeyPatch  # noqa: F811
    ) -> None:
        """As the worker cancels it: it ends the processes of the job's folder, and removes that."""
        for last in restoring.PRIVATE:
            with JobDir(home.root / "jobs", f"{last.__name__}-{'long-' * 20}") as folder:
                monkeypatch.setenv("TH_JOB_DIR", str(folder.root))
                restore = begun({**home.options(), "job_dir": str(folder.root)})
                for step in restoring.PRIVATE:
                    restoring.again(restore, step)
                    if step is last:
                        break
                server = left(restore) if last is start_server else None
                socket = Path(server.socket).parent if server else restore.folder
                assert socket.exists() and (server is None or server.running())
            assert not folder.root.exists() and not socket.exists() and (server is None or not server.running())
        assert [path.suffix for path in (home.root / "snapshots").glob(".*")] == [".lock"]


def asked(server: mariadb.Server, words: str) -> bool:
    """Whether a server answers, and runs a statement that begins with these words."""
    statement = f"SELECT 1 FROM information_schema.processlist WHERE info LIKE '{words}%'"
    with suppress(pymysql.err.OperationalError), mariadb.connect(server, server.admin_file) as connection:
        return bool(mariadb.query(connection, statement))
    return False


class TestExternal:
    def test_each_step_can_be_taken_again(self, jobs: Jobs) -> None:
        restore = begun(jobs.options())
        restoring.again(restore, take_locks)
        first = left(restore)
        restoring.again(restore, take_locks)
        jobs.started.append(server := left(restore))
        assert server.running() and not first.running()
        for _ in range(2):
            restoring.again(restore, load_seed)
            assert len(ask(server, "SELECT * FROM users")) == 3
        facts = [restoring.again(restore, prove_seed)["facts"] for _ in range(2)]
        assert [one["version"] for one in facts] == [["a1"]] * 2 and facts[0]["rows"] > 0
        assert set(facts[0]["seconds"]) == {"import", "clone", "start"}

    def test_no_password_is_among_what_the_steps_leave_to_each_other(self, jobs: Jobs) -> None:
        restore = begun(jobs.options())
        restoring.again(restore, take_locks)
        jobs.started.append(server := left(restore))
        said = restore.file.read_text()
        assert "secret word" not in said and mariadb.read_account(server.job_file)["password"] not in said

    @pytest.mark.parametrize("step", [load_seed, prove_seed])
    def test_a_step_that_comes_too_early(self, jobs: Jobs, step: Callable[..., Any]) -> None:
        restore = begun(jobs.options())
        with pytest.raises(RestoreError, match="the step take_locks has to come first"):
            restoring.again(restore, step)

    def test_nothing_is_loaded_once_the_locks_are_lost(self, jobs: Jobs) -> None:
        restore = begun(jobs.options())
        restoring.again(restore, take_locks)
        jobs.started.append(server := left(restore))
        os.kill(server.pid, signal.SIGKILL)
        os.waitpid(server.pid, 0)
        with pytest.raises(RestoreError, match="nobody holds the job's locks") as caught:
            restoring.again(restore, load_seed)
        assert caught.value.code == "server_unreachable"

    def test_a_job_that_is_canceled_between_two_steps_has_nothing_there(
        self, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As the worker cancels it: it ends the processes of the job's folder, and removes that."""
        with JobDir(jobs.root / "jobs", "one") as folder:
            monkeypatch.setenv("TH_JOB_DIR", str(folder.root))
            restore = begun({**jobs.options(), "job_dir": str(folder.root)})
            for step in (take_locks, load_seed):
                restoring.again(restore, step)
            server = left(restore)
            assert server.running() and jobs.external.ours() == [server.user, server.database]
        assert not server.running() and jobs.external.ours() == []

    def test_a_load_that_is_ended_leaves_nothing(self, jobs: Jobs) -> None:
        jobs.dump.write_text(EXTERNAL_DUMP.replace("-- Dump completed", f"{SLEEP}-- Dump completed"))
        restore = begun(jobs.options())
        restoring.again(restore, take_locks)
        server = left(restore)
        loads = f"SELECT 1 FROM information_schema.processlist WHERE user = '{server.user}' AND info LIKE 'DO SLEEP%'"
        with running("load_seed", {"restore": str(restore.file)}) as process:
            wait_until(lambda: jobs.external.ask(loads))
            assert ended(process)["msg"] == "terminated"
        assert not server.running() and jobs.external.ours() == []

    def test_who_waits_for_a_database_and_is_ended_touches_nothing(self, preloaded: Jobs) -> None:
        """Neither what the job has that it waits for, nor what that one has prepared."""
        _, first = preloaded.restore()
        with mariadb.connect(first, first.job_file, database="shop") as connection:
            for statement in ("XA START 'mine'", "UPDATE users SET name = 'x'", "XA END 'mine'", "XA PREPARE 'mine'"):
                mariadb.query(connection, statement)
        restore = begun(preloaded.options())
        waits = "SELECT 1 FROM information_schema.processlist WHERE info LIKE 'SELECT GET_LOCK%'"
        with running("take_locks", {"restore": str(restore.file)}) as process:
            wait_until(lambda: preloaded.external.ask(waits))
            holder = left(restore)
            assert holder.running()
            assert ended(process)["msg"] == "terminated"
        assert not holder.running() and left(restore).pid == 0 and first.running()
        assert len(preloaded.external.ask("XA RECOVER")) == 1
        assert preloaded.external.ours() == [first.user]

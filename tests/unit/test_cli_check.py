# SPDX-License-Identifier: Apache-2.0
"""`th check` tries what a job will need, and ends with the command that tries a job."""

import http.server
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Self

import pytest

from tests.kit import ROOT, toy
from tests.kit.engines import server
from tests.kit.git_server import Repository
from tests.kit.service import write_config
from tests.kit.waiting import free_port
from worker.cli import check, main, trial
from worker.cli.published import published
from worker.config import config

PROFILE = "migrations: {tool: alembic, config: '', script_location: migrations}\nreleases: [stable/1]\n"
DUMP = "-- MariaDB dump 10.19  Distrib 10.11.6-MariaDB\nCREATE TABLE t (a int);\n-- Dump completed on 2026-01-01\n"


class Installation:
    """What a newcomer has: a repository, a profile, a dataset with its dump, a configuration."""

    def __init__(self, root: Path) -> None:
        self.root, self.served = root, root / "served"
        self.repository = Repository(self.served / "org" / "project")
        self.repository.commit({"migrations/versions/a1_.py": toy.migration("a1", None)})
        self.repository.git("branch", "stable/1")
        plugin = root / "ansible" / "playbooks"
        (plugin / "gate_real_db_upgrade").mkdir(parents=True)
        (plugin / "gate_real_db_upgrade" / "run.yaml").write_text("[]")
        (plugin / "upload-logs.yaml").write_text("[]")
        projects = root / "ansible" / "inventory" / "projects"
        (projects / "org").mkdir(parents=True)
        self.profile = projects / "org" / "project.yaml"
        self.profile.write_text(PROFILE)
        inventory = ("inventory/hosts.yaml", "inventory/group_vars")
        playbooks = [f"playbooks/{name}.yaml" for name in ("read-profile", "check-project", "check-sandbox")]
        for part in ("ansible.cfg", "roles", *inventory, *playbooks):
            (root / "ansible" / part).symlink_to(ROOT / part)
        (root / "datasets").mkdir()
        self.dump = root / "datasets" / "one.sql"
        self.dump.write_text(DUMP)
        self.dataset()

    def dataset(self, **keys: Any) -> None:
        dataset = {"project": "org/project", "type": "mysql", "db_user": "u", "db_pass": "p", "database": "d"}
        document = {**dataset, "seed_data": "one.sql", **keys}
        (self.root / "datasets" / "one.json").write_text(json.dumps(document))

    def without_boxes(self) -> Self:
        """The same as of an older version, which tries no box: that takes a second, and is not what is tested."""
        (self.root / "ansible" / "playbooks" / "check-sandbox.yaml").unlink()
        return self

    def config(self, **keys: Any) -> Path:
        job = {"name": "gate", "plugin": "gate_real_db_upgrade", "datasets_dir": "datasets"}
        server = {"gearman_host": "embedded", "gearman_port": 0, "git_url": str(self.served)}
        return write_config(self.root, 0, **{"zuul_server": server, "jobs": [job], **keys})

    def checks(self, **keys: Any) -> list[check.Check]:
        return list(check.check(self.config(**keys)))


@pytest.fixture
def whole(tmp_path: Path) -> Installation:
    return Installation(tmp_path)


@pytest.fixture
def installation(whole: Installation) -> Installation:
    return whole.without_boxes()


def failed(found: list[check.Check]) -> list[check.Check]:
    # whether the machine that runs this test has all tools is not what is tested here
    return [one for one in found if not one.ok and one.name not in ("tool", "disk space")]


def test_all_is_well_and_the_command_to_try_comes_last(
    whole: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    installation, path = whole, whole.config()
    main.th(["check", "-c", str(path)])
    *lines, last = capsys.readouterr().out.splitlines()
    told = "\n".join(lines)
    assert "[fail]" not in told.replace("[fail] tool", "").replace("[fail] disk space", "")
    assert f"[ok] repository: org/project: {installation.served}/org/project: 1 migrations in master" in told
    assert "releases stable/1" in told and f"[ok] dump: {installation.dump}: it is whole" in told
    words = shlex.split(last.partition("Ready. Try a job: ")[2])
    assert Path(words[0]).name == "th"
    assert words[1:] == ["run", "-c", str(path), "--job", "gate", "--project", "org/project"]
    assert not (installation.root / "th").exists(), "a check makes nothing"


def test_the_command_to_try_can_be_called_where_path_does_not_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "bin" / "th"
    installed.parent.mkdir()
    installed.touch(0o755)
    monkeypatch.setattr(sys, "executable", str(installed.parent / "python3"))
    monkeypatch.setenv("PATH", str(tmp_path / "elsewhere"))
    assert trial.program() == str(installed)
    monkeypatch.setenv("PATH", str(installed.parent))
    assert trial.program() == "th"


def test_each_engine_is_named_and_missed_where_a_dataset_names_it(installation: Installation) -> None:
    playbook = installation.root / "ansible" / "playbooks" / "check-engines.yaml"
    installation.dataset(engines=["mysql-9.7", "mine", "none"])
    told = "these playbooks are of an older version"
    assert [told in one.text for one in failed(installation.checks())] == [True, True, True]
    inventory = installation.root / "ansible" / "inventory" / "group_vars"
    inventory.unlink()
    shutil.copytree(ROOT / "inventory" / "group_vars", inventory)
    program = installation.root / "mysqld"
    program.write_text(server("8.4.9"))
    program.chmod(0o755)
    known = {"system": {"family": "mariadb"}, "mine": {"family": "mysql", "program": str(program)}}
    debian = {"family": "mysql", "debian": {"suite": "sid", "packages": ["mysql-server-core"]}}
    listed = {"engines": {**known, "mysql-9.7": debian, "unused": debian}}
    (inventory / "all" / "engines.yaml").write_text(json.dumps(listed))
    playbook.symlink_to(ROOT / "playbooks" / "check-engines.yaml")
    found = {one.text.partition(" ")[0]: one for one in installation.checks() if one.name == "engine"}
    assert {name: one.level for name, one in found.items()} == {
        "system:": "ok", "mine": "ok", "mysql-9.7": "fail", "unused,": "ok", "one:": "fail",
    }  # fmt: skip
    assert "MariaDB" in found["system:"].text and found["mine"].text.startswith("mine (one): Ver 8.4.9")
    assert found["mysql-9.7"].text.endswith("playbooks/prepare-engine.yaml -e engine=mysql-9.7 makes it")
    assert "which no dataset names: the engine unused is not there" in found["unused,"].text
    assert found["one:"].text == "one: there is no engine none, only system, mine, mysql-9.7, unused"


def test_without_all_being_well_there_is_nothing_to_try(installation: Installation) -> None:
    installation.dump.unlink()
    assert check.READY not in [one.name for one in installation.checks()]


def test_the_quick_check_fetches_nothing(installation: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    installation.dump.write_text(DUMP[:60])
    path = installation.config(zuul_server={"gearman_host": "embedded", "gearman_port": 0, "git_url": "/nowhere"})
    main.th(["check", "--quick", "-c", str(path), "--json"])
    names = [one["name"] for one in json.loads(capsys.readouterr().out)]
    assert "profile" in names and "repository" not in names and "dump" not in names


def test_where_the_repository_is_can_be_given(installation: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    path = installation.config(zuul_server={"gearman_host": "embedded", "gearman_port": 0})
    main.th(["check", "-c", str(path)])
    unknown = capsys.readouterr().out
    assert "[warn] repository: org/project: where it is, each job says" in unknown
    assert unknown.splitlines()[-1].endswith("--project org/project --url URL")
    main.th(["check", "-c", str(path), "--url", str(installation.served)])
    told = capsys.readouterr().out
    assert "[ok] repository: " in told and told.splitlines()[-1].endswith(f"--url {installation.served}")
    assert main.th(["check", "-c", str(path), "--url=--upload-pack=x"]) == 2


def test_a_profile_and_a_dump_that_do_not_fit(installation: Installation) -> None:
    installation.profile.write_text(PROFILE.replace("location: migrations", "location: db"))
    installation.dump.write_text(DUMP[:70])
    repository, dump = failed(installation.checks())
    assert (repository.name, dump.name) == ("repository", "dump")
    assert "no migration in db/versions of master" in repository.text and repository.remedy
    assert str(installation.profile) in repository.text and str(installation.dump) in dump.text


def test_the_workers_own_mirror_is_filled(installation: Installation) -> None:
    mirrors = installation.root / "mirrors"
    mirrors.mkdir()
    assert not failed(installation.checks(git_working_dir=str(mirrors)))
    assert (mirrors / "org" / "project.git" / "HEAD").is_file()


TH = "import sys; from worker.cli import main; sys.exit(main.th(sys.argv[1:]))"
POWERLESS = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
"""A command that may no longer look into folders of other users."""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
@pytest.mark.parametrize(
    "key",
    ["publish", "publish alone", "seed", "jobs_working_dir", "git_working_dir", "datasets", "dataset", "projects"],
)
def test_what_lies_below_a_folder_that_this_user_may_not_enter(key: str) -> None:
    """Never a traceback: the path is named."""
    done = _without_rights(key)
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == 2
    assert "forbidden" in done.stdout and "[fail]" in done.stdout


def _without_rights(key: str) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory(prefix="th-forbidden-") as made:
        root = Path(made)
        root.chmod(0o755)
        installation = Installation(root)
        if key not in ("jobs_working_dir", "publish alone"):  # what comes of it where boxes are made
            installation.without_boxes()
        forbidden = root / "forbidden"
        (forbidden / "below").mkdir(parents=True)
        keys: dict[str, Any] = {"publish_logs": {"path": str(root / "logs")}}
        if key == "publish alone":  # the other folders are there: a file system of their own
            for name in ("jobs", "git", "pip", "snapshots", "environments"):
                (root / name).mkdir(exist_ok=True)
                (root / name).chmod(0o777)
        if key.startswith("publish"):
            keys["publish_logs"] = {"path": str(forbidden / "below" / "deep")}
        elif key == "datasets":
            job = {"name": "gate", "plugin": "gate_real_db_upgrade", "datasets_dir": str(forbidden / "below")}
            keys["jobs"] = [job]
        elif key == "seed":
            installation.dataset(seed_data=str(forbidden / "below" / "mydumper"))
        elif key == "dataset":
            forbidden = root / "datasets" / "forbidden"
            forbidden.mkdir()
            (forbidden / "config.json").write_text("{}")
        elif key == "projects":
            forbidden = root / "ansible" / "inventory" / "projects" / "forbidden"
            (root / "ansible" / "inventory" / "projects" / "org").rename(forbidden)
            (forbidden / "project.yaml").touch()
            installation.dataset(project="forbidden/project")
        else:
            keys[key] = str(forbidden / "below" / "deep")
        path = installation.config(**keys)
        forbidden.chmod(0o700)
        os.chown(forbidden, 65534, 65534)
        return subprocess.run(
            [*POWERLESS, sys.executable, "-c", TH, "check", "--quick", "-c", str(path)],
            capture_output=True, text=True, cwd=ROOT, timeout=120, env={**os.environ, "HOME": str(root)},
        )  # fmt: skip


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody else")
def test_a_box_is_made_where_jobs_are(whole: Installation) -> None:
    """root may enter a folder of another user's; the code of a change, which has no rights of root's, may not."""
    jobs = whole.root / "home" / "jobs"
    jobs.mkdir(parents=True)
    jobs.parent.chmod(0o700)
    os.chown(jobs.parent, 65534, 65534)
    found = [one for one in whole.checks(jobs_working_dir=str(jobs)) if one.name == "sandbox"]
    assert [one.level for one in found] == ["fail"], found
    assert str(jobs) in found[0].text and found[0].remedy


class TestLinks:
    """The link of a job leads to what is published."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        (tmp_path / "logs").mkdir()
        return tmp_path / "logs"

    @pytest.fixture
    def served(self, folder: Path) -> Iterator[str]:
        class Quiet(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        server.server_close()

    def check(self, root: Path, **keys: Any) -> check.Check:
        (only,) = published(config.load(write_config(root, 0, host="embedded", publish_logs=keys)))
        assert only.ok and bool(only.remedy) == only.warning
        return only

    def test_a_link_that_leads_there(self, tmp_path: Path, folder: Path, served: str) -> None:
        assert self.check(tmp_path, path=str(folder), prepend_url=served).level == "ok"
        assert self.check(tmp_path, path=str(folder)).level == "ok"
        assert list(folder.iterdir()) == []

    def test_a_link_that_leads_elsewhere(self, tmp_path: Path, folder: Path, served: str) -> None:
        (tmp_path / "other").mkdir()
        found = self.check(tmp_path, path=str(tmp_path / "other"), prepend_url=served)
        assert found.level == "warn" and "does not serve" in found.text
        found = self.check(tmp_path, path=str(folder), prepend_url="file:///elsewhere/")
        assert found.level == "warn" and "/elsewhere/" in found.text

    def test_a_link_that_leads_nowhere(self, tmp_path: Path, folder: Path) -> None:
        found = self.check(tmp_path, path=str(folder), prepend_url=f"http://127.0.0.1:{free_port()}/")
        assert found.level == "warn" and "leads nowhere" in found.text

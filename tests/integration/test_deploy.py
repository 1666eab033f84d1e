# SPDX-License-Identifier: Apache-2.0
"""playbooks/deploy-worker.yaml on two hosts: installed, upgraded one after the other while jobs run, and held up."""

import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.hosts import UV, Machine, machine
from tests.kit import ROOT
from tests.kit.engines import server as server_program
from tests.kit.service import Gearmand, Zuul
from tests.kit.waiting import HOST, free_port
from worker.cli import main

PROGRAMS = Path(sys.executable).parent
PATIENCE = 1800.0
DATASETS = "/var/lib/turbo-hipster/datasets"
# A job that runs until somebody on its host lets it go.
WAITS = [
    {
        "hosts": "localhost",
        "gather_facts": False,
        "tasks": [
            {"name": "Wait", "ansible.builtin.wait_for": {"path": "/run/go", "sleep": 1}},
        ],
    }
]


class Site:
    """Two hosts, a Gearman server, and what an operator has on the control machine."""

    def __init__(self, folder: Path, hosts: list[Machine], port: int) -> None:
        self.folder = folder
        self.hosts = hosts
        self.playbooks = folder / "playbooks"
        assert main.th(["init", str(self.playbooks)]) == 0
        plugin = self.playbooks / "playbooks" / "waiting"
        plugin.mkdir()
        (plugin / "run.yaml").write_text(yaml.safe_dump(WAITS))
        self.datasets = folder / "datasets"
        self.datasets.mkdir()
        (self.datasets / "seed.sql").write_text("SELECT 1;\n")
        tarball = self.datasets / "mysql.tar"
        with tarfile.open(tarball, "w") as archive:
            (folder / "mysqld").write_text(server_program("8.0.99"))
            (folder / "mysqld").chmod(0o755)
            archive.add(folder / "mysqld", "mysql-8.0.99/bin/mysqld")
        origin = {"path": f"{DATASETS}/{tarball.name}", "sha256": hashlib.sha256(tarball.read_bytes()).hexdigest()}
        engines = self.playbooks / "inventory" / "group_vars" / "all" / "engines.yaml"
        engines.write_text(yaml.safe_dump({"engines": {"mysql-8.0": {"family": "mysql", "tarball": origin}}}))
        words = ["sha256sum", "seed.sql", tarball.name]
        sums = subprocess.run(words, cwd=self.datasets, capture_output=True, check=True).stdout
        (self.datasets / "SHA256SUMS").write_bytes(sums)
        # each host serves a job of its own, so that a test knows where it runs
        self.configs: dict[str, dict[str, Any]] = {
            host.name: {
                "zuul_server": {"gearman_host": HOST, "gearman_port": port},
                "debug_log": "/var/log/turbo-hipster/debug.log",
                "jobs": [{"name": job, "plugin": "waiting"}],
                "publish_logs": {"path": "/var/lib/turbo-hipster/logs"},
                "sensors": {"load": 0},  # tests run on busy machines
            }
            for host, job in zip(hosts, ("job", "job2"), strict=True)
        }
        given = {key: value for key, value in os.environ.items() if key.startswith(("UV_", "SSL_", "PIP_"))}
        variables: dict[str, Any] = {
            "deploy_worker_start_time_limit": 10,
            "deploy_worker_archives": str(folder / "archives"),
            "deploy_worker_package": str(wheel(folder)),
            "deploy_worker_playbooks": str(self.playbooks),
            "deploy_worker_uv": UV,
            "deploy_worker_install_environment": given,
            "deploy_worker_install_arguments": ["--no-compile-bytecode"],
            "deploy_worker_files": [{"path": "/etc/turbo-hipster/secret", "content": "vaulted"}],
            "deploy_worker_datasets_source": str(self.datasets),
            "deploy_worker_drain_time_limit": 1800,
            "prepare_host_service_folders": [
                {"path": "/etc/turbo-hipster", "mode": "0750"},
                {"path": "/var/lib/turbo-hipster/datasets", "mode": "0750"},
                {"path": "/var/log/turbo-hipster", "mode": "0750"},
            ],
        }
        self.variables = variables
        self.inventory = folder / "hosts.yaml"
        self.write_inventory()

    def write_inventory(self) -> None:
        """Write what the operator wants now."""
        known = {}
        for host in self.hosts:
            known[host.name] = host.variables() | {"deploy_worker_config": self.configs[host.name]}
        known["beta"]["deploy_worker_engines"] = ["mysql-8.0"]
        self.inventory.write_text(yaml.safe_dump({"workers": {"hosts": known, "vars": self.variables}}))

    def start(self, *options: str) -> "subprocess.Popen[str]":
        """Begin a roll-out."""
        command = [str(PROGRAMS / "ansible-playbook"), "-i", str(self.inventory), "playbooks/deploy-worker.yaml"]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
        return subprocess.Popen(
            [*command, *options],
            cwd=ROOT,
            env=environment | {"ANSIBLE_HOME": str(self.folder / "ansible")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def roll_out(self, *options: str) -> dict[str, int]:
        """Do a whole one; how much it changed, by host."""
        process = self.start(*options)
        said, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, said
        return changes(said)


def wheel(folder: Path) -> Path:
    """The package; the roll-out builds it as well, but three times."""
    words = ["build", "--quiet", "--wheel", "--out-dir", str(folder), str(ROOT)]
    subprocess.run([str(PROGRAMS / "uv"), *words], check=True)
    return next(folder.glob("*.whl"))


def until(process: "subprocess.Popen[str]", line: str, after: str) -> str:
    """Read what it says up to a line that comes after another; all of it."""
    assert process.stdout
    said = ""
    for one in process.stdout:
        said += one
        if one.startswith(line) and after in said:
            return said
    raise AssertionError(said)


def changes(said: str) -> dict[str, int]:
    return {name: int(count) for name, count in re.findall(r"^(\w+) +: ok=\d+ +changed=(\d+)", said, re.MULTILINE)}


def release(host: Machine) -> str:
    return host.run("readlink", "/opt/turbo-hipster/current").strip()


def pid(host: Machine) -> str:
    return host.run("pgrep", "--full", "bin/th-worker").strip()


def status(host: Machine) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(host.run("/opt/turbo-hipster/bin/th", "status", "--json"))
    return found


def host_of(zuul: Zuul, unique: str) -> str:
    return str(zuul.begun(unique)["worker_hostname"])


@pytest.fixture
def server() -> Iterator[Gearmand]:
    server = Gearmand(free_port())
    server.start()
    yield server
    server.kill()


@pytest.fixture
def zuul(server: Gearmand) -> Iterator[Zuul]:
    client = Zuul(server.port)
    yield client
    client.shutdown()


def test_workers_are_installed_and_upgraded_one_after_the_other(tmp_path: Path, server: Gearmand, zuul: Zuul) -> None:
    with ExitStack() as stack:
        alpha, beta = hosts = [stack.enter_context(machine(tmp_path / name, name)) for name in ("alpha", "beta")]
        site = Site(tmp_path / "site", hosts, server.port)

        installed = site.roll_out()
        assert all(installed[host.name] > 0 for host in hosts)
        assert alpha.run("stat", "-c", "%a:%U", f"{DATASETS}/seed.sql") == "640:turbo-hipster\n"
        assert "Ver 8.0.99" in beta.run("cat", "/var/lib/turbo-hipster/engines/mysql-8.0/engine.json")
        assert alpha.run("ps", "-o", "uname:20=", "-p", pid(alpha)).strip() == "turbo-hipster"
        first, before = release(alpha), pid(beta)
        assert release(beta) == first

        # again: nothing is changed, and no worker is touched
        assert site.roll_out("--limit", "beta") == {"beta": 0}
        assert pid(beta) == before

        # A new release, while a job runs. What beta gets can be read, but no worker serves with it.
        zuul.launch("build:job", unique="one")
        assert zuul.begun("one")["worker_hostname"] == "alpha"
        (site.playbooks / "playbooks" / "waiting" / "new.yaml").write_text("[]\n")
        site.configs["beta"]["zuul_server"]["gearman_port"] = free_port()
        site.write_inventory()
        upgrade = site.start()
        said = until(upgrade, "changed: [alpha]", after="TASK [deploy_worker : Let the worker finish")
        zuul.launch("build:job", unique="two")
        assert status(alpha)["state"] == "draining"
        assert (release(alpha), pid(beta)) == (first, before), "the old one stays as long as it has a job"
        alpha.run("touch", "/run/go")
        said += upgrade.communicate(timeout=PATIENCE)[0]
        for unique in ("one", "two"):
            packets = zuul.ended(unique, PATIENCE)
            assert [packet.kind for packet in packets if packet.kind in ("complete", "fail")] == ["complete"], unique
        assert zuul.begun("two")["manager"] != zuul.begun("one")["manager"], "it went to the new worker"
        assert release(alpha) != first

        assert upgrade.returncode == 2, said
        assert "The new worker did not start. The old one runs again." in " ".join(said.split()), said
        assert (release(beta), pid(beta) != before) == (first, True)
        assert (status(beta)["gearman"]["port"], status(beta)["gearman"]["connected"]) == (server.port, True)

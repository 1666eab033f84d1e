# SPDX-License-Identifier: Apache-2.0
"""Which datasets a job tests, what it reports when there are none, and what `th check` says of it."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.kit.certificates import Authority
from worker.cli import check
from worker.cli.trial import Trial
from worker.config import config, datasets
from worker.job import Job
from worker.job_dir import JobDir
from worker.request import Request

PROFILE = "migrations: {tool: alembic, script_location: db}\n"
ARGUMENTS = {
    "ZUUL_UUID": "1", "ZUUL_PROJECT": "org/shop", "ZUUL_PIPELINE": "check", "ZUUL_URL": "http://zuul.example.org/p",
    "ZUUL_REF": "refs/zuul/master/Z1", "ZUUL_BRANCH": "master", "LOG_PATH": "1/1/1/check/x/1",
}  # fmt: skip


class Place:
    """An installation with datasets for one project."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "ansible/playbooks/gate_real_db_upgrade").mkdir(parents=True)
        (root / "ansible/playbooks/gate_real_db_upgrade/run.yaml").write_text("[]")
        self.profile = root / "ansible/inventory/projects/org/shop.yaml"
        self.profile.parent.mkdir(parents=True)
        self.profile.write_text(PROFILE)
        (root / "datasets").mkdir()
        (root / "datasets/dump.sql").write_text("SELECT 1;")
        self.dataset("little", tags=["small"])
        self.dataset("great", tags=["large"])

    def dataset(self, name: str, **changes: Any) -> None:
        document = {
            "project": "org/shop", "type": "mysql", "db_user": "u", "db_pass": "p", "database": "shop",
            "seed_data": "dump.sql", **changes,
        }  # fmt: skip
        document = {key: value for key, value in document.items() if value is not None}
        (self.root / "datasets" / f"{name}.json").write_text(json.dumps(document))

    def config(self, **options: Any) -> config.Config:
        job = {"name": "job", "plugin": "gate_real_db_upgrade", "datasets_dir": "datasets", **options}
        settings = {
            "zuul_server": {"gearman_host": "embedded"},
            "ansible_dir": "ansible",
            "jobs_working_dir": "th/jobs",
            "publish_logs": {"path": "logs"},
            "jobs": [job],
        }
        (self.root / "config.json").write_text(json.dumps(settings))
        return config.load(self.root / "config.json")

    def chosen(self, **options: Any) -> tuple[list[str], list[tuple[str, str]]]:
        """The names of the datasets that a job of the pipeline check tests, and what it reports."""
        settings = self.config(**options)
        job = Job(settings, settings.jobs[0], Request.parse("job", "1", ARGUMENTS), lambda progress: None)
        with JobDir(settings.jobs_working_dir, "1") as folder:
            found = job._datasets(folder) or []
            errors = folder.artifacts / "errors.jsonl"
            lines = errors.read_text().splitlines() if errors.exists() else []
        events = [json.loads(line) for line in lines]
        return [dataset.name for dataset in found], [(event["code"], event["detail"]) for event in events]

    def failed(self, **options: Any) -> list[str]:
        """What `th check` finds wrong with datasets, profiles and engines left aside."""
        settings = self.config(**options)
        found = check._datasets(settings, Trial(settings, "", quick=True))
        return [one.text for one in found if not one.ok and one.name not in ("profile", "engine")]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, ["great", "little"]),
        ({"datasets": ["small"]}, ["little"]),
        ({"datasets": ["small"], "pipelines": {"gate": "all"}}, ["little"]),
        ({"datasets": ["small"], "pipelines": {"check": "all"}}, ["great", "little"]),
        ({"pipelines": {"check": ["great"]}}, ["great"]),
    ],
)
def test_a_job_tests_what_its_pipeline_asks_for(place: Place, options: dict[str, Any], names: list[str]) -> None:
    assert place.chosen(**options) == (names, [])
    assert place.failed(**options) == []


def test_a_name_that_nobody_has_is_told_and_hides_nothing(place: Place) -> None:
    options = {"pipelines": {"check": ["small", "smal"]}}
    names, reported = place.chosen(**options)
    assert names == ["little"]
    ((code, detail),) = reported
    assert code == "no_dataset" and "'smal'" in detail and "job" in detail
    (failed,) = place.failed(**options)
    assert "pipelines.check: 'smal' is neither a name nor a tag" in failed


def test_a_job_for_which_nothing_is_left_says_so(place: Place) -> None:
    place.dataset("other", project="org/other", tags=["others"])
    names, reported = place.chosen(datasets=["others"])
    ((code, detail),) = reported
    assert names == [] and code == "no_dataset"
    assert "org/shop" in detail and "others" in detail and "check" in detail
    names, reported = place.chosen(datasets=["nothing"])
    assert names == [] and [code for code, _ in reported] == ["no_dataset"]


@pytest.mark.parametrize(
    ("profile", "dataset", "said"),
    [
        (PROFILE, {"databases": {"api": {}}}, "there are api, the profile has only one"),
        ("databases: {api: {}, main: {}}\n", {}, "there are only one, the profile has api, main"),
        ("databases: {api: {}, main: {}}\n", {"databases": {"api": {}}}, "there are api, the profile has api, main"),
        ("databases: {api: {}}\n", {"databases": {"api": {}}}, ""),
        ("a: b: c\n", {}, ""),
    ],
)
def test_the_databases_are_the_profiles(place: Place, profile: str, dataset: dict[str, Any], said: str) -> None:
    place.profile.write_text(profile)
    for name in dataset.get("databases", {}):
        dataset["databases"][name] = {"database": "shop", "seed_data": "dump.sql"}
        dataset |= {"database": None, "seed_data": None}
    place.dataset("little", **dataset)
    place.dataset("great", **dataset)
    found = place.failed()
    assert len(found) == (2 if said else 0) and all(said in text for text in found)


def test_a_dump_that_is_not_there(place: Place) -> None:
    place.dataset("little", seed_data="none.sql")
    (failed,) = place.failed()
    assert "none.sql cannot be read" in failed


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (None, ["great@system", "great@mysql-9.7", "little"]),
        (["great"], ["great@system", "great@mysql-9.7"]),
        (["great@mysql-9.7"], ["great@mysql-9.7"]),
        (["great@mysql-9.7", "great"], ["great@system", "great@mysql-9.7"]),
        (["large@system", "small"], ["great@system", "little"]),
        (["little@mysql-9.7"], ["little"]),
    ],
)
def test_a_dataset_is_tested_on_each_of_its_engines(place: Place, wanted: list[str] | None, names: list[str]) -> None:
    place.dataset("great", tags=["large"], engines=["system", "mysql-9.7"])
    place.dataset("little", tags=["small"], engines=["mysql-9.7"])
    options = {"datasets": wanted} if wanted else {}
    assert place.chosen(**options) == (names, []) and place.failed(**options) == []


def test_an_engine_that_a_dataset_does_not_name_selects_nothing(place: Place) -> None:
    place.dataset("great", engines=["system", "mysql-9.7"])
    names, reported = place.chosen(datasets=["great@mysql-8.0", "little@system"])
    assert names == [] and [code for code, _ in reported] == ["no_dataset", "no_dataset"]
    place.dataset("great", engines=["system", 5])
    assert [code for code, _ in place.chosen(datasets=["great@system"])[1]] == ["seed_broken"]


def test_the_items_of_job_yaml_name_the_engine(place: Place) -> None:
    place.dataset("great", engines=["system", "mysql-9.7"])
    place.dataset("little", engine="mysql-9.7")
    place.dataset("other")
    folder = place.root / "datasets"
    found, _ = datasets.select(folder, "org/shop")
    great = {"config": str(folder / "great.json")}
    assert [one.item for one in found] == [
        {"name": "great@system", **great, "engine": "system"},
        {"name": "great@mysql-9.7", **great, "engine": "mysql-9.7"},
        {"name": "little", "config": str(folder / "little.json"), "engine": "mysql-9.7"},
        {"name": "other", "config": str(folder / "other.json")},
    ]


def external(place: Place, port: int, **more: str) -> None:
    server = {"host": "127.0.0.1", "port": port, "user": "th", "password_file": "th.password", **more}
    place.dataset("little", db_user=None, db_pass=None, server=server)


def test_a_password_that_others_can_read(place: Place) -> None:
    external(place, 1)
    assert "cannot be read" in place.failed()[0]
    password = place.root / "datasets/th.password"
    password.write_text("secret\n")
    password.chmod(0o644)
    assert "can be read by others: chmod 600" in place.failed()[0]
    password.chmod(0o600)
    assert "does not answer" in place.failed()[0]


def test_a_ca_that_cannot_be_used(place: Place) -> None:
    password = place.root / "datasets/th.password"
    password.write_text("secret\n")
    password.chmod(0o600)
    external(place, 1, ssl_ca="ca.pem")
    assert "server.ssl_ca" in place.failed()[0] and "cannot be read" in place.failed()[0]
    (place.root / "datasets/ca.pem").write_text("nothing\n")
    assert "holds no certificate in PEM form" in place.failed()[0]
    (place.root / "datasets/ca.pem").write_bytes(Authority(place.root / "ca").ca.read_bytes())
    assert "does not answer" in place.failed()[0]


def test_an_external_server_is_asked_whether_it_is_there(place: Place) -> None:
    password = place.root / "datasets/th.password"
    password.write_text("secret\n")
    password.chmod(0o600)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        external(place, port)
        assert place.failed() == []
    (failed,) = place.failed()
    assert f"server: 127.0.0.1:{port} does not answer" in failed

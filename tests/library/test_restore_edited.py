# SPDX-License-Identifier: Apache-2.0
"""The steps of a restore as an operator has edited them, as docs/editing.md says."""

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.th_server import mariadb

from tests.examples import example
from tests.kit import shared

from .test_build_edited import copied  # noqa: F401 - a fixture
from .test_restore import DUMP, OPTIONS, database

PROGRAM = Path(sys.executable).parent / "ansible-playbook"
IMPORT = "    - name: Import the dump into a snapshot, where there is none of it\n"
START = "    - name: Start a server on the clone, and read its version\n"
OWN = """- name: Look for the license of the data
  ansible.builtin.command: sh -c "echo no license; exit 3"
  changed_when: false
"""
MORE = """CREATE TABLE queue (id int);
INSERT INTO queue VALUES (1), (2);
CREATE DEFINER=`app`@`10.0.%` SQL SECURITY DEFINER VIEW names AS SELECT name FROM t;
"""


def documented(words: str) -> str:
    """The tasks that the documentation shows after these words, as they stand in the block."""
    return textwrap.indent(example("editing.md", words), "    ") + "\n"


class Place:
    """Two datasets, the second of them without its dump, and a copy of the playbooks that restores them."""

    def __init__(self, folder: Path, playbooks: Path) -> None:
        self.folder, self.playbooks, self.jobs = folder, playbooks, 0
        shared.share_empty_data(folder / "snapshots")
        (folder / "first.sql").write_text(DUMP.replace("-- Dump completed", f"{MORE}-- Dump completed"))
        for name in ("first", "second"):
            keys = {"database": "toy", "db_user": "toy", "db_pass": "x", "seed_data": f"{name}.sql"}
            (folder / f"{name}.json").write_text(json.dumps(keys))
        self.steps = playbooks / "roles" / "restore_datasets" / "tasks" / "private.yaml"

    @property
    def job_dir(self) -> Path:
        return self.folder / f"job{self.jobs}"

    def run(self, fails: bool = False) -> str:
        """Restore them in a new job; what Ansible says."""
        self.jobs += 1
        (self.job_dir / "results").mkdir(parents=True)
        datasets = [{"name": name, "config": str(self.folder / f"{name}.json")} for name in ("second", "first")]
        variables: dict[str, Any] = {"th_job": {"project": "org/toy", "url": "x"}}
        variables |= {"th_job_dir": str(self.job_dir), "th_datasets": datasets}
        variables |= {"th_profile": {"name": "org/toy", "databases": [database("")]}}
        variables |= {"th_snapshots_dir": str(self.folder / "snapshots"), "restore_datasets_server_options": OPTIONS}
        (self.folder / "variables.json").write_text(json.dumps(variables))
        words = [str(PROGRAM), "playbooks/restore-datasets.yaml", "-e", f"@{self.folder / 'variables.json'}"]
        here = {"ANSIBLE_CONFIG": str(self.playbooks / "ansible.cfg"), "HOME": str(self.folder)}
        done = subprocess.run(
            words, cwd=self.playbooks, env={**os.environ, **here}, capture_output=True, text=True, timeout=900
        )
        assert done.returncode == (2 if fails else 0), done.stdout + done.stderr
        return done.stdout

    @property
    def server(self) -> mariadb.Server:
        return mariadb.load(self.job_dir / "db" / "first")

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        with mariadb.connect(self.server, self.server.job_file, database="toy") as connection:
            return mariadb.query(connection, statement)

    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads((self.job_dir / "artifacts" / "dataset-first.json").read_text())
        return facts

    def errors(self) -> list[tuple[str, str]]:
        lines = (self.job_dir / "artifacts" / "errors.jsonl").read_text().splitlines()
        return [(one["dataset"], one["code"]) for one in map(json.loads, lines)]


@pytest.fixture
def place(tmp_path: Path, copied: Path) -> Iterator[Place]:  # noqa: F811
    made = Place(tmp_path, copied)
    yield made
    for file in tmp_path.glob("job*/db/*/server.json"):
        mariadb.stop(mariadb.load(file.parent), 0)


def test_steps_that_are_added(place: Place) -> None:
    cloned, started = documented("Between the clone and the start"), documented("After the start")
    place.steps.write_text(place.steps.read_text().replace(START, cloned + START) + "\n" + started)
    place.run()
    (size,) = (place.job_dir / "results").iterdir()
    assert size.name == "size-first.txt" and size.read_text().endswith("data\n")
    assert place.ask("SELECT * FROM queue") == [] and place.facts()["version"] == ["a1"]
    assert place.errors() == [("second", "seed_missing")]


def test_a_data_directory_in_place_of_a_dump(place: Place) -> None:
    place.run()
    mariadb.stop(place.server)
    backup = place.folder / "backup" / "first"
    backup.parent.mkdir()
    (place.job_dir / "db" / "first" / "data").rename(backup)
    keys = json.loads((place.folder / "first.json").read_text())
    (place.folder / "first.json").write_text(json.dumps({**keys, "db_user": "other", "seed_data": str(backup)}))
    text = place.steps.read_text()
    copy = documented("neither an import nor a snapshot").replace("/srv/backup", str(backup.parent))
    place.steps.write_text(text[: text.index(IMPORT)] + copy + text[text.index(START) :])
    place.run()
    facts = place.facts()
    assert (facts["version"], facts["method"], facts["snapshot"]) == (["a1"], "copy", "none")
    assert facts["bytes"] > 0 and set(facts["seconds"]) == {"import", "clone", "start"}
    assert place.ask("SELECT name, USER() FROM names LIMIT 1") == [("one", "other@localhost")]


def test_a_step_of_ones_own_that_fails_is_named(place: Place) -> None:
    place.steps.write_text(place.steps.read_text().replace(START, textwrap.indent(OWN, "    ") + "\n" + START))
    said = " ".join(place.run(fails=True).rpartition("TASK [")[2].split())
    assert "Look for the license of the data" in said and "no license" in said
    assert not (place.job_dir / "artifacts" / "dataset-first.json").exists()
    assert not (place.job_dir / "db" / "first" / "server.json").exists()


def test_a_job_whose_datasets_all_fail_ends_with_their_reasons(place: Place) -> None:
    (place.folder / "first.sql").write_text("CREATE TABLE t (id int) COLLATE utf8mb4_0900_ai_ci;\n")
    said = " ".join(place.run(fails=True).rpartition("TASK [")[2].split())
    assert "Require a dataset to test with" in said and "None of the job's datasets could be restored. second: " in said
    assert "MySQL 8" in said and place.errors() == [("second", "seed_missing"), ("first", "seed_broken")]

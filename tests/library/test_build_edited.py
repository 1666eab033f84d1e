# SPDX-License-Identifier: Apache-2.0
"""The steps of a build as an operator has edited them, as docs/editing.md says."""

import shutil
from pathlib import Path

import pytest

from tests.kit import ROOT
from tests.kit.packages import add_wheel, project

from .test_build_control import Job, index, job  # noqa: F401 - fixtures

PACKAGES = "- name: Install the profile's packages"
PROJECT = "- name: Install the project, and what has to be built"
FILES = "requirements: \"{{ __build_environment_found.install.requirements }}\""
ADDED = """- name: Install the driver that all our databases need
  install_packages:
    build: "{{ __build_environment_found.build }}"
    packages: ["ourdriver>=2"]

"""
OWN = """- name: Look whether the compiler is there
  ansible.builtin.command: sh -c "echo no-such-compiler; exit 3"
  changed_when: false

"""


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The playbooks as `th init` copies them."""
    for name in ("playbooks", "roles", "inventory"):
        shutil.copytree(ROOT / name, tmp_path / "ansible" / name)
    shutil.copy(ROOT / "ansible.cfg", tmp_path / "ansible")
    return tmp_path / "ansible"


def steps(copied: Path) -> Path:
    return copied / "roles" / "build_environment" / "tasks" / "environment.yaml"


def installed(job: Job) -> list[str]:  # noqa: F811
    return [str(one) for one in job.entries()[0]["packages"]]


def test_a_step_is_added_removed_and_replaced(job: Job, copied: Path, tmp_path: Path) -> None:  # noqa: F811
    for name, version in (("profiled", "1.0"), ("ourdriver", "1.0"), ("ourdriver", "2.0"), ("locked", "3.0")):
        add_wheel(tmp_path / "index", name, version)
    files = {**project(), "requirements.txt": "alpha\n", "requirements.lock": "locked\n"}
    job.install |= {"project": "editable", "packages": ["profiled"]}
    job.propose(tmp_path, files, {})
    job.run(fails=False)
    assert installed(job) == ["alpha==1.0", "profiled==1.0", "thing==1.5"]
    path = steps(copied)
    text = path.read_text()
    removed = text[: text.index(PACKAGES)] + text[text.index(PROJECT) :]
    replaced = removed.replace(FILES, "requirements: [requirements.lock]")
    path.write_text(replaced.replace(PROJECT, ADDED + PROJECT))
    job.run(copied, fails=False)
    assert installed(job) == ["locked==3.0", "ourdriver==2.0", "thing==1.5"]


def test_a_step_of_ones_own_that_fails_is_named(job: Job, copied: Path, tmp_path: Path) -> None:  # noqa: F811
    """Given one in an environment that others would share: nothing of it is left to them."""
    job.propose(tmp_path, {"requirements.txt": "alpha\n"}, {"README": "words"})
    path = steps(copied)
    path.write_text(path.read_text().replace(PACKAGES, OWN + PACKAGES))
    said = " ".join(job.run(copied).split())
    assert "Look whether the compiler is there: " in said and "no-such-compiler" in said
    assert not (job.job_dir / "artifacts" / "errors.jsonl").exists()
    assert list(Path(job.params["environments_dir"]).iterdir()) == []


def test_kept_environments_are_those_of_the_steps_as_they_are(job: Job, copied: Path, tmp_path: Path) -> None:  # noqa: F811
    job.propose(tmp_path, {"requirements.txt": "alpha\n"}, {"README": "words"})
    job.run(fails=False)
    add_wheel(tmp_path / "index", "ourdriver", "2.0")
    path = steps(copied)
    path.write_text(path.read_text().replace(PROJECT, ADDED + PROJECT))
    for cached in (False, True):
        job.run(copied, fails=False)
        assert installed(job) == ["alpha==1.0", "ourdriver==2.0"] and job.entries()[0]["cached"] is cached

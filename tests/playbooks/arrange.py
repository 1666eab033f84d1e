# SPDX-License-Identifier: Apache-2.0
"""Make what the test playbooks work on: ``python -m tests.playbooks.arrange FOLDER [ROLE]``.

FOLDER gets a served git repository, a profile for it, and ``job.yaml`` for ``ansible-playbook -e @job.yaml``.
"""

import shutil
import sys
from pathlib import Path

import yaml

from tests.kit.git_server import Repository, script
from tests.kit.packages import project

VERSIONS = "thing/migrations/versions"
PROFILE = {
    "releases": ["stable/1"],
    "install": {"project": "editable"},
    "migrations": {"tool": "alembic", "script_location": "thing/migrations"},
}


FILES = Path(__file__).parent / "files"
"""What is put into FOLDER for the playbook of a role: a folder each."""


def main(folder: Path, role: str = "") -> None:
    """Make it all; `role` is the one whose files are put over it."""
    repository = Repository(folder / "served" / "org" / "thing")
    repository.commit({**project(), f"{VERSIONS}/a.py": script("a", None)})
    repository.git("branch", "stable/1")
    repository.commit({f"{VERSIONS}/b.py": script("b", "a")})
    commit = repository.change("refs/zuul/master/Z1", {f"{VERSIONS}/c.py": script("c", "b")}, "Add c")
    profile = folder / "projects" / "org" / "thing.yaml"
    profile.parent.mkdir(parents=True)
    profile.write_text(yaml.safe_dump(PROFILE))
    job = {
        "th_job": {
            "id": "1234567",
            "name": "test",
            "plugin": "gate_real_db_upgrade",
            "project": "org/thing",
            "url": str(folder / "served"),
            "ref": "refs/zuul/master/Z1",
            "commit": commit,
            "branch": "master",
            "newrev": "",
            "change": "7",
            "patchset": "1",
            "pipeline": "check",
            "log_path": "7/7/1/check/test/1234567",
            "zuul": {"ZUUL_UUID": "1234567"},
        },
        "th_job_dir": str(folder / "job"),
        "th_git_working_dir": str(folder / "git"),
        "th_environments_dir": str(folder / "environments"),
        "th_pip_download_cache": str(folder / "packages"),
        "th_projects_dir": str(folder / "projects"),
        "th_publish_path": str(folder / "published"),
        "th_publish_url": "https://logs.example.org/",
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(job))
    if role and (FILES / role).is_dir():
        shutil.copytree(FILES / role, folder, dirs_exist_ok=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])

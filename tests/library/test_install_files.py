# SPDX-License-Identifier: Apache-2.0
"""Which of the files that a change touches say what is installed."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.th_checkout.checkout import Checkout
from ansible.module_utils.th_checkout.install_files import FILES_LIMIT, named, says_what_is_installed
from ansible.module_utils.th_checkout.request import Request
from ansible.module_utils.th_git.client import Git, RetryPolicy, join_url
from ansible.module_utils.th_git.mirror import Mirror
from ansible.module_utils.th_sandbox.capped_log import CappedLog
from ansible.module_utils.th_tools.profile import check_profile

from tests.kit.git_server import Repository
from tests.playbooks import arrange

from .test_checkout import checked_out

FILES = {
    "requirements.txt": b"-r requirements/base.in\n--constraint=pins.txt\ndjango\n",
    "requirements/base.in": b"  -r../deep.txt\n-r /etc/passwd\n-r ../../out.txt\n",
    "deep.txt": b"-r requirements.txt\n",
    "old.txt": b"",
    "setup.py": b"from _needs import NEEDS\nsetup(description=open('README.md').read(), x=open('all/of-it.txt'))",
}
NAMES = ["requirements.txt", "old.txt"]


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("requirements.txt", True),
        ("requirements/base.in", True),
        ("pins.txt", True),
        ("deep.txt", True),
        ("old.txt", True),
        ("backend/pyproject.toml", True),
        ("setup.py", True),
        ("uv.lock", True),
        ("shop/settings.py", False),
        ("other.txt", False),
        ("passwd", False),
        ("all/of-it.txt", True),
        ("_needs.py", True),
        ("README.md", False),
        ("requirements-prod.txt", True),
        ("requirements/test.in", False),
        ("etc/constraints.txt", True),
        ("deps.py", False),
    ],
)
def test_what_is_named_included_and_of_pythons_packaging(path: str, says: bool) -> None:
    found = says_what_is_installed([path], NAMES, lambda names: [(name, FILES.get(name)) for name in names])
    assert found == [path] * says


def test_the_files_of_the_profile_and_of_its_releases() -> None:
    install = {"requirements": ["a.txt"], "constraints": ["b.txt", "https://localhost/c.txt"]}
    releases = [{"name": "one", "install": {"requirements": ["d.txt"]}}]
    migrations = {"tool": "django", "settings": "settings"}
    profile = check_profile({"install": install, "releases": releases, "migrations": migrations})
    assert named(profile) == ["a.txt", "b.txt", "d.txt"]


def test_includes_that_never_end() -> None:
    asked: list[str] = []

    def read(names: Sequence[str]) -> list[tuple[str, bytes | None]]:
        asked.extend(names)
        return [(name, f"-r {int(name) + 1}".encode()) for name in names]

    assert says_what_is_installed([], ["0"], read) == []
    assert asked == [str(number) for number in range(FILES_LIMIT)]


def test_a_change_of_what_is_installed(tmp_path: Path) -> None:
    arrange.main(tmp_path)
    job = yaml.safe_load((tmp_path / "job.yaml").read_text())
    repository = Repository(tmp_path / "served" / "org" / "thing")
    files = {"base.txt": "django<6\n", "requirements.txt": "-r base.txt\n", "README": "x"}
    job["th_job"] |= {"ref": "refs/zuul/master/Z3", "commit": repository.change("refs/zuul/master/Z3", files)}
    request = Request.of(job["th_job"], "")
    log = CappedLog(tmp_path / "log", 100_000)
    git = Git(log, (request.url, request.origin), RetryPolicy())
    mirror = Mirror(git, tmp_path / "mirrors", "org/thing", join_url(request.origin, "org/thing"))
    profile = {"name": "org/thing", "file": "x", **check_profile(arrange.PROFILE)}
    document = checked_out(Checkout(git, mirror, request, profile, tmp_path / "src"))
    assert document["installs"] == ["base.txt", "requirements.txt"]

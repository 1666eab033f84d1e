# SPDX-License-Identifier: Apache-2.0
"""Which of the files that a change touches say what is installed."""

import pytest
from ansible.module_utils.th_install_files import named, says_what_is_installed
from ansible.module_utils.th_profile import check_profile

FILES = {
    "requirements.txt": b"-r requirements/base.in\n--constraint=pins.txt\ndjango\n",
    "requirements/base.in": b"  -r../deep.txt\n-r /etc/passwd\n-r ../../out.txt\n",
    "deep.txt": b"-r requirements.txt\n",
    "old.txt": b"",
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
    ],
)
def test_what_is_named_included_and_of_pythons_packaging(path: str, says: bool) -> None:
    assert says_what_is_installed([path], NAMES, lambda name: [FILES.get(name), None]) == [path] * says


def test_the_files_of_the_profile_and_of_its_releases() -> None:
    install = {"requirements": ["a.txt"], "constraints": ["b.txt", "https://localhost/c.txt"]}
    releases = [{"name": "one", "install": {"requirements": ["d.txt"]}}]
    migrations = {"tool": "django", "settings": "settings"}
    profile = check_profile({"install": install, "releases": releases, "migrations": migrations})
    assert named(profile) == ["a.txt", "b.txt", "d.txt"]


def test_includes_that_never_end() -> None:
    assert says_what_is_installed([], ["0"], lambda name: [f"-r {int(name) + 1}".encode()]) == []

# SPDX-License-Identifier: Apache-2.0
"""What is about boxes again as a user who may do nothing: the box needs no root, neither to hold nor to be made.

Chosen is what is made, held or seen by other means where nobody is root: the namespaces of a box, made by way of one of
users; processes, memory and open files, which are looked at in /proc with this user's rights and not counted by a
control group; files that are this user's own, or closed to it; the box of a database server, and the limits of its
processes. Where a thing has several kinds that differ in what is attacked alone (the place of the code in a change, a
resource of which the kernel itself gives no more, an SQL statement), the rest does the same whoever runs it.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.kit import machine

CHOSEN = {
    # one walk from each place tries all, but for what ends its walk
    "test_walk.py": [
        "test_a_change_that_tries_everything", "test_a_change_tries[to kill everything that it can]",
        "test_the_next_job_is_unharmed",
    ],
    "test_build.py": [
        "test_a_build_tries", "test_code_in_other_places_of_a_change[sdist]",
        "test_a_build_tries_to_kill_everything_that_it_can", "test_a_build_takes_away_where_the_walk_begins",
        "test_a_build_tries_to_poison_every_cache_that_it_can_find",
        "test_a_build_leaves_what_is_hard_to_read_and_to_remove",
    ],
    "test_packages.py": ["test_a_release_poisons_what_other_projects_install[in_the_backend_and_in_a_wheel]"],
    "test_limits.py": ["test_it", "test_it_together"],
    "test_database.py": [
        "test_two_jobs_side_by_side", "test_a_server_sees_its_own_folder_alone",
        "test_a_database_that_fills_the_disk[and goes on]", "test_a_database_that_fills_the_disk[with what it sorts]",
        "test_a_server_is_ended_after_the_code_that_uses_it_and_before_all_else",
        "test_a_change_that_uses_too_much[memory]", "test_a_change_that_uses_too_much[processes]",
    ],
}  # fmt: skip
"""Tests by file; one without its parameters stands for all of them."""

THE_KERNELS = (
    "test_it[burns processor time]", "test_it[keeps files open]", "test_it[writes one large file",
    "test_it[fills /tmp]", "test_it_together[is several that burn processor time",
)  # fmt: skip
"""Beginnings of names of test_limits.py: limits of one process, the size of a mount, and adding up what another test
adds up."""


def chosen() -> list[str]:
    """The same as arguments for pytest."""
    names = [f"tests/hostile/{file}::{name}" for file, tests in CHOSEN.items() for name in tests]
    return [*names, *(f"--deselect=tests/hostile/test_limits.py::{name}" for name in THE_KERNELS)]


if os.geteuid() == 0:  # else all tests here run as such a user anyway

    def test_the_same_as_a_user_without_any_right(tmp_path: Path) -> None:
        folder = tmp_path / "home"
        folder.mkdir()
        pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
        done = subprocess.run(
            machine.command(folder, *pytest, f"--basetemp={folder}/tests", *chosen()),
            cwd=machine.ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-10_000:] + done.stderr
        passed = re.search(r"^(\d+) passed, \d+ deselected in", done.stdout, re.MULTILINE)  # none skipped
        assert passed and int(passed[1]) > 100, done.stdout[-2000:]

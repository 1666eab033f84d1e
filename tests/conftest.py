# SPDX-License-Identifier: Apache-2.0
"""What holds for all tests.

How quickly Hypothesis makes its examples says more about the machine than about the code: no test fails of it. With CI
in the environment, the examples are the same each time.
"""

import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.kit import shared

PR_SET_CHILD_SUBREAPER = 36  # prctl(2)

PROGRAMS = Path(sys.executable).parent
INTERPRETER = Path(os.path.realpath(sys.executable)).parent
# the interpreter itself is found before a script of pyenv's that has its name, and starts twenty programs each time
os.environ["PATH"] = os.pathsep.join([str(PROGRAMS), str(INTERPRETER), os.environ.get("PATH", os.defpath)])

LONGEST_FIRST = (
    "integration/test_recorded", "hostile/test_unprivileged.py", "integration/test_jobs.py",
    "hostile/test_walk.py", "integration", "hostile/test_build.py", "library", "hostile", "playbooks", "browser",
    "functional",
)  # fmt: skip
"""Side by side, a file is run by one process, which has the next one queued behind it: one that takes minutes, and
begins last, would be waited for."""

settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ
)
settings.load_profile("any machine")


# six processes, each with all tests and what they import: nothing of it is ever garbage, so nothing looks for any in it
gc.disable()


def before_shims(path: str) -> str:
    """A PATH with this Python's own folder before those of pyenv and others like it: what they have by the name of
    python3 starts a dozen of shells to find out where that is, and uv keeps nothing of what it has learned so."""
    folders = path.split(os.pathsep)
    first = next((number for number, folder in enumerate(folders) if Path(folder).name == "shims"), len(folders))
    own = [str(Path(sys.base_prefix, "bin"))] if folders[first:] else []
    return os.pathsep.join([*folders[:first], *own, *folders[first:]])


os.environ["PATH"] = before_shims(os.environ.get("PATH", os.defpath))


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    """Look for garbage from now on, in what the tests make."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first."""
    here = Path(__file__).parent

    def rank(item: pytest.Item) -> int:
        name = item.path.relative_to(here).as_posix()
        return next((n for n, first in enumerate(LONGEST_FIRST) if name.startswith(first)), len(LONGEST_FIRST))

    items.sort(key=rank)


@pytest.fixture(autouse=True, scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that all processes of the tests share."""
    own = tmp_path_factory.getbasetemp()
    shared.FOLDER[:] = [own.parent if "PYTEST_XDIST_WORKER" in os.environ else own]
    return shared.FOLDER[0]


@pytest.fixture(autouse=True, scope="module")
def _no_longer_a_reaper() -> Iterator[None]:
    """Modules of roles that are tried within this process make it the parent of orphans, for as long as it lives: the
    daemons of later tests would never be gone."""
    yield
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)

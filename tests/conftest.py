# SPDX-License-Identifier: Apache-2.0
"""What holds for all tests.

How quickly Hypothesis makes its examples says more about the machine than about the code: no test fails of it. With CI
in the environment, the examples are the same each time.
"""

import ctypes
import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

PR_SET_CHILD_SUBREAPER = 36  # prctl(2)

settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ
)
settings.load_profile("any machine")


@pytest.fixture(autouse=True, scope="module")
def _no_longer_a_reaper() -> Iterator[None]:
    """Modules of roles that are tried within this process make it the parent of orphans, for as long as it lives: the
    daemons of later tests would never be gone."""
    yield
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)

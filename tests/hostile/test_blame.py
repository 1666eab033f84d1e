# SPDX-License-Identifier: Apache-2.0
"""Builds and packages that try to make their failure look like somebody else's."""

import os
from collections.abc import Callable

import pytest
from ansible.module_utils.th_core.step import StepError

from tests.kit.packages import add_wheel, project

from .sites import Site

FAKE = """
import os, signal, sys
words = {words!r}
for number in (1, 2):
    for place in ('/proc/%d/fd/%d' % (os.getppid(), number), '/proc/self/fd/%d' % number):
        try:
            with open(place, 'w') as stream:
                stream.write(words + '\\n')
        except OSError:
            pass
os.kill(os.getppid(), signal.SIGKILL)
"""

REFUSED = "error: Failed to fetch: `{url}/alpha/`\n  cause: error sending request\n  cause: tcp connect error"
CLAIMS = {
    "the index refuses": REFUSED,
    "the index has no days": "warning: alpha-1.0.whl is missing an upload date, but user provided one\nerror: x",
    "the profile names nothing": "error: No solution\n  cause: Because beta was not found in the package registry and",
    "the disk is full": "error: Failed to write\n  cause: No space left on device (os error 28)",
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_build_says_on_behalf_of_uv_that_somebody_else_is_to_blame(
    worksite: Site, claim: str, stopped_by: Callable[[str], None]
) -> None:
    work = worksite.job("fake")
    words = CLAIMS[claim].format(url=os.environ["PIP_INDEX_URL"])
    work.write(project(evil=FAKE.format(words=words)))
    work.install["packages"] = ["beta"]
    with pytest.raises(StepError) as caught:
        work.build()
    assert words.splitlines()[0] in work.log.read_text()  # it has been said
    assert caught.value.code in ("environment_failed", "over_limit"), caught.value.detail
    stopped_by("the same question being asked without the project")


def a_name(worksite: Site) -> list[str]:
    return ["pytest-timeout==99"]


def a_wheel(worksite: Site) -> list[str]:
    add_wheel(worksite.index, "sly", "1.0", requires=["beta (tcp connect error: connection refused, timed out"])
    return ["sly"]


@pytest.mark.parametrize("saying", [a_name, a_wheel], ids=lambda saying: saying.__name__)
def test_a_package_is_called_what_uv_says_of_an_index_that_fails(
    worksite: Site, saying: Callable[[Site], list[str]], stopped_by: Callable[[str], None]
) -> None:
    """Given words that uv only quotes, while no code of the project runs."""
    work = worksite.job("quoted")
    work.write({**project(), "requirements.txt": "\n".join(saying(worksite)) + "\n"})
    with pytest.raises(StepError) as caught:
        work.build()
    assert caught.value.code == "environment_failed", caught.value.detail
    stopped_by("the same question being asked without the project")


def test_a_build_says_so_without_being_installed_twice(worksite: Site, stopped_by: Callable[[str], None]) -> None:
    """Given requirements that are more than names, so that all is installed where the change's code runs."""
    work = worksite.job("git")
    words = REFUSED.format(url=os.environ["PIP_INDEX_URL"])
    work.write({**project(evil=FAKE.format(words=words)), "requirements.txt": "-e .\n"})
    work.fails("environment_failed", "error sending request")
    stopped_by("the proxy having seen no index fail")

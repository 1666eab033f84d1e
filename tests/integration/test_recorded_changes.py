# SPDX-License-Identifier: Apache-2.0
"""The recorded jobs whose change is at fault: what they answer is what docs/verdicts.md says."""

import pytest

from worker.verdict import CODES, Fault

from .endings import ALONE, check_end, check_ends
from .recorded import Installation


@pytest.mark.parametrize("name", ["ends", "limits"])
def test_a_change_that_is_at_fault_for_all_that_it_does(installation: Installation, name: str) -> None:
    check_ends(installation, name)


@pytest.mark.parametrize(
    "code", [code for code in ALONE if CODES[code].fault is Fault.CHANGE]
)
def test_a_change_that_is_at_fault(installation: Installation, code: str) -> None:
    check_end(installation, code)

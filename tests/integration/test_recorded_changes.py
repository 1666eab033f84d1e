# SPDX-License-Identifier: Apache-2.0
"""The recorded jobs whose change is at fault: what they answer is what docs/verdicts.md says."""

import pytest

from worker.verdict import CODES, Fault

from .endings import SPECIAL, check_end
from .recorded import SCENARIOS, Installation


@pytest.mark.parametrize(
    "code", [code for code in SCENARIOS if code not in SPECIAL and CODES[code].fault is Fault.CHANGE]
)
def test_a_change_that_is_at_fault(installation: Installation, code: str) -> None:
    check_end(installation, code)

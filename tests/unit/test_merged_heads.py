# SPDX-License-Identifier: Apache-2.0
"""What is to be done about several heads: by the change that brings them, and by the branch that has them."""

from worker.verdict.outcome import Fault, Message


def test_the_remedy_of_several_heads_is_that_of_whoever_has_brought_them() -> None:
    assert Message.of("several_heads").remedy.startswith("Rebase")
    for fault in (Fault.OPERATOR, Fault.DATASET):
        merged = Message.of("several_heads", blame=fault)
        assert "Rebase" not in merged.remedy and "a merge migration to the branch" in merged.remedy

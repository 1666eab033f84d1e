# SPDX-License-Identifier: Apache-2.0
"""What checkout.json contains about migrations, and the limit on its size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.module_utils.th_core.artifacts import DOCUMENT_LIMIT, NAME_LIMIT, as_text
from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_core.text import printable
from ansible.module_utils.th_tools.revisions import Revision, Tree


def refuse_too_much(document: Mapping[str, Any], before: Tree, after: Tree, branch: str) -> None:
    """Raise StepError for a document over the size limit, on whichever side the long names are: branch or change."""
    size = len(as_text(document).encode("utf-8", "replace"))
    if size <= DOCUMENT_LIMIT:
        return
    facts = [sum(len(str(facts_of(one))) for one in tree.revisions.values()) for tree in (before, after)]
    detail = f"The names and files of the migrations come to {size:,} bytes, the limit is {DOCUMENT_LIMIT:,}"
    if facts[0] * 2 > facts[1]:
        raise StepError("branch_broken", f"{branch} has it without the change: {detail}.")
    raise StepError("over_limit", f"{detail} (no variable raises it): give them shorter ones.")


def facts_of(revision: Revision) -> dict[str, Any]:
    """A migration's entry in checkout.json."""
    facts = {"down": list(revision.before), "file": printable(revision.file[:NAME_LIMIT])}
    return {**facts, "replaces": list(revision.replaces)} if revision.replaces else facts

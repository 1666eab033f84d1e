# SPDX-License-Identifier: Apache-2.0
"""The control of a failure: the same steps once more without the change, in a subfolder of the job's folder.

It contains only merged code, from git objects of the mirror, and reads nothing that a process of the change has
written. Its outcome is a `control` event (docs/artifacts.md), which the verdict compares with the failure.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ansible.module_utils.th_core.artifacts import append_event, write_json
from ansible.module_utils.th_core.remove import remove
from ansible.module_utils.th_core.step import StepError

FOLDER = "control"
"""The subfolder of the job's folder for the code without the change, and for what is built from it."""


def base_of(checkout: Mapping[str, Any]) -> str:
    """The commit that a change is based on; "" when there is no change to leave out."""
    base = checkout.get("base") or ""
    return "" if base == checkout.get("commit") else str(base)


def prepare(job_dir: Path, checkout: Mapping[str, Any]) -> Path:
    """Make the folder, laid out like a job's, with the checkout for builds and walks. Raises StepError, OSError."""
    folder = job_dir / FOLDER
    remove(folder)
    for path in (folder, folder / "artifacts", folder / "results"):
        path.mkdir(mode=0o700)
    document = {name: value for name, value in checkout.items() if name != "schema"}
    write_json(folder / "artifacts" / "checkout.json", document)
    return folder


def run_control(
    job_dir: Path,
    role: str,
    checkout: Mapping[str, Any],
    attempt: Callable[[], object],
    facts_of: Callable[[StepError], dict[str, Any]],
    inconclusive: tuple[type[Exception], ...] = (OSError,),
) -> str:
    """Make an attempt without the change, and record how it went; returns the outcome.

    `facts_of` describes an error, with the ``outcome``: ``failed`` for one that a change is blamed for, otherwise
    ``unknown``. `inconclusive` are errors from which nothing follows; their outcome is ``unknown``.
    """
    begun = begin(job_dir / "artifacts" / "errors.jsonl", role, checkout, dataset="")
    facts: dict[str, Any] = {"outcome": "passed"}
    try:
        attempt()
    except StepError as error:
        facts = facts_of(error)
    except inconclusive as error:
        facts = {"outcome": "unknown", "detail": str(error)}
    end(job_dir, role, checkout, begun, facts)
    return str(facts["outcome"])


def begin(events: Path, role: str, checkout: Mapping[str, Any], **more: Any) -> float:
    """Record that a control begins, so that what comes before it is not attributed to it; returns the start time."""
    append_event(events, event_of(role, checkout, 0.0, {"outcome": "begun", **more}))
    return time.monotonic()


def end(job_dir: Path, role: str, checkout: Mapping[str, Any], begun: float, facts: Mapping[str, Any]) -> None:
    """Remove the folder, and record the outcome of a control that is not about a dataset. Raises OSError."""
    with suppress(StepError, OSError):
        remove(job_dir / FOLDER)
    seconds = time.monotonic() - begun
    append_event(job_dir / "artifacts" / "errors.jsonl", event_of(role, checkout, seconds, {"dataset": "", **facts}))


def event_of(role: str, checkout: Mapping[str, Any], seconds: float, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The `control` event; `facts` are its outcome and the details of a failure."""
    place = {"stage": checkout.get("branch", ""), "commit": base_of(checkout), "seconds": round(seconds, 3)}
    return {"event": "control", "role": role, **facts, **place}

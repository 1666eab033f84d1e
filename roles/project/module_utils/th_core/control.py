# SPDX-License-Identifier: Apache-2.0
"""The control of a failure: the same once more without the change, in a folder of its own below the job's.

It has nothing but merged code in it, from git objects of the mirror: nothing that a process of the change's has written
is read. What comes of it is a `control` event (docs/artifacts.md); the verdict compares.
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
"""Where below the job's folder the code without the change lies, and what is made of it."""


def base_of(checkout: Mapping[str, Any]) -> str:
    """The commit that a change is based on; "" where there is no change to leave out."""
    base = checkout.get("base") or ""
    return "" if base == checkout.get("commit") else str(base)


def prepare(job_dir: Path, checkout: Mapping[str, Any]) -> Path:
    """Make the folder, like a job's, with what a build and a walk read of a checkout. Raises StepError, OSError."""
    folder = job_dir / FOLDER
    remove(folder)
    for path in (folder, folder / "artifacts", folder / "results"):
        path.mkdir(mode=0o700)
    told = {name: value for name, value in checkout.items() if name != "schema"}
    write_json(folder / "artifacts" / "checkout.json", told)
    return folder


def compared(
    job_dir: Path,
    role: str,
    checkout: Mapping[str, Any],
    do: Callable[[], object],
    facts_of: Callable[[StepError], dict[str, Any]],
    unknown: tuple[type[Exception], ...] = (OSError,),
) -> str:
    """Do something once more without the change, and write down how it went; returns the outcome.

    `facts_of` says what an error is, with the ``outcome``: ``failed`` where it is one of those that a change is blamed
    for, else ``unknown``. `unknown` are errors that tell nothing.
    """
    begun = begin(job_dir / "artifacts" / "errors.jsonl", role, checkout, dataset="")
    facts: dict[str, Any] = {"outcome": "passed"}
    try:
        do()
    except StepError as error:
        facts = facts_of(error)
    except unknown as error:
        facts = {"outcome": "unknown", "detail": str(error)}
    end(job_dir, role, checkout, begun, facts)
    return str(facts["outcome"])


def begin(events: Path, role: str, checkout: Mapping[str, Any], **more: Any) -> float:
    """Write down that a control begins, and when that is: what stands before it did not come of what may end it."""
    append_event(events, event_of(role, checkout, 0.0, {"outcome": "begun", **more}))
    return time.monotonic()


def end(job_dir: Path, role: str, checkout: Mapping[str, Any], begun: float, facts: Mapping[str, Any]) -> None:
    """Remove the folder, and record what a control has shown that is of no dataset. Raises OSError."""
    with suppress(StepError, OSError):
        remove(job_dir / FOLDER)
    seconds = time.monotonic() - begun
    append_event(job_dir / "artifacts" / "errors.jsonl", event_of(role, checkout, seconds, {"dataset": "", **facts}))


def event_of(role: str, checkout: Mapping[str, Any], seconds: float, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The `control` event; `facts` are its outcome and what is known of a failure."""
    place = {"stage": checkout.get("branch", ""), "commit": base_of(checkout), "seconds": round(seconds, 3)}
    return {"event": "control", "role": role, **facts, **place}

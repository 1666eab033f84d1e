# SPDX-License-Identifier: Apache-2.0
"""Running a script on a checkout: where it is, what it is given, and what it says."""

from __future__ import annotations

import os
import posixpath
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ansible.module_utils.th_core.artifacts import cut
from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_core.text import mask, printable
from ansible.module_utils.th_sandbox.contain import CommandResult, signal_name

RESULT = "result"
"""The file that a script writes its message to."""
MESSAGE_BYTES, MESSAGE_LIMIT = 16 * 1024, 3000
"""What is read of a message, and the characters that are kept of it."""
VARIABLE = re.compile(r"ZUUL_[A-Z0-9_]{1,100}")
SECRET = "ZUUL_EXTRA_"  # noqa: S105 - older Zuul hands out signatures that allow uploads
TIME_LIMIT = "shell_script_time_limit, or `time_limit` of the job"


@dataclass(frozen=True)
class Script:
    """A script: its path, and whether it is the operator's and not one of the checkout."""

    path: Path
    operators: bool


def find(name: str, src: Path, merged: bool) -> Script:
    """The script of a job, `merged` being whether the code that the change is based on has it. Raises StepError."""
    if os.path.isabs(name):
        if not os.path.isfile(name):
            raise StepError("playbook_failed", f"script: there is no file {name}: correct the job's configuration.")
        return Script(Path(name), True)
    inside = posixpath.normpath(name)
    if not name or inside in (".", "..") or inside.startswith("../"):
        problem = f"script: {name!r} is neither in the checkout nor absolute: correct the job's configuration."
        raise StepError("playbook_failed", problem)
    if not os.path.lexists(src / inside):
        if merged:
            raise StepError("script_failed", f"the change has no {inside}, which the code that it is based on has.")
        raise StepError("playbook_failed", f"script: there is no {inside} in the checkout: correct the configuration.")
    return Script(src / inside, False)


def variables(job: Mapping[str, object], result: Path) -> dict[str, str]:
    """The environment variables of a script, without the passwords in the job's URLs."""
    zuul = job.get("zuul")
    arguments = zuul.items() if isinstance(zuul, Mapping) else ()
    given = {str(name): mask(str(value)) for name, value in arguments if not str(name).startswith(SECRET)}
    own = {"TH_JOB_NAME": str(job.get("name") or ""), "TH_RESULT_FILE": str(result)}
    return {**{name: value for name, value in given.items() if VARIABLE.fullmatch(name)}, **own}


def message(folder: Path) -> str:
    """The contents of a script's result file, made safe to show; "" if there is none or it is not a regular file."""
    try:
        handle = os.open(folder / RESULT, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        about = os.fstat(handle)
        raw = os.read(handle, MESSAGE_BYTES) if stat.S_ISREG(about.st_mode) and about.st_nlink == 1 else b""
    except OSError:
        return ""
    finally:
        os.close(handle)
    lines = (printable(line).rstrip() for line in raw.decode("utf-8", "replace").splitlines())
    return cut("\n".join(lines).strip(), MESSAGE_LIMIT)


def failure(command: CommandResult, reported: str, time_limit: float) -> StepError | None:
    """The failure of a script that ended in this way and `reported` this message; None if it has succeeded."""
    if command.exceeded:
        return StepError("over_limit", f"the script: {command.exceeded}")
    if command.exit == 0 and not command.timed_out:
        return None
    how = f"ended after {time_limit:g} s ({TIME_LIMIT})" if command.timed_out else _how(command.exit or 0)
    last = next((line.strip() for line in reversed(command.tail) if line.strip()), "")
    first, _, rest = (reported or last).partition("\n")
    return StepError("script_failed", f"{first} ({how})\n{rest}".strip() if first else f"{how}; it printed nothing")


def _how(status: int) -> str:
    return f"exit status {status}" if status >= 0 else f"killed by {signal_name(-status)}"

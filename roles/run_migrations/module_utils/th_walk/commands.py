# SPDX-License-Identifier: Apache-2.0
"""Walking with a command of the project's own, one process a migration; and the commands that move data."""

from __future__ import annotations

import subprocess
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from ansible.module_utils.th_sandbox.contain import Contained
from ansible.module_utils.th_sandbox.limits import Exceeded
from ansible.module_utils.th_tools.tools import versions_of
from ansible.module_utils.th_walk.last_output import said
from ansible.module_utils.th_walk.walkers import (
    RAISED_BY,
    TICK,
    Step,
    StepEnd,
    Surroundings,
    WalkError,
    describe_exit,
    told,
)

LOOK = 0.05
"""Seconds between two looks at whether the process has connected to the server: how exact its start-up is known."""
_IMPORT_ERRORS = ("ImportError", "ModuleNotFoundError")


class CommandWalker:
    """A `Walker` that runs a command for each of the steps that the trees say are to come."""

    def __init__(
        self, settings: Mapping[str, Any], around: Surroundings, steps: Iterable[Step], downward: bool = False
    ) -> None:
        self._settings, self._around, self._left = settings, around, deque(steps)
        self._words = settings["downgrade_command" if downward else "command"]
        self.announced = len(self._left)
        self.apps: Mapping[str, str] = {}

    def __enter__(self) -> Self:
        self._around.write_files(self._settings)
        return self

    def __exit__(self, *_: object) -> None:
        pass  # every step has cleaned up after itself

    def next(self) -> Step | None:
        """See `Walker`."""
        return self._left[0] if self._left else None

    def run(self, time_limit: float) -> StepEnd:
        """See `Walker`."""
        step = self._left.popleft()
        version = told(step.after, versions_of(self._settings), [step])
        ran = run_command(self._settings, self._around, self._words, version, time_limit)
        return StepEnd(ran.exit, ran.error(), ran.start_up)


@dataclass(frozen=True)
class Ran:
    """A command that was run: `exit` is None when it was ended by us."""

    exit: int | None
    last_line: str
    start_up: float | None
    time_limit: float
    trouble: str = ""
    exceeded: Exceeded | None = None

    def error(self) -> WalkError | None:
        """What is wrong with it; None when it ended with status 0."""
        if self.trouble:
            return WalkError("walk_failed", self.trouble)
        if self.exceeded:
            return WalkError("over_limit", str(self.exceeded))
        if self.exit is None:
            return WalkError("migration_timed_out", f"ended after {self.time_limit:g} s{RAISED_BY}")
        if self.exit < 0:
            return WalkError("migration_killed", f"the command {describe_exit(self.exit)}")
        if self.exit:
            code = "import_failed" if self.last_line.startswith(_IMPORT_ERRORS) else "migration_raised"
            return WalkError(code, self.last_line or f"the command {describe_exit(self.exit)}")
        return None


def run_command(
    settings: Mapping[str, Any], around: Surroundings, words: Iterable[str], version: str, time_limit: float
) -> Ran:
    """Run one command of the profile to its end, or for at most `time_limit` seconds. Raises what `on_tick` does."""
    values = {**around.templates(settings), "version": version}
    # found on the environment's PATH, not on ours
    argv = ["/usr/bin/env", "--", *(word.format_map(values) for word in words)]
    start_up: float | None = None
    begun = ticked = looked = time.monotonic()  # what it takes to make the box is no part of a migration
    try:
        with (
            around.connected() as connected,
            Contained(
                around.beside_a_port(argv),
                cwd=around.src / settings["workdir"],
                env=around.environment(settings),
                box=around.box,
                on_line=around.on_line,
            ) as contained,
        ):
            status: int | None = None
            while (left := begun + time_limit - time.monotonic()) > 0:
                try:
                    status = contained.wait(min(left, LOOK if start_up is None else TICK))
                    break
                except subprocess.TimeoutExpired:
                    if start_up is None:
                        looked = time.monotonic()
                        start_up = looked - begun if connected() else None
                    if time.monotonic() - ticked >= TICK:
                        around.on_tick()
                        ticked = time.monotonic()
            if start_up is None and connected():  # after the last look, and it has ended since
                start_up = looked - begun
    except OSError as error:
        return Ran(None, "", None, time_limit, f"the command cannot be run: {error}")
    exceeded = contained.limit_behind_failure() if status else contained.exceeded()
    contained.last_line(0)  # once the output has ended
    return Ran(status, said(tuple(contained.tail)), start_up, time_limit, exceeded=exceeded)


def run_data_migration(settings: Mapping[str, Any], around: Surroundings, time_limit: float) -> StepEnd:
    """Run a data migration's command until it says that there is no more to do.

    `time_limit` (seconds) is for all rounds together; their start-ups are added up.
    """
    around.write_files(settings)
    deadline = time.monotonic() + time_limit
    start_up: float | None = None
    for number in range(1, settings["rounds"] + 1):
        ran = run_command(settings, around, settings["command"], "", max(deadline - time.monotonic(), 0.001))
        if ran.start_up is not None:
            start_up = (start_up or 0.0) + ran.start_up
        if ran.exit in settings["again"] and not ran.trouble and not ran.exceeded:
            continue
        error = ran.error()
        if error is not None and error.code == "migration_timed_out":
            error = WalkError(error.code, f"ended after {time_limit:g} s{RAISED_BY}, in round {number}")
        return StepEnd(ran.exit, error, start_up, number)
    problem = f"after {settings['rounds']} rounds its command still says that there is more to do"
    return StepEnd(None, WalkError("migration_ended", problem), start_up, settings["rounds"])

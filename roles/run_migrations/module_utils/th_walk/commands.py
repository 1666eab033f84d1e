# SPDX-License-Identifier: Apache-2.0
"""Walking with a command of the project, one process per migration; and the commands of data migrations."""

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
from ansible.module_utils.th_walk.last_output import last_error
from ansible.module_utils.th_walk.walkers import (
    RAISED_BY,
    TICK,
    MigrationStep,
    StepResult,
    WalkerContext,
    WalkError,
    describe_exit,
    version_argument,
)

CONNECT_CHECK = 0.05
"""Seconds between checks of whether the process has connected to the server: the precision of its start-up time."""
_IMPORT_ERRORS = ("ImportError", "ModuleNotFoundError")


class CommandWalker:
    """A `Walker` that runs a command for each pending step of the trees."""

    def __init__(
        self,
        settings: Mapping[str, Any],
        context: WalkerContext,
        steps: Iterable[MigrationStep],
        downward: bool = False,
    ) -> None:
        self._settings, self._context, self._left = settings, context, deque(steps)
        self._command = settings["downgrade_command" if downward else "command"]
        self.announced = len(self._left)
        self.apps: Mapping[str, str] = {}

    def __enter__(self) -> Self:
        self._context.write_files(self._settings)
        return self

    def __exit__(self, *_: object) -> None:
        pass  # every step has cleaned up after itself

    def next(self) -> MigrationStep | None:
        """See `Walker`."""
        return self._left[0] if self._left else None

    def run(self, time_limit: float) -> StepResult:
        """See `Walker`."""
        step = self._left.popleft()
        version = version_argument(step.after, versions_of(self._settings), [step])
        result = run_command(self._settings, self._context, self._command, version, time_limit)
        return StepResult(result.exit, result.error(), result.start_up)


@dataclass(frozen=True)
class CommandRun:
    """How a command ended: `exit` is None when the worker ended it."""

    exit: int | None
    last_line: str
    start_up: float | None
    time_limit: float
    problem: str = ""
    exceeded: Exceeded | None = None

    def error(self) -> WalkError | None:
        """Its error; None when it ended with status 0."""
        if self.problem:
            return WalkError("walk_failed", self.problem)
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
    settings: Mapping[str, Any], context: WalkerContext, words: Iterable[str], version: str, time_limit: float
) -> CommandRun:
    """Run one command of the profile, for at most `time_limit` seconds. Raises what `on_tick` raises."""
    values = {**context.templates(settings), "version": version}
    # env looks the command up on the PATH of the environment, not on the worker's
    argv = ["/usr/bin/env", "--", *(word.format_map(values) for word in words)]
    start_up: float | None = None
    begun = ticked = looked = time.monotonic()  # the time to set the box up does not count
    try:
        with (
            context.connected() as connected,
            Contained(
                context.with_port(argv),
                cwd=context.src / settings["workdir"],
                env=context.environment(settings),
                box=context.box,
                on_line=context.on_line,
            ) as contained,
        ):
            status: int | None = None
            while (left := begun + time_limit - time.monotonic()) > 0:
                try:
                    status = contained.wait(min(left, CONNECT_CHECK if start_up is None else TICK))
                    break
                except subprocess.TimeoutExpired:
                    if start_up is None:
                        looked = time.monotonic()
                        start_up = looked - begun if connected() else None
                    if time.monotonic() - ticked >= TICK:
                        context.on_tick()
                        ticked = time.monotonic()
            if start_up is None and connected():  # it connected after the last check, and has ended since
                start_up = looked - begun
    except OSError as error:
        return CommandRun(None, "", None, time_limit, f"the command cannot be run: {error}")
    exceeded = contained.limit_behind_failure() if status else contained.exceeded()
    contained.last_line(0)  # once the output has ended
    return CommandRun(status, last_error(tuple(contained.tail)), start_up, time_limit, exceeded=exceeded)


def run_data_migration(settings: Mapping[str, Any], context: WalkerContext, time_limit: float) -> StepResult:
    """Run a data migration's command until its exit status says that it is done.

    `time_limit` (seconds) is for all rounds together; the start-up times are added up.
    """
    context.write_files(settings)
    deadline = time.monotonic() + time_limit
    start_up: float | None = None
    for number in range(1, settings["rounds"] + 1):
        result = run_command(settings, context, settings["command"], "", max(deadline - time.monotonic(), 0.001))
        if result.start_up is not None:
            start_up = (start_up or 0.0) + result.start_up
        if result.exit in settings["again"] and not result.problem and not result.exceeded:
            continue
        error = result.error()
        if error is not None and error.code == "migration_timed_out":
            error = WalkError(error.code, f"ended after {time_limit:g} s{RAISED_BY}, in round {number}")
        return StepResult(result.exit, error, start_up, number)
    problem = f"after {settings['rounds']} rounds its command still says that there is more to do"
    return StepResult(None, WalkError("migration_ended", problem), start_up, settings["rounds"])

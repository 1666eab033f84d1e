# SPDX-License-Identifier: Apache-2.0
"""Walking with the project's own tool in one process a stage, which stops before every migration.

The other side of the talk is a program of `files/`, which runs in the project's environment: see th_stepper.py there.
"""

from __future__ import annotations

import subprocess
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from ansible.module_utils.th_core.text import printable
from ansible.module_utils.th_sandbox.contain import Contained
from ansible.module_utils.th_tools.tools import tool_of, versions_of
from ansible.module_utils.th_walk.channel import Channel, line_number, text
from ansible.module_utils.th_walk.installed import APPS_LIMIT
from ansible.module_utils.th_walk.last_output import said
from ansible.module_utils.th_walk.places import Places
from ansible.module_utils.th_walk.walkers import (
    NAME_LIMIT,
    RAISED_BY,
    Step,
    StepEnd,
    Surroundings,
    Target,
    WalkError,
    describe_exit,
    told,
)

STEPS_LIMIT = 20_000
FOLDER_LIMIT = 4096
FILE_LIMIT = 1000
TEXT_LIMIT = 4000
"""Characters of an error's text that are taken, before anything looks at it."""
HEADS_SHOWN = 20
LAST_WORDS = 5.0
_SAID_CODES = ("several_heads",)
"""Codes of docs/verdicts.md that the walking side may name by itself."""


class InProcessWalker:
    """A `Walker` that drives one of the programs in `programs`.

    `folders` are where the scripts are; `way` is what there is to migrate: where that is nothing, a program of
    the project's may end without having asked its tool.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        around: Surroundings,
        programs: Path,
        target: Target,
        folders: list[str],
        way: Sequence[Step],
    ) -> None:
        self._settings, self._around, self._target, self._way = settings, around, target, way
        self._tool = tool_of(settings)
        self._program = programs / self._tool.program
        self._places = Places(around.src, around.venv, folders)
        self._left: deque[tuple[int, Step]] = deque()
        self.announced = 0
        self.apps: dict[str, str] = {}
        self._planned = False
        self._unseen: int | None = None

    @property
    def venv(self) -> Path:
        """The environment of the process."""
        return self._around.venv

    def __enter__(self) -> Self:
        self._around.write_files(self._settings)
        self._channel = Channel(self._around.on_tick)
        other = self._channel.other
        words = [str(self._around.venv / "bin" / "python"), str(self._program), str(other.fileno())]
        with other:
            self._contained = Contained(
                self._around.beside_a_port(words),
                cwd=self._around.src / self._settings["workdir"],
                env=self._around.environment(self._settings),
                box=self._around.box,
                on_line=self._around.on_line,
                pass_fds=[other.fileno()],
            )
            try:
                self._contained.__enter__()
            except OSError as error:
                self._channel.close()
                raise WalkError("walk_failed", f"the environment's Python cannot be run: {error}") from error
        self._channel.say(self._request())
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()
        self._contained.__exit__()

    def next(self) -> Step | None:
        """See `Walker`."""
        if self._unseen is not None:
            self._channel.say({"seen": self._unseen})
            self._unseen = None
        # however often it announces that there is nothing: what comes between two migrations has one limit
        deadline = time.monotonic() + self._around.start_time_limit
        while not self._left:
            if not self._hear_plan(deadline):
                return None
        return self._left[0][1]

    @property
    def ahead(self) -> list[Step]:
        """The migrations that have been announced and not been run."""
        return [step for _, step in self._left]

    def run(self, time_limit: float) -> StepEnd:
        """See `Walker`."""
        number, _ = self._left.popleft()
        self._channel.say({"go": number})
        try:
            message = self._hear(time_limit)
        except TimeoutError:
            return StepEnd(None, WalkError("migration_timed_out", f"ended after {time_limit:g} s{RAISED_BY}"))
        if message is None:
            return self._ended_without_a_word()
        if message.get("done") == number:
            self._unseen = number
            return StepEnd(0)
        if "error" in message:
            error = self._raised(message["error"], "migration_raised")
            return StepEnd(self._exit_status() or 1, error)
        return StepEnd(None, WalkError("migration_ended", "the walking process did not keep to its protocol"))

    def _request(self) -> dict[str, Any]:
        settings, src = self._settings, self._around.src
        version = told(str(self._target), versions_of(settings), self._way)
        values = {**self._around.templates(settings), "version": version}
        command = [] if self._target.ask else settings["downgrade_command" if self._target.downward else "command"]
        request: dict[str, Any] = {
            "command": [word.format_map(values) for word in command],
            "target": list(self._target.heads),
            "direction": self._target.direction,
            "script_folders": self._places.folders,
            "url": values["url"],
        }
        return request | self._tool.request(settings, src, values)

    def _hear_plan(self, deadline: float) -> bool:
        """Take the next plan; False when there is none because the project's code has ended well."""
        when = "after the last migration" if self._planned else "before the first migration"
        try:
            message = self._hear(deadline - time.monotonic())
        except TimeoutError:
            limit = f"{self._around.start_time_limit:g} s (run_migrations_start_time_limit)"
            raise WalkError("walk_failed", f"the project's code took more than {limit} {when}") from None
        if message is None:
            status = self._exit_status()
            raise self._over() or WalkError("walk_failed", f"the walking process {describe_exit(status)} {when}")
        if "error" in message:
            raise self._raised(message["error"], "walk_failed")
        if message.get("end") is True:
            if not self._planned and self._way:
                raise WalkError("walk_failed", "the project's code ended without having asked for its migrations")
            if exceeded := self._contained.exceeded():
                raise WalkError("over_limit", str(exceeded))
            return False
        plan = message.get("plan")
        if not isinstance(plan, list) or len(plan) + self.announced > STEPS_LIMIT:
            raise WalkError("walk_failed", "the walking process gave no usable list of migrations")
        self._compare_heads(message.get("heads"))
        apps = message.get("apps")
        for label, folder in list(apps.items())[:APPS_LIMIT] if isinstance(apps, dict) else ():
            self.apps[text(label, NAME_LIMIT)] = text(folder, FOLDER_LIMIT)
        for item in plan:
            self._left.append((self.announced, _step(item)))
            self.announced += 1
        self._planned = True
        return True

    def _compare_heads(self, said: object) -> None:
        """The tool must see the scripts that were found in the repository, and no others."""
        if said is None or self._target.downward or said == list(self._target.heads):
            return
        words = said[:HEADS_SHOWN] if isinstance(said, list) else [said]
        heads = printable(", ".join(text(word, NAME_LIMIT) for word in words)[:NAME_LIMIT])
        problem = f"{self._tool.name}'s heads are {heads}, the scripts that were found lead to {self._target}"
        raise WalkError("walk_failed", f"{problem}: does the profile name all folders with scripts?")

    def _hear(self, time_limit: float) -> dict[str, Any] | None:
        return self._channel.hear(time_limit, lambda: self._contained.process.poll() is None)

    def _exit_status(self) -> int | None:
        try:
            return self._contained.wait(LAST_WORDS)
        except subprocess.TimeoutExpired:
            return None

    def _ended_without_a_word(self) -> StepEnd:
        status = self._exit_status()
        if over := self._over():
            return StepEnd(status or None, over)
        words = f"the walking process {describe_exit(status)} in the middle of it"
        if status is not None and status < 0:
            return StepEnd(status, WalkError("migration_killed", words))
        return StepEnd(status or None, WalkError("migration_ended", words))

    def _over(self, *words: str) -> WalkError | None:
        """The limit that it was ended by, or that its last words speak of."""
        exceeded = self._contained.limit_behind_failure(*words)
        return WalkError("over_limit", str(exceeded)) if exceeded else None

    def _raised(self, error: object, code: str) -> WalkError:
        facts = error if isinstance(error, dict) else {}
        words = text(facts.get("text"), TEXT_LIMIT)
        if facts.get("import") is True:
            code = "import_failed"
        elif facts.get("code") in _SAID_CODES:
            code = str(facts["code"])
        elif facts.get("code") == "ended":  # the reason may be what it has said last
            self._exit_status()
            self._contained.last_line(LAST_WORDS)  # once the output has ended
            last = said(tuple(self._contained.tail))
            words = f"{words}: {last}" if last else words
        if over := self._over(words):
            code, words = over.code, f"{over.detail}: {words}" if words else over.detail
        file = text(facts.get("file"), FILE_LIMIT)
        return WalkError(
            code,
            printable(words)[:TEXT_LIMIT],
            printable(self._places.in_repository(file)) if file else "",
            line_number(facts.get("line")),
        )


def _step(item: object) -> Step:
    if isinstance(item, list) and len(item) == 2 and all(isinstance(name, str) for name in item):
        return Step(printable(item[0][:NAME_LIMIT]), printable(item[1][:NAME_LIMIT]))
    raise WalkError("walk_failed", "the walking process gave no usable list of migrations")

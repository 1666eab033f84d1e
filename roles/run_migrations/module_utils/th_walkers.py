# SPDX-License-Identifier: Apache-2.0
"""The walking sides: one object a stage, which runs the project's own code, one migration at a time."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self
from urllib.parse import quote

from ansible.module_utils.th_contain import Contained, base_environment, printable

MESSAGE_LIMIT = 4 << 20
STEPS_LIMIT = 20_000
NAME_LIMIT = 300
TICK = 1.0
LAST_WORDS = 5.0
_IMPORT_ERRORS = ("ImportError", "ModuleNotFoundError")


class WalkError(Exception):
    """What ends a dataset's walk: a code of docs/verdicts.md, what was said, and where in the project."""

    def __init__(self, code: str, detail: str, file: str = "", line: int = 0) -> None:
        super().__init__(detail)
        self.code, self.detail, self.file, self.line = code, detail, file, line


@dataclass(frozen=True)
class StepEnd:
    """How a migration ended: `exit` as in docs/artifacts.md, and the error unless it ended well."""

    exit: int | None
    error: WalkError | None = None


@dataclass(frozen=True)
class Surroundings:
    """What a walker needs to know beside the profile.

    `src` and `venv` are the stage's checkout and environment, `home` a folder of the job's own. `on_line`
    takes the output, `on_tick` is called about once a second and may raise WalkError.
    """

    src: Path
    venv: Path
    home: Path
    account: Mapping[str, str]
    socket: str
    database: str
    on_line: Callable[[str], None]
    on_tick: Callable[[], None]
    start_time_limit: float

    def templates(self, migrations: Mapping[str, Any]) -> dict[str, str]:
        """What the templates of a profile know (docs/profiles.md)."""
        user, password = self.account["user"], self.account["password"]
        parts = [quote(part, safe="") for part in (user, password, self.database, self.socket)]
        return {
            "url": "{}://{}:{}@localhost/{}?unix_socket={}&charset=utf8mb4".format(
                migrations["url_scheme"], *parts
            ),
            "socket": self.socket,
            "user": user,
            "password": password,
            "database": self.database,
            "src": str(self.src),
            "venv": str(self.venv),
            "files": str(self.home / "files"),
        }

    def environment(self, migrations: Mapping[str, Any]) -> dict[str, str]:
        """The environment variables of the walking process."""
        values = self.templates(migrations)
        extra = {name: text.format_map(values) for name, text in migrations["environment"].items()}
        environment = base_environment(self.home, {"VIRTUAL_ENV": str(self.venv), **extra})
        environment["PATH"] = f"{self.venv / 'bin'}:{environment['PATH']}"
        return environment

    def write_files(self, migrations: Mapping[str, Any]) -> None:
        """Write the profile's configuration files (0600) to the job's private folder."""
        root = self.home / "files"
        for item in migrations["files"]:
            path = root / item["path"]
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
                stream.write(item["content"].format_map(self.templates(migrations)))


class Walker(Protocol):
    """One stage's walk. A context manager; afterwards none of its processes is left."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def plan(self) -> list[tuple[str, str]]:
        """The migrations that are to come, as (from, to). Raises WalkError."""

    def step(self, number: int, time_limit: float) -> StepEnd:
        """Run one migration of the plan, for at most `time_limit` seconds."""

    def finish(self) -> None:
        """Let the project's code come to its end after the last migration. Raises WalkError."""


class AlembicWalker:
    """Walks with alembic's own machinery: one process a stage, which stops before every migration."""

    def __init__(
        self,
        migrations: Mapping[str, Any],
        around: Surroundings,
        program: Path,
        target: str,
    ) -> None:
        self._around = around
        values = around.templates(migrations)
        options = {name: text.format_map(values) for name, text in migrations["options"].items()}
        if migrations["script_location"]:
            options["script_location"] = str(around.src / migrations["script_location"])
        if migrations["url_option"]:
            options[migrations["url_option"]] = values["url"]
        self._request = {
            "config": str(around.src / migrations["config"]) if migrations["config"] else "",
            "section": migrations["section"],
            "options": options,
            "target": target,
            "script_folders": [
                os.path.realpath(around.src / folder)
                for folder in (*migrations["version_locations"], migrations["script_location"])
                if folder
            ],
        }
        self._migrations = migrations
        self._program = program
        self._received = b""
        self._ended = False

    def __enter__(self) -> Self:
        self._around.write_files(self._migrations)
        self._channel, other = socket.socketpair()
        self._channel.setblocking(False)
        with other:
            self._contained = Contained(
                [str(self._around.venv / "bin" / "python"), str(self._program), str(other.fileno())],
                cwd=self._around.src / self._migrations["workdir"],
                env=self._around.environment(self._migrations),
                on_line=self._around.on_line,
                pass_fds=[other.fileno()],
            )
            try:
                self._contained.__enter__()
            except OSError as error:
                self._channel.close()
                raise WalkError("walk_failed", f"the environment's Python cannot be run: {error}") from error
        self._say(self._request)
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()
        self._contained.__exit__()

    def plan(self) -> list[tuple[str, str]]:
        """See `Walker`."""
        limit = self._around.start_time_limit
        try:
            message = self._hear(limit)
        except TimeoutError:
            raise WalkError("walk_failed", f"env.py did not come to its migrations in {limit:g} s") from None
        if message is None:
            raise WalkError("walk_failed", self._last_words("before the first migration"))
        if "error" in message:
            raise self._raised(message["error"], "walk_failed")
        if message.get("end") is True:
            raise WalkError("walk_failed", "env.py ended without running the migrations")
        plan = message.get("plan")
        if not isinstance(plan, list) or len(plan) > STEPS_LIMIT:
            raise WalkError("walk_failed", "the walking process gave no usable list of migrations")
        if message.get("heads") != self._request["target"]:
            heads = printable(str(message.get("heads")))[:NAME_LIMIT]
            problem = f"alembic's heads are {heads}, the scripts that were found lead to {self._request['target']}"
            raise WalkError("walk_failed", f"{problem}: does the profile name all folders with scripts?")
        return [_pair(item) for item in plan]

    def step(self, number: int, time_limit: float) -> StepEnd:
        """See `Walker`."""
        self._say({"go": number})
        try:
            message = self._hear(time_limit)
        except TimeoutError:
            return StepEnd(None, WalkError("migration_timed_out", f"ended after {time_limit:g} s"))
        if message is None:
            return self._ended_without_a_word()
        if message.get("done") == number:
            return StepEnd(0)
        if "error" in message:
            error = self._raised(message["error"], "migration_raised")
            return StepEnd(self._exit_status() or 1, error)
        return StepEnd(None, WalkError("migration_ended", "the walking process did not keep to its protocol"))

    def finish(self) -> None:
        """See `Walker`."""
        try:
            message = self._hear(self._around.start_time_limit)
        except TimeoutError:
            raise WalkError("walk_failed", "env.py did not end after the last migration") from None
        if message is None:
            raise WalkError("walk_failed", self._last_words("after the last migration"))
        if "error" in message:
            raise self._raised(message["error"], "walk_failed")

    def _say(self, message: dict[str, Any]) -> None:
        try:
            self._channel.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            pass  # it has gone; what follows is heard, or not, in `_hear`

    def _hear(self, time_limit: float) -> dict[str, Any] | None:
        """The next message; None when the other side has gone. Raises TimeoutError."""
        deadline = time.monotonic() + time_limit
        while b"\n" not in self._received:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            if not select.select([self._channel], [], [], min(left, TICK))[0]:
                self._around.on_tick()
                if self._contained.process.poll() is None:
                    continue
            try:
                chunk = self._channel.recv(65536)
            except OSError:  # also BlockingIOError: the process has gone, though a child of its keeps the socket
                chunk = b""
            if not chunk or len(self._received) > MESSAGE_LIMIT:
                return None
            self._received += chunk
        line, _, self._received = self._received.partition(b"\n")
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            return {}
        return message if isinstance(message, dict) else {}

    def _exit_status(self) -> int | None:
        try:
            return self._contained.process.wait(LAST_WORDS)
        except subprocess.TimeoutExpired:
            return None

    def _ended_without_a_word(self) -> StepEnd:
        status = self._exit_status()
        if status is not None and status < 0:
            return StepEnd(status, WalkError("migration_killed", self._last_words("in the middle of it")))
        return StepEnd(status or None, WalkError("migration_ended", self._last_words("in the middle of it")))

    def _last_words(self, when: str) -> str:
        return f"the walking process {describe_exit(self._exit_status())} {when}"

    def _raised(self, error: object, code: str) -> WalkError:
        facts = error if isinstance(error, dict) else {}
        if facts.get("import") is True:
            code = "import_failed"
        file, line = str(facts.get("file", ""))[:1000], facts.get("line")
        return WalkError(
            code,
            printable(str(facts.get("text", "")))[:4000],
            printable(os.path.relpath(file, self._around.src)) if file else "",
            line if isinstance(line, int) else 0,
        )


class CommandWalker:
    """Walks with a command of the project's own, one process a migration."""

    def __init__(
        self, migrations: Mapping[str, Any], around: Surroundings, plan: Sequence[tuple[str, str]]
    ) -> None:
        self._migrations, self._around, self._plan = migrations, around, list(plan)

    def __enter__(self) -> Self:
        self._around.write_files(self._migrations)
        return self

    def __exit__(self, *_: object) -> None:
        pass  # every step has cleaned up after itself

    def plan(self) -> list[tuple[str, str]]:
        """See `Walker`."""
        return self._plan

    def step(self, number: int, time_limit: float) -> StepEnd:
        """See `Walker`."""
        values = {**self._around.templates(self._migrations), "version": self._plan[number][1]}
        argv = [word.format_map(values) for word in self._migrations["command"]]
        environment = self._around.environment(self._migrations)
        deadline = time.monotonic() + time_limit
        try:
            with Contained(
                # found on the environment's PATH, not on ours
                ["/usr/bin/env", "--", *argv],
                cwd=self._around.src / self._migrations["workdir"],
                env=environment,
                on_line=self._around.on_line,
            ) as contained:
                status = self._wait(contained, deadline)
            tail = [line for line in contained.tail if line.strip()]
        except OSError as error:
            return StepEnd(None, WalkError("walk_failed", f"the command cannot be run: {error}"))
        if status is None:
            return StepEnd(None, WalkError("migration_timed_out", f"ended after {time_limit:g} s"))
        if status == 0:
            return StepEnd(0)
        last = tail[-1][:4000] if tail else ""
        if status < 0:
            return StepEnd(status, WalkError("migration_killed", f"the command {describe_exit(status)}"))
        code = "import_failed" if last.startswith(_IMPORT_ERRORS) else "migration_raised"
        return StepEnd(status, WalkError(code, last or f"the command {describe_exit(status)}"))

    def finish(self) -> None:
        """See `Walker`."""

    def _wait(self, contained: Contained, deadline: float) -> int | None:
        while (left := deadline - time.monotonic()) > 0:
            try:
                return contained.process.wait(min(left, TICK))
            except subprocess.TimeoutExpired:
                self._around.on_tick()
        return None


def describe_exit(status: int | None) -> str:
    """An exit status in words."""
    if status is None:
        return "did not end"
    if status < 0:
        try:
            return f"was killed by {signal.Signals(-status).name}"
        except ValueError:
            return f"was killed by signal {-status}"
    return f"ended with status {status}"


def _pair(item: object) -> tuple[str, str]:
    if isinstance(item, list) and len(item) == 2 and all(isinstance(name, str) for name in item):
        return printable(item[0][:NAME_LIMIT]), printable(item[1][:NAME_LIMIT])
    raise WalkError("walk_failed", "the walking process gave no usable list of migrations")



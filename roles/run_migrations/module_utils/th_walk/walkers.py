# SPDX-License-Identifier: Apache-2.0
"""The interface of walkers, which take one database through a stage, one migration at a time, and what they share."""

from __future__ import annotations

import os
import string
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self
from urllib.parse import quote

from ansible.module_utils.th_sandbox.box import Box
from ansible.module_utils.th_sandbox.contain import base_environment, signal_name
from ansible.module_utils.th_tools.tool import Versions
from ansible.module_utils.th_tools.versions import number_of

TICK = 1.0
"""Seconds between two checks of whether the server is alive while a migration runs."""
NAME_LIMIT = 300
HOST, PORT = "127.0.0.1", "3306"
"""Where th_forward.py listens in a box that reaches the server by a socket; clients take "localhost" for a socket."""
RAISED_BY = " (run_migrations_time_limit)"
"""The variable that raises the time limit of a migration."""


def asks_for_a_port(profile: object) -> bool:
    """Whether a template of the profile has ``{host}`` or ``{port}``."""
    if isinstance(profile, str):
        try:
            return any(name in ("host", "port") for _, name, _, _ in string.Formatter().parse(profile))
        except ValueError:
            return False  # not a template
    if isinstance(profile, Mapping):
        return any(map(asks_for_a_port, profile.values()))
    return isinstance(profile, Sequence) and any(map(asks_for_a_port, profile))


class WalkError(Exception):
    """An error that ends a dataset's walk: a code of docs/verdicts.md, the detail, and the place in the project."""

    def __init__(self, code: str, detail: str, file: str = "", line: int = 0) -> None:
        super().__init__(detail)
        self.code, self.detail, self.file, self.line = code, detail, file, line


@dataclass(frozen=True)
class WalkLimits:
    """How long one migration may take, how long the project's code may take before, between and after them, and how
    large the log may become (bytes)."""

    migration_seconds: float
    start_seconds: float
    log_bytes: int


@dataclass(frozen=True)
class MigrationStep:
    """One migration: the revisions it leads from and to, as in docs/artifacts.md but without the database's name."""

    before: str
    after: str


def version_argument(version: str, versions: Versions, steps: Sequence[MigrationStep]) -> str:
    """A version as the argument of a profile's command, at the end of the `steps`: tools with numbered versions call
    the empty database by the number below the first script."""
    first = number_of(steps[-1].before) if steps else None
    return str(first - 1) if version == "base" and versions.numbered and first is not None else version


@dataclass(frozen=True)
class StepResult:
    """How a migration ended: `exit` as in docs/artifacts.md, and the error if it failed.

    `start_up` is how many seconds its process, if it had its own, took to connect to the server; `rounds` is how often
    a data migration's command was run.
    """

    exit: int | None
    error: WalkError | None = None
    start_up: float | None = None
    rounds: int = 0


@dataclass(frozen=True)
class Target:
    """Where a walker has to bring a database: `heads` are the revisions to reach, without the database's name.

    With `ask` the walker only lists what there is to migrate; tools whose migrations may be in packages support it.
    """

    heads: tuple[str, ...]
    downward: bool = False
    ask: bool = False

    @property
    def direction(self) -> str:
        """The `direction` in the request to a walking program."""
        return "ask" if self.ask else "down" if self.downward else "up"

    def __str__(self) -> str:
        return ",".join(self.heads) or "base"


@dataclass(frozen=True)
class WalkerContext:
    """What a walker needs to know besides the profile.

    `src` and `venv` are the stage's checkout and environment, `home` is a private folder of the job. `schemas` maps the
    databases' names in the profile to those on the server; `database` is the one to walk. `on_line` takes the output,
    `on_tick` is called about once a second and may raise WalkError. `connected` yields a function that tells whether
    anybody has connected to the server since. `box` is what the project's processes run in, `bytecode` is where Python
    keeps compiled modules if not beside the source. `forward` is the program that opens a port for the server's socket,
    where the profile asks for host and port and the box has only a socket.
    """

    src: Path
    venv: Path
    home: Path
    account: Mapping[str, str]
    address: Mapping[str, str]
    schemas: Mapping[str, str]
    database: str
    on_line: Callable[[str], None]
    on_tick: Callable[[], None]
    connected: Callable[[], AbstractContextManager[Callable[[], bool]]]
    start_time_limit: float
    box: Box
    bytecode: Path | None = None
    forward: Path | None = None

    def with_port(self, words: Sequence[str]) -> list[str]:
        """The command to run in the box, prefixed with the program that opens the port where one is needed."""
        if self.forward is None:
            return list(words)
        python, port = str(self.venv / "bin" / "python"), self.address.get("port", PORT)
        return [python, "-I", "-S", str(self.forward), self.address["socket"], port, *words]

    def templates(self, settings: Mapping[str, Any]) -> dict[str, str]:
        """The values of a profile's templates (docs/profiles.md)."""
        values = {
            "user": self.account["user"],
            "password": self.account["password"],
            "socket": self.address.get("socket", ""),
            "host": self.address.get("host", HOST),
            "port": self.address.get("port", PORT),
            "src": str(self.src),
            "venv": str(self.venv),
            "files": str(self.home / "files"),
        }
        for name, schema in self.schemas.items():
            values |= {f"url_{name}": self._url(settings["url_scheme"], schema), f"database_{name}": schema}
        schema = self.schemas[self.database]
        return {**values, "url": self._url(settings["url_scheme"], schema), "database": schema}

    def _url(self, scheme: str, schema: str) -> str:
        user, password, name = (
            quote(part, safe="") for part in (self.account["user"], self.account["password"], schema)
        )
        if place := self.address.get("socket"):
            # avoids % where possible: many projects pass the URL to configparser unescaped
            return f"{scheme}://{user}:{password}@localhost/{name}?unix_socket={quote(place)}&charset=utf8mb4"
        return f"{scheme}://{user}:{password}@{self.address['host']}:{self.address['port']}/{name}?charset=utf8mb4"

    def environment(self, settings: Mapping[str, Any]) -> dict[str, str]:
        """The environment variables of the project's processes."""
        values = self.templates(settings)
        extra = {name: text.format_map(values) for name, text in settings["environment"].items()}
        if self.bytecode:
            extra.setdefault("PYTHONPYCACHEPREFIX", str(self.bytecode))
        passed = self.box.settings.environment
        environment = base_environment(self.home, {"VIRTUAL_ENV": str(self.venv), **extra}, passed)
        environment["PATH"] = f"{self.venv / 'bin'}:{environment['PATH']}"
        return environment

    def write_files(self, settings: Mapping[str, Any]) -> None:
        """Write the profile's configuration files (0600) to the job's private folder."""
        root = self.home / "files"
        for item in settings["files"]:
            path = root / item["path"]
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
                stream.write(item["content"].format_map(self.templates(settings)))


class Walker(Protocol):
    """Walks one database to the end of a stage. A context manager that leaves no process behind."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    @property
    def announced(self) -> int:
        """How many migrations have been announced so far, those that have run included."""

    @property
    def apps(self) -> Mapping[str, str]:
        """The folders of migrations that the project's code has reported, by the app's label."""

    def next(self) -> MigrationStep | None:
        """The next migration; None when the project's code has ended. Raises WalkError."""

    def run(self, time_limit: float) -> StepResult:
        """Run it, for at most `time_limit` seconds."""


def describe_exit(status: int | None) -> str:
    """An exit status in words."""
    if status is None:
        return "did not end"
    if status < 0:
        return f"was killed by {signal_name(-status)}"
    return f"ended with status {status}"

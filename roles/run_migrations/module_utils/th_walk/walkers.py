# SPDX-License-Identifier: Apache-2.0
"""What walks a stage of one database with the project's own code, one migration at a time, is a `Walker`."""

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
"""Seconds between two looks at whether the server is alive while a migration runs."""
NAME_LIMIT = 300
HOST, PORT = "127.0.0.1", "3306"
"""Where a box has the port for a server that it reaches by a socket; to clients, localhost is a socket of theirs."""
RAISED_BY = " (run_migrations_time_limit)"
"""The variable that raises the time limit of a migration."""


def asks_for_a_port(profile: object) -> bool:
    """Whether a template of the profile has ``{host}`` or ``{port}``."""
    if isinstance(profile, str):
        try:
            return any(name in ("host", "port") for _, name, _, _ in string.Formatter().parse(profile))
        except ValueError:
            return False  # it is no template
    if isinstance(profile, Mapping):
        return any(map(asks_for_a_port, profile.values()))
    return isinstance(profile, Sequence) and any(map(asks_for_a_port, profile))


class WalkError(Exception):
    """What ends a dataset's walk: a code of docs/verdicts.md, what was said, and where in the project."""

    def __init__(self, code: str, detail: str, file: str = "", line: int = 0) -> None:
        super().__init__(detail)
        self.code, self.detail, self.file, self.line = code, detail, file, line


@dataclass(frozen=True)
class Limits:
    """Seconds that one migration may take, that the project's code may take around them, and the log's size."""

    migration: float
    around: float
    log_bytes: int


@dataclass(frozen=True)
class Step:
    """One migration, from and to revisions as docs/artifacts.md writes them, without a database's name."""

    before: str
    after: str


def told(version: str, versions: Versions, way: Sequence[Step]) -> str:
    """What a command of the profile is told of a version, at the end of the way there: a tool that numbers its versions
    knows the empty database by the number below the first script."""
    first = number_of(way[-1].before) if way else None
    return str(first - 1) if version == "base" and versions.numbered and first is not None else version


@dataclass(frozen=True)
class StepEnd:
    """How a migration ended: `exit` as in docs/artifacts.md, and the error unless it ended well.

    `start_up` are the seconds until its process first connected to the server, where it has one of its own; `rounds`
    is how often a data migration's command was run.
    """

    exit: int | None
    error: WalkError | None = None
    start_up: float | None = None
    rounds: int = 0


@dataclass(frozen=True)
class Target:
    """Where a walker has to bring a database: `heads` are the revisions that it holds then, without its name.

    `ask` is only to be told what there is to migrate, and to migrate nothing; a tool can be asked that whose
    migrations may be in packages.
    """

    heads: tuple[str, ...]
    downward: bool = False
    ask: bool = False

    @property
    def direction(self) -> str:
        """What a walking program is told of it."""
        return "ask" if self.ask else "down" if self.downward else "up"

    def __str__(self) -> str:
        return ",".join(self.heads) or "base"


@dataclass(frozen=True)
class Surroundings:
    """What a walker needs to know beside the profile.

    `src` and `venv` are the stage's checkout and environment, `home` a folder of the job's own. `schemas` maps the
    databases' names in the profile to those on the server; `database` is the one at hand. `on_line` takes the output,
    `on_tick` is called about once a second and may raise WalkError. `connected` gives what tells whether anybody has
    connected to the server since then. `box` is what the project's processes run in, `bytecode` where Python
    keeps what it compiles, where that is not beside the source. `forward` is the program that makes a port for the
    server's socket, where the profile asks for host and port and the box has only a socket.
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

    def beside_a_port(self, words: Sequence[str]) -> list[str]:
        """A command as it is run in the box, where the port is made as well if there has to be one."""
        if self.forward is None:
            return list(words)
        python, port = str(self.venv / "bin" / "python"), self.address.get("port", PORT)
        return [python, "-I", "-S", str(self.forward), self.address["socket"], port, *words]

    def templates(self, settings: Mapping[str, Any]) -> dict[str, str]:
        """What the templates of a profile know (docs/profiles.md)."""
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
            # no % where it can be helped: many a project gives the URL to configparser as it is
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
    """Walks one database to the end of a stage. A context manager; afterwards none of its processes is left."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    @property
    def announced(self) -> int:
        """How many migrations are known of so far, those that were run among them."""

    @property
    def apps(self) -> Mapping[str, str]:
        """The folders of migrations that the project's code has told of, by the label of the app."""

    def next(self) -> Step | None:
        """The migration that comes next; None when the project's code has come to its end. Raises WalkError."""

    def run(self, time_limit: float) -> StepEnd:
        """Run it, for at most `time_limit` seconds."""


def describe_exit(status: int | None) -> str:
    """An exit status in words."""
    if status is None:
        return "did not end"
    if status < 0:
        return f"was killed by {signal_name(-status)}"
    return f"ended with status {status}"

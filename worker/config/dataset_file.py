# SPDX-License-Identifier: Apache-2.0
"""What one dataset's file may say (docs/datasets.md), read and checked completely."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worker.config import dump_expectations, server_settings
from worker.counters import MEASURED
from worker.errors import ConfigError, DatasetError
from worker.inputs import documents

LIMITS = tuple(counter.limit for counter in MEASURED)

WARN_ONLY = "warn_only"
"""The key of a limit that says that going over it is reported, and does not fail the job."""
SUFFIXES = (".sql", ".gz", ".zst", ".xz")
SERVERS_OWN = ("root", "mariadb.sys", "mysql")

PART = ("database", "seed_data", "character_set", "collation", "expect")
SERVER = ("host", "port", "socket", "user", "password_file")
WAIVER = ("migration", "limit", "reason", "bug")
KNOWN = (
    "project", "type", "db_user", "db_pass", *PART, "databases", "tags", "server", "preloaded", "reset",
    "logging_conf", *LIMITS, "waivers", *server_settings.KEYS,
)  # fmt: skip
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_DATABASE = re.compile(r"[A-Za-z0-9_$-]{1,64}")
_PART = re.compile(r"[a-z][a-z0-9_]{0,31}")
_CHARSET = re.compile(r"[A-Za-z0-9_]{1,64}")
_USER = re.compile(r"[A-Za-z0-9_.-]{1,80}")
_HOST = re.compile(r"[A-Za-z0-9:][A-Za-z0-9.:_-]{0,254}")


@dataclass(frozen=True)
class Part:
    """One database of a dataset. `name` is the profile's, "" for the only one; `seed` its dump, None without one.

    `character_set` and `collation` are what the database is made with, "" for the dump's own.
    """

    name: str
    database: str
    seed: Path | None
    character_set: str = ""
    collation: str = ""


@dataclass(frozen=True)
class Server:
    """An external database server, and the account that jobs are prepared with on it."""

    host: str
    port: int
    socket: str
    user: str
    password_file: Path

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return self.socket or f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Dataset:
    """A dataset.

    `parts` are its databases. `limits` maps a name of LIMITS to its table: ``default``, ``<database>:default`` and
    ``from->to`` with numbers, and WARN_ONLY. `server` is None for private servers; with `preloaded` its databases
    are on the server for good, and `reset` is the operator's command that makes them the seed's again.
    """

    name: str
    config_path: Path
    project: str
    type: str
    parts: tuple[Part, ...]
    db_user: str
    db_pass: str = field(repr=False)
    limits: Mapping[str, Mapping[str, float]]
    waivers: tuple[Mapping[str, str], ...]
    tags: tuple[str, ...]
    server: Server | None
    preloaded: bool
    reset: tuple[str, ...]
    settings: Mapping[str, str]
    remarks: Mapping[str, Any]


def name_of(path: Path) -> str:
    """The name of the dataset that a file describes."""
    return path.parent.name if path.name == "config.json" else path.stem


def load(path: Path) -> Dataset:
    """Read and check one dataset's file. Raises DatasetError, which names the key."""
    try:
        document = documents.read_mapping(path)
        json.loads(path.read_text("utf-8-sig"))  # the playbooks read JSON, and JSON only
    except ConfigError as error:
        raise DatasetError(path, error.key, error.problem, error.remedy) from error
    except ValueError as error:
        raise DatasetError(path, "", f"is not valid JSON: {error}", "fix the file") from error
    return _Reader(path, document).read()


def _key(where: str, key: str) -> str:
    return ".".join(filter(None, (where, key)))


class _Reader:
    """Takes one dataset's file apart."""

    def __init__(self, path: Path, document: Mapping[str, Any]) -> None:
        self.path, self.document = path, document

    def read(self) -> Dataset:
        name = name_of(self.path)
        if not _NAME.fullmatch(name):
            raise self.error("", f"{name!r} cannot be a dataset's name", "use letters, digits, . _ and -")
        for key in self.document:
            if key not in KNOWN and not key.startswith("_"):
                raise self.error(key, "is not a known key", f"there are {', '.join(KNOWN)}, and remarks: _…")
        project, kind = self.text("project"), self.text("type")
        if kind != "mysql":
            raise self.error("type", f"is {kind!r}", "only mysql is there, which is MariaDB's too")
        server = self.server() if "server" in self.document else None
        preloaded, reset = self.preloaded(server)
        user, password = self.account(server)
        parts = self.parts(bool(reset))
        return Dataset(
            name=name,
            config_path=self.path,
            project=project,
            type=kind,
            parts=parts,
            db_user=user,
            db_pass=password,
            limits={key: self.limits(key, [part.name for part in parts]) for key in LIMITS if key in self.document},
            waivers=tuple(self.waiver(number, item) for number, item in enumerate(self.items("waivers"))),
            tags=tuple(self.tag(number, item) for number, item in enumerate(self.items("tags"))),
            server=server,
            preloaded=preloaded,
            reset=reset,
            settings=self.settings(),
            remarks={key: value for key, value in self.document.items() if key.startswith("_")},
        )

    def error(self, key: str, problem: str, remedy: str = "") -> DatasetError:
        return DatasetError(self.path, key, problem, remedy)

    def text(self, key: str, within: Mapping[str, Any] | None = None, where: str = "", empty: bool = False) -> str:
        value = (self.document if within is None else within).get(key)
        if value is None:
            raise self.error(_key(where, key), "is missing", "add it")
        if not isinstance(value, str) or (not value and not empty) or "\0" in value:
            raise self.error(_key(where, key), "must be text", "put it in quotes")
        return value

    def items(self, key: str) -> list[Any]:
        if not isinstance(value := self.document.get(key, []), list):
            raise self.error(key, "must be a list")
        return value

    def mapping(self, where: str, value: Any, known: tuple[str, ...]) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.error(where, f"must be a mapping of {', '.join(known)}")
        for key in value:
            if key not in known:
                raise self.error(f"{where}.{key}", "is not a known key", f"there are {', '.join(known)}")
        return value

    def account(self, server: Server | None) -> tuple[str, str]:
        if server:
            for key in ("db_user", "db_pass"):
                if key in self.document:
                    problem = "is for private servers: on an external one, each job gets an account of its own"
                    raise self.error(key, problem, "take it out")
            return "", ""
        user, password = self.text("db_user"), self.text("db_pass", empty=True)
        if not _USER.fullmatch(user):
            raise self.error("db_user", f"{user!r} cannot be used", "use letters, digits and _")
        if user in SERVERS_OWN:
            raise self.error("db_user", f"{user!r} is the server's own", "name another user")
        return user, password

    def server(self) -> Server:
        given = self.mapping("server", self.document["server"], SERVER)
        socket = self.text("socket", given, "server") if "socket" in given else ""
        host = self.text("host", given, "server") if "host" in given or not socket else ""
        if host and not _HOST.fullmatch(host):
            raise self.error("server.host", f"{host!r} is no host name")
        port = given.get("port", 3306)
        if not isinstance(port, int) or isinstance(port, bool) or not 0 < port < 65536:
            raise self.error("server.port", "must be a port from 1 to 65535")
        file = self.path.parent / self.text("password_file", given, "server")
        return Server(host, port, socket, self.text("user", given, "server"), file)

    def preloaded(self, server: Server | None) -> tuple[bool, tuple[str, ...]]:
        preloaded, reset = self.document.get("preloaded", False), self.items("reset")
        if not isinstance(preloaded, bool):
            raise self.error("preloaded", "must be true or false")
        if preloaded and not server:
            raise self.error("preloaded", "is for databases on an external server", "name it with the key server")
        if reset and not preloaded:
            raise self.error("reset", "is for databases that are preloaded", "add preloaded: true, or take it out")
        if not all(isinstance(word, str) and word and "\0" not in word for word in reset):
            raise self.error("reset", "must be a list of the command's words")
        return preloaded, tuple(reset)

    def settings(self) -> Mapping[str, str]:
        try:
            return server_settings.read(self.document, self.path.parent).values
        except server_settings.SettingError as error:
            raise self.error(error.key, error.problem, error.remedy) from error

    def parts(self, reset: bool) -> tuple[Part, ...]:
        several = self.document.get("databases")
        if several is None:
            return (self.part("", self.document, "", reset),)
        for key in PART:
            if key in self.document:
                raise self.error(key, "cannot be there beside databases", "put it into one of them")
        if not isinstance(several, dict) or not several:
            raise self.error("databases", "must be a mapping of the profile's names to database and seed_data")
        parts = []
        for name, value in several.items():
            where = f"databases.{name}"
            if not _PART.fullmatch(name):
                raise self.error(where, f"{name!r} is no name of a database", "use the profile's: a-z, 0-9 and _")
            parts.append(self.part(name, self.mapping(where, value, PART), where, reset))
            if len({part.database for part in parts}) < len(parts):
                raise self.error(f"{where}.database", f"{parts[-1].database!r} is there twice", "name another")
        return tuple(parts)

    def part(self, name: str, given: Mapping[str, Any], where: str, reset: bool) -> Part:
        database = self.text("database", given, where)
        if not _DATABASE.fullmatch(database):
            raise self.error(_key(where, "database"), f"{database!r} cannot be used", "use letters, digits and _")
        charset = [self.charset(one, given, where) for one in ("character_set", "collation")]
        if reset:
            for key in ("seed_data", "expect"):
                if key in given:
                    raise self.error(_key(where, key), "is for a dump, which reset takes the place of", "keep one")
            return Part(name, database, None, *charset)
        seed = self.path.parent / self.text("seed_data", given, where)
        if seed.suffix not in SUFFIXES and not os.path.isdir(seed):
            remedy = f"use {', '.join(SUFFIXES)}, or a folder of mydumper's"
            raise self.error(_key(where, "seed_data"), f"{seed.name} is of no known kind", remedy)
        inner, problem, remedy = dump_expectations.problem(given["expect"]) if "expect" in given else ("", "", "")
        if problem:
            raise self.error(_key(_key(where, "expect"), inner), problem, remedy)
        return Part(name, database, seed, *charset)

    def charset(self, key: str, given: Mapping[str, Any], where: str) -> str:
        if (name := self.text(key, given, where) if key in given else "") and not _CHARSET.fullmatch(name):
            raise self.error(_key(where, key), f"{name!r} cannot be used", "use letters, digits and _")
        return name

    def limits(self, key: str, names: list[str]) -> dict[str, float]:
        value = self.document[key]
        if not isinstance(value, dict):
            raise self.error(key, "must be a mapping of default and from->to to numbers")
        defaults = {"default", *(f"{name}:default" for name in names if name)}
        for name, limit in value.items():
            if name == WARN_ONLY:
                if not isinstance(limit, bool):
                    raise self.error(f"{key}.{name}", "must be true or false")
                continue
            if name not in defaults and "->" not in name:
                raise self.error(f"{key}.{name}", f"is neither {', '.join(sorted(defaults))} nor from->to")
            if isinstance(limit, bool) or not isinstance(limit, int | float) or not 0 <= limit < float("inf"):
                raise self.error(f"{key}.{name}", "must be a number, 0 or more")
        return dict(value)

    def waiver(self, number: int, value: Any) -> dict[str, str]:
        where = f"waivers[{number}]"
        given = self.mapping(where, value, WAIVER)
        waiver = {key: self.text(key, given, where) for key in WAIVER if key in given}
        for needed in ("migration", "reason"):
            if not waiver.get(needed, "").strip():
                raise self.error(f"{where}.{needed}", "is missing", "a waiver names the migration, and says why")
        if "->" not in waiver["migration"]:
            raise self.error(f"{where}.migration", f"{waiver['migration']!r} is not from->to")
        if waiver.get("limit", LIMITS[0]) not in LIMITS:
            problem = f"{waiver['limit']!r} is no limit"
            raise self.error(f"{where}.limit", problem, f"use one of {', '.join(LIMITS)}, or leave it out for all")
        return waiver

    def tag(self, number: int, value: Any) -> str:
        if not isinstance(value, str) or not _NAME.fullmatch(value):
            raise self.error(f"tags[{number}]", f"{value!r} cannot be a tag", "use letters, digits, . _ and -")
        return value

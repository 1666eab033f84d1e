# SPDX-License-Identifier: Apache-2.0
"""The file that describes one dataset (docs/datasets.md), read and checked completely."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worker.config import dataset_limits, engines, server_settings
from worker.config.dataset_limits import LIMITS
from worker.errors import ConfigError, DatasetError
from worker.inputs import documents
from worker.inputs.documents import Section

SUFFIXES = (".sql", ".gz", ".zst", ".xz")
SERVERS_OWN = ("root", "mariadb.sys", "mysql")

PART = ("database", "seed_data", "character_set", "collation", "expect")
SERVER = ("host", "port", "socket", "user", "password_file", "ssl_ca")
EXPECT = ("tables", "rows", "size", "sha256")
"""The keys of `expect`: the properties by which a complete dump is recognised."""
KNOWN = (
    "project", "type", "db_user", "db_pass", *PART, "databases", "tags", *engines.KEYS, "mysql_dump_into_mariadb",
    "server", "preloaded", "reset", "logging_conf", *LIMITS, "waivers", *server_settings.KEYS,
)  # fmt: skip
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_DATABASE = re.compile(r"[A-Za-z0-9_$-]{1,64}")
_PART = re.compile(r"[a-z][a-z0-9_]{0,31}")
_CHARSET = re.compile(r"[A-Za-z0-9_]{1,64}")
_USER = re.compile(r"[A-Za-z0-9_.-]{1,80}")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_TABLE = re.compile(r"[^`\0]{1,64}")
_HOST = re.compile(r"[A-Za-z0-9:][A-Za-z0-9.:_-]{0,254}")


@dataclass(frozen=True)
class Part:
    """One database of a dataset. `name` is its name in the profile, "" for the only one; `seed` is its dump, or None.

    The database is created with `character_set` and `collation`; "" means those of the dump.
    """

    name: str
    database: str
    seed: Path | None
    character_set: str = ""
    collation: str = ""


@dataclass(frozen=True)
class ExternalServer:
    """An external database server, and the account used to prepare jobs on it.

    `ssl_ca` is the file of the CA that must have issued the server's certificate; None: certificates are not verified.
    """

    host: str
    port: int
    socket: str
    user: str
    password_file: Path
    ssl_ca: Path | None = None

    @property
    def place(self) -> str:
        """The server's address, for messages."""
        return self.socket or f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Dataset:
    """A dataset.

    `parts` are its databases. It is walked on each of the `engines` that it names; without any, its dump decides. With
    `mysql_dump_into_mariadb`, a dump of MySQL may be loaded into MariaDB. `limits` maps a name in LIMITS to its table
    (`dataset_limits.tables`). `server` is None for private servers. With `preloaded`, the databases are on the server
    permanently, and the operator's command `reset` restores their seed after each job.
    """

    name: str
    config_path: Path
    project: str
    type: str
    parts: tuple[Part, ...]
    db_user: str
    db_pass: str = field(repr=False)
    engines: tuple[str, ...]
    mysql_dump_into_mariadb: bool
    limits: Mapping[str, Mapping[str, float | dataset_limits.Table]]
    waivers: tuple[Mapping[str, str], ...]
    tags: tuple[str, ...]
    server: ExternalServer | None
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
        merged = documents.MergedDocument(path, frozenset())
        merged.add(path, document)
        return _dataset(path, documents.Section(merged, (), merged.value))
    except ConfigError as error:
        raise DatasetError(path, error.key, error.problem, error.remedy) from error
    except server_settings.SettingError as error:
        raise DatasetError(path, error.key, error.problem, error.remedy) from error
    except ValueError as error:
        raise DatasetError(path, "", f"is not valid JSON: {error}", "fix the file") from error


def _dataset(path: Path, top: Section) -> Dataset:
    name = name_of(path)
    if not _NAME.fullmatch(name):
        raise top.error("", f"{name!r} cannot be a dataset's name", "use letters, digits, . _ and -")
    remarks = {key: top.value(key) for key in top.names() if key.startswith("_")}
    top.expect(*KNOWN)
    project, kind = top.text("project"), top.text("type")
    if kind != "mysql":
        raise top.error("type", f"is {kind!r}", "only mysql is there, which is MariaDB's too")
    server = _server(path.parent, top.section("server")) if top.has("server") else None
    preloaded, reset = _preloaded(top, server)
    user, password = _account(top, server)
    settings = {key: top.value(key) for key in server_settings.KEYS if top.has(key)}
    parts = _parts(path.parent, top, bool(reset))
    used = engines.read(top, bool(server))
    return Dataset(
        name=name,
        config_path=path,
        project=project,
        type=kind,
        parts=parts,
        db_user=user,
        db_pass=password,
        engines=used,
        mysql_dump_into_mariadb=_mysql_dump(top, bool(server)),
        limits=dataset_limits.tables(top, [part.name for part in parts], used, bool(server)),
        waivers=tuple(dataset_limits.waiver(one) for one in top.sections("waivers")),
        tags=tuple(_tag(top, number, tag) for number, tag in enumerate(top.texts("tags"))),
        server=server,
        preloaded=preloaded,
        reset=reset,
        settings=server_settings.read(settings, path.parent).values,
        remarks=remarks,
    )


def _server(folder: Path, given: Section) -> ExternalServer:
    given.expect(*SERVER)
    socket = given.text("socket", "")
    host = given.text("host", "" if socket else None)
    if host and not _HOST.fullmatch(host):
        raise given.error("host", f"{host!r} is not a valid host name")
    if socket and given.has("ssl_ca"):
        raise given.error("ssl_ca", "is for a server that is reached by network", "take it out, or name a host")
    return ExternalServer(
        host=host,
        port=given.integer("port", 3306, 1, 65535),
        socket=socket,
        user=given.text("user"),
        password_file=folder / given.text("password_file"),
        ssl_ca=folder / given.text("ssl_ca") if given.has("ssl_ca") else None,
    )


def _preloaded(top: Section, server: ExternalServer | None) -> tuple[bool, tuple[str, ...]]:
    preloaded, reset = top.flag("preloaded", False), top.texts("reset")
    if preloaded and not server:
        raise top.error("preloaded", "is for databases on an external server", "name it with the key server")
    if reset and not preloaded:
        raise top.error("reset", "is for databases that are preloaded", "add preloaded: true, or take it out")
    return preloaded, tuple(reset)


def _account(top: Section, server: ExternalServer | None) -> tuple[str, str]:
    """The user name and password that jobs use on a private server."""
    if server:
        for key in ("db_user", "db_pass"):
            if top.has(key):
                problem = "is for private servers: on an external one, each job gets an account of its own"
                raise top.error(key, problem, "take it out")
        return "", ""
    user = top.text("db_user")
    if not top.has("db_pass"):
        raise top.missing("db_pass", "add it")
    if not _USER.fullmatch(user):
        raise top.error("db_user", f"{user!r} cannot be used", "use letters, digits and _")
    if user in SERVERS_OWN:
        raise top.error("db_user", f"{user!r} is the server's own", "name another user")
    return user, top.text("db_pass", "")


def _mysql_dump(top: Section, external: bool) -> bool:
    if external and top.has("mysql_dump_into_mariadb"):
        raise top.error("mysql_dump_into_mariadb", "is for private servers", "take it out")
    return top.flag("mysql_dump_into_mariadb", False)


def _parts(folder: Path, top: Section, reset: bool) -> tuple[Part, ...]:
    if not top.has("databases"):
        return (_part(folder, "", top, reset),)
    for key in PART:
        if top.has(key):
            raise top.error(key, "cannot be there beside databases", "put it into one of them")
    several = top.section("databases")
    parts: list[Part] = []
    for name in several.names():
        if not _PART.fullmatch(name):
            raise several.error(name, f"{name!r} is not a valid database name", "use the profile's: a-z, 0-9 and _")
        given = several.section(name)
        given.expect(*PART)
        parts.append(_part(folder, name, given, reset))
        if len({part.database for part in parts}) < len(parts):
            raise given.error("database", f"{parts[-1].database!r} is duplicated", "name another")
    if not parts:
        raise top.error("databases", "must be a mapping of the profile's names to database and seed_data")
    return tuple(parts)


def _part(folder: Path, name: str, given: Section, reset: bool) -> Part:
    database = given.text("database")
    if not _DATABASE.fullmatch(database):
        raise given.error("database", f"{database!r} cannot be used", "use letters, digits and _")
    charset = [_charset(given, key) for key in ("character_set", "collation")]
    if reset:
        for key in ("seed_data", "expect"):
            if given.has(key):
                raise given.error(key, "is for a dump, which reset takes the place of", "keep one")
        return Part(name, database, None, *charset)
    seed = folder / given.text("seed_data")
    if seed.suffix not in SUFFIXES and not os.path.isdir(seed):
        remedy = f"use {', '.join(SUFFIXES)}, or a folder of mydumper's"
        raise given.error("seed_data", f"{seed.name} is of no known kind", remedy)
    if given.has("expect"):
        _check_expected(given.section("expect"))
    return Part(name, database, seed, *charset)


def _charset(given: Section, key: str) -> str:
    if (name := given.text(key, "")) and not _CHARSET.fullmatch(name):
        raise given.error(key, f"{name!r} cannot be used", "use letters, digits and _")
    return name


def _check_expected(expected: Section) -> None:
    """Check the section `expect`, the properties of a complete dump."""
    expected.expect(*EXPECT)
    if not expected.names():
        raise expected.error("", f"must have some of {', '.join(EXPECT)}", "say what the dump brings, or take it out")
    for key in ("tables", "size"):
        expected.integer(key, 0, 0)
    if expected.has("sha256") and not _SHA256.fullmatch(expected.text("sha256")):
        raise expected.error("sha256", "must be 64 hexadecimal digits", "sha256sum prints them")
    rows = expected.section("rows", {})
    for table in rows.names():
        if not _TABLE.fullmatch(table):
            raise expected.error("rows", f"must be a mapping of tables to numbers of rows; {table!r} is no table")
        rows.integer(table, 0, 0)


def _tag(top: Section, number: int, tag: str) -> str:
    if not _NAME.fullmatch(tag):
        raise top.error(f"tags[{number}]", f"{tag!r} cannot be a tag", "use letters, digits, . _ and -")
    return tag

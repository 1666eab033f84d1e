# SPDX-License-Identifier: Apache-2.0
"""A dataset's file, as far as a restore needs it. The worker has checked it already (docs/datasets.md)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible.module_utils.th_core.text import printable
from ansible.module_utils.th_dataset.settings import Given, SettingError, read
from ansible.module_utils.th_dump.arrived import Expected
from ansible.module_utils.th_dump.seed_errors import SeedError
from ansible.module_utils.th_server.counters import MEASURED

NAME_LIMIT = 4096


@dataclass(frozen=True)
class Part:
    """One database of a dataset: the profile's name for it, its schema's name, its dump (None: no dump), and what is
    expected of the dump.

    `character_set` and `collation` are those that the dataset's file wants it created with, "" for the dump's own.
    `otherwise` has both as the file's `server_settings` name them, for a dump that names none.
    """

    name: str
    database: str
    dump: Path | None
    character_set: str = ""
    collation: str = ""
    otherwise: tuple[str, str] = ("", "")
    expected: Expected = field(default_factory=Expected)


@dataclass(frozen=True)
class Dataset:
    """A dataset on one engine. `server` is the external one's address and account, {} for a private server.

    `engine` is the name of the engine that it is to be restored on, "" where the dump decides; with
    `mysql_dump_into_mariadb`, a dump of MySQL may be restored on MariaDB. `settings` are the server settings that it
    names. `for_verdict` is what the verdict needs: the limits on this engine, waivers and remarks.
    """

    path: Path
    parts: tuple[Part, ...]
    user: str
    password: str
    server: Mapping[str, Any]
    engine: str
    mysql_dump_into_mariadb: bool
    preloaded: bool
    reset: tuple[str, ...]
    settings: Given
    for_verdict: Mapping[str, Any]


def read_dataset(path: Path, names: Sequence[str], engine: str = "") -> Dataset:
    """Read a dataset's file. `names` are the profile's databases, in its order.

    `engine` is the name of the engine that it is for, "" for the one that the file names. Raises SeedError, also where
    the file names several, or others.
    """
    try:
        document = json.loads(path.read_text("utf-8-sig"))
        if not isinstance(document, dict):
            raise TypeError("it holds no mapping")
        server = dict(document.get("server") or {})
        settings = read(document, path.parent)
        parts = _parts(path, document, names, _named(settings))
        engine = _engine(path, document, engine)
        dataset = Dataset(
            path=path,
            parts=parts,
            user="" if server else str(document["db_user"]),
            password="" if server else str(document["db_pass"]),
            server=server,
            engine=engine,
            mysql_dump_into_mariadb=document.get("mysql_dump_into_mariadb") is True,
            preloaded=bool(document.get("preloaded", False)),
            reset=tuple(str(word) for word in document.get("reset", ())),
            settings=settings,
            for_verdict={
                "limits": {
                    one.limit: _limits(document[one.limit], engine) for one in MEASURED if one.limit in document
                },
                "waivers": list(document.get("waivers", ())),
                "remarks": {key: value for key, value in document.items() if key.startswith("_")},
            },
        )
    except OSError as error:
        raise SeedError("seed_missing", f"{path}: {error.strerror}") from error
    except SettingError as error:
        raise SeedError("seed_broken", f"{path}: {printable(str(error))}") from error
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise SeedError("seed_broken", f"{path} is not a dataset: {printable(str(error))}") from error
    except KeyError as error:
        raise SeedError("seed_broken", f"{path}: the key {error} is missing") from error
    for part in dataset.parts:
        if part.dump is None and not dataset.reset:
            raise SeedError("seed_broken", f"{path}: the key 'seed_data' is missing")
        if part.dump is not None and not os.path.exists(part.dump):
            dump = printable(str(part.dump))[:NAME_LIMIT]
            raise SeedError("seed_missing", f"{dump} is not there (key seed_data of {path})")
    return dataset


def _engine(path: Path, document: Mapping[str, Any], wanted: str) -> str:
    """The engine to read a dataset for: the wanted one, else the only one that its file names. Raises SeedError."""
    named = [str(name) for name in document.get("engines") or filter(None, [document.get("engine")])]
    if wanted and document.get("server"):
        raise SeedError("seed_broken", f"{path} is on an external server: leave engine out of its item of th_datasets")
    if wanted and named and wanted not in named:
        problem = f"{path} is for {_joined(named)}, and not for the engine {printable(wanted)}: add it to engines"
        raise SeedError("seed_broken", problem)
    if not wanted and len(named) > 1:
        own = path.parent.name if path.name == "config.json" else path.stem
        item = f"{{name: {own}@{named[0]}, config: {path}, engine: {named[0]}}}"
        problem = f"{path} is for {_joined(named)}: th_datasets needs an item for each, such as {printable(item)}"
        raise SeedError("seed_broken", problem)
    return wanted or next(iter(named), "")


def _joined(named: Sequence[str]) -> str:
    return f"the engine{'s' if len(named) > 1 else ''} {printable(', '.join(named))}"


def _limits(table: Mapping[str, Any], engine: str) -> dict[str, Any]:
    """A limit's table on an engine: the values of the engine's own table take precedence over the general ones."""
    general = {name: value for name, value in table.items() if not isinstance(value, dict)}
    return general | dict(table.get(engine) or {}) if engine else general


def _named(settings: Given) -> tuple[str, str]:
    """The server's character set and collation, where the file itself names them; "" otherwise."""
    named = {name: value for name, value in settings.values.items() if name not in settings.printed}
    return named.get("character_set_server", ""), named.get("collation_server", "")


def _parts(
    path: Path, document: Mapping[str, Any], names: Sequence[str], otherwise: tuple[str, str]
) -> tuple[Part, ...]:
    several = document.get("databases")
    given = {"": document} if several is None else dict(several)
    missing, extra = [name for name in names if name not in given], sorted(set(given) - set(names))
    if missing or extra:
        # a dataset has exactly the databases of the project's profile
        said = [
            *([f"has no part for {_listed(missing)}"] if missing else []),
            *([f"has a part for {_listed(extra)}"] if extra else []),
        ]
        raise SeedError(
            "seed_broken", f"{path} {' and '.join(said)}, but the project's profile has {_listed(sorted(names))}"
        )
    parts = []
    for name in names:
        seed = given[name].get("seed_data")
        charset = {key: str(given[name].get(key, "")) for key in ("character_set", "collation")}
        dump = path.parent / str(seed) if seed else None
        expected = Expected.of(given[name].get("expect"))
        database = str(given[name]["database"])
        parts.append(Part(name, database, dump, **charset, otherwise=otherwise, expected=expected))
    if len({part.database for part in parts}) < len(parts):
        raise SeedError("seed_broken", f"{path}: two parts have the same database")
    return tuple(parts)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"the database {name!r}" if name else "one database without a name" for name in names)

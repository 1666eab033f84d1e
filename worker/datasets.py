# SPDX-License-Identifier: Apache-2.0
"""The datasets that an operator has put beside their dumps (docs/datasets.md)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worker import documents
from worker.errors import ConfigError, DatasetError

LIMITS = ("maximum_migration_times", "XInnodb_rows_changed", "Innodb_rows_read")
"""The limits that a dataset can set: seconds, rows changed, rows read."""

SUFFIXES = (".sql", ".gz", ".zst", ".xz")

SERVERS_OWN = ("root", "mariadb.sys", "mysql")

_NEEDED = ("project", "type", "db_user", "db_pass", "database", "seed_data")
_KNOWN = (*_NEEDED, "logging_conf", *LIMITS)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_DATABASE = re.compile(r"[A-Za-z0-9_$-]{1,64}")
_USER = re.compile(r"[A-Za-z0-9_.-]{1,80}")


@dataclass(frozen=True)
class Dataset:
    """A dataset. `seed` is its dump; `limits` maps a name of LIMITS to {"default" or "from->to": number}."""

    name: str
    config_path: Path
    project: str
    type: str
    database: str
    db_user: str
    db_pass: str = field(repr=False)
    seed: Path
    limits: Mapping[str, Mapping[str, float]]
    remarks: Mapping[str, Any]


def find(datasets_dir: Path) -> list[Path]:
    """The files of all datasets below a folder: `<name>.json` and `<name>/config.json`, by name.

    Raises DatasetError when the folder cannot be read.
    """
    try:
        entries = sorted(datasets_dir.iterdir())
    except OSError as error:
        raise DatasetError(datasets_dir, "", f"cannot be read ({error.strerror})", "check datasets_dir") from error
    files = []
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.suffix == ".json" and entry.is_file():
            files.append(entry)
        elif (entry / "config.json").is_file():
            files.append(entry / "config.json")
    return files


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
        raise DatasetError(path, "", f"is not valid JSON: {error}", "mend the file") from error
    name = name_of(path)
    if not _NAME.fullmatch(name):
        raise DatasetError(path, "", f"{name!r} cannot be a dataset's name", "use letters, digits, . _ and -")
    for key in document:
        if key not in _KNOWN and not key.startswith("_"):
            raise DatasetError(path, key, "is not a known key", f"there are {', '.join(_KNOWN)}, and remarks: _…")
    values = {key: _text(path, document, key) for key in _NEEDED}
    if values["type"] != "mysql":
        raise DatasetError(path, "type", f"is {values['type']!r}", "only mysql is there, which is MariaDB's too")
    for key, pattern in (("database", _DATABASE), ("db_user", _USER)):
        if not pattern.fullmatch(values[key]):
            raise DatasetError(path, key, f"{values[key]!r} cannot be used", "use letters, digits and _")
    if values["db_user"] in SERVERS_OWN:
        raise DatasetError(path, "db_user", f"{values['db_user']!r} is the server's own", "name another user")
    seed = path.parent / values["seed_data"]
    if seed.suffix not in SUFFIXES:
        raise DatasetError(path, "seed_data", f"{seed.name} is of no known kind", f"use {', '.join(SUFFIXES)}")
    return Dataset(
        name=name,
        config_path=path,
        project=values["project"],
        type=values["type"],
        database=values["database"],
        db_user=values["db_user"],
        db_pass=values["db_pass"],
        seed=seed,
        limits={key: _limits(path, key, document[key]) for key in LIMITS if key in document},
        remarks={key: value for key, value in document.items() if key.startswith("_")},
    )


def select(datasets_dir: Path, project: str) -> tuple[list[Dataset], list[DatasetError]]:
    """The datasets of a project, by name, and what is wrong with those of its that cannot be read.

    A file so broken that its project cannot be known counts only when nothing else is there: one draft must not
    stop every project. `th check` names it. Raises DatasetError when the folder cannot be read.
    """
    chosen: dict[str, Dataset] = {}
    errors: list[DatasetError] = []
    unknown: list[DatasetError] = []
    for path in find(datasets_dir):
        try:
            dataset = load(path)
            if dataset.project != project:
                continue
            if dataset.name in chosen:
                problem = f"the dataset {dataset.name} is there twice, also as {chosen[dataset.name].config_path}"
                raise DatasetError(path, "", problem, "remove one")
            chosen[dataset.name] = dataset
        except DatasetError as error:
            owner = _project(path)
            if owner in (project, None):
                (unknown if owner is None else errors).append(error)
    return list(chosen.values()), errors if chosen else errors + unknown


def _project(path: Path) -> str | None:
    try:
        return str(documents.read_mapping(path)["project"])
    except (ConfigError, KeyError):
        return None


def _text(path: Path, document: Mapping[str, Any], key: str) -> str:
    value = document.get(key)
    if value is None:
        raise DatasetError(path, key, "is missing", "add it")
    if not isinstance(value, str) or (not value and key != "db_pass") or "\0" in value:
        raise DatasetError(path, key, "must be text", "put it in quotes")
    return value


def _limits(path: Path, key: str, value: Any) -> dict[str, float]:
    if not isinstance(value, dict):
        raise DatasetError(path, key, "must be a mapping of default and from->to to numbers")
    for name, limit in value.items():
        if name != "default" and "->" not in name:
            raise DatasetError(path, f"{key}.{name}", "is neither default nor from->to")
        if isinstance(limit, bool) or not isinstance(limit, int | float) or not 0 <= limit < float("inf"):
            raise DatasetError(path, f"{key}.{name}", "must be a number, 0 or more")
    return dict(value)

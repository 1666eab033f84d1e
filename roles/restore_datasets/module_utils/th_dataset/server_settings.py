# SPDX-License-Identifier: Apache-2.0
"""Applying a dataset's server settings: the options of a private server, and a check whether they are in effect."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.th_dataset.settings import ALIASES, SETTINGS, Given
from ansible.module_utils.th_dump.seed_errors import SeedError
from ansible.module_utils.th_server import mariadb
from ansible.module_utils.th_server.accounts import literal
from ansible.module_utils.th_server.engine import Engine

WHERE = "server_settings in the dataset's file"
_INSTEAD = "name the nearest one that it knows instead, such as utf8mb4_unicode_ci"
_COMBINED = ("ANSI", "DB2", "MAXDB", "MSSQL", "MYSQL323", "MYSQL40", "ORACLE", "POSTGRESQL", "TRADITIONAL")
_CHARSET = ("--character-set-server", "--collation-server")
_BINARY_LOG = (
    "--server-id=1", "--sync-binlog=0", "--max-binlog-size=16M", "--binlog-expire-logs-seconds=1",
    # newer servers keep all logs until a replica has read them
    "--loose-slave-connections-needed-for-purge=0",
)  # fmt: skip
_UTF8 = re.compile(r"^utf8(?=_|$)")
_DONE_ANYWAY = {"mariadb": "TIME_TRUNCATE_FRACTIONAL", "mysql": "NO_AUTO_CREATE_USER"}
"""A mode that servers of the other kind have, and those of this one do not know, as they always do so."""
_BLOCK = 1024
"""Servers round some sizes down to a multiple of this."""


@dataclass(frozen=True)
class Applied:
    """How a private server gets a dataset's settings (`values`): by `options`, and by `statements` once it runs."""

    options: tuple[str, ...]
    statements: tuple[str, ...]
    values: Mapping[str, str]


def fitting(given: Given, engine: Engine) -> dict[str, str]:
    """The settings that an engine's server knows. Raises SeedError for one that it does not know, ServerError.

    A setting whose value makes no difference may be unknown, and so may flags of the optimizer that a server of
    another kind has printed.
    """
    values = dict(given.values)
    if not values:
        return {}
    known = _known(engine)
    for name in given.values:
        if SETTINGS[name].option and name not in known and values.pop(name) != SETTINGS[name].absent:
            raise SeedError(
                "seed_broken",
                f"server_settings.{name}: {engine.family.server} of the engine {engine.name} does not know it: take it"
                " out, or set it to null where a server has printed it",
            )
    if "optimizer_switch" in values:
        flags = dict(flag.split("=") for flag in values["optimizer_switch"].split(",") if flag)
        here = {flag.split("=")[0] for flag in known["optimizer_switch"].split(",")}
        if (unknown := sorted(flags.keys() - here)) and "optimizer_switch" not in given.printed:
            raise SeedError(
                "seed_broken",
                f"server_settings.optimizer_switch: {engine.family.server} of the engine {engine.name} does not know"
                f" {unknown[0]}: take it out, or"
                " give the settings as a server has printed them (server_settings_file): its own flags are left out",
            )
        if not (here & flags.keys()):
            del values["optimizer_switch"]
        else:
            values["optimizer_switch"] = ",".join(f"{name}={flags[name]}" for name in flags if name in here)
    if "sql_mode" in values:
        left_out = ("", _DONE_ANYWAY[engine.family.name])
        modes = [mode for mode in values["sql_mode"].split(",") if mode not in left_out]
        values["sql_mode"] = ",".join(modes)
    return values


def apply(values: Mapping[str, str], options: Sequence[str], binary_log: str, importing: bool) -> Applied:
    """What to start a private server with. `options` are the operator's; the dataset's settings take precedence.

    `binary_log` is the path of a binary log. A server for the import gets only the settings that a dump needs.
    """
    wanted = {name: value for name, value in values.items() if SETTINGS[name].imports or not importing}
    if {"character_set_server", "collation_server"} & wanted.keys():
        # one of them alone could contradict the operator's other one
        options = [option for option in options if not option.startswith(_CHARSET)]
        if "character_set_server" not in wanted:
            wanted["character_set_server"] = wanted["collation_server"].split("_")[0]
    own = []
    for name, value in wanted.items():
        if name == "log_bin":
            own += [f"--log-bin={binary_log}", *_BINARY_LOG] if value == "ON" else []
        elif SETTINGS[name].option:
            own.append(f"--{name.replace('_', '-')}={value}")
    statements = [
        f"SET GLOBAL {name} = {literal(value)};" for name, value in wanted.items() if not SETTINGS[name].option
    ]
    return Applied((*options, *own), tuple(statements), wanted)


def demand(connection: Any, values: Mapping[str, str], whose: str = "the server") -> None:
    """Check that the settings are in effect. Raises SeedError."""
    said = list(_differences(connection, values))
    if said:
        raise SeedError("seed_broken", f"{whose} is not as {WHERE} says: {'; '.join(said)}")


def blamed(error: mariadb.ServerError, values: Mapping[str, str]) -> SeedError | None:
    """The error of a server that does not start, if it is about one of the dataset's settings; None otherwise."""
    for line in str(error).splitlines():
        words = line.lower().replace("-", "_")
        for name, value in values.items():
            if "error" in words and (re.search(rf"\b{name}\b", words) or _about(name, words) or _quotes(words, value)):
                instead = f"; {_INSTEAD}" if _about(name, words) else ""
                problem = f"server_settings.{name}: the server does not start with {value!r}: {line}{instead}"
                return SeedError("seed_broken", problem)
    return None


def _about(name: str, words: str) -> bool:
    return name in ("character_set_server", "collation_server") and ("collation" in words or "character set" in words)


def _quotes(words: str, value: str) -> bool:
    """Whether an error is about this value, such as the name of a missing storage engine."""
    return len(value) > 3 and not value.isdigit() and value.lower().replace("-", "_") in words


def _differences(connection: Any, values: Mapping[str, str]) -> Iterator[str]:
    older = {own: name for name, own in ALIASES.items()}
    names = [*values, *(older[name] for name in values if name in older)]
    if not names:
        return
    names.append("system_time_zone")
    rows = mariadb.query(
        connection, f"SHOW GLOBAL VARIABLES WHERE Variable_name IN ({', '.join(['%s'] * len(names))})", *names
    )
    there = {ALIASES.get(str(name).lower(), str(name).lower()): str(value) for name, value in rows}
    if there.get("time_zone") == "SYSTEM" and there.get("system_time_zone") in ("UTC", "GMT"):
        there["time_zone"] = "+00:00" if values.get("time_zone") == "+00:00" else "SYSTEM"
    for name, value in values.items():
        if name not in there:
            if value != SETTINGS[name].absent:
                yield f"it does not know {name}"
        elif not _same(name, value, there[name]):
            yield f"{name} is {there[name]!r}, not {value!r}"


def _same(name: str, wanted: str, found: str) -> bool:
    try:
        found = SETTINGS[name].check(found)
    except ValueError:
        return False
    if name in ("sql_mode", "old_mode", "optimizer_switch", "character_set_collations"):
        wants, has = set(wanted.split(",")) - {""}, set(found.split(",")) - {""}
        some = name == "optimizer_switch" or wants.intersection(_COMBINED)
        return {one for one in wants if not one.endswith("=default")} <= has if some else wants == has
    if name == "max_statement_time":
        return float(wanted) == float(found)
    if wanted.isdigit() and found.isdigit():
        rounded = int(wanted) // _BLOCK * _BLOCK
        return int(found) == int(wanted) or 0 < rounded == int(found)
    return _UTF8.sub("utf8mb3", wanted.lower()) == _UTF8.sub("utf8mb3", found.lower())


def _known(engine: Engine) -> dict[str, str]:
    """The options of an engine's server, and their defaults."""
    _, _, table = engine.run("--verbose", "--help").partition("\nVariables (--variable-name=value)")
    # the first three lines are the heading; a value may be missing
    pairs = (line.partition(" ") for line in table.partition("\n\n")[0].splitlines()[3:])
    known = {name.replace("-", "_"): value.strip() for name, _, value in pairs}
    if not known:
        raise mariadb.ServerError(f"{engine.program} --verbose --help does not list its options")
    return known

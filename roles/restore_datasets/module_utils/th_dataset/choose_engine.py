# SPDX-License-Identifier: Apache-2.0
"""Choosing the engine that a dataset is restored on: the one that is named, else one that suits its dumps."""

from __future__ import annotations

from collections.abc import Sequence

from ansible.module_utils.th_dataset.charset import head
from ansible.module_utils.th_dataset.dataset import Dataset
from ansible.module_utils.th_dataset.restore import RestoreOptions, find_engine
from ansible.module_utils.th_dump.origin import Origin, origin_of
from ansible.module_utils.th_dump.seed_errors import SeedError
from ansible.module_utils.th_server.engine import MAKING, SYSTEM, Engine, EngineError, number

_HEAD = 64 << 10
_ALL_THE_SAME = 'say that it is to be loaded into MariaDB all the same: "mysql_dump_into_mariadb": true'


def choose_engine(given: RestoreOptions, dataset: Dataset) -> Engine:
    """The engine that the dataset is for, else the one that its dumps come from, in that version or a later one: the
    machine's own if it suits, else the oldest that does.

    A dump of MySQL is restored on MariaDB only where the dataset says so. Raises SeedError, also where the machine has
    no engine that suits, EngineError, StepError.
    """
    origins = _origins(dataset)
    if dataset.engine:
        engine = find_engine(given, dataset.engine)
        _check_kind(dataset, engine, origins)
        return engine
    own = find_engine(given, SYSTEM)
    origin = _latest(dataset, origins)
    if origin is None or _suits(own, origin):
        return own
    if dataset.mysql_dump_into_mariadb and origin.family == "mysql" and own.family.name == "mariadb":
        return own
    there, absent = [], []
    for name, entry in given.engines.items():
        if entry.get("family") == origin.family and name != SYSTEM:
            try:
                there.append(find_engine(given, name))
            except EngineError:
                absent.append(name)
    if suitable := [engine for engine in there if _suits(engine, origin)]:
        return min(suitable, key=number)
    raise SeedError("seed_broken", _none(dataset, origin, absent))


def _origins(dataset: Dataset) -> list[Origin]:
    dumps = [part.dump for part in dataset.parts if part.dump]
    return [origin for dump in dumps if (origin := origin_of(head(dump, limit=_HEAD)))]


def _check_kind(dataset: Dataset, engine: Engine, origins: Sequence[Origin]) -> None:
    """Refuse to load a dump of MySQL into MariaDB, unless the dataset says so. Raises SeedError."""
    of_mysql = next((origin for origin in origins if origin.family == "mysql"), None)
    if of_mysql and engine.family.name == "mariadb" and not dataset.mysql_dump_into_mariadb:
        raise SeedError(
            "seed_broken",
            f"{dataset.path}: the dump comes from {of_mysql}, and the engine {engine.name} is MariaDB, which does not"
            f" know all that MySQL writes: name an engine of MySQL, or {_ALL_THE_SAME}",
        )


def _latest(dataset: Dataset, origins: Sequence[Origin]) -> Origin | None:
    """The latest server that the dumps come from. Raises SeedError where they come from several kinds."""
    if len({origin.family for origin in origins}) > 1:
        both = " and ".join(sorted({str(origin) for origin in origins}))
        problem = f"{dataset.path}: its dumps come from {both}: say with the key engine which one to restore on"
        raise SeedError("seed_broken", problem)
    return max(origins, key=lambda origin: origin.version, default=None)


def _suits(engine: Engine, origin: Origin) -> bool:
    return engine.family.name == origin.family and number(engine)[:2] >= origin.version


def _none(dataset: Dataset, origin: Origin, absent: Sequence[str]) -> str:
    get = f"get one ({MAKING.format(absent[0])})" if absent else "add one to engines.yaml and get it (docs/engines.md)"
    otherwise = "name the engine that it is to be loaded into all the same (key engine)"
    return (
        f"{dataset.path}: the dump comes from {origin}, and this machine has no engine of that kind and version or"
        f" later: {get}, or {_ALL_THE_SAME if origin.family == 'mysql' else otherwise}"
    )

# SPDX-License-Identifier: Apache-2.0
"""Choosing the engine that a dataset is restored on: the one that is named, else one that suits its dumps."""

from __future__ import annotations

from ansible.module_utils.th_dataset.charset import head
from ansible.module_utils.th_dataset.dataset import Dataset
from ansible.module_utils.th_dataset.restore import RestoreOptions, find_engine
from ansible.module_utils.th_dump.origin import Origin, origin_of
from ansible.module_utils.th_dump.seed_errors import SeedError
from ansible.module_utils.th_server.engine import MAKING, SYSTEM, Engine, EngineError, number

_HEAD = 64 << 10


def choose_engine(given: RestoreOptions, dataset: Dataset) -> Engine:
    """The engine that the job or the dataset names, else the one that its dumps come from, in that version or a later
    one: the machine's own if it suits, else the oldest that does.

    Raises SeedError where the machine has none, EngineError, StepError.
    """
    if name := given.engine or dataset.engine:
        return find_engine(given, name)
    origin = _origin(dataset)
    own = find_engine(given, SYSTEM)
    if origin is None or _suits(own, origin):
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


def _origin(dataset: Dataset) -> Origin | None:
    """The latest server that the dumps come from. Raises SeedError where they come from several kinds."""
    dumps = [part.dump for part in dataset.parts if part.dump]
    origins = [origin for dump in dumps if (origin := origin_of(head(dump, limit=_HEAD)))]
    if len({origin.family for origin in origins}) > 1:
        both = " and ".join(sorted({str(origin) for origin in origins}))
        problem = f"{dataset.path}: its dumps come from {both}: say with the key engine which one to restore on"
        raise SeedError("seed_broken", problem)
    return max(origins, key=lambda origin: origin.version, default=None)


def _suits(engine: Engine, origin: Origin) -> bool:
    return engine.family.name == origin.family and number(engine)[:2] >= origin.version


def _none(dataset: Dataset, origin: Origin, absent: list[str]) -> str:
    get = f"get one ({MAKING.format(absent[0])})" if absent else "add one to engines.yaml and get it (docs/engines.md)"
    return (
        f"{dataset.path}: the dump comes from {origin}, and this machine has no engine of that kind and version or"
        f" later: {get}, or name the engine that it is to be loaded into all the same (key engine)"
    )

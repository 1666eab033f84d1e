# SPDX-License-Identifier: Apache-2.0
"""The engines that a dataset's file names, and the names of a dataset on each of several engines.

Which engines there are is in the playbooks' inventory (``inventory/group_vars/all/engines.yaml``).
"""

from __future__ import annotations

import re

from worker.inputs.documents import Section

KEYS = ("engine", "engines")
"""The keys of a dataset that name engines."""

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
"""The name of an engine."""

_ON = "@"
_KNOWN = "inventory/group_vars/all/engines.yaml has them"


def on(dataset: str, engine: str) -> str:
    """The name of a dataset on one of several engines: ``user_001@mysql-9.7``."""
    return f"{dataset}{_ON}{engine}"


def split(name: str) -> tuple[str, str]:
    """The dataset and the engine in a name that `on` has made; the engine is "" in any other name."""
    dataset, _, engine = name.partition(_ON)
    return dataset, engine


def read(top: Section, external: bool) -> tuple[str, ...]:
    """The engines that a dataset's file names; () if it names none. Raises ConfigError.

    `external` is whether the dataset is on an external server.
    """
    named = [key for key in KEYS if top.has(key)]
    if not named:
        return ()
    if external:
        problem = "is for private servers, and the dataset names an external one with the key server"
        raise top.error(named[0], problem, "keep one of the two")
    if len(named) > 1:
        raise top.error("engines", "cannot be there beside engine", "keep one of the two")
    if named == ["engine"]:
        return (_checked(top, "engine", top.text("engine")),)
    engines = top.texts("engines")
    if not engines:
        raise top.error("engines", "is empty", "name an engine, or leave the key out")
    for number, engine in enumerate(engines):
        if engine in engines[:number]:
            raise top.error(f"engines[{number}]", f"{engine!r} is duplicated", "remove one")
        _checked(top, f"engines[{number}]", engine)
    return tuple(engines)


def _checked(top: Section, key: str, engine: str) -> str:
    if not NAME.fullmatch(engine):
        remedy = f"use a-z, 0-9, . _ and -, the first a letter or digit; {_KNOWN}"
        raise top.error(key, f"{engine!r} cannot be an engine's name", remedy)
    return engine

# SPDX-License-Identifier: Apache-2.0
"""What differs between the families of database servers that run privately: MariaDB, and MySQL with Percona Server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Accounts:
    """The accounts of a private server; no others exist.

    `admin`, a name and a password, has all rights. `user` has all rights on the `databases`, none elsewhere, and at
    most `connections` at a time (0: no limit). The `definers` (``user@host``), which may include ``root@localhost`` and
    the server's own account, have the same rights and cannot log in.
    """

    databases: Sequence[str]
    user: str
    password: str
    admin: tuple[str, str]
    connections: int = 0
    definers: Sequence[str] = ()


@dataclass(frozen=True)
class Family:
    """One family. `server` is the name of its server program.

    `data_options` are those server options that a data directory has to be created with. `create` gives the command
    that creates one: from the path of the server, a function that finds its other programs, the data directory and the
    folder for temporary files. `options` are the options of every server, which keep it in its box. `clear` are the
    statements that remove all accounts but the server's own, `identified` is the clause of CREATE USER for a password,
    and `locked` gives the statements that create an account anew that cannot log in, from its name as SQL has it.
    `time_zones` are names of the program that prints the tables of the time zones.
    """

    name: str
    server: str
    data_options: tuple[str, ...]
    create: Callable[[str, Callable[[str], str], Path, Path], list[str]]
    options: tuple[str, ...]
    clear: tuple[str, ...]
    identified: Callable[[str], str]
    locked: Callable[[str], list[str]]
    time_zones: tuple[str, ...]

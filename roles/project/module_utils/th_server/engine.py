# SPDX-License-Identifier: Apache-2.0
"""The engines that private database servers run on: the machine's own MariaDB, and trees of other servers beside it.

`engines` in ``inventory/group_vars/all/engines.yaml`` lists them. An engine's tree is either a whole ``/usr`` with its
own C library, which the box shows as ``/usr``, or a vendor's folder with ``bin/mysqld``, which uses the machine's.
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_sandbox.box import Box, BoxedCommand, Settings
from ansible.module_utils.th_server import mariadb
from ansible.module_utils.th_server.families import FAMILIES
from ansible.module_utils.th_server.family import Family
from ansible.module_utils.th_server.mariadb import ServerError

SYSTEM = "system"
"""The name of the machine's own server."""

MAKING = "playbooks/prepare-engine.yaml -e engine={}"
"""How to get an engine."""

KEYS = ("family", "tree", "program", "options", "debian", "tarball")
_PLACES = ("sbin", "bin", "libexec", "scripts")
_VERSION = re.compile(r"\bVer (\d+)\.(\d+)\.(\d+)(\S*)")
_TIME_LIMIT = 60


class EngineError(ServerError):
    """An engine that is not there, or does not work; the text says how to get it."""


@dataclass(frozen=True)
class Engine:
    """A database server that is installed on this machine.

    `program` is the path of its server as its box sees it. `tree` is the folder whose ``usr`` the box shows as
    ``/usr``, None for the machine's own. `options` are further options of the server.
    """

    name: str
    family: Family
    program: str
    tree: Path | None = None
    options: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """Where it is: another one of the same name is elsewhere."""
        return str(self.tree or os.path.realpath(self.program))

    def box(self, settings: Settings, **rest: Any) -> Box:
        """A box in which its programs run; `rest` are further arguments of Box. Raises EngineError."""
        if self.tree and settings.kind == "none":
            raise EngineError(
                f"the engine {self.name} has a /usr of its own, which only a sandbox can show it: set sandbox:"
                " bubblewrap, or use an engine without one"
            )
        return Box(settings, read_only=[*self._folders(), *rest.pop("read_only", ())], usr=self._usr(), **rest)

    def find(self, *names: str) -> str:
        """The path of another of its programs, which has one of these names, as its box sees it. Raises EngineError."""
        folder = self.tree / "usr" if self.tree else Path(self.program).parent.parent
        for name in names:
            for place in _PLACES:
                if (path := folder / place / name).is_file():
                    return f"/usr/{place}/{name}" if self.tree else str(path)
        raise EngineError(f"the engine {self.name} has no {names[-1]}: make it again ({_how(self.name)})")

    def command(self, argv: Sequence[str], read_only: Sequence[Path] = ()) -> BoxedCommand:
        """A command that runs one of its programs for a moment, in a box only where it needs one. Raises EngineError,
        StepError."""
        settings = Settings(cgroups=False) if self.tree else Settings(kind="none")
        return self.box(settings, read_only=read_only).around(argv, "/")

    def run(self, *words: str) -> str:
        """What its server prints with these options, for example ``--version``. Raises EngineError, StepError."""
        boxed = self.command([self.program, "--no-defaults", *words])
        try:
            done = subprocess.run(
                boxed.argv,
                pass_fds=boxed.handles,
                cwd=boxed.cwd,
                env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_TIME_LIMIT,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise EngineError(f"{self.program} {words[0]} did not end in {_TIME_LIMIT} s") from error
        finally:
            boxed.close()
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip()[-500:]
            raise EngineError(f"{self.program} {words[0]} of the engine {self.name} failed: {said}")
        return done.stdout

    def _folders(self) -> list[Path]:
        """The folder that its program is installed in, unless that is /usr."""
        prefix = Path(os.path.realpath(self.program)).parent.parent
        return [] if self.tree or prefix == Path("/usr") else [prefix]

    def _usr(self) -> Path | None:
        return self.tree / "usr" if self.tree else None


@functools.cache
def version(engine: Engine) -> str:
    """The version that an engine's server prints, for example ``Ver 10.11.19-MariaDB-… for debian-linux-gnu …``.

    Raises EngineError, StepError.
    """
    return " ".join(engine.run("--version").split()[1:])


def number(engine: Engine) -> tuple[int, int, int]:
    """The version as numbers, for example (9, 7, 4). Raises EngineError, StepError."""
    found = _VERSION.search(version(engine))
    if not found:
        raise EngineError(f"the version of the engine {engine.name} is not known: its server says {version(engine)!r}")
    return int(found[1]), int(found[2]), int(found[3])


def of_machine() -> Engine:
    """The machine's own server. Raises EngineError."""
    return find(SYSTEM, {"family": "mariadb"})


def find(name: str, entry: Mapping[str, Any], engines_dir: Path | None = None) -> Engine:
    """The engine that an entry of `engines` describes; its tree is in `engines_dir` unless the entry names another.

    Raises StepError ``playbook_failed`` for an invalid entry, EngineError when the engine is not there.
    """
    family = _family(name, entry)
    options = tuple(map(str, entry.get("options") or ()))
    if program := entry.get("program"):
        if not os.access(str(program), os.X_OK):
            raise EngineError(f"the engine {name} is not there: no program {program} (engines.yaml)")
        return Engine(name, family, os.path.realpath(str(program)), options=options)
    if name == SYSTEM and not entry.get("tree"):
        return Engine(name, family, mariadb.tool(family.server), options=options)
    tree = Path(str(entry["tree"])) if entry.get("tree") else (engines_dir or Path()) / name
    tree = tree.resolve()  # another tree may take its place
    own = (tree / "usr").is_dir()
    for folder in (tree / "usr", tree):
        for place in _PLACES:
            if (path := folder / place / family.server).is_file():
                inside = f"/usr/{place}/{family.server}" if own else str(path)
                return Engine(name, family, inside, tree if own else None, options)
    raise EngineError(f"the engine {name} is not there, no {family.server} in {tree}: {_how(name)}")


def _family(name: str, entry: Mapping[str, Any]) -> Family:
    if unknown := sorted(set(entry) - set(KEYS)):
        problem = f"engines.{name}.{unknown[0]} is no key (engines.yaml): {', '.join(KEYS)} are."
        raise StepError("playbook_failed", problem)
    if (family := FAMILIES.get(str(entry.get("family")))) is None:
        known = ", ".join(FAMILIES)
        raise StepError("playbook_failed", f"engines.{name}.family is none of {known} (engines.yaml).")
    return family


def _how(name: str) -> str:
    return MAKING.format(name) + " makes it"

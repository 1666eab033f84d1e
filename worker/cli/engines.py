# SPDX-License-Identifier: Apache-2.0
"""The part of `th check` about the engines: the database servers that datasets are walked on."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from worker.cli import surroundings
from worker.cli.surroundings import Check
from worker.config import Config
from worker.config.datasets import Dataset
from worker.inputs import untrusted

_PLAYBOOK = Path("playbooks") / "check-engines.yaml"
_SECONDS = 300.0


def engines(settings: Config, tested: Iterable[Dataset]) -> Iterator[Check]:
    """Check each engine that the playbooks know. Whether one is not there is only a problem if a dataset names it."""
    named: dict[str, list[str]] = {}
    for dataset in tested:
        for engine in dataset.engines:
            named.setdefault(engine, []).append(dataset.name)
    playbook = settings.ansible_dir / _PLAYBOOK
    if not os.path.isfile(playbook):
        for engine, names in named.items():
            text = f"{engine} ({', '.join(names)}): {playbook} is not there: these playbooks are of an older version"
            yield Check(False, "engine", text, "'th init DIR' makes a whole copy")
        return
    with tempfile.TemporaryDirectory(prefix="th-check-") as made:
        file = Path(made) / "engines.json"
        variables = {"th_engines_dir": str(settings.engines_dir), "th_engines_report": str(file)}
        try:
            done = surroundings.play(settings, playbook, variables, Path(made), _SECONDS)
            found = json.loads(file.read_text("utf-8"))["engines"]
        except FileNotFoundError:
            yield Check(False, "engine", f"{playbook} has failed: {' '.join(done.stdout.split())[-500:]}")
            return
        except (OSError, ValueError, KeyError, subprocess.SubprocessError) as error:
            yield Check(False, "engine", f"{playbook} could not be run: {error}")
            return
    for one in found:
        yield _engine(one["name"], one["version"], one["problem"], named.get(one["name"], ()))
    known = [one["name"] for one in found]
    for engine in sorted(named.keys() - set(known)):
        text = f"{', '.join(named[engine])}: there is no engine {engine}, only {', '.join(known)}"
        yield Check(False, "engine", text, "correct the dataset, or add it to inventory/group_vars/all/engines.yaml")


def _engine(name: str, version: str, problem: str, users: Sequence[str]) -> Check:
    for_whom = f" ({', '.join(users)})" if users else ""
    if not problem:
        return Check(True, "engine", untrusted.name(f"{name}{for_whom}: {version.partition(' for ')[0]}"))
    text = f"{name}{for_whom or ', which no dataset names'}: {problem.rstrip('.')}"
    return Check(not users, "engine", untrusted.name(text))

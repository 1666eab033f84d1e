# SPDX-License-Identifier: Apache-2.0
"""Reading what the playbooks left (docs/artifacts.md): within limits, and prepared for anything.

The names, details and versions in these files may come from the change under test. They are shortened and stripped of
control characters here, once; code that shows them only has to escape them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worker.config import limits
from worker.config.limits import AROUND, DATA, DOWNGRADE, SCHEMA, DatasetLimits
from worker.counters import COUNTERS, SECONDS, Counter
from worker.inputs import untrusted as safe
from worker.verdict import checkout, run_times
from worker.verdict.checkout import CheckoutRecord, Environment
from worker.verdict.problems import Control, FirstTry, Problem, control_of, first_try_of, problem_of
from worker.verdict.stage_times import StageClock, StageTime


@dataclass(frozen=True)
class Migration:
    """One migration of a walk, of a kind: SCHEMA, DATA (`from_` is ``data``, `to` its name) or DOWNGRADE; or AROUND
    (`from_` is ``around``, `to` the kind of the stage): what a stage's code did outside of its migrations.

    `ended` is whether its end was recorded, successful or not; `exit` is as in docs/artifacts.md. `seconds` is wall
    time without the `start_up` of a process that ran this migration alone. `rounds` is how often a data migration's
    command was run; `counters` are by name, None for what the server does not measure.
    """

    stage: str
    from_: str
    to: str
    ended: bool = False
    exit: int | None = None
    seconds: float | None = None
    version: str = ""
    counters: Mapping[str, int | None] = field(default_factory=dict)
    kind: str = SCHEMA
    rounds: int | None = None
    start_up: float | None = None

    @property
    def subject(self) -> str:
        """The revision that it applies or takes back; "" for none."""
        return {SCHEMA: self.to, DOWNGRADE: self.from_}.get(self.kind, "")

    def measured(self, counter: Counter) -> float | None:
        """The value of a counter; None where it is not known."""
        return self.seconds if counter is SECONDS else self.counters.get(counter.name)

    @property
    def succeeded(self) -> bool:
        """Whether it ended without an error."""
        return self.ended and self.exit == 0


@dataclass(frozen=True)
class Database:
    """A database of a dataset: its name ("" for the one that has none), its name in the server, its version."""

    name: str
    schema: str
    version: str


@dataclass(frozen=True)
class WalkRecord:
    """What is known about one dataset: its restore, its limits, and its migrations in order.

    `file` is the dataset's file, `engine` the name of its engine ("" on an external server), `flavour` and `server` are
    the database server's kind and version, `private` is whether the job had a server of its own.

    `final` and `expected` are None when the walk did not complete; `damaged` counts entries that cannot be read, so
    that something may be missing. `packaged` are the packaged migrations that the change's stage runs: the file of
    each, and whether the change brings it. `beyond` describes the limit on reading events that the walk exceeds.
    `stages` are what the time of the walk went into.
    """

    name: str
    restored: bool = False
    file: str = ""
    engine: str = ""
    flavour: str = ""
    server: str = ""
    private: bool = True
    databases: tuple[Database, ...] = ()
    version: str = ""
    bytes: int = 0
    rows: int = 0
    method: str = ""
    snapshot: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)
    limits: DatasetLimits = field(default_factory=DatasetLimits)
    remarks: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    migrations: tuple[Migration, ...] = ()
    problems: tuple[Problem, ...] = ()
    controls: tuple[Control, ...] = ()
    final: str | None = None
    expected: str | None = None
    damaged: int = 0
    packaged: Mapping[str, tuple[str, bool]] = field(default_factory=dict)
    beyond: str = ""
    stages: tuple[StageTime, ...] = ()


@dataclass(frozen=True)
class Artifacts:
    """Everything that a job left. `problems` and `controls` are those of `errors.jsonl`: before or besides the walks.

    `first_try` is set when these are the artifacts of a second try. `message` is that of a plugin's own test. `times`
    is how long the tasks took, where a worker has run the playbook.
    """

    checkout: CheckoutRecord | None
    environments: tuple[Environment, ...]
    walks: Mapping[str, WalkRecord]
    problems: tuple[Problem, ...]
    first_try: FirstTry | None = None
    controls: tuple[Control, ...] = ()
    message: str = ""
    times: run_times.RunTimes | None = None


def read(folder: Path) -> Artifacts:
    """Read a folder of artifacts; what is missing or damaged is left out, and never raises."""
    found = safe.names(folder)
    names = {match[1] for file in found if (match := re.fullmatch(r"walk-(.+)\.jsonl", file))}
    names |= {match[1] for file in found if (match := re.fullmatch(r"dataset-(.+)\.json", file))}
    beside = [event or {} for event in safe.events(folder / "errors.jsonl")]
    return Artifacts(
        checkout=checkout.read(folder),
        environments=checkout.read_environments(folder),
        walks={name: _walk(folder, name) for name in sorted(names)},
        problems=tuple(problem_of(event) for event in beside if event.get("event") != "control"),
        first_try=first_try_of(safe.document(folder / "first-try.json")),
        controls=tuple(control_of(event) for event in beside if event.get("event") == "control"),
        message=safe.text(safe.document(folder / "plugin.json").get("message")),
        times=run_times.read(folder),
    )


def _walk(folder: Path, name: str) -> WalkRecord:
    facts = safe.document(folder / f"dataset-{name}.json")
    server = dict(safe.items(facts.get("server")))
    reader, clock = _WalkReader(), StageClock()
    for event in safe.events(folder / f"walk-{name}.jsonl"):
        reader.take(event)
        clock.take(event)
    reader.close()
    allowed, unusable = limits.read(facts.get("limits"), facts.get("waivers"))
    return WalkRecord(
        name=name,
        restored=bool(facts),
        file=safe.name(facts.get("file")),
        engine=safe.name(facts.get("engine")),
        flavour=safe.name(server.get("flavour")),
        server=safe.name(server.get("version")),
        private=server.get("private") is not False,
        databases=tuple(
            Database(safe.name(item.get("name")), safe.name(item.get("database")), _joined(item.get("version")))
            for item in safe.mappings(facts.get("databases"))
        ),
        version=_joined(facts.get("version")),
        bytes=safe.integer(facts.get("bytes")) or 0,
        rows=safe.integer(facts.get("rows")) or 0,
        method=safe.name(facts.get("method")),
        snapshot=safe.name(facts.get("snapshot")),
        seconds={safe.name(key): safe.number(value) or 0.0 for key, value in safe.items(facts.get("seconds"))},
        limits=allowed,
        remarks={
            safe.name(key): safe.text(_remark(value))
            for key, value in safe.items(facts.get("remarks"))
        },
        notes=tuple(safe.text(note) for note in safe.sequence(facts.get("notes")) if isinstance(note, str)),
        skipped=tuple(reader.skipped),
        migrations=tuple(reader.migrations),
        problems=tuple(reader.problems),
        controls=tuple(reader.controls),
        final=reader.final,
        expected=reader.expected,
        damaged=reader.damaged + unusable,
        packaged=reader.packaged,
        beyond=safe.beyond(folder / f"walk-{name}.jsonl"),
        stages=clock.stages,
    )


def _joined(version: object) -> str:
    return safe.version(",".join(str(item) for item in safe.sequence(version))) or "base"


def _remark(value: object) -> str:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    return value if isinstance(value, str) else json.dumps(value)


class _WalkReader:
    """Assembles the events of one walk."""

    def __init__(self) -> None:
        self.migrations: list[Migration] = []
        self.problems: list[Problem] = []
        self.controls: list[Control] = []
        self.skipped: list[tuple[str, str]] = []
        self.final: str | None = None
        self.expected: str | None = None
        self.damaged = 0
        self.packaged: dict[str, tuple[str, bool]] = {}
        self._stage = ""
        self._open: Migration | None = None

    def take(self, event: Mapping[str, Any] | None) -> None:
        """Take one event; None for one that could not be parsed."""
        kind = event.get("event") if event else None
        if event is None or not isinstance(kind, str):
            self.damaged += 1
        elif kind == "stage":
            self._stage = safe.name(event.get("name"))
        elif kind == "begin":
            self.close()
            self.final = self.expected = None
            self._open = Migration(*self._step(event), kind=_kind(event))
        elif kind == "end":
            self._end(event)
        elif kind == "error":
            self.problems.append(problem_of(event))
        elif kind == "control":
            self.controls.append(control_of(event))
        elif kind == "skipped":
            self.skipped.append((safe.name(event.get("name")), safe.name(event.get("reason"))))
        elif kind == "final":
            self._final(event.get("version"), event.get("expected"))
        elif kind == "packages":
            self.packaged |= checkout.read_packaged(event)

    def close(self) -> None:
        """Add a migration that has begun but not ended."""
        if self._open:
            self.migrations.append(self._open)
            self._open = None

    def _step(self, event: Mapping[str, Any]) -> tuple[str, str, str]:
        stage = safe.name(event.get("stage")) or self._stage
        return stage, safe.version(event.get("from")), safe.version(event.get("to"))

    def _end(self, event: Mapping[str, Any]) -> None:
        counters = dict(safe.items(event.get("counters")))
        stage, from_, to = self._step(event)
        begun, self._open = self._open, None
        if begun is None or (begun.from_, begun.to, begun.kind) != (from_, to, _kind(event)):
            self.damaged += 1  # an end without its beginning proves nothing
            if begun:
                self.migrations.append(begun)
            return
        self.migrations.append(
            Migration(
                stage,
                from_,
                to,
                ended=True,
                exit=safe.integer(event.get("exit")),
                seconds=safe.number(event.get("seconds")),
                version=safe.version(event.get("version")),
                counters={counter.name: safe.integer(counters.get(counter.name)) for counter in COUNTERS},
                kind=begun.kind,
                rounds=safe.integer(event.get("rounds")),
                start_up=safe.number(event.get("start_up")),
            )
        )

    def _final(self, version: object, expected: object) -> None:
        # different versions stay different when they are shortened or cleaned: they keep a digest of the whole
        found, wanted = safe.version(version), safe.version(expected)
        if not found or not wanted:
            self.damaged += 1
            return
        self.final, self.expected = found, wanted


def _kind(event: Mapping[str, Any]) -> str:
    # unknown kinds are judged like upgrades, which are checked most strictly
    kind = event.get("kind")
    return kind if kind in (DATA, DOWNGRADE, AROUND) else SCHEMA

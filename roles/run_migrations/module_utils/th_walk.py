# SPDX-License-Identifier: Apache-2.0
"""The walk of one dataset: through each stage, one migration at a time, each measured.

What is written here is evidence: versions and counters come from the server over a connection of our own, times
from our clock. What the project's code says is only shown.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql
from ansible.module_utils import th_mariadb, th_meter
from ansible.module_utils.th_artifacts import append_event, read_json, write_text
from ansible.module_utils.th_contain import CappedLog
from ansible.module_utils.th_stages import Stage, Tree
from ansible.module_utils.th_walkers import AlembicWalker, CommandWalker, StepEnd, Surroundings, Walker, WalkError

HEARTBEAT = 30.0
KILL_PATIENCE = 20.0
LITTLE_SPACE = 32 << 20
_UNKNOWN_DATABASE = 1049


@dataclass(frozen=True)
class Limits:
    """Seconds that one migration may take, that the project's code may take around them, and the log's size."""

    migration: float
    around: float
    log_bytes: int


class Walk:
    """One dataset's walk. `run` returns the error that ended it, or None when it came to its end."""

    def __init__(
        self, job_dir: Path, dataset: str, migrations: Mapping[str, Any], limits: Limits, program: Path
    ) -> None:
        self._job_dir, self._dataset = job_dir, dataset
        self._migrations, self._limits, self._program = migrations, limits, program
        artifacts = job_dir / "artifacts"
        self._events = artifacts / f"walk-{dataset}.jsonl"
        self._tree = Tree(read_json(artifacts / "checkout.json"))
        built = read_json(artifacts / "environment.json").get("environments", [])
        self._built = {item["stage"]: item for item in built}
        self._server = th_mariadb.load(job_dir / "db" / dataset)
        self._log = CappedLog(job_dir / "results" / f"{dataset}.log", limits.log_bytes, stamp=True)
        self._heard = time.monotonic()
        self._place: dict[str, str] = {}

    def run(self) -> WalkError | None:
        """Walk all stages."""
        with contextlib.closing(self._log):
            try:
                self._walk()
            except WalkError as error:
                found = self._explained(error)
                self._event("error", code=found.code, detail=found.detail, file=found.file, line=found.line)
                self._say(f"{found.code}: {found.detail}")
                return found
        return None

    def _walk(self) -> None:
        version = self._version()
        change = self._tree.stages[-1]
        if not change.heads:
            raise WalkError("no_migrations", "the checkout has no migration scripts where the profile says")
        if unknown := self._tree.unknown(version):
            raise WalkError("version_unknown", f"the dataset is at {', '.join(unknown)}, which no stage knows")
        for item in self._tree.left_out:
            self._event("skipped", **item)
        for stage in self._tree.stages:
            self._place = {"stage": stage.name}
            if stage.kind != "change" and self._tree.reached(stage, version):
                self._event(
                    "skipped",
                    name=stage.name,
                    kind=stage.kind,
                    commit=stage.commit,
                    reason="the dataset is at or past it",
                )
                continue
            self._stage(stage, version)
            version = self._version()
        self._place = {}
        final = ",".join(version) or "base"
        self._say(f"Final schema version is {final}")
        self._event("final", version=final, expected=",".join(sorted(change.heads)))

    def _stage(self, stage: Stage, version: list[str]) -> None:
        if len(stage.heads) > 1:
            raise WalkError("several_heads", f"{stage.name} has the heads {', '.join(stage.heads)}")
        with self._walker(stage, version) as walker:
            plan = walker.plan()
            target = ",".join(stage.heads)
            self._say(f"{stage.name} ({stage.commit[:12]}): {len(plan)} migrations to {target}")
            self._event(
                "stage",
                name=stage.name,
                kind=stage.kind,
                commit=stage.commit,
                target=target,
                steps=len(plan),
            )
            for number, (before, after) in enumerate(plan):
                self._place = {"stage": stage.name, "from": before, "to": after}
                self._step(walker, number, before, after)
            self._place = {"stage": stage.name}
            walker.finish()

    def _step(self, walker: Walker, number: int, before: str, after: str) -> None:
        with self._connection() as connection:
            base = th_meter.read(connection, self._server)
        self._event("begin")
        self._say(f"{before} -> {after}...", "[output]")
        begun = time.monotonic()
        try:
            ended = walker.step(number, self._limits.migration)
        except WalkError as error:
            ended = StepEnd(None, error)
        seconds = time.monotonic() - begun
        if ended.error and ended.error.code == "migration_timed_out":
            ended = StepEnd(None, self._timed_out(ended.error))
        counters, version = th_meter.unmeasured(), ""
        try:
            with self._connection() as connection:
                counters = th_meter.read(connection, self._server).since(base)
                version = ",".join(self._read_version(connection)) or "base"
        except WalkError:
            if ended.error is None:
                raise
        self._event("end", seconds=round(seconds, 3), exit=ended.exit, version=version, counters=counters)
        if ended.error:
            raise ended.error
        self._say("done", "[output]")
        known = ", ".join(f"{name} {value}" for name, value in counters.items() if value is not None)
        self._say(f"{before} -> {after}: {seconds:.3f} s, {known}")

    @contextlib.contextmanager
    def _walker(self, stage: Stage, version: list[str]) -> Iterator[Walker]:
        built = self._built.get(stage.slug)
        if built is None:
            raise WalkError("environment_failed", f"the environment of {stage.name} was not built")
        home = self._job_dir / "home" / self._dataset
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        around = Surroundings(
            src=Path(built["src"]),
            venv=Path(built["venv"]),
            home=home,
            account=th_mariadb.read_account(self._server.job_file),
            socket=self._server.socket,
            database=self._server.database,
            on_line=lambda text: self._say(text, "[output]"),
            on_tick=self._tick,
            start_time_limit=self._limits.around,
        )
        walker: Walker
        if self._migrations["tool"] == "alembic":
            walker = AlembicWalker(self._migrations, around, self._program, ",".join(stage.heads))
        else:
            try:
                plan = self._tree.pending(stage, version)
            except ValueError as error:
                raise WalkError("walk_failed", str(error)) from error
            walker = CommandWalker(self._migrations, around, plan)
        with walker:
            yield walker
        self._end_connections()

    def _tick(self) -> None:
        if time.monotonic() - self._heard >= HEARTBEAT:
            self._say("still at it", "[heartbeat]")
        if not self._server.running():
            raise WalkError("server_died", self._server.last_words())

    def _explained(self, error: WalkError) -> WalkError:
        """The reason behind an error, where the machine is it: a dead server or a full disk."""
        if not self._server.running():
            return WalkError("server_died", self._server.last_words())
        if th_mariadb.free_bytes(self._job_dir) < LITTLE_SPACE:
            return WalkError("disk_full", f"no space is left under {self._job_dir} ({error.detail})")
        return error

    def _timed_out(self, error: WalkError) -> WalkError:
        doing = ""
        with contextlib.suppress(WalkError), self._connection() as connection:
            rows = th_mariadb.query(
                connection,
                "SELECT info FROM information_schema.processlist"
                " WHERE user = %s AND info IS NOT NULL ORDER BY time_ms DESC LIMIT 1",
                self._server.user,
            )
            doing = f"; it was executing: {rows[0][0][:1000]}" if rows else ""
        self._end_connections()
        return WalkError(error.code, error.detail + doing)

    def _end_connections(self) -> None:
        """End what the project's code has left running in the server: nothing runs into the next stage."""
        deadline = time.monotonic() + KILL_PATIENCE
        with contextlib.suppress(WalkError), self._connection() as connection:
            while time.monotonic() < deadline:
                rows = th_mariadb.query(
                    connection,
                    "SELECT id FROM information_schema.processlist WHERE user = %s",
                    self._server.user,
                )
                if not rows:
                    return
                for (number,) in rows:
                    with contextlib.suppress(pymysql.err.OperationalError):  # it has ended by itself
                        th_mariadb.query(connection, f"KILL {int(number)}")
                time.sleep(0.02)

    def _version(self) -> list[str]:
        with self._connection() as connection:
            return self._read_version(connection)

    def _read_version(self, connection: Any) -> list[str]:
        try:
            connection.select_db(self._server.database)
        except pymysql.err.OperationalError as error:
            if error.args[0] == _UNKNOWN_DATABASE:  # a migration has dropped it
                return []
            raise
        return th_mariadb.read_version(connection, self._migrations["version_query"])

    @contextlib.contextmanager
    def _connection(self) -> Iterator[Any]:
        try:
            with th_mariadb.connect(self._server, self._server.admin_file) as connection:
                # within one transaction around all migrations, as some env.py have it, the version is written
                # but not yet committed
                th_mariadb.query(connection, "SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED")
                yield connection
        except (pymysql.Error, OSError) as error:
            raise WalkError("server_died", f"{error}\n{self._server.last_words()}") from error

    def _event(self, event: str, **facts: Any) -> None:
        place = {} if event in ("stage", "skipped", "final") else self._place
        append_event(self._events, {"event": event, **place, **facts})

    def _say(self, text: str, tag: str = "") -> None:
        self._heard = time.monotonic()
        self._log.line(text, tag)


def begin_anew(events: Path) -> None:
    """Keep of a dataset's events only its restore: what follows is another walk."""
    try:
        lines = events.read_text("utf-8").splitlines(keepends=True)
    except FileNotFoundError:
        return
    kept = [line for line in lines if '"restored"' in line[:40]]
    if kept != lines:
        write_text(events, "".join(kept))

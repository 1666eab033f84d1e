# SPDX-License-Identifier: Apache-2.0
"""The walk of one dataset: through each stage, one migration at a time, each measured.

What is recorded here is evidence: versions and counters are read from the server over the worker's own connection,
times from its clock. What the project's code reports is only shown.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ansible.module_utils.th_core.artifacts import disk_full_message, read_json
from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_mask.mask import Masker
from ansible.module_utils.th_mask.secrets import Known
from ansible.module_utils.th_measure import blocking_rows
from ansible.module_utils.th_sandbox.box import Settings
from ansible.module_utils.th_sandbox.capped_log import CappedLog
from ansible.module_utils.th_server import mariadb
from ansible.module_utils.th_tools.tools import tool_of
from ansible.module_utils.th_tools.versions import owned, prefixed
from ansible.module_utils.th_walk import logs
from ansible.module_utils.th_walk.allowed_steps import AllowedSteps
from ansible.module_utils.th_walk.commands import CommandWalker, run_data_migration
from ansible.module_utils.th_walk.in_process import InProcessWalker
from ansible.module_utils.th_walk.journal import Journal
from ansible.module_utils.th_walk.relay import reached
from ansible.module_utils.th_walk.server_probe import ServerProbe, VersionState
from ansible.module_utils.th_walk.stage_boxes import StageBoxes
from ansible.module_utils.th_walk.stages import WalkStage, WalkTree, in_packages
from ansible.module_utils.th_walk.tool_query import ToolQuery
from ansible.module_utils.th_walk.walkers import (
    MigrationStep,
    Target,
    Walker,
    WalkerContext,
    WalkError,
    WalkLimits,
    asks_for_a_port,
)


class DatasetWalk:
    """One dataset's walk. `run` returns the error that ended it, or None when it completed.

    `profile` is the project's, `programs` the folder of the walking programs, `sandbox` what its code runs in.
    """

    def __init__(
        self,
        job_dir: Path,
        dataset: str,
        profile: Mapping[str, Any],
        limits: WalkLimits,
        programs: Path,
        sandbox: Settings,
        log_options: logs.LogOptions = logs.LogOptions(),  # noqa: B008 - it is frozen
    ) -> None:
        self._job_dir, self._dataset = job_dir, dataset
        self._profile, self._limits, self._programs = profile, limits, programs
        self._databases: Sequence[Mapping[str, Any]] = profile["databases"]
        self._boxes = StageBoxes(sandbox, programs, job_dir)
        self._by_port = asks_for_a_port([profile["databases"], profile["data_migrations"]])
        artifacts = job_dir / "artifacts"
        self._tree = WalkTree(read_json(artifacts / "checkout.json"))
        built = read_json(artifacts / "environment.json").get("environments", [])
        self._built = {item["stage"]: item for item in built}
        self._server = mariadb.load(job_dir / "db" / dataset)
        self._address: Mapping[str, str] = {}
        revisions, quota = self._tree.revisions, sandbox.disk_quota
        self._probe = ServerProbe(self._server, self._databases, revisions, sandbox.database, quota)
        log = CappedLog(job_dir / "results" / f"{dataset}.log", limits.log_bytes, stamp=True)
        self._log = logs.WalkLog(log, log_options)
        events = artifacts / f"walk-{dataset}.jsonl"
        allowed = read_json(artifacts / f"dataset-{dataset}.json").get("limits")
        self._journal = Journal(events, self._log, self._probe, self._tree, limits.migration_seconds, allowed)
        self._tool_query = ToolQuery(self._tree, self._databases, self._probe, self._journal, self._query_walker)

    def run(self) -> WalkError | None:
        """Walk all stages."""
        with contextlib.closing(self._log):
            try:
                self._log.follow_server(self._server, self._probe.connection)
                try:
                    with (
                        self._probe.limits_enforced(),
                        reached(self._server, self._boxes.settings, self._by_port) as self._address,
                    ):
                        self._walk()
                except StepError as error:
                    raise WalkError(error.code, error.detail) from error
                except OSError as error:
                    if not (detail := disk_full_message(error)):
                        raise
                    raise WalkError("disk_full", detail) from error
            except WalkError as error:
                found = self._probe.explained(error, self._job_dir)
                # it is sent to Zuul, too, and not only published
                detail = self._masker().text(found.detail)
                rows = blocking_rows.about(self._server, found.detail) if found.code == "migration_raised" else ""
                more = {"rows": self._masker().text(rows)} if rows else {}
                self._journal.event("error", code=found.code, detail=detail, file=found.file, line=found.line, **more)
                self._log.linger()
                self._journal.log(f"{found.code}: {detail}")
                return found
        return None

    def _masker(self) -> Masker:
        """Masks what the project's code knows and must not leak."""
        account = mariadb.read_account(self._server.job_file)
        known = Known({account["password"]}, names={account["user"], *self._server.databases.values()})
        return Masker(known.worth_masking())

    def _walk(self) -> None:
        start = state = self._probe.version_state()
        change = self._tree.stages[-1]
        self._check_start(change, state)
        self._probe.begin()
        for item in self._tree.left_out:
            self._journal.event("skipped", **item)
        for stage in self._tree.stages:
            self._journal.stage = stage.name
            if self._tree.skips(stage, state.heads) and (reason := self._tool_query.reason_to_skip(stage, state)):
                self._journal.event("skipped", name=stage.name, kind=stage.kind, commit=stage.commit, reason=reason)
                continue
            self._stage(stage)
            state = self._probe.version_state()
        if self._profile["downgrade"]:
            self._down_and_up(change, start)
        self._journal.stage = ""
        final = ",".join(self._tool_query.found(change, self._probe.version_state())) or "base"
        self._journal.log(f"Final schema version is {final}")
        self._journal.event("final", version=final, expected=",".join(self._tool_query.expected(change)))

    def _check_start(self, change: WalkStage, state: VersionState) -> None:
        """A version that the change removes is the change's fault; one that no stage has is the dataset's."""
        for database in self._databases:
            if not owned(change.heads, database["name"]) and not tool_of(database).without_scripts(database):
                problem = "the checkout has no migration scripts where the profile says"
                raise WalkError("no_migrations", f"{database['name']}: {problem}" if database["name"] else problem)
        unknown = self._tree.unknown(state.heads)
        if removed := sorted(self._tree.removed.intersection(unknown)):
            raise WalkError("version_removed", f"the dataset is at {', '.join(removed)}, which the change removes")
        if unknown:
            others = self._other_version_tables()
            raise WalkError("version_unknown", f"the dataset is at {', '.join(unknown)}, which no stage knows{others}")

    def _other_version_tables(self) -> str:
        """The dataset's other version tables, as a hint; "" where it has none."""
        facts = read_json(self._job_dir / "artifacts" / f"dataset-{self._dataset}.json")
        if not (tables := facts.get("version_tables")):
            return ""
        return f"; it has {', '.join(tables)}, too: if that is its version table, set version_table in the profile"

    def _stage(self, stage: WalkStage) -> None:
        """Migrate every database to the end of the stage, then its data."""
        targets = [Target(tuple(owned(stage.heads, database["name"]))) for database in self._databases]
        for database, target in zip(self._databases, targets, strict=True):
            if len(target.heads) > database["heads"] and not tool_of(database).by_app:
                raise WalkError("several_heads", f"{stage.name} has the heads {', '.join(target.heads)}")
        self._migrate(stage, targets)
        for settings in self._profile["data_migrations"]:
            self._move_data(stage, settings)
        self._journal.record_around(stage)

    def _down_and_up(self, stage: WalkStage, start: VersionState) -> None:
        """Downgrade to the last release, or to where the dataset was when there is none, and upgrade again."""
        release = self._tree.last_release()
        bottom = start.heads if release is None else release
        names = [database["name"] for database in self._databases]
        self._migrate(stage, [Target(tuple(owned(bottom, name)), downward=True) for name in names])
        state = self._probe.version_state()
        if set(state.heads) != set(bottom):
            where = ",".join(sorted(bottom)) or "base"
            raise WalkError("version_mismatch", f"after the way down the database is at {state}, not at {where}")
        self._migrate(stage, [Target(tuple(owned(stage.heads, name))) for name in names])
        self._journal.record_around(stage)

    def _migrate(self, stage: WalkStage, targets: Sequence[Target]) -> None:
        """Bring each database to its target, one migration at a time; down in reverse order."""
        each = list(zip(self._databases, targets, strict=True))
        planned = {database["name"]: self._planned_steps(database, target) for database, target in each}
        announced = False
        for database, target in reversed(each) if targets[0].downward else each:
            name = database["name"]
            self._journal.stage = stage.name
            begun = time.monotonic()
            with self._walker(stage, database, target, planned[name]) as walker:
                step, seen = walker.next(), set[str]()
                if not announced:
                    total = max(sum(map(len, planned.values())), walker.announced)
                    self._announce_stage(stage, each, total, time.monotonic() - begun)
                    announced = True
                if not target.downward:
                    self._tool_query.learn(stage, database, Path(self._built[stage.slug]["venv"]), walker.apps)
                packages = partial(self._tool_query.installed, stage, name) if in_packages(database) else None
                allowed = AllowedSteps(self._tree, name, planned[name], target.downward, packages)
                while step is not None:
                    self._journal.run_step(step, "downgrade" if target.downward else "schema", walker.run, allowed)
                    seen.add(allowed.subject(step))
                    step = walker.next()
            self._probe.nothing_left()
            if not target.downward and not tool_of(database).records_unrun:
                self._check_seen({prefixed(one.after, name) for one in planned[name]} - seen)

    def _check_seen(self, others: set[str]) -> None:
        """Migrations that have run without waiting for the walk end it. Raises WalkError."""
        if unseen := sorted(others & self._tree.with_ancestors(self._probe.version_state().rows)):
            problem = "did not run where the walk sees it: does the command start another process, or only stamp?"
            raise WalkError("walk_failed", f"{', '.join(unseen[:10])} {problem}")

    def _planned_steps(self, database: Mapping[str, Any], target: Target) -> list[MigrationStep]:
        """The steps from where the database is to the target, as the trees have them."""
        name = database["name"]
        here = [prefixed(head, name) for head in owned(self._probe.version_state().heads, name)]
        there = [prefixed(head, name) for head in target.heads]
        try:
            steps = self._tree.downgrades(there, here) if target.downward else self._tree.pending(there, here)
        except ValueError as error:
            raise WalkError("walk_failed", str(error)) from error
        return [MigrationStep(*(",".join(owned(end.split(","), name)) or "base" for end in step)) for step in steps]

    def _announce_stage(
        self, stage: WalkStage, each: Sequence[tuple[Mapping[str, Any], Target]], steps: int, seconds: float
    ) -> None:
        heads = [prefixed(head, database["name"]) for database, target in each for head in target.heads]
        target = ",".join(sorted(heads)) or "base"
        direction = "down" if each[0][1].downward else "up"
        self._journal.log(f"{stage.name} ({stage.commit[:12]}): {steps} migrations {direction} to {target}")
        facts = {"target": target, "steps": steps, "direction": direction, "seconds": round(seconds, 3)}
        self._journal.event("stage", name=stage.name, kind=stage.kind, commit=stage.commit, **facts)

    def _move_data(self, stage: WalkStage, settings: Mapping[str, Any]) -> None:
        """Run a data migration to its end."""
        context = self._context(stage, self._databases[0]["name"])
        self._journal.stage = stage.name
        step = MigrationStep("data", settings["name"])
        self._journal.run_step(step, "data", partial(run_data_migration, settings, context))
        self._probe.nothing_left()

    @contextlib.contextmanager
    def _walker(
        self, stage: WalkStage, database: Mapping[str, Any], target: Target, pending: Sequence[MigrationStep]
    ) -> Iterator[Walker]:
        context = self._context(stage, database["name"])
        if tool_of(database).program:
            walker: Walker = InProcessWalker(database, context, self._programs, target, list(stage.folders), pending)
        else:
            walker = CommandWalker(database, context, pending, target.downward)
        with walker:
            yield walker

    @contextlib.contextmanager
    def _query_walker(self, stage: WalkStage, database: Mapping[str, Any], target: Target) -> Iterator[InProcessWalker]:
        context = self._context(stage, database["name"])
        try:
            with InProcessWalker(database, context, self._programs, target, list(stage.folders), []) as walker:
                yield walker
        except WalkError as error:
            raise WalkError(error.code, self._masker().text(error.detail)) from error
        finally:
            self._probe.end_connections()
            self._journal.record_around(stage)  # counted for the stage that was asked, whichever is being walked

    def _context(self, stage: WalkStage, database: str) -> WalkerContext:
        built = self._built.get(stage.slug)
        if built is None:
            raise WalkError("environment_failed", f"the environment of {stage.name} was not built")
        home = self._job_dir / "home" / self._dataset
        bytecode = Path(built["bytecode"]) if built.get("bytecode") else None
        for folder in filter(None, (home, bytecode)):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return WalkerContext(
            src=Path(built["src"]),
            venv=Path(built["venv"]),
            home=home,
            account=mariadb.read_account(self._server.job_file),
            address=self._address,
            schemas=self._server.databases,
            database=database,
            on_line=self._log.output,
            on_tick=self._tick,
            connected=self._probe.connected,
            start_time_limit=self._limits.start_seconds,
            box=self._boxes.of(stage, built, home, bytecode, self._address.get("socket", "")),
            bytecode=bytecode,
            forward=self._programs / "th_forward.py" if self._by_port and "host" not in self._address else None,
        )

    def _tick(self) -> None:
        self._log.tick()
        self._probe.check()

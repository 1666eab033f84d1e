# SPDX-License-Identifier: Apache-2.0
"""The walk of one dataset: through each stage, one migration at a time, each measured.

What is written here is evidence: versions and counters come from the server over a connection of our own, times
from our clock. What the project's code says is only shown.
"""

from __future__ import annotations

import contextlib
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
from ansible.module_utils.th_walk.allowed_steps import Way
from ansible.module_utils.th_walk.commands import CommandWalker, run_data_migration
from ansible.module_utils.th_walk.in_process import InProcessWalker
from ansible.module_utils.th_walk.journal import Diary
from ansible.module_utils.th_walk.relay import reached
from ansible.module_utils.th_walk.server_probe import Evidence, Standing
from ansible.module_utils.th_walk.stage_boxes import StageBoxes
from ansible.module_utils.th_walk.stages import Stage, Tree, in_packages
from ansible.module_utils.th_walk.tool_query import Asking
from ansible.module_utils.th_walk.walkers import Limits, Step, Surroundings, Target, Walker, WalkError, asks_for_a_port


class Walk:
    """One dataset's walk. `run` returns the error that ended it, or None when it came to its end.

    `profile` is the project's, `programs` the folder of the walking programs, `sandbox` what its code runs in.
    """

    def __init__(
        self,
        job_dir: Path,
        dataset: str,
        profile: Mapping[str, Any],
        limits: Limits,
        programs: Path,
        sandbox: Settings,
        watch: logs.Watch = logs.Watch(),  # noqa: B008 - it is frozen
    ) -> None:
        self._job_dir, self._dataset = job_dir, dataset
        self._profile, self._limits, self._programs = profile, limits, programs
        self._boxes = StageBoxes(sandbox, programs, job_dir)
        self._by_port = asks_for_a_port([profile["databases"], profile["data_migrations"]])
        artifacts = job_dir / "artifacts"
        self._tree = Tree(read_json(artifacts / "checkout.json"))
        built = read_json(artifacts / "environment.json").get("environments", [])
        self._built = {item["stage"]: item for item in built}
        self._server = mariadb.load(job_dir / "db" / dataset)
        self._address: Mapping[str, str] = {}
        revisions, held = self._tree.revisions, sandbox.disk_quota
        self._evidence = Evidence(self._server, self._databases, revisions, sandbox.database, held)
        log = CappedLog(job_dir / "results" / f"{dataset}.log", limits.log_bytes, stamp=True)
        self._log = logs.WalkLog(log, watch)
        events = artifacts / f"walk-{dataset}.jsonl"
        allowed = read_json(artifacts / f"dataset-{dataset}.json").get("limits")
        self._diary = Diary(events, self._log, self._evidence, self._tree, limits.migration, allowed)
        self._asking = Asking(self._tree, self._databases, self._evidence, self._diary, self._asked)

    @property
    def _databases(self) -> Sequence[Mapping[str, Any]]:
        databases: Sequence[Mapping[str, Any]] = self._profile["databases"]
        return databases

    def run(self) -> WalkError | None:
        """Walk all stages."""
        with contextlib.closing(self._log):
            try:
                self._log.follow_server(self._server, self._evidence.connection)
                try:
                    with (
                        self._evidence.held(),
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
                found = self._evidence.explained(error, self._job_dir)
                # it is told to Zuul, too, and not only published
                detail = self._masker().text(found.detail)
                rows = blocking_rows.about(self._server, found.detail) if found.code == "migration_raised" else ""
                more = {"rows": self._masker().text(rows)} if rows else {}
                self._diary.event("error", code=found.code, detail=detail, file=found.file, line=found.line, **more)
                self._log.linger()
                self._diary.say(f"{found.code}: {detail}")
                return found
        return None

    def _masker(self) -> Masker:
        """What the project's code knows and may not say."""
        account = mariadb.read_account(self._server.job_file)
        known = Known({account["password"]}, names={account["user"], *self._server.databases.values()})
        return Masker(known.worth_masking())

    def _walk(self) -> None:
        start = standing = self._evidence.standing()
        change = self._tree.stages[-1]
        self._check_start(change, standing)
        self._evidence.begin()
        for item in self._tree.left_out:
            self._diary.event("skipped", **item)
        for stage in self._tree.stages:
            self._diary.stage = stage.name
            if self._tree.skips(stage, standing.heads) and (reason := self._asking.reason_to_skip(stage, standing)):
                self._diary.event("skipped", name=stage.name, kind=stage.kind, commit=stage.commit, reason=reason)
                continue
            self._stage(stage)
            standing = self._evidence.standing()
        if self._profile["downgrade"]:
            self._down_and_up(change, start)
        self._diary.stage = ""
        final = ",".join(self._asking.found(change, self._evidence.standing())) or "base"
        self._diary.say(f"Final schema version is {final}")
        self._diary.event("final", version=final, expected=",".join(self._asking.expected(change)))

    def _check_start(self, change: Stage, standing: Standing) -> None:
        """A dataset at what the change removes is the change's fault; at what nobody has, that of the dataset."""
        for database in self._databases:
            if not owned(change.heads, database["name"]) and not tool_of(database).without_scripts(database):
                problem = "the checkout has no migration scripts where the profile says"
                raise WalkError("no_migrations", f"{database['name']}: {problem}" if database["name"] else problem)
        unknown = self._tree.unknown(standing.heads)
        if removed := sorted(self._tree.removed.intersection(unknown)):
            raise WalkError("version_removed", f"the dataset is at {', '.join(removed)}, which the change removes")
        if unknown:
            others = self._other_version_tables()
            raise WalkError("version_unknown", f"the dataset is at {', '.join(unknown)}, which no stage knows{others}")

    def _other_version_tables(self) -> str:
        """What else may hold the version, where the dataset has several such tables."""
        facts = read_json(self._job_dir / "artifacts" / f"dataset-{self._dataset}.json")
        if not (tables := facts.get("version_tables")):
            return ""
        return f"; it has {', '.join(tables)}, too: if that is its version table, set version_table in the profile"

    def _stage(self, stage: Stage) -> None:
        """Migrate every database to the end of the stage, then its data."""
        targets = [Target(tuple(owned(stage.heads, database["name"]))) for database in self._databases]
        for database, target in zip(self._databases, targets, strict=True):
            if len(target.heads) > database["heads"] and not tool_of(database).by_app:
                raise WalkError("several_heads", f"{stage.name} has the heads {', '.join(target.heads)}")
        self._migrate(stage, targets)
        for settings in self._profile["data_migrations"]:
            self._move_data(stage, settings)
        self._diary.around(stage)

    def _down_and_up(self, stage: Stage, start: Standing) -> None:
        """Back to the last release, or to where the dataset was when there is none, and up again."""
        release = self._tree.last_release()
        bottom = start.heads if release is None else release
        names = [database["name"] for database in self._databases]
        self._migrate(stage, [Target(tuple(owned(bottom, name)), downward=True) for name in names])
        standing = self._evidence.standing()
        if set(standing.heads) != set(bottom):
            where = ",".join(sorted(bottom)) or "base"
            raise WalkError("version_mismatch", f"after the way down the database is at {standing}, not at {where}")
        self._migrate(stage, [Target(tuple(owned(stage.heads, name))) for name in names])
        self._diary.around(stage)

    def _migrate(self, stage: Stage, targets: Sequence[Target]) -> None:
        """Bring each database to its target, one migration at a time; down in reverse order."""
        each = list(zip(self._databases, targets, strict=True))
        ways = {database["name"]: self._way(database, target) for database, target in each}
        told = False
        for database, target in reversed(each) if targets[0].downward else each:
            name = database["name"]
            self._diary.stage = stage.name
            with self._walker(stage, database, target, ways[name]) as walker:
                step, seen = walker.next(), set[str]()
                if not told:
                    total = max(sum(map(len, ways.values())), walker.announced)
                    self._tell_stage(stage, each, total)
                    told = True
                if not target.downward:
                    self._asking.learn(stage, database, Path(self._built[stage.slug]["venv"]), walker.apps)
                packages = partial(self._asking.installed, stage, name) if in_packages(database) else None
                way = Way(self._tree, name, ways[name], target.downward, packages)
                while step is not None:
                    self._diary.step(step, "downgrade" if target.downward else "schema", walker.run, way)
                    seen.add(way.subject(step))
                    step = walker.next()
            self._evidence.nothing_left()
            if not target.downward and not tool_of(database).records_unrun:
                self._check_seen({prefixed(one.after, name) for one in ways[name]} - seen)

    def _check_seen(self, others: set[str]) -> None:
        """None of the migrations that have not waited for the walk may be in the database."""
        if unseen := sorted(others & self._tree.behind(self._evidence.standing().rows)):
            problem = "did not run where the walk sees it: does the command start another process, or only stamp?"
            raise WalkError("walk_failed", f"{', '.join(unseen[:10])} {problem}")

    def _way(self, database: Mapping[str, Any], target: Target) -> list[Step]:
        """What the trees say that is to come."""
        name = database["name"]
        here = [prefixed(head, name) for head in owned(self._evidence.standing().heads, name)]
        there = [prefixed(head, name) for head in target.heads]
        try:
            way = self._tree.way_down(there, here) if target.downward else self._tree.pending(there, here)
        except ValueError as error:
            raise WalkError("walk_failed", str(error)) from error
        return [Step(*(",".join(owned(end.split(","), name)) or "base" for end in step)) for step in way]

    def _tell_stage(self, stage: Stage, each: Sequence[tuple[Mapping[str, Any], Target]], steps: int) -> None:
        heads = [prefixed(head, database["name"]) for database, target in each for head in target.heads]
        target = ",".join(sorted(heads)) or "base"
        direction = "down" if each[0][1].downward else "up"
        self._diary.say(f"{stage.name} ({stage.commit[:12]}): {steps} migrations {direction} to {target}")
        self._diary.event(
            "stage",
            name=stage.name,
            kind=stage.kind,
            commit=stage.commit,
            target=target,
            steps=steps,
            direction=direction,
        )

    def _move_data(self, stage: Stage, settings: Mapping[str, Any]) -> None:
        """Run a data migration to its end."""
        around = self._surroundings(stage, self._databases[0]["name"])
        self._diary.stage = stage.name
        self._diary.step(Step("data", settings["name"]), "data", partial(run_data_migration, settings, around))
        self._evidence.nothing_left()

    @contextlib.contextmanager
    def _walker(
        self, stage: Stage, database: Mapping[str, Any], target: Target, pending: Sequence[Step]
    ) -> Iterator[Walker]:
        around = self._surroundings(stage, database["name"])
        if tool_of(database).program:
            walker: Walker = InProcessWalker(database, around, self._programs, target, list(stage.folders), pending)
        else:
            walker = CommandWalker(database, around, pending, target.downward)
        with walker:
            yield walker

    @contextlib.contextmanager
    def _asked(self, stage: Stage, database: Mapping[str, Any], target: Target) -> Iterator[InProcessWalker]:
        around = self._surroundings(stage, database["name"])
        try:
            with InProcessWalker(database, around, self._programs, target, list(stage.folders), []) as walker:
                yield walker
        except WalkError as error:
            raise WalkError(error.code, self._masker().text(error.detail)) from error
        finally:
            self._evidence.end_connections()
            self._diary.around(stage)  # what it has done is its own stage's, whichever is walked

    def _surroundings(self, stage: Stage, database: str) -> Surroundings:
        built = self._built.get(stage.slug)
        if built is None:
            raise WalkError("environment_failed", f"the environment of {stage.name} was not built")
        home = self._job_dir / "home" / self._dataset
        bytecode = Path(built["bytecode"]) if built.get("bytecode") else None
        for folder in filter(None, (home, bytecode)):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Surroundings(
            src=Path(built["src"]),
            venv=Path(built["venv"]),
            home=home,
            account=mariadb.read_account(self._server.job_file),
            address=self._address,
            schemas=self._server.databases,
            database=database,
            on_line=self._log.output,
            on_tick=self._tick,
            connected=self._evidence.connected,
            start_time_limit=self._limits.around,
            box=self._boxes.of(stage, built, home, bytecode, self._address.get("socket", "")),
            bytecode=bytecode,
            forward=self._programs / "th_forward.py" if self._by_port and "host" not in self._address else None,
        )

    def _tick(self) -> None:
        self._log.tick()
        self._evidence.check()

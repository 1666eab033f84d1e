# SPDX-License-Identifier: Apache-2.0
"""A job that measures one value more than there are: a row in each of the two tables, and nothing else.

`python -m tests.library.one_more_counter FOLDER` adds the rows before anything reads the tables, walks a migration on a
server that is made up, judges what was written, and writes the results to the folder.
"""

import json
import shutil
import sys
import types
from pathlib import Path
from typing import Any

import ansible.module_utils
import pymysql

from tests.kit import ROOT

NAME, LIMIT, CODE = "temporary_tables", "maximum_temporary_tables", "migration_temporary_tables"
VARIABLE = "Created_tmp_tables"
DATASET = {
    "project": "library/catalog", "type": "mysql", "db_user": "catalog", "db_pass": "catalog", "database": "catalog",
    "seed_data": "user_001.sql", LIMIT: {"default": 5},
}  # fmt: skip


def add_rows() -> None:
    """What somebody would write who adds it."""
    from ansible.module_utils.th_server import counters as of_roles

    from worker import counters as of_worker

    row = of_roles.Counter(NAME, LIMIT, 10, dict.fromkeys(of_roles.PRIVATE, (VARIABLE,)))
    of_roles.COUNTERS = (*of_roles.COUNTERS, row)
    of_roles.MEASURED = (*of_roles.MEASURED, row)
    shown = of_worker.Counter(
        name=NAME,
        limit=LIMIT,
        label="temporary tables",
        unit="tables",
        code=CODE,
        excess="made too many temporary tables (%d)",
        explanation="The server made more temporary tables than the dataset's limit allows.",
        look="The migration's queries.",
        remedy="Narrow them.",
        note="made {} temporary tables",
    )
    of_worker.COUNTERS = (*of_worker.COUNTERS, shown)
    of_worker.MEASURED = (*of_worker.MEASURED, shown)


class Server:
    """A MariaDB that answers for its status, to whoever names the variables, and knows of nothing else."""

    def __init__(self) -> None:
        self.status = {
            "Handler_write": 0, "Handler_update": 0, "Handler_delete": 0, "Rows_read": 0, "Innodb_os_log_written": 0,
            VARIABLE: 100,
        }  # fmt: skip
        self.found: list[tuple[str, str]] = []

    def cursor(self) -> "Server":
        return self

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def execute(self, statement: str, values: Any) -> None:
        if "GLOBAL STATUS" not in statement:
            raise pymysql.err.OperationalError(1193, f"Unknown: {statement}")
        self.found = [(name, str(self.status[name])) for name in values if name in self.status]

    def fetchall(self) -> list[tuple[str, str]]:
        return self.found


def walk(folder: Path) -> None:
    """Walk the last migration of a recorded walk, as the roles do."""
    from ansible.module_utils.th_measure.ledger import CounterLedger
    from ansible.module_utils.th_sandbox.capped_log import CappedLog
    from ansible.module_utils.th_server import mariadb
    from ansible.module_utils.th_walk.journal import Journal
    from ansible.module_utils.th_walk.logs import WalkLog
    from ansible.module_utils.th_walk.server_probe import VersionState
    from ansible.module_utils.th_walk.stages import WalkStage, WalkTree
    from ansible.module_utils.th_walk.walkers import MigrationStep, StepResult

    events = folder / "artifacts" / "walk-user_001.jsonl"
    lines = events.read_text().splitlines()
    begin = json.loads(lines[-3])
    events.write_text("\n".join(lines[:-3]).replace('"counters": {', f'"counters": {{"{NAME}": 0, ') + "\n")
    before, after = begin["from"], begin["to"]
    (folder / "data").mkdir()
    server = Server()
    ledger = CounterLedger(mariadb.Server(str(folder), "", {"": "catalog"}, "th"), {"": "alembic_version"})
    ledger.open(server)
    version = [before]

    def version_state() -> VersionState:
        return VersionState(tuple(version), tuple(version))

    def first() -> VersionState:
        ledger.begin(server)
        return version_state()

    probe: Any = types.SimpleNamespace(
        of_packages=False,
        before=first,
        after=lambda: (ledger.end(server), version_state()),
        between=lambda: (str(version_state()), *ledger.close(server)),
        check=lambda: None,
    )

    def run(_: float) -> StepResult:
        server.status[VARIABLE] += 7
        version[:] = [after]
        return StepResult(0)

    tree = WalkTree({"revisions": {before: {"down": []}, after: {"down": [before]}}, "stages": []})
    log = WalkLog(CappedLog(folder / "results" / "user_001.log", 1 << 20, stamp=True))
    limits = json.loads((folder / "artifacts" / "dataset-user_001.json").read_text())["limits"]
    journal = Journal(events, log, probe, tree, 60, limits)
    journal.stage = begin["stage"]
    journal.run_step(MigrationStep(before, after), "schema", run)
    for more in (4, 6):  # the first is below the limit, and nothing to speak of
        server.status[VARIABLE] += more
        journal.record_around(WalkStage(begin["stage"], "change", "change", "", (after,)))
    journal.event("final", version=after, expected=after)
    log.close()


def restore(folder: Path) -> None:
    """Write down what the dataset allows, as the roles do."""
    from ansible.module_utils.th_dataset.dataset import read_dataset

    from worker.config import datasets

    file = folder / "user_001.json"
    file.write_text(json.dumps(DATASET))
    (folder / "user_001.sql").touch()
    assert datasets.load(file).limits == {LIMIT: {"default": 5}}
    path = folder / "artifacts" / "dataset-user_001.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **read_dataset(file, [""]).for_verdict}))


def judge(folder: Path) -> None:
    """Judge it, and write the report, as the worker does."""
    from worker.report import render
    from worker.verdict import artifacts, decide

    verdict = decide.decide(artifacts.read(folder / "artifacts"), ["user_001"])
    render.write(folder / "results", verdict, render.Header({"project": "library/catalog"}))


def read_back(folder: Path) -> None:
    """Read the walk's log, as `th history` does."""
    from tests.kit.old_logs import meaning

    found = meaning((folder / "results" / "user_001.log").read_bytes())
    (folder / "history.json").write_text(json.dumps(found.walks))


def main(folder: Path) -> None:
    """Add the rows, and then do the whole job."""
    ansible.module_utils.__path__ += map(str, (ROOT / "roles").glob("*/module_utils"))
    add_rows()
    from tests.kit.recorded_walks import case

    (folder / "results").mkdir()
    shutil.copytree(case("success").artifacts, folder / "artifacts")
    restore(folder)
    walk(folder)
    judge(folder)
    read_back(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

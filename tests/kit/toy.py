# SPDX-License-Identifier: Apache-2.0
"""A small project with alembic migrations, written to a folder, the artifacts that say where it is, and its walk."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.kit import ROOT, engines
from tests.kit.waiting import PATIENCE

from . import boxes, shared

if TYPE_CHECKING:
    from ansible.module_utils.th_server import mariadb
from ansible.module_utils.th_server.engine import Engine, of_machine

NAME = "toy"

PROGRAMS = ROOT / "roles" / "run_migrations" / "files"
OPTIONS = ["--innodb-log-file-size=16M", "--performance-schema=OFF", "--userstat=ON"]

FIRST = "op.create_table('t', sa.Column('id', sa.Integer, primary_key=True), sa.Column('name', sa.String(50)))"
ROWS = "op.execute(\"INSERT INTO t (name) SELECT CONCAT('n', seq) FROM seq_1_to_1000\")"
CHAIN: dict[str, Any] = {
    "a1": (None, FIRST),
    "b2": ("a1", ROWS),
    "c3": ("b2", "op.execute('UPDATE t SET name = NULL')"),
}

ENV_PY = """
from alembic import context
from sqlalchemy import create_engine, pool

engine = create_engine(context.config.get_main_option("sqlalchemy.url"), poolclass=pool.NullPool)
with engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""

ENV_PY_ONE_TRANSACTION = """
from alembic import context
from sqlalchemy import create_engine, pool

engine = create_engine(context.config.get_main_option("sqlalchemy.url"), poolclass=pool.NullPool)
with engine.begin() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""

DATABASE: dict[str, Any] = {"tool": "alembic", "script_location": "migrations"}


def profile(database: Mapping[str, Any] = DATABASE, **more: Any) -> dict[str, Any]:
    """The profile of a project with one database, complete."""
    from ansible.module_utils.th_tools.profile import check_profile

    return check_profile({"migrations": dict(database), **more})


def migration(
    revision: str,
    down: str | Sequence[str] | None,
    body: str = "pass",
    downgrade: str = "",
    depends_on: str | Sequence[str] | None = None,
) -> str:
    """The source of a migration whose `upgrade` does `body`."""
    text = (
        f'"""{revision}"""\nimport sqlalchemy as sa\nfrom alembic import op\n\n'
        f"revision = {revision!r}\ndown_revision = {down!r}\n\n\n"
        "def upgrade():\n" + textwrap.indent(textwrap.dedent(body).strip() or "pass", "    ") + "\n"
    )
    if depends_on:
        text += f"\n\ndepends_on = {depends_on!r}\n"
    if downgrade:
        text += "\n\ndef downgrade():\n" + textwrap.indent(textwrap.dedent(downgrade).strip(), "    ") + "\n"
    return text


def write(src: Path, revisions: Mapping[str, Sequence[Any]], env_py: str = ENV_PY) -> None:
    """Write the project: `revisions` maps a revision to what it builds on and the body of its `upgrade`, that of its
    `downgrade`, and what it depends on (see `migration`)."""
    versions = src / "migrations" / "versions"
    versions.mkdir(parents=True, exist_ok=True)
    (src / "alembic.ini").write_text("[alembic]\nscript_location = migrations\nsqlalchemy.url =\n")
    (src / "migrations" / "env.py").write_text(env_py)
    for revision, facts in revisions.items():
        (versions / f"{revision}_.py").write_text(migration(revision, *facts))


def artifacts(job_dir: Path, src: Path, revisions: Mapping[str, Sequence[Any]], release: Sequence[str] = ()) -> None:
    """Write checkout.json and environment.json for one stage, the change, and before it for a release that has the
    heads `release`; the environment is this interpreter's."""
    tree = {
        revision: {
            "down": [one for named in (facts[0], *facts[3:]) for one in _names(named)],
            "file": f"migrations/versions/{revision}_.py",
        }
        for revision, facts in revisions.items()
    }
    below = {name for facts in tree.values() for name in facts["down"]}
    heads = sorted(set(tree) - below)
    stages: list[dict[str, Any]] = [
        {"name": "change 1,1", "slug": "change", "kind": "change", "commit": "1" * 40, "heads": heads}
    ]
    if release:
        stages.insert(
            0, {"name": "stable/1", "slug": "1", "kind": "release", "commit": "2" * 40, "heads": list(release)}
        )
    for stage in stages:
        stage["folders"] = ["migrations/versions"]
    built = {"stage": "change", "src": str(src), "venv": sys.prefix, "prefix": sys.base_prefix}
    built |= {"python": "3", "packages": []}
    (job_dir / "artifacts").mkdir(exist_ok=True)
    (job_dir / "results").mkdir(exist_ok=True)
    (job_dir / "artifacts" / "checkout.json").write_text(json.dumps({"stages": stages, "revisions": tree}))
    (job_dir / "artifacts" / "environment.json").write_text(json.dumps({"environments": [built]}))


def _names(named: str | Sequence[str] | None) -> Sequence[str]:
    return [] if named is None else [named] if isinstance(named, str) else named


PASSWORD = 'it\'s "odd" %s\\'


def start(
    folder: Path,
    password: str = PASSWORD,
    engine: Engine | None = None,
    options: Sequence[str] = OPTIONS,
    sandbox: Mapping[str, Any] | None = None,
) -> mariadb.Server:
    """A server in `folder`, with the toy's database and user; the machine's own unless there is an `engine`."""
    from ansible.module_utils.th_server import private_server

    folder.mkdir(parents=True)
    engine, settings = engine or of_machine(), boxes.settings(**(sandbox or {}))
    shared.create_data(folder, options, settings, engine)
    return private_server.start(
        folder, engine,
        databases={"": "toy"}, user="toy", password=password, options=options, time_limit=300, sandbox=settings,
    )  # fmt: skip


def start_mysql(folder: Path, **rest: Any) -> mariadb.Server:
    """The same on a real MySQL."""
    return start(folder, engine=engines.mysql(), options=engines.mysql_options(), **rest)


def emptied(server: mariadb.Server, job_dir: Path) -> mariadb.Server:
    """The server, its database empty, as the one of a job."""
    from ansible.module_utils.th_server import mariadb

    with mariadb.connect(server, server.admin_file) as connection:
        mariadb.query(connection, "DROP DATABASE IF EXISTS toy")
        mariadb.query(connection, "CREATE DATABASE toy")
    (job_dir / "db").mkdir()
    (job_dir / "db" / NAME).symlink_to(server.folder)
    return server


def walk(
    job_dir: Path,
    revisions: Mapping[str, Sequence[Any]],
    database: Mapping[str, Any] = DATABASE,
    env_py: str = ENV_PY,
    time_limit: float = PATIENCE,
    log_bytes: int = 100_000,
    start_time_limit: float = PATIENCE,
    release: Sequence[str] = (),
    sandbox: Mapping[str, Any] | None = None,
    **more: Any,
) -> list[dict[str, Any]]:
    """Write the project and walk it; gives the events of all walks of the job. `release` are the heads of a release
    that the dataset is at already, `sandbox` variables of the box without their prefix."""
    from ansible.module_utils.th_walk.walk import DatasetWalk
    from ansible.module_utils.th_walk.walkers import WalkLimits

    write(job_dir / "src", revisions, env_py)
    artifacts(job_dir, job_dir / "src", revisions, release)
    limits = WalkLimits(time_limit, start_time_limit, log_bytes)
    DatasetWalk(job_dir, NAME, profile(database, **more), limits, PROGRAMS, boxes.settings(**(sandbox or {}))).run()
    return events(job_dir, NAME)


def kinds(events: Sequence[Mapping[str, Any]]) -> list[str]:
    """What kind each of the events is."""
    return [event["event"] for event in events]


def error(events: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The one error of the events."""
    found = [event for event in events if event["event"] == "error"]
    assert len(found) == 1, events
    return found[0]


def events(job_dir: Path, dataset: str) -> list[dict[str, Any]]:
    """The events of a walk."""
    lines = (job_dir / "artifacts" / f"walk-{dataset}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]

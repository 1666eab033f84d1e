# SPDX-License-Identifier: Apache-2.0
"""A small project with alembic migrations, written to a folder, and the artifacts that say where it is."""

import json
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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
    from ansible.module_utils.th_profile import check_profile  # found once tests/library/conftest.py is loaded

    return check_profile({"migrations": dict(database), **more})


def migration(revision: str, down: str | Sequence[str] | None, body: str = "pass") -> str:
    """The source of a migration whose `upgrade` does `body`."""
    return (
        f'"""{revision}"""\nimport sqlalchemy as sa\nfrom alembic import op\n\n'
        f"revision = {revision!r}\ndown_revision = {down!r}\n\n\n"
        "def upgrade():\n" + textwrap.indent(textwrap.dedent(body).strip() or "pass", "    ") + "\n"
    )


def write(src: Path, revisions: Mapping[str, tuple[Any, str]], env_py: str = ENV_PY) -> None:
    """Write the project: `revisions` maps a revision to what it builds on and the body of its `upgrade`."""
    versions = src / "migrations" / "versions"
    versions.mkdir(parents=True, exist_ok=True)
    (src / "alembic.ini").write_text("[alembic]\nscript_location = migrations\nsqlalchemy.url =\n")
    (src / "migrations" / "env.py").write_text(env_py)
    for revision, (down, body) in revisions.items():
        (versions / f"{revision}_.py").write_text(migration(revision, down, body))


def artifacts(job_dir: Path, src: Path, revisions: Mapping[str, tuple[Any, str]]) -> None:
    """Write checkout.json and environment.json for one stage, the change; the environment is this interpreter's."""
    tree = {
        revision: {
            "down": [] if down is None else [down] if isinstance(down, str) else list(down),
            "file": f"migrations/versions/{revision}_.py",
        }
        for revision, (down, _) in revisions.items()
    }
    below = {name for facts in tree.values() for name in facts["down"]}
    heads = sorted(set(tree) - below)
    stage: dict[str, Any] = {"name": "change 1,1", "slug": "change", "kind": "change", "commit": "1" * 40}
    stage |= {"heads": heads, "folders": ["migrations/versions"]}
    built = {"stage": "change", "src": str(src), "venv": sys.prefix, "python": "3", "packages": []}
    (job_dir / "artifacts").mkdir(exist_ok=True)
    (job_dir / "results").mkdir(exist_ok=True)
    (job_dir / "artifacts" / "checkout.json").write_text(json.dumps({"stages": [stage], "revisions": tree}))
    (job_dir / "artifacts" / "environment.json").write_text(json.dumps({"environments": [built]}))


def events(job_dir: Path, dataset: str) -> list[dict[str, Any]]:
    """The events of a walk."""
    lines = (job_dir / "artifacts" / f"walk-{dataset}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]

# SPDX-License-Identifier: Apache-2.0
"""A change that tries one thing while its migrations are walked, in one of the layouts that projects have."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.kit import toy

MIGRATION, ENV_PY, PACKAGE = "migration", "env.py", "package"


@dataclass(frozen=True)
class Layout:
    """Where a project has its migrations, its alembic.ini and its code."""

    scripts: str
    config: str
    package: str


FLAT = Layout("migrations", "alembic.ini", "toy")
OF_A_SERVICE = Layout("toy/db/sqlalchemy/migrations", "toy/db/sqlalchemy/alembic.ini", "toy")
OF_A_LIBRARY = Layout("src/toy/store/db_migrations", "src/toy/store/db_migrations/alembic.ini", "src/toy")
LAYOUTS = (FLAT, OF_A_SERVICE, OF_A_LIBRARY)


def write(src: Path, layout: Layout, where: str, body: str, told: Mapping[str, Any]) -> None:
    """Write a project with one released migration and a change that does `body`, which knows `told` as ``W``."""
    code = f"W = {json.dumps(json.dumps(told))}\nimport json; W = json.loads(W)\n{textwrap.dedent(body).strip()}\n"
    scripts = src / layout.scripts
    (scripts / "versions").mkdir(parents=True)
    (src / layout.package).mkdir(parents=True, exist_ok=True)
    (src / layout.config).write_text(f"[alembic]\nscript_location = {layout.scripts}\nsqlalchemy.url =\n")
    (src / layout.package / "__init__.py").write_text(code if where == PACKAGE else "")
    before = f"import sys; sys.path.insert(0, {str(Path(layout.package).parent)!r}); import toy\n"
    (scripts / "env.py").write_text(before + (code if where == ENV_PY else "") + toy.ENV_PY)
    (scripts / "versions" / "a1_.py").write_text(toy.migration("a1", None, toy.FIRST))
    (scripts / "versions" / "b2_.py").write_text(
        toy.migration("b2", "a1", code if where == MIGRATION else "op.execute('UPDATE t SET name = NULL')")
    )


def artifacts(job_dir: Path, src: Path, layout: Layout) -> dict[str, Any]:
    """Write the artifacts that the walk reads; returns the database of the profile."""
    toy.artifacts(job_dir, src, {"a1": (None,), "b2": ("a1",)})
    path = job_dir / "artifacts" / "checkout.json"
    path.write_text(path.read_text().replace("migrations/versions", f"{layout.scripts}/versions"))
    return {"tool": "alembic", "script_location": layout.scripts, "config": layout.config}

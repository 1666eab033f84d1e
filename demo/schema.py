# SPDX-License-Identifier: Apache-2.0
"""The tables of MLflow as one of its releases makes them, got by running that release's own migrations.

They run in a virtual environment of their own against a private server, both gone at the end.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from demo import server
from demo.project import PROJECT, Repository, export
from demo.tools import DemoError, Say, run

if TYPE_CHECKING:
    from ansible.module_utils.th_server.engine import Engine

PROFILE = Path(__file__).parent.parent / "inventory" / "projects" / f"{PROJECT}.yaml"
SCHEMA_BRANCH = "stable/2.22"
REVISION = "0584bdc529eb"  # the head of its migrations

# Creates the tables of MLflow's first days and walks all migrations from there, as a new tracking server does.
_INITIALIZE = """
import sys, sqlalchemy
from mlflow.store.db.utils import _initialize_tables
_initialize_tables(sqlalchemy.create_engine(sys.argv[1]))
"""


def tables(
    repository: Repository, packages: Path, engine: Engine, say: Say = lambda line: None
) -> list[tuple[str, str]]:
    """Return the tables of `SCHEMA_BRANCH` in the order of their names: name and CREATE TABLE statement.

    ``packages`` is uv's cache, the server is one of ``engine``. DemoError when the environment, the server or the
    migrations fail.
    """
    with tempfile.TemporaryDirectory(prefix="th-demo-", dir=server.SHORT) as folder:
        work = Path(folder)
        say(f"installing MLflow of {SCHEMA_BRANCH}")
        python = _install(repository, work, packages)
        say("starting a database server")
        with server.running(work / "server", "mlflow", engine) as socket:
            say(f"creating MLflow's tables with the migrations of {SCHEMA_BRANCH}")
            url = f"mysql+pymysql://{server.USER}:{server.USER}@localhost/mlflow?unix_socket={socket}"
            # MLflow makes sets of names into CHECK constraints: the order of their items is the hash's.
            settled = {"PYTHONHASHSEED": "0", "MLFLOW_DISABLE_TELEMETRY": "true"}
            run([python, "-c", _INITIALIZE, url], cwd=work / "src", environment=settled)
            return _read(socket)


def _install(repository: Repository, work: Path, packages: Path) -> Path:
    source, python = work / "src", work / "venv" / "bin" / "python"
    export(repository.path, SCHEMA_BRANCH, source)
    profile = yaml.safe_load(PROFILE.read_text())
    uv = [sys.executable, "-m", "uv"]
    cache = {"UV_CACHE_DIR": str(packages)}
    run([*uv, "venv", "--quiet", "--python", profile["python"], work / "venv"], environment=cache)
    install: list[str | Path] = [*uv, "pip", "install", "--quiet", "--python", python, "--editable", source]
    run([*install, *profile["install"]["packages"]], environment=cache)
    return python


def _read(socket: Path) -> list[tuple[str, str]]:
    found = []
    with server.connect(socket, "mlflow") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT version_num FROM alembic_version")
        versions = [row[0] for row in cursor.fetchall()]
        if versions != [REVISION]:
            raise DemoError(f"the migrations of {SCHEMA_BRANCH} ended at {versions}, not at {REVISION}")
        cursor.execute("SHOW TABLES")
        for (name,) in cursor.fetchall():
            cursor.execute(f"SHOW CREATE TABLE `{name}`")
            row = cursor.fetchone()
            assert row is not None
            found.append((str(name), str(row[1])))
    return sorted(found)

# SPDX-License-Identifier: Apache-2.0
"""A dataset of MLflow as one would take it from a production server: a dump, and the configuration beside it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from demo import engines, rows, schema
from demo.project import PROJECT, Repository
from demo.tools import DemoError, Say, built, key_of

if TYPE_CHECKING:
    from ansible.module_utils.th_server.engine import Engine

NAME = "mlflow_user_001"
_STATEMENT_BYTES = 1 << 20  # as long as mariadb-dump makes them
_SPECIAL = re.compile(r"[\0\n\r\x1a'\"\\]")
_ESCAPES = {"\0": "\\0", "\n": "\\n", "\r": "\\r", "\x1a": "\\Z", "'": "\\'", '"': '\\"', "\\": "\\\\"}


@dataclass(frozen=True)
class Dataset:
    """``folder`` is a ``datasets_dir``: the configuration is ``<name>.json`` in it, the dump lies beside it."""

    folder: Path
    name: str

    @property
    def config(self) -> Path:
        """The dataset's configuration."""
        return self.folder / f"{self.name}.json"

    @property
    def dump(self) -> Path:
        """The compressed dump."""
        return self.folder / f"{self.name}.sql.zst"


def folder_of(work: Path, engine: Engine) -> Path:
    """The folder of the dataset that was made on an engine."""
    return work / ("datasets" if engine.name == engines.SYSTEM else f"datasets-{engine.name}")


def build(
    folder: Path,
    repository: Repository,
    packages: Path,
    engine: Engine,
    scale: float = 1.0,
    say: Say = lambda line: None,
) -> Dataset:
    """Build the dataset in ``folder``, or take what is there when it was built from the same inputs.

    ``packages`` is uv's cache; ``scale`` 1.0 is half a million metrics. The dump is one of a server of ``engine``.
    DemoError when a tool fails.
    """
    sources = [Path(str(module.__file__)).read_bytes() for module in (rows, schema)]
    server = f"{engine.name} {engines.version(engine)}"
    key = key_of(f"{scale:g}", server, *sources, Path(__file__).read_bytes(), schema.PROFILE.read_bytes())
    dataset = Dataset(folder, NAME)
    with built(folder, key) as fresh:
        if fresh is not None:
            tables = schema.tables(repository, packages, engine, say)
            say("making the rows of the dataset")
            sizes = rows.Sizes.of(scale)
            content = rows.generate(sizes)
            say("writing the dump")
            _write(fresh / dataset.dump.name, _dump(tables, content, engine.family.name))
            (fresh / dataset.config.name).write_text(json.dumps(_config(dataset, sizes, engine), indent=2) + "\n")
    return dataset


def _config(dataset: Dataset, sizes: rows.Sizes, engine: Engine) -> dict[str, object]:
    return {
        "_remark": f"Made by the demo: {PROJECT} as {schema.SCHEMA_BRANCH} left it. Nothing in it is real.",
        "project": PROJECT,
        "type": "mysql",
        "db_user": "mlflow",
        "db_pass": "mlflow",
        "database": "mlflow",
        "seed_data": dataset.dump.name,
        "engine": engine.name,
        "_limits": (
            "MLflow's own migrations change a few thousand rows each, and read a hundred thousand at most."
            " One builds an index over all metrics, and may take longer for it."
        ),
        "maximum_migration_times": {"default": 60, "c3d6457b6d8a->a5b4c3d2e1f0": 120},
        "XInnodb_rows_changed": {"default": sizes.metrics // 2},
        "Innodb_rows_read": {"default": sizes.metrics * 4},
    }


def _dump(tables: Iterable[tuple[str, str]], content: Iterable[rows.Table], family: str = "mariadb") -> Iterator[str]:
    """Yield the text of the dump, in the form that ``mariadb-dump`` or ``mysqldump`` gives it."""
    program = "MySQL" if family == "mysql" else "MariaDB"
    yield f"-- {program} dump of a tracking database of MLflow ({schema.SCHEMA_BRANCH}), made for a demo\n\n"
    yield "/*!40101 SET @OLD_CHARACTER_SET_CLIENT=@@CHARACTER_SET_CLIENT */;\n/*!40101 SET NAMES utf8mb4 */;\n"
    yield "/*!40014 SET @OLD_UNIQUE_CHECKS=@@UNIQUE_CHECKS, UNIQUE_CHECKS=0 */;\n"
    yield "/*!40014 SET @OLD_FOREIGN_KEY_CHECKS=@@FOREIGN_KEY_CHECKS, FOREIGN_KEY_CHECKS=0 */;\n"
    yield "/*!40101 SET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='NO_AUTO_VALUE_ON_ZERO' */;\n\n"
    filled = {table.name: table for table in content}
    filled["alembic_version"] = rows.Table("alembic_version", ("version_num",), [(schema.REVISION,)])
    for name, statement in tables:
        yield f"DROP TABLE IF EXISTS `{name}`;\n{statement};\n\n"
        table = filled.pop(name, None)
        if table is not None and table.rows:
            yield f"LOCK TABLES `{name}` WRITE;\n/*!40000 ALTER TABLE `{name}` DISABLE KEYS */;\n"
            yield from _inserts(table)
            yield f"/*!40000 ALTER TABLE `{name}` ENABLE KEYS */;\nUNLOCK TABLES;\n\n"
    if filled:
        raise DemoError(f"{schema.SCHEMA_BRANCH} of MLflow has no table {', '.join(sorted(filled))}")
    yield "/*!40101 SET SQL_MODE=@OLD_SQL_MODE */;\n/*!40014 SET FOREIGN_KEY_CHECKS=@OLD_FOREIGN_KEY_CHECKS */;\n"
    yield "/*!40014 SET UNIQUE_CHECKS=@OLD_UNIQUE_CHECKS */;\n"
    yield "/*!40101 SET CHARACTER_SET_CLIENT=@OLD_CHARACTER_SET_CLIENT */;\n\n-- Dump completed\n"


def _inserts(table: rows.Table) -> Iterator[str]:
    columns = ",".join(f"`{column}`" for column in table.columns)
    head = f"INSERT INTO `{table.name}` ({columns}) VALUES\n"
    batch: list[str] = []
    size = 0
    for row in table.rows:
        text = "(" + ",".join(map(_literal, row)) + ")"
        if batch and size + len(text) > _STATEMENT_BYTES:
            yield head + ",\n".join(batch) + ";\n"
            batch, size = [], 0
        batch.append(text)
        size += len(text) + 2
    yield head + ",\n".join(batch) + ";\n"


def _literal(value: rows.Value) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, str):
        return "'" + _SPECIAL.sub(lambda match: _ESCAPES[match[0]], value) + "'"
    return repr(value)


def _write(path: Path, parts: Iterable[str]) -> None:
    zstd = shutil.which("zstd")
    if zstd is None:
        raise DemoError("zstd is not installed: `make host` installs what the demo needs")
    with path.open("wb") as target:
        process = subprocess.Popen([zstd, "--quiet", "-3", "-T0", "-"], stdin=subprocess.PIPE, stdout=target)
        assert process.stdin is not None
        with process.stdin as stream:
            for part in parts:
                stream.write(part.encode())
        if process.wait():
            raise DemoError(f"zstd could not write {path} (exit status {process.returncode})")

# SPDX-License-Identifier: Apache-2.0
"""The steps of restoring a dataset into a private server: import the dump once, clone that, start a server on it."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_dataset import server_settings
from ansible.module_utils.th_dataset.record import record, size_of
from ansible.module_utils.th_dataset.redo_log import reserve
from ansible.module_utils.th_dataset.restore import Restore, leave
from ansible.module_utils.th_dataset.snapshot import Seed, Snapshot, clone, held, snapshot
from ansible.module_utils.th_dump.definers import definers_of, make_definers
from ansible.module_utils.th_server import mariadb, private_server


def import_dump(restore: Restore) -> dict[str, Any]:
    """Import the dumps into a snapshot, unless there is one already. Of several jobs at the same time, one imports.

    Raises what `snapshot` does.
    """
    with _imported(restore) as image:
        return {"snapshot": "made" if image.made else "hit"}


def clone_snapshot(restore: Restore) -> dict[str, Any]:
    """Give the job its own copy of the snapshot.

    Between two steps nothing locks the snapshot. If another job has replaced it by one of a newer dump, that dump is
    imported, or its snapshot used. Raises what `snapshot`, `clone` and `reserve` do.
    """
    leave(restore.folder)
    for name in ("data", "tmp", "run"):  # left by a server on an earlier clone
        shutil.rmtree(restore.folder / name, ignore_errors=True)
    (restore.folder / "walked").unlink(missing_ok=True)
    with _held(restore) as image:
        begun = time.monotonic()
        method = clone(image, restore.folder / "data")
        reserve(restore.folder / "data")
    restore.facts["method"] = method
    restore.seconds["clone"] = round(time.monotonic() - begun, 3)
    return {"method": method}


def start_server(restore: Restore) -> dict[str, Any]:
    """Start a server on the dataset's data directory, read the versions of its databases, and write the artifact.

    The server outlives this process. Raises SeedError, StepError, ServerError.
    """
    given, folder, dataset = restore.given, restore.folder, restore.dataset()
    leave(folder)
    if not (folder / "data").is_dir():
        raise StepError("playbook_failed", f"there is no {folder / 'data'}: the step clone_snapshot has to come first.")
    begun = time.monotonic()
    engine = restore.find_engine()
    applied = server_settings.apply(
        restore.settings, restore.options_of(engine), private_server.binary_log(folder), importing=False
    )
    try:
        server = private_server.start(
            folder,
            engine,
            databases={part.name: part.database for part in dataset.parts},
            user=dataset.user,
            password=dataset.password,
            options=applied.options,
            time_limit=given.start_time_limit,
            sandbox=restore.sandbox,
            definers=restore.definers,
            settings=applied.statements,
        )
    except mariadb.ServerError as error:
        raise server_settings.blamed(error, restore.settings) or error from error
    with mariadb.connect(server, server.admin_file) as connection:
        server_settings.demand(connection, applied.values)
    restore.seconds["start"] = round(time.monotonic() - begun, 3)
    if not restore.snapshot:
        _look_into(restore, server)
    return {"facts": record(restore, dataset, server)}


def _look_into(restore: Restore, server: mariadb.Server) -> None:
    """Find out what an import would know of a data directory provided by the operator, and create the definers."""
    names = server.databases.values()
    make_definers(server, names, [one for name in names for one in definers_of(server, name)], server.user)
    with mariadb.connect(server, server.admin_file) as connection:
        restore.facts = {"method": "copy", "snapshot": "none", "notes": [], **size_of(connection, names)}


@contextlib.contextmanager
def _imported(restore: Restore) -> Iterator[Snapshot]:
    """The dataset's snapshot, made if there is none. It is locked against removal within the context."""
    given = restore.given
    engine = restore.find_engine()
    seed = Seed(given.name, restore.dataset().parts, restore.settings, engine, restore.options_of(engine))
    with snapshot(Path(given.snapshots_dir), seed, given.import_time_limit, restore.sandbox) as image:
        restore.snapshot, restore.definers = str(image.folder), image.definers
        restore.seconds["import"] = image.seconds
        restore.facts |= {
            "snapshot": "made" if image.made else "hit",
            "bytes": image.bytes,
            "rows": image.rows,
            "notes": list(image.notes),
        }
        yield image


@contextlib.contextmanager
def _held(restore: Restore) -> Iterator[Snapshot]:
    """The snapshot that was imported or, if it is gone, the one of the current dump; locked against removal."""
    if not restore.snapshot:
        raise StepError("playbook_failed", f"{restore.file} names no snapshot: the step import_dump has to come first.")
    with held(Path(restore.snapshot)) as image:
        if image:
            yield image
            return
    with _imported(restore) as image:
        yield image

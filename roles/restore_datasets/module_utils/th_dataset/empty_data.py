# SPDX-License-Identifier: Apache-2.0
"""Empty data directories, each created once for an engine and copied for every dataset that is imported.

They have this machine's named time zones, whose loading takes longer than many an import.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ansible.module_utils.th_dataset import time_zones
from ansible.module_utils.th_dataset.redo_log import free_unused
from ansible.module_utils.th_dump.load import DISK_FULL
from ansible.module_utils.th_sandbox.box import Settings
from ansible.module_utils.th_server import mariadb, private_server
from ansible.module_utils.th_server.engine import Engine, version

_FORMAT = 3  # part of the key: increase it when they are created in another way


def copy_empty_data(
    root: Path, folder: Path, engine: Engine, options: Sequence[str], time_limit: float, sandbox: Settings
) -> None:
    """Give `folder` an empty data directory of an engine: a copy of the one in `root`/empty, which is created if
    there is none.

    `options` are those of the server. Raises ServerError, StepError ``sandbox_unavailable``, OSError (ENOSPC).
    """
    shelf = root / "empty"
    shelf.mkdir(mode=0o700, exist_ok=True)
    server = _digest([_FORMAT, version(engine), time_zones.version()])
    kept = shelf / f"{engine.name}@{server}-{_digest(sorted(private_server.data_options(engine, options)))}"
    with open(shelf / f".{engine.name}.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.is_dir():
            for old in (*shelf.glob(f"{engine.name}@*"), *shelf.glob(f".{engine.name}@*")):
                if not old.name.startswith(f"{engine.name}@{server}-"):  # of an older server, or half made
                    shutil.rmtree(old, ignore_errors=True)
            _create(kept, engine, options, time_limit, sandbox)
        copy_data(kept / "data", folder / "data", "auto")


def copy_data(data: Path, target: Path, reflink: str) -> None:
    """Copy the data directory of a stopped server; `reflink` is cp's (``always``, ``auto``, ``never``).

    Raises OSError, with ENOSPC for a full disk.
    """
    done = subprocess.run(
        ["cp", "-a", f"--reflink={reflink}", "--sparse=auto", "--", str(data), str(target)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        number = errno.ENOSPC if DISK_FULL.search(done.stderr) else errno.EIO
        raise OSError(number, done.stderr.strip()[-500:], str(target))


def _digest(identity: object) -> str:
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:12]


def _create(final: Path, engine: Engine, options: Sequence[str], time_limit: float, sandbox: Settings) -> None:
    making = Path(tempfile.mkdtemp(prefix=f".{engine.name}@", dir=final.parent))
    try:
        private_server.create_data(making, engine, options, time_limit, sandbox)
        _load_time_zones(making, engine, options, time_limit, sandbox)
        data = making / "data"
        free_unused(data)
        (data / "auto.cnf").unlink(missing_ok=True)  # the identity of one MySQL server
        for path in making.iterdir():
            if path != data:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        making.rename(final)
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise


def _load_time_zones(
    making: Path, engine: Engine, options: Sequence[str], time_limit: float, sandbox: Settings
) -> None:
    server = private_server.start(
        making,
        engine,
        databases={},
        user="import",  # as with the administrator's account: those of a start are gone with the next one
        password="",
        options=private_server.data_options(engine, options),
        time_limit=time_limit,
        sandbox=sandbox,
    )
    try:
        time_zones.load(server, engine, time_limit)
    finally:
        mariadb.stop(server, time_limit)

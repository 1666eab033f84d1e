# SPDX-License-Identifier: Apache-2.0
"""Loading this machine's time zones into the tables that a database server looks their names up in."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from ansible.module_utils.th_sandbox.box import BoxedCommand
from ansible.module_utils.th_server import mariadb
from ansible.module_utils.th_server.engine import Engine
from ansible.module_utils.th_server.mariadb import Server, ServerError

ZONES = Path("/usr/share/zoneinfo")


def version(zones: Path = ZONES) -> list[object]:
    """What changes with the time zones of this machine. Raises ServerError."""
    _entries(zones)
    with contextlib.suppress(OSError), (zones / "tzdata.zi").open(encoding="utf-8", errors="replace") as file:
        return [zones.stat().st_mtime_ns, file.readline(100)]
    return [zones.stat().st_mtime_ns]


def load(server: Server, engine: Engine, time_limit: float, zones: Path = ZONES) -> None:
    """Fill the time zone tables of a private server. Raises ServerError."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as text:
        for entry in _entries(zones):
            if engine.tree:  # its box does not show the machine's
                _copy(entry, Path(folder) / entry.name)
            else:
                (Path(folder) / entry.name).symlink_to(entry)
        printing = [engine.find(*engine.family.time_zones), folder]
        _run(engine.command(printing, [Path(folder)]), time_limit, stdout=text)
        text.seek(0)
        argv = [
            mariadb.tool("mariadb"),
            f"--defaults-file={server.admin_file}",
            "--batch",
            "--init-command=SET SESSION sql_mode = ''",
            "mysql",
        ]
        _run(BoxedCommand(argv, "/", boxed=False), time_limit, stdin=text, stdout=subprocess.DEVNULL)


def _entries(zones: Path) -> list[Path]:
    if not zones.is_dir():
        raise ServerError(f"{zones} is not there: playbooks/prepare-host.yaml installs tzdata")
    # the names of zones and of their folders begin with a capital letter; other entries are further copies of all zones
    # (posix, right), this machine's own zone (localtime), and tables
    return [entry for entry in sorted(zones.iterdir()) if entry.name[0].isupper()]


def _copy(entry: Path, target: Path) -> None:
    if entry.is_dir():
        shutil.copytree(entry, target)
    else:
        shutil.copyfile(entry, target)


def _run(boxed: BoxedCommand, time_limit: float, **streams: object) -> None:
    try:
        done = subprocess.run(  # type: ignore[call-overload]
            boxed.argv, stderr=subprocess.PIPE, timeout=time_limit, check=False, pass_fds=boxed.handles, **streams
        )
    except subprocess.TimeoutExpired as error:
        raise ServerError(f"the time zones were not loaded in {time_limit:g} s") from error
    finally:
        boxed.close()
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip()[-500:]
        raise ServerError(f"the time zones cannot be loaded: {said}")

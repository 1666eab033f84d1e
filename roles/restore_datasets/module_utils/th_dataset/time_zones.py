# SPDX-License-Identifier: Apache-2.0
"""Loading this machine's time zones into the tables that a database server looks their names up in."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from ansible.module_utils.th_server import mariadb
from ansible.module_utils.th_server.mariadb import Server, ServerError

ZONES = Path("/usr/share/zoneinfo")
TOOLS = ("mariadb-tzinfo-to-sql", "mysql_tzinfo_to_sql")


def load(server: Server, time_limit: float, zones: Path = ZONES) -> None:
    """Fill the time zone tables of a private server. Raises ServerError."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as text:
        for entry in _entries(zones):
            (Path(folder) / entry.name).symlink_to(entry)
        _run([_tool(), folder], time_limit, stdout=text)
        text.seek(0)
        argv = [
            mariadb.tool("mariadb"),
            f"--defaults-file={server.admin_file}",
            "--batch",
            "--init-command=SET SESSION sql_mode = ''",
            "mysql",
        ]
        _run(argv, time_limit, stdin=text, stdout=subprocess.DEVNULL)


def _entries(zones: Path) -> list[Path]:
    if not zones.is_dir():
        raise ServerError(f"{zones} is not there: playbooks/prepare-host.yaml installs tzdata")
    # the names of zones and of their folders begin with a capital letter; other entries are further copies of all zones
    # (posix, right), this machine's own zone (localtime), and tables
    return [entry for entry in sorted(zones.iterdir()) if entry.name[0].isupper()]


def _tool() -> str:
    name = next((name for name in TOOLS if shutil.which(name)), TOOLS[0])
    return mariadb.tool(name)


def _run(argv: list[str], time_limit: float, **streams: object) -> None:
    try:
        done = subprocess.run(argv, stderr=subprocess.PIPE, timeout=time_limit, check=False, **streams)  # type: ignore[call-overload]
    except subprocess.TimeoutExpired as error:
        raise ServerError(f"the time zones were not loaded in {time_limit:g} s") from error
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip()[-500:]
        raise ServerError(f"the time zones cannot be loaded: {said}")

# SPDX-License-Identifier: Apache-2.0
"""A database server for a moment: on a socket, without a network, with nothing kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pymysql

from demo import engines
from demo.tools import DemoError

from ansible.module_utils.th_core.step import StepError  # isort: skip  # found by demo.engines
from ansible.module_utils.th_sandbox.box import Settings  # isort: skip
from ansible.module_utils.th_server import mariadb, private_server  # isort: skip

if TYPE_CHECKING:
    from ansible.module_utils.th_server.engine import Engine

SHORT = "/tmp"  # noqa: S108
"""A socket's path has room for about a hundred characters, whatever TMPDIR and the checkout are called."""
USER = "mlflow"
"""The account that has all rights on the database, and its password."""

_START_SECONDS = 300


@contextmanager
def running(folder: Path, database: str, engine: Engine, options: Sequence[str] | None = None) -> Iterator[Path]:
    """Run a server of an engine in the new ``folder`` with one empty database; give its socket's path.

    DemoError when it cannot be set up or started.
    """
    options = engines.server_options(engine) if options is None else options
    box = Settings(cgroups=False)
    folder.mkdir()
    try:
        private_server.create_data(folder, engine, options, _START_SECONDS, box)
        server = private_server.start(
            folder,
            engine,
            databases={"": database},
            user=USER,
            password=USER,
            options=options,
            time_limit=_START_SECONDS,
            sandbox=box,
        )
    except (mariadb.ServerError, StepError) as error:
        raise DemoError(str(error).splitlines()[0]) from None
    try:
        yield Path(server.socket)
    finally:
        mariadb.stop(server, 0)  # nothing of it is kept


def connect(socket: Path, database: str | None = None) -> pymysql.Connection[Any]:
    """Connect with the account of the database."""
    return pymysql.connect(unix_socket=str(socket), user=USER, password=USER, database=database, charset="utf8mb4")

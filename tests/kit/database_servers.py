# SPDX-License-Identifier: Apache-2.0
"""Database servers that several tests share, as fixtures: one starts for a second, MySQL for three."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible.module_utils.th_server import mariadb

from . import toy
from .external_mysql import ExternalMySQL
from .external_server import External


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[mariadb.Server]:
    """A private server."""
    server = toy.start(tmp_path_factory.mktemp("server") / "toy")
    yield server
    mariadb.stop(server, 0)


@pytest.fixture
def server(job_dir: Path, running: mariadb.Server) -> mariadb.Server:
    """The same with an empty database, as a job's."""
    return toy.emptied(running, job_dir)


@pytest.fixture(scope="module")
def external(tmp_path_factory: pytest.TempPathFactory) -> Iterator[External]:
    """An external server, with other people's data on it."""
    made = External(tmp_path_factory.mktemp("external") / "server")
    yield made
    made.stop()


@pytest.fixture(scope="session")
def external_mysql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExternalMySQL]:
    """The same on MySQL."""
    made = ExternalMySQL(tmp_path_factory.mktemp("external") / "mysql")
    yield made
    made.stop()

# SPDX-License-Identifier: Apache-2.0
"""What tests of the roles' modules start from."""

from pathlib import Path

import pytest

from tests.kit.database_servers import external, external_mysql, running, server  # noqa: F401 - fixtures

from .external_jobs import jobs, preloaded  # noqa: F401 - fixtures


@pytest.fixture
def job_dir(tmp_path: Path) -> Path:
    """An empty job's folder, as the worker makes it."""
    path = tmp_path / "job"
    for folder in (path, path / "artifacts", path / "results"):
        folder.mkdir(mode=0o700)
    return path

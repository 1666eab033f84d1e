# SPDX-License-Identifier: Apache-2.0
"""What an attack tried is a test's name; what stopped it stands beside its result: ``pytest tests/hostile -v``."""

from collections.abc import Callable

import pytest

from tests.integration.conftest import packages  # noqa: F401 - one cache of packages for all tests
from tests.kit.database_servers import external, running, server  # noqa: F401 - fixtures

from .sites import worksite  # noqa: F401 - an index and projects for several files

STOPPED_BY = "stopped by"


@pytest.fixture
def stopped_by(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """To be called with what has stopped an attack."""
    return lambda what: record_property(STOPPED_BY, what)


def pytest_report_teststatus(report: pytest.TestReport | pytest.CollectReport) -> tuple[str, str, str] | None:
    """The words for a stopped attack."""
    if isinstance(report, pytest.TestReport) and report.when == "call" and report.passed:
        for name, what in report.user_properties:
            if name == STOPPED_BY:
                return "passed", ".", f"STOPPED by {what}"
    return None

# SPDX-License-Identifier: Apache-2.0
"""benchmarks.dispatch measures what it says, with both servers."""

import shutil

import pytest

from benchmarks import dispatch


@pytest.mark.parametrize("server", dispatch.SERVERS)
def test_jobs_are_handed_out_and_counted(server: str) -> None:
    row = dispatch.measure(server, connections=3, jobs=5, burst=20)
    assert (row.server, row.connections) == (server, 3)
    assert 0 < row.median <= row.slowest < 5
    assert row.jobs_per_second > 0
    assert row.memory > 1_000_000


def test_what_cannot_be_measured_is_said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, path: None)
    assert dispatch.main(["--connections", "1"]) == 3
    assert "gearmand is not installed: `make host-development`" in capsys.readouterr().err

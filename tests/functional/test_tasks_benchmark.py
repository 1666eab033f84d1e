# SPDX-License-Identifier: Apache-2.0
"""benchmarks.tasks measures what it says."""

from pathlib import Path

import pytest

from benchmarks import tasks


def test_packing_a_module_costs_more_than_running_it_in_place(tmp_path: Path) -> None:
    figures = tasks.measure(tmp_path, runs=1, tasks=3)
    # the wall time says more about what else the machine does
    assert figures["in place"].processor < figures["packed"].processor


def test_what_cannot_be_measured_is_said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "ROLES", Path("/nowhere"))
    assert tasks.main(["--runs", "1"]) == 3
    assert "stop_servers" in capsys.readouterr().err

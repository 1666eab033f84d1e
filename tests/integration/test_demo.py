# SPDX-License-Identifier: Apache-2.0
"""The demo, with fewer rows: a real project's migrations on a real server, handed in as Zuul would."""

import re
import subprocess
import sys
from pathlib import Path

from tests.kit import ROOT


def test_three_changes_have_the_three_expected_verdicts(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "demo", "--work", str(tmp_path / "work"), "--scale", "0.02"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=3600,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    links = re.findall(r"file://(\S+/index\.html)", done.stdout)
    pages = {Path(link).read_text() for link in links}
    assert len(pages) == 3
    for verdict in ("SUCCESS", "FAILURE", "WARNING"):
        assert any(f"{verdict}" in page[: page.index("</title>")] for page in pages)
    assert "Traceback" not in done.stdout + done.stderr
    assert not list((tmp_path / "work" / "jobs").iterdir())

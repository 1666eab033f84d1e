# SPDX-License-Identifier: Apache-2.0
"""A report on paper: what is folded up on a screen is there, as nobody can open it any more."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.browser.chromium import Chromium
from tests.kit.recorded_walks import case
from worker.report import render


@pytest.mark.parametrize("name", ["three_datasets", "success_with_a_long_version", "success"])
def test_what_is_folded_up_is_printed(chromium: Chromium, tmp_path: Path, name: str) -> None:
    render.write(tmp_path, case(name).verdict(), render.Header({"id": "1", "name": "gate"}))
    chromium.open(tmp_path / "index.html")
    folded = chromium.value(
        """[...document.querySelectorAll('details:not([open])')].map((one) => {
          const walker = document.createTreeWalker(one, NodeFilter.SHOW_TEXT), texts = [];
          while (walker.nextNode())
            if (!walker.currentNode.parentElement.closest('summary')) texts.push(walker.currentNode.data);
          return texts.join(' ');
        })"""
    )
    assert folded, "there is something to unfold"
    chromium.pdf(tmp_path / "page.pdf")
    done = subprocess.run(
        ["pdftotext", "-raw", str(tmp_path / "page.pdf"), "-"], capture_output=True, text=True, check=True
    )
    printed = re.sub(r"[\s\N{SOFT HYPHEN}-]", "", done.stdout)
    for text in folded:
        words = [word.replace("-", "") for word in re.findall(r"\w[\w.,-]{3,}", text)][:40]
        assert words and not [word for word in words if word not in printed]

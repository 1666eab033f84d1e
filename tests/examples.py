# SPDX-License-Identifier: Apache-2.0
"""The examples of the documentation, as files: what a reader copies is what the tests run."""

import textwrap
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"


def example(page: str, words: str) -> str:
    """The indented block of a page of the documentation that follows the paragraph with these words."""
    text = (DOCS / page).read_text()
    block = text[text.index(words) :].partition("\n\n")[2].splitlines(keepends=True)
    end = next(number for number, line in enumerate(block) if line.strip() and not line.startswith("    "))
    return textwrap.dedent("".join(block[:end]))

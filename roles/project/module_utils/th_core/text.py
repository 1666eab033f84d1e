# SPDX-License-Identifier: Apache-2.0
"""Making untrusted text safe to show."""

from __future__ import annotations

import re

# Unicode's Default_Ignorable_Code_Point, as far as it is printable to Python, and the blank of Braille: two texts that
# differ in these alone look alike. The same as worker.untrusted has.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_USERINFO = re.compile(r"(?<=://)[^/\s'\"]+@")  # up to the last "@": a password may have one as it is


def printable(text: str) -> str:
    """Untrusted text made safe for a terminal and a log line: no control, bidi or invisible characters."""
    if not text.isprintable():  # controls, what turns the reading direction, zero-width characters, line separators
        text = "".join(
            char if char == "\t" or char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text
        )
    return text if text.isascii() else _INVISIBLE.sub("\N{REPLACEMENT CHARACTER}", text)


def mask(words: str) -> str:
    """A text without the user and password of any URL in it."""
    return _USERINFO.sub("", words)

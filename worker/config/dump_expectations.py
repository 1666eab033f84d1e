# SPDX-License-Identifier: Apache-2.0
"""What a dataset's file says of its dump, to know whether it is whole: the key ``expect`` (docs/datasets.md)."""

from __future__ import annotations

import re
from typing import Any

EXPECT = ("tables", "rows", "size", "sha256")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_TABLE = re.compile(r"[^`\0]{1,64}")


def problem(given: Any) -> tuple[str, str, str]:
    """What is wrong with a key ``expect``: the key within it, the problem and the remedy; ("", "", "") for nothing."""
    if not isinstance(given, dict) or not given:
        return "", f"must be a mapping of {', '.join(EXPECT)}", "say what the dump brings, or take it out"
    for key, value in given.items():
        if key not in EXPECT:
            return key, "is not a known key", f"there are {', '.join(EXPECT)}"
        if key in ("tables", "size") and not _number(value):
            return key, "must be a number, 0 or more", ""
        if key == "sha256" and not (isinstance(value, str) and _SHA256.fullmatch(value)):
            return key, "must be 64 hexadecimal digits", "sha256sum prints them"
        if key == "rows":
            if not isinstance(value, dict) or not all(_TABLE.fullmatch(name) for name in value):
                return key, "must be a mapping of tables to numbers of rows", ""
            for name, number in value.items():
                if not _number(number):
                    return f"rows.{name}", "must be a number, 0 or more", ""
    return "", "", ""


def _number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0

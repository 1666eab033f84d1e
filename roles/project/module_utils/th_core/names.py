# SPDX-License-Identifier: Apache-2.0
"""The names that git, a terminal and a log can be given without a second thought."""

from __future__ import annotations

import re

UNSEEN = "\x00-\x20\x7f-\xa0\xad\u061c\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff\ud800-\udfff"
"""Characters (as in a regular expression's class) that nobody sees, or that move a cursor or turn the direction of
reading; and lone surrogates, which no program can be given."""

REF = re.compile(rf"(?!.*(\.\.|//|@\{{|\.lock$|\.lock/|[./]$))[A-Za-z0-9_][^{UNSEEN}~^:?*\[\\]*")
"""A branch, a tag or another ref: of what git-check-ref-format(1) allows, what is no option and can be seen."""

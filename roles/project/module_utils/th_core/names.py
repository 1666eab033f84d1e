# SPDX-License-Identifier: Apache-2.0
"""Names that are safe to pass to git, a terminal and a log."""

from __future__ import annotations

import re

UNSEEN = "\x00-\x20\x7f-\xa0\xad\u061c\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff\ud800-\udfff"
"""Characters, as in a character class of a regular expression, that are invisible, move the cursor or change the
text direction; and lone surrogates, which cannot be passed to a program."""

REF = re.compile(rf"(?!.*(\.\.|//|@\{{|\.lock$|\.lock/|[./]$))[A-Za-z0-9_][^{UNSEEN}~^:?*\[\\]*")
"""A branch, a tag or another ref: what git-check-ref-format(1) allows, except options and invisible characters."""

# SPDX-License-Identifier: Apache-2.0
"""Finding what looks like credentials in a text, even if the secret is not known.

* the password of a URL (``scheme://user:password@host``), and a name without one on http and https, where it is a token
* the value of a header whose name ends with ``Authorization`` or ``Token``, also in JSON
* ``password=``, ``passwd=``, ``token=``, ``secret=``, ``api_key=`` and names that end so, when a value of at least six
  characters follows at once that has both a letter and a digit
* SQL's ``IDENTIFIED BY '...'``, also with ``PASSWORD``
"""

from __future__ import annotations

import re
from collections.abc import Iterator

Span = tuple[int, int]

# Each pattern begins with a fixed text, which `re` finds fast, and its parts have a maximum length, so that no text
# makes it slow. They are for lower-case texts. The bytes of the group "secret" are masked.
_URL = rb"(?P<user>[^\s/:@\"'<>\\]{0,256})(?::(?P<secret>[^\s/\"'<>\\]{0,1024}))?@"
_VALUE = (
    # "name: value", with an optional authorization scheme before the value; a word without a digit is not a credential
    rb"(?:[\"'\\]{0,4}\s{0,4}[:,]\s{0,4}[\"'\\]{0,4}(?:[a-z]{2,12}\s{1,4})?(?=[^\s\"'<>\\]{0,64}[0-9=])"
    rb"(?P<secret>[^\s\"'<>\\]{6,4096})"
)
_ASSIGNED = (
    rb"[\"'\\]{0,4}=[\"'\\]{0,4}(?=[^\s\"'<>&,;()\\]{0,64}[0-9])(?=[^\s\"'<>&,;()\\]{0,64}[a-z])"
    rb"(?P<%s>[^\s\"'<>&,;()\\]{6,1024})"
)
_ASSIGNMENT = _ASSIGNED % b"secret"
_HEADER = _VALUE + rb"|" + _ASSIGNED % b"other" + rb")"
_SQL = rb"(?: password)? {1,4}\\{0,4}'(?P<secret>[^'\n]{1,1024})'"

_KINDS = (
    (b"://", _URL), (rb":\/\/", _URL), (b"uthorization", _HEADER), (b"token", _HEADER), (b"password", _ASSIGNMENT),
    (b"passwd", _ASSIGNMENT), (b"secret", _ASSIGNMENT), (b"pi_key", _ASSIGNMENT), (b"pikey", _ASSIGNMENT),
    (b"dentified by", _SQL),
)  # fmt: skip
_PATTERNS = [(start, re.compile(re.escape(start) + rest)) for start, rest in _KINDS]


def credentials(text: bytes) -> Iterator[Span]:
    """The spans of a text that look like credentials."""
    lower = text.lower()
    for start, pattern in _PATTERNS:
        if start in lower:
            for match in pattern.finditer(lower):
                yield from _spans(lower, match)


def _spans(lower: bytes, match: re.Match[bytes]) -> Iterator[Span]:
    groups = match.groupdict()
    for name in ("secret", "other"):
        if groups.get(name):
            yield match.span(name)
            return
    if groups.get("user") and lower.endswith((b"http", b"https"), max(0, match.start() - 5), match.start()):
        yield match.span("user")

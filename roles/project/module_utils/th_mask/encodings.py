# SPDX-License-Identifier: Apache-2.0
"""The forms in which a secret is recognized when somebody prints it on purpose.

In each form, anything except letters and digits between two characters is ignored, and so is case: ``s e c``,
``'s', 'e', 'c'``, ``'s'+'e'+'c'``, one character per line, wrapped lines, hex with colons, UTF-16 with its NULs. (For a
secret with fewer than six letters and digits, other characters are compared as well: `Fold`.)

* plain
* escaped: percent-encoding, ``\\x73``, ``\\u0073``, ``\\u{73}``, ``\\U00000073``, ``\\163``, ``\\n``, HTML entities
  (``&#115;``, ``&#x73;``, ``&amp;``); all or some of its characters, in any mixture, and escaped once more
  (``%2573``, ``\\\\x73``, ``&amp;#115;``)
* reversed
* rot13
* hex: ``736563``, ``73:65:63``, ``0x73, 0x65, 0x63``
* decimal and octal codes: ``115, 101, 99``, ``163 145 143``
* base64, standard and URL-safe, and base32, of the secret or of any text that contains it, at any offset

Nothing else is recognized: no encryption, compression or double encoding, and no part of a secret.
"""

from __future__ import annotations

import base64
import codecs
import functools
import re
from collections.abc import Callable, Iterator
from html.entities import html5

FILL = b"\0"
"""Fills the rest of an escape that is decoded in place."""

_DROPPED = b" "
"""Replaces a character that is in no secret."""

# each alternative begins with "&", "%" or "\", so that `re` can search for these three and skip the rest; no part is
# longer than a few bytes, so that no text makes it slow
_ESCAPE = re.compile(
    rb"%(?:25){0,8}(?P<percent>[0-9A-Fa-f]{2})"
    rb"|\\\\{0,7}(?:x(?P<x>[0-9A-Fa-f]{2})|u(?P<u>[0-9A-Fa-f]{4})|U(?P<U>[0-9A-Fa-f]{8})|u\{(?P<brace>[0-9A-Fa-f]{1,6})\}"
    rb"|(?P<octal>[0-3][0-7]{2})|(?P<letter>[nrtbfav0\"'`/]))"
    rb"|&(?:amp;){0,8}(?:\#(?P<decimal>[0-9]{1,7})|\#[xX](?P<hex>[0-9A-Fa-f]{1,6})|(?P<name>[A-Za-z][A-Za-z0-9]{1,8}));"
)
_BASES = {"percent": 16, "x": 16, "octal": 8, "u": 16, "U": 16, "brace": 16, "decimal": 10, "hex": 16}
_BYTES = ("percent", "x", "octal")
"""Escapes of a byte; the others are escapes of a character."""
_EATEN = re.compile(rb"[0-9A-Fa-f]{1,8}|[nrtv]?")
_LEAST = 6


def decoded(text: bytes) -> bytes:
    """A text with its escapes decoded, padded with FILL to the same length."""
    escaped = b"\\" in text or b"%" in text or b"&" in text
    return _ESCAPE.sub(lambda match: _decoded_escape(match[0]), text) if escaped else text


@functools.lru_cache(maxsize=65536)
def _decoded_escape(escape: bytes) -> bytes:
    match = _ESCAPE.fullmatch(escape)
    assert match and match.lastgroup
    kind, value, length = match.lastgroup, match[match.lastgroup], len(escape)
    if kind in _BYTES:
        plain = bytes([int(value, _BASES[kind])])
    elif kind == "letter":
        plain = value if value in b"\"'`/" else _DROPPED
    else:
        text = html5.get(f"{value.decode()};", "") if kind == "name" else _character(int(value, _BASES[kind]))
        if kind == "name" and not text:  # not an entity, but the text looked like one before the rest was escaped
            begun = match.start("name")
            return b"&".ljust(begun, FILL) + escape[begun:]
        plain = text.encode("utf-8", "replace")
    # only a few entities, such as "&nGt;", are shorter than the characters that they stand for
    return (plain if plain > FILL and len(plain) <= length else _DROPPED).ljust(length, FILL)


def _character(code: int) -> str:
    return chr(code) if code <= 0x10FFFF and not 0xD800 <= code < 0xE000 else " "


def forms(secret: str) -> Iterator[bytes]:
    """The byte strings of which a text that holds the secret contains at least one, before or after its escapes are
    decoded. There may be duplicates."""
    raw = secret.encode("utf-8", "surrogateescape")
    for plain in (raw, decoded(raw)):
        yield plain
        # preceding characters can turn the beginning into an escape: a backslash before "n", "%0" before "a"
        if (eaten := min(_eaten(plain), len(plain) - _LEAST)) > 0:
            yield plain[eaten:]
    yield secret[::-1].encode("utf-8", "surrogateescape")
    yield codecs.encode(raw.decode("latin-1"), "rot13").encode("latin-1")
    yield raw.hex().encode()
    yield b"".join(b"0x%02x" % byte for byte in raw)
    yield b"".join(b"%d" % byte for byte in raw)
    yield b"".join(b"%03o" % byte for byte in raw)
    for before in range(3):
        yield _inner(base64.b64encode, raw, before, 6)
        yield _inner(base64.urlsafe_b64encode, raw, before, 6)
    for before in range(5):
        yield _inner(base64.b32encode, raw, before, 5)


def _eaten(plain: bytes) -> int:
    match = _EATEN.match(plain)
    return match.end() if match else 0


def _inner(encode: Callable[[bytes], bytes], raw: bytes, before: int, bits: int) -> bytes:
    """The characters of an encoding that depend only on `raw`, with `before` bytes before it and any after it."""
    whole = encode(bytes(before) + raw)
    return whole[-(-before * 8 // bits) : (before + len(raw)) * 8 // bits]

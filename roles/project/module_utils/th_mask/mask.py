# SPDX-License-Identifier: Apache-2.0
"""Masking secrets in texts of any size, byte for byte, so that the length does not change.

Every form of every secret (`th_mask.encodings`) is folded to lower-case letters and digits. So is each block of a text,
both as it is and with its escapes decoded, and it is then read in words of eight and of four bytes. At any offset, a
form of 15 bytes covers a word of eight completely, and one of seven bytes a word of four; the words that it can cover
are known beforehand. So a block without secrets costs one look-up per word, however many secrets there are.
"""

from __future__ import annotations

import itertools
import re
import string
import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import compress
from typing import Literal

from ansible.module_utils.th_mask.credentials import credentials
from ansible.module_utils.th_mask.encodings import FILL, decoded, forms

REACH = 16 * 1024
"""Maximum bytes over which a secret may be spread, in pieces, to be found anywhere in a file."""

SHORTEST = 6
"""Minimum letters and digits of a form that is searched for regardless of other characters between them."""

_SIZES: dict[int, Literal["Q", "I"]] = {8: "Q", 4: "I"}
"""Sizes of words in bytes, with their types for `memoryview.cast`."""
_FEW = 20
"""So few forms are found faster one by one than by words of four bytes."""
_CHUNK = 64 * 1024
_LETTERS = (string.ascii_letters + string.digits).encode()
_LOWER = bytes.maketrans(string.ascii_uppercase.encode(), string.ascii_lowercase.encode())
# characters that are not masked, so that JSON and HTML stay valid and lines keep their places
_KEPT = b" \t\r\n\"',:<>[]{}"
_STARS = bytes(byte if byte in _KEPT else 0x2A for byte in range(256))
# the most common letters in logs: a word without them has fewer false matches
_COMMON = {byte: weight for weight, byte in enumerate(reversed(b"etaoinsrhldcum0123456789"))}

# the beginning of a line in the worker's own logs (th_sandbox.capped_log), with git's prefix for the server's output
_BEGIN = re.compile(
    rb"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (?P<tag>\[[a-z][a-z0-9_-]{0,19}\] |)(?: {4})?(?:remote: )?", re.MULTILINE
)


class WordIndex:
    """An index of forms by the words, of one size, that they can cover."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._known: dict[int, list[tuple[bytes, int]]] = {}

    def add(self, form: bytes) -> bool:
        """Add a form; False if it is too short for words of this size."""
        if len(form) < 2 * self._size - 1:
            return False
        for first in range(self._size):
            offsets = range(first, len(form) - self._size + 1, self._size)
            words = [(_commonness(word := form[offset : offset + self._size]), word, offset) for offset in offsets]
            _, word, offset = min(words)
            self._known.setdefault(int.from_bytes(word, sys.byteorder), []).append((form, offset))
        return True

    def spans(self, folded: bytes) -> Iterator[tuple[int, int]]:
        """The spans of a folded text that are forms."""
        if not self._known:
            return
        whole = memoryview(folded.ljust(-(-len(folded) // self._size) * self._size, FILL)).cast(_SIZES[self._size])
        for first in range(0, len(whole), _CHUNK):
            words = whole[first : first + _CHUNK]
            if self._known.keys().isdisjoint(words):
                continue
            hits = bytes(map(self._known.__contains__, words))
            number = hits.find(1)
            while number >= 0:
                for form, offset in self._known[words[number]]:
                    start = (first + number) * self._size - offset
                    if start >= 0 and folded.startswith(form, start):
                        yield start, start + len(form)
                number = hits.find(1, number + 1)


class Fold:
    """A way to fold texts and forms before they are compared, and the forms that are compared in this way."""

    def __init__(self, dropped: bytes, table: bytes = _LOWER) -> None:
        self._dropped, self._table = dropped, table
        self._flags = bytes(byte not in dropped for byte in range(256))
        self.forms: set[bytes] = set()
        self._words: list[WordIndex] = []
        self._short: list[bytes] = []

    def of(self, text: bytes) -> bytes:
        """A text, folded."""
        return text.translate(self._table, self._dropped)

    def prepare(self) -> None:
        """Build the indexes, once all `forms` are added."""
        left = sorted(self.forms)
        for size in _SIZES:
            words = WordIndex(size)
            if len(left) > _FEW or size == max(_SIZES):
                left = [form for form in left if not words.add(form)]
            self._words.append(words)
        self._short = left

    def spans(self, text: bytes) -> Iterator[tuple[int, int]]:
        """The spans of a text that are forms, merged where they overlap."""
        folded = self.of(text)
        spans = set(self._spans_of_short(folded))
        for words in self._words:
            spans.update(words.spans(folded))
        found = sorted(spans)
        if not found:
            return
        positions = array("I", compress(range(len(text)), text.translate(self._flags)))
        start, end = found[0]
        for next_start, next_end in found[1:]:
            if next_start > end:
                yield positions[start], positions[end - 1] + 1
                start = next_start
            end = max(end, next_end)
        yield positions[start], positions[end - 1] + 1

    def _spans_of_short(self, folded: bytes) -> Iterator[tuple[int, int]]:
        for form in self._short:
            for start in _places(form, folded):
                yield start, start + len(form)


def _is_letter(char: str) -> bool:
    return char.isascii() and char.isalnum()


def _places(form: bytes, text: bytes) -> Iterator[int]:
    start = text.find(form)
    while start >= 0:
        yield start
        start = text.find(form, start + 1)


def _commonness(word: bytes) -> int:
    return sum(_COMMON.get(byte, 0) for byte in word)


class Masker:
    """Masks known secrets, and everything that looks like credentials (`th_mask.credentials`)."""

    def __init__(self, secrets: Iterable[str]) -> None:
        folds = (
            Fold(bytes(byte for byte in range(256) if byte not in _LETTERS)),
            # for forms with few letters and digits: all characters except separators
            Fold(FILL + b" \t\r\n\"',+;"),
            Fold(FILL, table=bytes(range(256))),
        )
        self._plain: list[bytes] = []
        for secret in secrets:
            if not (_is_letter(secret[:1]) and _is_letter(secret[-1:])):
                self._plain.append(secret.encode("utf-8", "surrogateescape"))
            for form in forms(secret):
                fold = next((fold for fold in folds if len(fold.of(form)) >= SHORTEST), folds[-1])
                if folded := fold.of(form):
                    fold.forms.add(folded)
        self._folds = [fold for fold in folds if fold.forms]
        for fold in self._folds:
            fold.prepare()

    def masked(self, text: bytes) -> bytes:
        """A whole text, masked."""
        out = bytearray(text)
        self.apply(text, out)
        return bytes(out)

    def text(self, text: str) -> str:
        """A whole text, masked."""
        return self.masked(text.encode("utf-8", "surrogateescape")).decode("utf-8", "replace")

    def apply(self, text: bytes, out: bytearray) -> None:
        """Mask in `out`, which is as long as `text`, what has to be masked in `text`."""
        plain = decoded(text)
        for start, end in credentials(text):
            _hide(text, plain, out, start, end)
        for secret in self._plain:  # including the ends, which a fold may drop
            for start in _places(secret, text):
                _hide(text, plain, out, start, start + len(secret))
        both = (text, plain) if plain != text else (text,)
        for read in itertools.chain(both, _without_prefixes(text, both)):
            for fold in self._folds:
                for start, end in fold.spans(read):
                    _hide(text, plain, out, start, end)


def _without_prefixes(text: bytes, readings: Sequence[bytes]) -> Iterator[bytes]:
    """The text of one of the worker's own logs without line prefixes: of all lines, and of the lines of each tag.

    So a secret that is printed one character per line is found even between lines with other tags.
    """
    lines = list(_BEGIN.finditer(text))
    tags = {line["tag"] for line in lines}
    for tag in (None, *(tags if len(tags) > 1 else ())):
        for read in readings:
            parts, end = [], 0
            for number, line in enumerate(lines):
                parts.append(read[end : line.start()])
                last = lines[number + 1].start() if number + 1 < len(lines) else len(read)
                end = line.end() if tag in (None, line["tag"]) else last
                parts.append(FILL * (end - line.start()))
            if lines:
                yield b"".join([*parts, read[end:]])


def _hide(text: bytes, plain: bytes, out: bytearray, start: int, end: int) -> None:
    # the span is extended to whole escapes: half of one would make JSON invalid
    while start > 0 and plain[start] == 0 and text[start] != 0:
        start -= 1
    while end < len(text) and plain[end] == 0 and text[end] != 0:
        end += 1
    stars = text[start:end].translate(_STARS)
    if text[start:end] != plain[start:end]:
        pairs = zip(stars, text[start:end], plain[start:end], strict=True)
        stars = bytes(star if one == other else 0x2A for star, one, other in pairs)
    now = out[start:end]
    out[start:end] = bytes(map(_star_wins, now, stars)) if now != text[start:end] else stars


def _star_wins(one: int, other: int) -> int:
    return 0x2A if 0x2A in (one, other) else one


class Stream:
    """Masks a text block by block as it arrives, holding at most one block and `reach` bytes."""

    def __init__(self, masker: Masker, reach: int = REACH) -> None:
        self._masker, self._reach = masker, reach
        self._text = self._out = b""

    def feed(self, block: bytes) -> bytes:
        """Take the next block; returns the part of the text that is final."""
        text, out = self._text + block, bytearray(self._out + block)
        self._masker.apply(text, out)
        cut = max(0, len(text) - self._reach)
        self._text, self._out = text[cut:], bytes(out[cut:])
        return bytes(out[:cut])

    def end(self) -> bytes:
        """The rest of the text."""
        out, self._text, self._out = self._out, b"", b""
        return out

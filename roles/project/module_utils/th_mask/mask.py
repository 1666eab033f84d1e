# SPDX-License-Identifier: Apache-2.0
"""Masking secrets in texts of any size, byte for byte: what is masked is as long as it was.

How it is fast. Every form of every secret (`th_mask.encodings`) is folded: no case, letters and digits only. Each block
of a text is folded alike, as it is and with its escapes decoded, and then read in words of eight and of four bytes. A
form of 15 bytes covers one word of eight completely, wherever it is, and one of seven a word of four; the words that it
can cover are known before. So where none of them is, one look-up a word is all, however many secrets there are.
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
"""Bytes that a secret may be spread over, in pieces, to be found wherever in a file it is."""

SHORTEST = 6
"""Letters and digits that a form must have to be found whatever is between them."""

_SIZES: dict[int, Literal["Q", "I"]] = {8: "Q", 4: "I"}
"""Bytes of a word, and its type for `memoryview.cast`."""
_FEW = 20
"""So many forms are found faster one by one than by words of four bytes."""
_CHUNK = 64 * 1024
_LETTERS = (string.ascii_letters + string.digits).encode()
_LOWER = bytes.maketrans(string.ascii_uppercase.encode(), string.ascii_lowercase.encode())
# what a masked text keeps, so that JSON stays JSON, a page a page, and a line where it was
_KEPT = b" \t\r\n\"',:<>[]{}"
_STARS = bytes(byte if byte in _KEPT else 0x2A for byte in range(256))
# the commonest letters of logs: a word without them is found less often by chance
_COMMON = {byte: weight for weight, byte in enumerate(reversed(b"etaoinsrhldcum0123456789"))}

# how a line of the worker's own logs begins (th_sandbox.capped_log), with what git puts before what a server says
_BEGIN = re.compile(
    rb"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (?P<tag>\[[a-z][a-z0-9_-]{0,19}\] |)(?: {4})?(?:remote: )?", re.MULTILINE
)


class Words:
    """The forms that are looked for with words of one size, by the words that they can cover."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._known: dict[int, list[tuple[bytes, int]]] = {}

    def add(self, form: bytes) -> bool:
        """Look for this form, too; False when it is too short for words of this size."""
        if len(form) < 2 * self._size - 1:
            return False
        for first in range(self._size):
            offsets = range(first, len(form) - self._size + 1, self._size)
            words = [(_commonness(word := form[offset : offset + self._size]), word, offset) for offset in offsets]
            _, word, offset = min(words)
            self._known.setdefault(int.from_bytes(word, sys.byteorder), []).append((form, offset))
        return True

    def spans(self, folded: bytes) -> Iterator[tuple[int, int]]:
        """From where to where in a folded text the forms are."""
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
    """What is dropped from texts and forms before they are compared, and the forms that are compared so."""

    def __init__(self, dropped: bytes, table: bytes = _LOWER) -> None:
        self._dropped, self._table = dropped, table
        self._flags = bytes(byte not in dropped for byte in range(256))
        self.forms: set[bytes] = set()
        self._words: list[Words] = []
        self._short: list[bytes] = []

    def of(self, text: bytes) -> bytes:
        """A text, folded."""
        return text.translate(self._table, self._dropped)

    def prepare(self) -> None:
        """Make ready to look for `forms`."""
        left = sorted(self.forms)
        for size in _SIZES:
            words = Words(size)
            if len(left) > _FEW or size == max(_SIZES):
                left = [form for form in left if not words.add(form)]
            self._words.append(words)
        self._short = left

    def spans(self, text: bytes) -> Iterator[tuple[int, int]]:
        """From where to where in a text the forms are."""
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
    """Masks some secrets, and what looks like credentials (`th_mask.credentials`) whether it is known or not."""

    def __init__(self, secrets: Iterable[str]) -> None:
        folds = (
            Fold(bytes(byte for byte in range(256) if byte not in _LETTERS)),
            # for forms that are hardly of letters and digits: all characters but what separates
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
        """Mask in `out` what is to be masked of `text`, which is as long."""
        plain = decoded(text)
        for start, end in credentials(text):
            _hide(text, plain, out, start, end)
        for secret in self._plain:  # with what a fold drops of its ends
            for start in _places(secret, text):
                _hide(text, plain, out, start, start + len(secret))
        both = (text, plain) if plain != text else (text,)
        for read in itertools.chain(both, _said_by_each(text, both)):
            for fold in self._folds:
                for start, end in fold.spans(read):
                    _hide(text, plain, out, start, end)


def _said_by_each(text: bytes, readings: Sequence[bytes]) -> Iterator[bytes]:
    """What stands in one of the worker's own logs, without what stands before each line: of all, and of each tag alone.

    A secret that is printed one character a line has nothing else in between, and others' lines at most.
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
    # an escape that it begins or ends in belongs to it: half of one would be no JSON
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
    """A text that is masked block by block, as it comes; at most a block and `reach` bytes are held."""

    def __init__(self, masker: Masker, reach: int = REACH) -> None:
        self._masker, self._reach = masker, reach
        self._text = self._out = b""

    def feed(self, block: bytes) -> bytes:
        """Take the next block; returns what can be given out of what has come so far."""
        text, out = self._text + block, bytearray(self._out + block)
        self._masker.apply(text, out)
        cut = max(0, len(text) - self._reach)
        self._text, self._out = text[cut:], bytes(out[cut:])
        return bytes(out[:cut])

    def end(self) -> bytes:
        """The rest."""
        out, self._text, self._out = self._out, b"", b""
        return out

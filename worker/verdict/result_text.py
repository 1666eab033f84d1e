# SPDX-License-Identifier: Apache-2.0
"""The result text in a form that Zuul 2.x can handle; every result passes through here.

Zuul puts the text, as it is, between double quotes into a command line for Gerrit, into an ASCII mail, into the name of
a metric and into a column of 255 characters. So it is one line of printable ASCII without what could end the quotes or
mean something to a shell or to statsd.
"""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote

LENGTH = 250
"""Characters of a result: Zuul's SQL reporter keeps 255."""

WORDS = ("SUCCESS", "FAILURE", "WARNING", "CANCELED")
"""The words that a result may begin with."""

_SUCCESS = "SUCCESS"
_READ = 8000
_MORE = "..."
# A double quote ends Gerrit's argument and a backslash escapes in it; the others have a meaning in a shell, the
# vertical bar in statsd.
_UNSAFE = str.maketrans({'"': "'", "\\": "/", "`": "'", "$": "", "|": "/"})
_PLAIN = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u2039\u203a\u00b4", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb", "'"),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u00ad", "-"),
        "\u2026": "...", "\u2192": "->", "\u2190": "<-", "\u21d2": "=>", "\u00d7": "x", "\u2022": "*", "\u00b7": "*",
        "\u2264": "<=", "\u2265": ">=", "\u2260": "!=", "\u20ac": "EUR", "\u00a3": "GBP", "\u00b5": "u",
        "\u2044": "/", "\u2215": "/",
        "\u00df": "ss", "\u1e9e": "SS", "\u00e6": "ae", "\u00c6": "AE", "\u0153": "oe", "\u0152": "OE", "\u00f8": "o",
        "\u00d8": "O", "\u0142": "l", "\u0141": "L", "\u0111": "d", "\u0110": "D", "\u00f0": "d", "\u00d0": "D",
        "\u00fe": "th", "\u00de": "Th", "\u0131": "i",
    }
)  # fmt: skip
_TAG = re.compile(r"<(?=[A-Za-z!/?])")  # would begin an HTML element where a result is shown as HTML
_BEGINS = re.compile(rf"({'|'.join(WORDS)})(?![A-Za-z0-9_])")
_URL_SAFE = ":/?#[]@!&'()*+,;=%~"


def result(text: str | None) -> str | None:
    """A result as it may be sent; None when there is none, so that Zuul launches the build again.

    It is SUCCESS only if the text is exactly that.
    """
    if not text:  # an empty result would leave Zuul waiting for ever
        return None
    if text == _SUCCESS:
        return text
    line = plain(text)
    if line == _SUCCESS:
        line = f"FAILURE - {line}"
    elif not _BEGINS.match(line):
        line = f"FAILURE - {line}" if line else "FAILURE"
    return cut(line, LENGTH)


def plain(text: str) -> str:
    """A text as one line of printable ASCII, without characters that have a meaning where Zuul puts a result."""
    decomposed = unicodedata.normalize("NFKD", text[:_READ].translate(_PLAIN))
    ascii_only = "".join(map(_ascii, decomposed.translate(_PLAIN)))
    return _TAG.sub("(", " ".join(ascii_only.translate(_UNSAFE).split()))


def cut(text: str, limit: int) -> str:
    """A text of at most `limit` characters; a longer one is cut after a word and ends with dots."""
    if len(text) <= limit:
        return text
    room = limit - len(_MORE)
    head = text[:room]
    if text[room] != " ":
        space = head.rfind(" ")
        # a word that takes up most of the room is cut, too: its beginning says more than nothing
        head = head[:space] if space >= room // 2 else head
    return head.rstrip(" ,;:-(") + _MORE


def url(text: str) -> str:
    """A URL that may be sent, as Zuul uses it in the same places as the result; "" stays ""."""
    return quote(text.strip(), safe=_URL_SAFE, errors="replace")


def _ascii(char: str) -> str:
    if char.isascii():
        return char if char.isprintable() else " " if char.isspace() else "?"
    if unicodedata.combining(char):
        return ""
    kind = unicodedata.category(char)
    if kind == "Cf":  # invisible characters are dropped
        return ""
    return " " if kind in ("Zs", "Zl", "Zp") else "?"

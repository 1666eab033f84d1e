# SPDX-License-Identifier: Apache-2.0
"""Where the statements of a dump begin and end, read as the mariadb client reads them, at the speed of a disk.

The client splits a dump at its delimiter, outside of strings, quoted names and comments (``add_line`` in MariaDB's
``client/mysql.cc``). This reader does the same, without a server, to find out whether a dump ends in the middle of a
statement, and which statement is on which line. It keeps no more than the beginning of a statement.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

HEAD = 400
"""Bytes of a statement's beginning that are kept."""
_LONGEST_COMMAND = 256
_LONGEST_DELIMITER = 15

_BLANK = re.compile(rb"[\s\x00]*+")
_COMMAND = re.compile(rb"delimiter[ \t]+([^\s'\"`]+)[^\n]*+(?:\n|\Z)", re.IGNORECASE)
# the end of a piece that could still become a command of the client, or a comment
_COMMAND_BEGINS = re.compile(rb"(?:d[^\n]*+|[^\n;]{1,3}|/\*M?(?:!9*+(?:\\[^\n*]*+)?)?)\Z", re.IGNORECASE)
_LINE_COMMENT = re.compile(rb"#|--(?=[\s\x00]|\Z)")
# the first line of mariadb-dump: a command of the client, which others take for a comment
_SANDBOX = re.compile(rb"/\*M?!999999\\- enable the sandbox mode \*/[^\n]{0,80}")
_CONDITIONAL = re.compile(rb"/\*M?!")
# as mysqldump and mariadb-dump write rows: one line for all, or one for each; a line end in a value is written as \\n
_END_OF_ROW = rb"(?:(?<=\),\n)|(?<=\),\r\n))"
_END_OF_ROWS = rb"(?:(?<=\);\n)|(?<=\);\r\n))"
_ROWS = re.compile(
    rb"(?:(?:INSERT|REPLACE) [^\n]*+\n(?:%b|(?:\([^\n]*+\n%b)*+\([^\n]*+\n%b))++"
    % (_END_OF_ROWS, _END_OF_ROW, _END_OF_ROWS)
)
_ROWS_BEGIN = (b"INSERT ", b"REPLACE ")
_LONGEST_ROWS = 16 << 20
_QUOTES = {0x27: b"'", 0x22: b'"', 0x60: b"`"}


@dataclass(frozen=True)
class Open:
    """What is open where a dump ends: a statement without its delimiter, and a string or comment within it."""

    line: int
    head: bytes
    within: str


@dataclass(frozen=True)
class _Patterns:
    """Patterns for text that is skipped in one go: within a statement, several INSERTs, and the rest of a quotation."""

    text: re.Pattern[bytes]
    rows: re.Pattern[bytes]
    quoted: dict[bytes, re.Pattern[bytes]]


@cache
def _patterns(delimiter: bytes, escapes: bool) -> _Patterns:
    text = rb"(?:[^%s\\]++|\\.)*+" if escapes else rb"[^%s]*+"
    inside = {b"'": text % b"'", b'"': text % b'"', b"`": rb"[^`]*+"}
    first = re.escape(delimiter[:1])
    whole = b"|".join(quote + rest + quote for quote, rest in inside.items())
    # a character that could begin a comment or the delimiter is skipped where it does not
    alone = {b"/": b"/(?=[^*])", b"*": rb"\*(?=[^/])", b"-": rb"-(?=[^\-])"}
    if len(delimiter) > 1:
        sign, others = delimiter[:1], re.escape(delimiter[1:])
        alone[sign] = alone.get(sign, first) + rb"(?<!%b(?=%b))(?=.{%d})" % (first, others, len(delimiter) - 1)
    else:
        alone.pop(delimiter, None)
    passed = b"(?:" + b"|".join([rb"[^'\"`#/*\-" + first + rb"]++", whole, *alone.values()]) + rb")*+"
    rows = rb"(?:(?i:INSERT|REPLACE)\s" + passed + re.escape(delimiter) + rb"[ \t]*+\r?\n)++"
    return _Patterns(
        re.compile(passed, re.DOTALL),
        re.compile(rows, re.DOTALL),
        {quote: re.compile(rest, re.DOTALL) for quote, rest in inside.items()},
    )


class Lexer:
    """Reads a dump piece by piece.

    `on_statement` is called with the line that a statement begins in and its first bytes, `on_comment` with the line
    and the text of each comment between two statements. `escapes` says whether a backslash escapes in strings
    (``NO_BACKSLASH_ESCAPES`` of sql_mode turns that off). `by_lines` says that no value contains a line end, which
    holds for the rows of mysqldump and mariadb-dump; they are then skipped ten times as fast. Of successive statements
    with rows only the first is reported.
    """

    def __init__(self, on_statement: Callable[[int, bytes], None], on_comment: Callable[[int, bytes], None]) -> None:
        self._on_statement, self._on_comment = on_statement, on_comment
        self.escapes, self.by_lines = True, False
        self.line = 1
        self._delimiter = b";"
        self._begun = 0  # the line of the statement that is being read; 0 between two
        self._head = bytearray()
        self._within = b""  # the quote that is open, or one of b"-" (line) and b"*" (block) for a comment
        self._conditional = False
        self._comment: tuple[int, bytearray] | None = None
        self._rest = b""

    def feed(self, piece: bytes, last: bool = False) -> None:
        """Read the next piece. `last` says that no other follows."""
        data = self._rest + piece
        at = self._read(data, last)
        self._rest = data[at:]

    def close(self) -> Open | None:
        """End of the dump; returns what is still open."""
        self.feed(b"", last=True)
        if self._within == b"-":
            self._end_comment()
        quoted = {b"*": "a comment"}.get(self._within, "a string" if self._within in (b"'", b'"') else "")
        within = quoted or ("a quoted name" if self._within == b"`" else "")
        if self._begun:
            return Open(self._begun, bytes(self._head), within or ("a comment" if self._conditional else ""))
        return Open(self.line, b"", within) if within else None

    def _pass(self, data: bytes, start: int, end: int) -> None:
        """Skip a part of the text."""
        if self._comment is not None:
            if len(self._comment[1]) < HEAD:
                self._comment[1].extend(data[start : min(end, start + HEAD)])
        elif self._begun and len(self._head) < HEAD and self._within not in (b"-", b"*"):
            self._head += data[start : min(end, start + HEAD)]
        self.line += data.count(b"\n", start, end)

    def _read(self, data: bytes, last: bool) -> int:
        at, size = 0, len(data)
        while at < size:
            within = self._within
            if self._within:
                here = self._go_on_within(data, at, last)
            elif not self._begun:
                here = self._between(data, at, last)
            else:
                here = self._in_statement(data, at, last)
            if here == at and within == self._within:
                break  # more text is needed to decide
            at = here
        return at

    def _go_on_within(self, data: bytes, at: int, last: bool) -> int:
        if self._within == b"-":
            end = data.find(b"\n", at)
            self._pass(data, at, end if end >= 0 else len(data))
            if end < 0:
                return len(data)
            self._end_comment()
            return end
        if self._within == b"*":
            end = data.find(b"*/", at)
            stop = end + 2 if end >= 0 else len(data) - (0 if last else 1)
            self._pass(data, at, stop)
            if end >= 0:
                self._end_comment()
            return stop
        found = _patterns(self._delimiter, self.escapes).quoted[self._within].match(data, at)
        stop = found.end() if found else at
        if stop < len(data) and data[stop : stop + 1] == self._within:
            self._within = b""
            stop += 1
        elif last:
            stop = len(data)
        self._pass(data, at, stop)
        return stop

    def _end_comment(self) -> None:
        self._within = b""
        if self._comment is not None:
            line, text = self._comment
            self._comment = None
            self._on_comment(line, bytes(text))

    def _between(self, data: bytes, at: int, last: bool) -> int:
        blank = _BLANK.match(data, at)
        stop = blank.end() if blank else at
        self._pass(data, at, stop)
        if stop == len(data):
            return stop
        if not last and len(data) - stop < _LONGEST_COMMAND and _COMMAND_BEGINS.match(data, stop):
            return stop
        if command := _COMMAND.match(data, stop):
            self._delimiter = command[1][:_LONGEST_DELIMITER]
            self.line += data.count(b"\n", stop, command.end())
            return command.end()
        if sandbox := _SANDBOX.match(data, stop):
            return sandbox.end()
        if data.startswith(self._delimiter, stop):  # an empty statement
            return stop + len(self._delimiter)
        if _LINE_COMMENT.match(data, stop):
            self._within, self._comment = b"-", (self.line, bytearray())
            return stop + 1 if data[stop : stop + 1] == b"#" else stop + 2
        if data.startswith(b"/*", stop) and not _CONDITIONAL.match(data, stop):
            self._within, self._comment = b"*", (self.line, bytearray())
            return stop + 2
        if rows := self._rows(data, stop):
            self._on_statement(self.line, data[stop : stop + HEAD])
            self.line += data.count(b"\n", stop, rows)
            return rows
        if self.by_lines and data.startswith(_ROWS_BEGIN, stop):
            if not last and len(data) - stop < _LONGEST_ROWS:
                return stop
            self.by_lines = False  # its rows are written in another way
        self._begun = self.line
        self._head.clear()
        return self._in_statement(data, stop, last)

    def _rows(self, data: bytes, at: int) -> int:
        """The end of the complete statements with rows that begin here; 0 for none."""
        pattern = _ROWS if self.by_lines and self._delimiter == b";" else _patterns(self._delimiter, self.escapes).rows
        found = pattern.match(data, at)
        return found.end() if found else 0

    def _in_statement(self, data: bytes, at: int, last: bool) -> int:
        passed = _patterns(self._delimiter, self.escapes).text.match(data, at)
        stop = passed.end() if passed else at
        if stop > at:
            self._pass(data, at, stop)
        if stop == len(data):
            return stop
        rest = len(data) - stop
        if data.startswith(self._delimiter, stop):
            self._end_statement()
            return stop + len(self._delimiter)
        sign = data[stop]
        if sign in _QUOTES:
            self._within = _QUOTES[sign]
            self._pass(data, stop, stop + 1)
            return stop + 1
        if rest < max(4, len(self._delimiter)) and not last:
            return stop
        if _LINE_COMMENT.match(data, stop):
            self._within = b"-"
            return stop + 1
        if found := _CONDITIONAL.match(data, stop):
            self._conditional = True
            self._pass(data, stop, found.end())
            return found.end()
        if data.startswith(b"/*", stop):
            self._within = b"*"
            return stop + 2
        if data.startswith(b"*/", stop) and self._conditional:
            self._conditional = False
            self._pass(data, stop, stop + 2)
            return stop + 2
        self._pass(data, stop, stop + 1)
        return stop + 1

    def _end_statement(self) -> None:
        line, self._begun, self._conditional = self._begun, 0, False
        self._on_statement(line, bytes(self._head))

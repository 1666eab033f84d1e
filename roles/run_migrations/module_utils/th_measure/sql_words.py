# SPDX-License-Identifier: Apache-2.0
"""The tokens of a MariaDB or MySQL statement. It is hostile text: anything unusual is rejected."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_TOKEN = re.compile(
    r"\s+|(?P<name>`(?:[^`]|``){1,64}`)|(?P<text>'(?:[^'\\]|\\.|''){0,1000}')|(?P<word>[A-Za-z0-9_$\x80-\uffff]+)"
    r"|(?P<sign>[(),.=;+*/<>-])"
)
_COMMENTS = ("--", "/*", "#")


class NotUnderstoodError(Exception):
    """The statement has none of the known forms."""


@dataclass(frozen=True)
class Table:
    """A table as a statement names it; `schema` is "" where it does not."""

    schema: str
    name: str


class Words:
    """The tokens of a statement, one after the other. Raises NotUnderstoodError where one is not as expected."""

    def __init__(self, sql: str | Sequence[tuple[str, bool]]) -> None:
        self._left = list(sql) if not isinstance(sql, str) else _tokens(sql)
        self._left.reverse()

    def at(self, *words: str) -> bool:
        """Whether one of these words comes next."""
        return bool(self._left) and not self._left[-1][1] and self._left[-1][0].upper() in words

    def take(self, word: str) -> bool:
        """Consume a word if it comes next; whether it did."""
        if not self.at(word):
            return False
        self._left.pop()
        return True

    def skip(self, *words: str) -> None:
        """Consume some words if the first comes next; then the others must follow."""
        if self.take(words[0]):
            self.need(*words[1:])

    def need(self, *words: str) -> None:
        """Consume words that must come next."""
        for word in words:
            if not self.take(word):
                raise NotUnderstoodError

    def next(self) -> str:
        """Consume the next word."""
        if not self._left:
            raise NotUnderstoodError
        return self._left.pop()[0]

    def name(self) -> str:
        """A name, in backticks or plain."""
        word = self.next()
        if not word or word in "(),.=;+*/<>-" or word.startswith("'"):
            raise NotUnderstoodError
        return word

    def table(self) -> Table:
        """A table's name, with or without its schema."""
        first = self.name()
        return Table(first, self.name()) if self.take(".") else Table("", first)

    def key_columns(self) -> tuple[tuple[str, int], ...]:
        """The columns of a key in brackets; an expression is not understood."""
        self.need("(")
        columns = []
        while True:
            columns.append((self.name(), self.number_in_brackets()))
            if not self.take("ASC"):
                self.take("DESC")
            if self.take(")"):
                return tuple(columns)
            self.need(",")

    def number_in_brackets(self) -> int:
        """The number in brackets that comes next, as after a type; 0 for none."""
        if not self.take("("):
            return 0
        word = self.next()
        if not word.isascii() or not word.isdigit() or len(word) > 9:
            raise NotUnderstoodError
        self.need(")")
        return int(word)

    def flat(self) -> list[str]:
        """The remaining words outside of brackets and string literals, in upper case."""
        found, depth = [], 0
        for word, named in reversed(self._left):
            depth += (word == "(") - (word == ")")
            if depth == 0 and not named:
                found.append(word.upper())
        return found

    def clauses(self) -> list[Words]:
        """The remaining clauses, separated by commas outside of brackets."""
        clauses: list[list[tuple[str, bool]]] = [[]]
        depth = 0
        for token in reversed(self._left):
            word, named = token
            depth += (not named and word == "(") - (not named and word == ")")
            if word == "," and depth == 0 and not named:
                clauses.append([])
            else:
                clauses[-1].append(token)
        return [Words(clause) for clause in clauses]


def _tokens(sql: str) -> list[tuple[str, bool]]:
    """Words, each with whether it is quoted (in backticks or a string literal), and so no keyword."""
    if any(mark in sql for mark in _COMMENTS):
        raise NotUnderstoodError
    tokens: list[tuple[str, bool]] = []
    place = 0
    sql = sql.rstrip("; \n")
    while place < len(sql):
        match = _TOKEN.match(sql, place)
        if match is None:
            raise NotUnderstoodError
        place = match.end()
        if match["name"]:
            tokens.append((match["name"][1:-1].replace("``", "`"), True))
        elif match.lastgroup:
            tokens.append((match[0], match.lastgroup == "text"))
    return tokens

# SPDX-License-Identifier: Apache-2.0
"""Strictly parsing and rewriting requirements that only name a package of an index.

The result is read by uv while it may write to the shared cache. So it consists only of parts that were recognized one
by one, in printable ASCII without escapes, variables or options, and does not depend on how a library parses or writes
requirements. What is not understood is not an error: it is installed where the project's own code is built.
"""

from __future__ import annotations

import re
from collections.abc import Callable

LENGTH = 2000
"""Maximum characters of a requirement."""
DEPTH = 10
"""Maximum nesting of brackets in a marker."""

VARIABLES = frozenset(
    (
        "extra",
        "implementation_name",
        "implementation_version",
        "os_name",
        "platform_machine",
        "platform_python_implementation",
        "platform_release",
        "platform_system",
        "platform_version",
        "python_full_version",
        "python_version",
        "sys_platform",
    )
)

_TOKEN = re.compile(
    r"[ \t]{0,100}(?:(?P<operator>===|~=|==|!=|<=|>=|<|>)|(?P<mark>[\[\](),;])"
    r"|(?P<word>[A-Za-z0-9](?:[A-Za-z0-9._*+-]|!(?!=)){0,199})"
    r"|\"(?P<double>[A-Za-z0-9 ._*+!<>=~,-]{0,200})\"|'(?P<single>[A-Za-z0-9 ._*+!<>=~,-]{0,200})')"
)
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,198}[A-Za-z0-9])?")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._*+!-]{0,199}")


def rewritten(text: str) -> str:
    """The requirement, rewritten. Raises ValueError if it is not understood, or is more than a name."""
    reader = _Reader(text)
    written = reader.name()
    if reader.takes("["):
        extras = set() if reader.sees("]") else set(reader.list_of(reader.name))
        reader.expect("]")
        written += f"[{','.join(sorted(extras))}]" if extras else ""
    bracket = reader.takes("(")
    if reader.kind() == "operator":
        written += ",".join(sorted(set(reader.list_of(reader.specifier))))
    if bracket:
        reader.expect(")")
    if reader.takes(";"):
        written += f"; {reader.marker(0)}"
    reader.end()
    return written


class _Reader:
    """Reads the tokens of one requirement, each a kind and a text."""

    def __init__(self, text: str) -> None:
        if len(text) > LENGTH or "--" in text:
            raise ValueError("too long, or with an option")
        self._tokens: list[tuple[str, str]] = []
        text, place = text.strip(" \t"), 0
        while place < len(text):
            match = _TOKEN.match(text, place)
            if match is None:
                raise ValueError("not understood")
            kind = str(match.lastgroup)
            self._tokens.append((kind, match[kind]))
            place = match.end()
        self._tokens.append(("end", ""))
        self._next = 0

    def kind(self) -> str:
        return self._tokens[self._next][0]

    def sees(self, *texts: str) -> bool:
        kind, text = self._tokens[self._next]
        return kind in ("mark", "word") and text in texts

    def takes(self, *texts: str) -> bool:
        found = self.sees(*texts)
        self._next += found
        return found

    def expect(self, text: str) -> None:
        if not self.takes(text):
            raise ValueError(f"no {text}")

    def end(self) -> None:
        self._of("end")

    def name(self) -> str:
        return self._of("word", _NAME)

    def specifier(self) -> str:
        return self._of("operator") + self._of("word", _VERSION)

    def list_of(self, read: Callable[[], str]) -> list[str]:
        """A list separated by commas, with at least one item and an optional trailing comma."""
        found = [read()]
        while self.takes(","):
            if self.sees("]", ")", ";") or self.kind() == "end":
                break
            found.append(read())
        return found

    def marker(self, depth: int) -> str:
        """Comparisons, some in brackets, joined by the same "and" and "or" as in the source."""
        found = [self._term(depth)]
        while self.sees("and", "or"):
            found += [self._of("word"), self._term(depth)]
        return " ".join(found)

    def _term(self, depth: int) -> str:
        if self.takes("("):
            if depth >= DEPTH:
                raise ValueError("too deep")
            inner = self.marker(depth + 1)
            self.expect(")")
            return f"({inner})"
        left, operator, right = self._value(), self._comparison(), self._value()
        if left.startswith('"') == right.startswith('"'):
            raise ValueError("no comparison with a variable")
        return f"{left} {operator} {right}"

    def _comparison(self) -> str:
        if self.takes("in"):
            return "in"
        if self.takes("not"):
            self.expect("in")
            return "not in"
        return self._of("operator")

    def _value(self) -> str:
        kind, text = self._tokens[self._next]
        self._next += kind != "end"
        if kind in ("single", "double"):
            return f'"{text}"'
        if kind != "word" or text not in VARIABLES:
            raise ValueError("no variable")
        return text

    def _of(self, wanted: str, pattern: re.Pattern[str] | None = None) -> str:
        kind, text = self._tokens[self._next]
        if kind != wanted or (pattern is not None and not pattern.fullmatch(text)):
            raise ValueError(f"no {wanted}")
        self._next += kind != "end"
        return text

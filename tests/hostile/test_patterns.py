# SPDX-License-Identifier: Apache-2.0
"""No regular expression of ours takes more than its text's length in steps, whatever the text is.

All of them are tried, whether what they are applied to is hostile or not. What could make one slow is derived from it:
the beginnings of what it matches, and what it repeats, many times over, with an end that does not match. Costs are
compared with one another, for the same pattern on a text four times as long.
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from re import _parser  # type: ignore[attr-defined] - the one place where a pattern's parts can be seen
from types import ModuleType
from typing import Any

import pytest

from tests.kit import ROOT

PLACES = ("roles/*/module_utils/*/*.py", "roles/*/library/*.py", "worker/**/*.py")
SOURCES = sorted({path for place in PLACES for path in ROOT.glob(place)})
METHODS = ("compile", "search", "match", "fullmatch", "sub", "subn", "split", "findall", "finditer")
ANCHORED = {"match", "fullmatch"}
SHORT, LONG = 4_000, 16_000
GROWTH = 4 * 2.5
"""What four times as much text may cost: a quadratic pattern takes 16 times as long."""
_OF_RE = re.compile(rf"re\.({'|'.join(METHODS)})")
NARROW = 500
NOTHING = 4_000_000
"""Nanoseconds that are not worth a comparison."""
END = "\n\0"
"""What hardly any pattern goes on with."""
GIVEN_TO = {
    "log_line.py:_OUTPUT": {"match"}, "log_line.py:_OURS": {"match"}, "log_line.py:_ROWS": {"match"},
    "profile.py:REF": {"fullmatch"}, "sql_lexer.py:_ROWS": {"match"},
    "numbered_scripts.py:NUMBERED": {"fullmatch"}, "numbered_scripts.py:SQLALCHEMY_MIGRATE": {"fullmatch"},
}  # fmt: skip
"""How those are applied that a function is given, or that stand in a table."""
COMPUTED = {"alembic_files.py:otherwise": r", *|(?: +)|:"}
"""Patterns that a function is given, in one."""
MADE = {"sql_lexer.py": "_patterns"}
"""Functions that make patterns, which are asked for some: see `made`."""


@dataclass(frozen=True)
class Found:
    """A pattern, where it is, and how it is applied."""

    place: str
    pattern: re.Pattern[Any]
    methods: frozenset[str]


def module_of(path: Path) -> ModuleType:
    """The module in a file of ours, as what imports it sees it."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[0] == "worker":
        return importlib.import_module(".".join(part for part in parts if part != "__init__"))
    if parts[2] == "module_utils":
        return importlib.import_module(f"ansible.module_utils.{path.parent.name}.{path.stem}")
    spec = importlib.util.spec_from_file_location(f"th_library_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def inside(value: object) -> Iterator[re.Pattern[Any]]:
    """The patterns in a value of a module."""
    if isinstance(value, re.Pattern):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from inside(one)
    elif isinstance(value, list | tuple | set | frozenset):
        for one in value:
            yield from inside(one)


def applied(tree: ast.AST) -> dict[str, set[str]]:
    """The methods that a file calls by the name of what has them."""
    found: dict[str, set[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and isinstance(node.ctx, ast.Load):
            found.setdefault(node.value.id, set()).add(node.attr)
    return found


@dataclass(frozen=True, slots=True)
class Use:
    """What a file takes from others, and which methods it calls of what it has a name for."""

    imported: frozenset[tuple[str, str]]
    """The last part of a module's name, and a name of that module."""
    methods: dict[str, set[str]]


@functools.cache
def uses() -> dict[Path, Use]:
    """By file, all of ours."""
    found = {}
    for path in SOURCES:
        tree = ast.parse(path.read_text())
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
        names = {(str(node.module).rpartition(".")[2], alias.name) for node in imports for alias in node.names}
        found[path] = Use(frozenset(names), applied(tree))
    return found


def written(node: ast.expr) -> str | bytes | None:
    """A pattern as it stands in a call; for what is computed in it, a word. None for what is computed as a whole."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "word" for part in node.values)
    return None


def patterns(path: Path) -> list[Found]:
    """All patterns of a file of ours: those of the module, and those that stand in a function."""
    source, place, module, found = path.read_text(), str(path.relative_to(ROOT)), module_of(path), []
    for name, value in vars(module).items():
        if name.startswith("__"):
            continue
        users = (use for other, use in uses().items() if other == path or (path.stem, name) in use.imported)
        methods = set().union(*(use.methods.get(name, set()) for use in users)) & set(METHODS)
        for pattern in inside(value):
            methods = GIVEN_TO.get(f"{path.name}:{name}", methods if isinstance(value, re.Pattern) else set())
            found.append(Found(f"{place}:{name}", pattern, frozenset(methods or {"search"})))
    found += made(place, module) if path.name in MADE else []
    for method, line, argument in calls(ast.parse(source)):
        if path.name in MADE and method == "compile":
            continue
        text = COMPUTED.get(f"{path.name}:{ast.unparse(argument)}") or written(argument)
        assert text is not None, f"{place}:{line}: a pattern that nobody can look at"
        found.append(Found(f"{place}:{line}", re.compile(text), frozenset({method})))
    return found


def made(place: str, module: ModuleType) -> list[Found]:
    """The patterns of the lexer of dumps, for some delimiters."""
    found = []
    for delimiter in (b";", b"$$", b"/"):
        for escapes in (True, False):
            some = module._patterns(delimiter, escapes)
            name = f"{place}:_patterns({delimiter!r}, {escapes})"
            found += [Found(name, one, frozenset({"match"})) for one in (some.text, some.rows, *some.quoted.values())]
    return found


def calls(tree: ast.Module) -> Iterator[tuple[str, int, ast.expr]]:
    """The functions of `re` that a file's functions call: the name, where it stands, and the pattern."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    for node in {node for function in functions for node in ast.walk(function)}:
        if isinstance(node, ast.Call) and (match := _OF_RE.fullmatch(ast.unparse(node.func))):
            yield match[1], node.lineno, node.args[0]


class Samples:
    """Texts that a pattern's parts match."""

    def __init__(self, pattern: re.Pattern[Any]) -> None:
        self._parsed = _parser.parse(pattern.pattern, pattern.flags & ~re.DEBUG)
        self.pumps: set[tuple[str, str]] = set()

    def all(self) -> set[tuple[str, str]]:
        """A beginning, and what to repeat after it; nothing for what cannot take more of a text than a little."""
        if self._parsed.getwidth()[1] < NARROW:
            return set()
        self._sequence(list(self._parsed), "")
        return self.pumps

    def _sequence(self, parts: list[Any], before: str) -> str:
        text = before
        for part in parts:
            start = text
            text = self._part(part, text)
            self.pumps.add(("", text))
            if len(text) > len(start):
                self.pumps.add((start, text[len(start) :]))
        return text

    def _part(self, part: Any, before: str) -> str:
        kind, value = part
        name = str(kind)
        if name in ("LITERAL",):
            return before + chr(value)
        if name == "NOT_LITERAL":
            return before + ("a" if chr(value) != "a" else "b")
        if name == "ANY":
            return before + "a"
        if name == "IN":
            return before + self._of_set(value, before)
        if name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            least, _, inner = value
            self._sequence(list(inner), before)
            text = before
            for _ in range(max(1, min(int(least), 40))):
                text = self._sequence_once(list(inner), text)
            once = text[len(before) :]
            for candidate in self._of_each(list(inner)):
                self.pumps.add((before, candidate))
                self.pumps.add(("", before + candidate))
            return before + once
        if name == "SUBPATTERN":
            return self._sequence(list(value[3]), before)
        if name == "ATOMIC_GROUP":
            return self._sequence(list(value), before)
        if name == "BRANCH":
            texts = [self._sequence(list(branch), before) for branch in value[1]]
            return texts[0]
        if name in ("ASSERT",):
            return before
        return before  # AT, ASSERT_NOT, GROUPREF

    def _sequence_once(self, parts: list[Any], before: str) -> str:
        text = before
        for part in parts:
            text = self._part_once(part, text)
        return text

    def _part_once(self, part: Any, before: str) -> str:
        saved, self.pumps = self.pumps, set()
        try:
            return self._part(part, before)
        finally:
            self.pumps = saved

    def _of_each(self, inner: list[Any]) -> Iterator[str]:
        """What a repeat may take, one of each kind of its characters."""
        for kind, value in inner:
            if str(kind) == "IN":
                yield from self._members(value)
            elif str(kind) == "ANY":
                yield from ("a", " ", "'", "(")
            elif str(kind) == "NOT_LITERAL":
                yield from (one for one in ("a", " ", "\n") if one != chr(value))

    def _members(self, items: list[Any]) -> Iterator[str]:
        matching = re.compile(_class(items))
        yield from (one for one in "a0 \n'.-_:(`\\" if matching.match(one))
        for kind, value in items:
            if str(kind) == "LITERAL":
                yield chr(value)
            elif str(kind) == "RANGE":
                yield chr(value[0])

    def _of_set(self, items: list[Any], before: str) -> str:
        return next(iter(self._members(items)), "")


_CATEGORIES = {
    "CATEGORY_DIGIT": r"\d", "CATEGORY_NOT_DIGIT": r"\D", "CATEGORY_SPACE": r"\s", "CATEGORY_NOT_SPACE": r"\S",
    "CATEGORY_WORD": r"\w", "CATEGORY_NOT_WORD": r"\W",
}  # fmt: skip


def _class(items: list[Any]) -> str:
    """A set of characters as a pattern again."""
    text = ""
    for kind, value in items:
        name = str(kind)
        if name == "NEGATE":
            text += "^"
        elif name == "LITERAL":
            text += re.escape(chr(value)) if chr(value) != "^" else r"\^"
        elif name == "RANGE":
            text += f"{re.escape(chr(value[0]))}-{re.escape(chr(value[1]))}"
        elif name == "CATEGORY":
            text += _CATEGORIES[str(value)]
    return f"[{text}]"


def cost(run: Callable[[], object]) -> int:
    """Nanoseconds of processor time, the least of some runs."""
    least = 1 << 62
    for _ in range(2):
        begun = time.thread_time_ns()
        run()
        least = min(least, time.thread_time_ns() - begun)
        if least < NOTHING or least > 20 * NOTHING:
            break
    return least


def text_of(start: str, pump: str, end: str, length: int) -> str:
    return start + pump * (length // len(pump)) + end


def grows(run: Callable[[str], object], start: str, pump: str, end: str) -> str:
    """What is wrong with how the cost grows; "" for nothing."""
    now = cost(lambda: run(text_of(start, pump, end, LONG)))
    if now <= NOTHING or now <= GROWTH * (before := cost(lambda: run(text_of(start, pump, end, SHORT)))):
        return ""
    return f"{start!r} + {pump!r} * n + {end!r}: {LONG} characters cost {now / before:.1f} times as much as {SHORT}"


def run_of(found: Found) -> Callable[[str], object]:
    """Apply a pattern as it is applied."""
    pattern = found.pattern
    of_bytes = isinstance(pattern.pattern, bytes)

    def run(text: str) -> object:
        subject: Any = text.encode("latin-1", "replace") if of_bytes else text
        if found.methods <= {"match"}:
            return pattern.match(subject)
        if found.methods <= ANCHORED:
            return pattern.fullmatch(subject)
        return sum(1 for _ in pattern.finditer(subject))

    return run


def of_patterns() -> list[str]:
    """The files of ours that have patterns."""
    return [
        str(path.relative_to(ROOT))
        for path in SOURCES
        if re.search(r"^import re$", text := path.read_text(), re.M) and _OF_RE.search(text)
    ]


@pytest.mark.parametrize("file", of_patterns())
def test_the_patterns_of(file: str, stopped_by: Callable[[str], None]) -> None:
    found_here = patterns(ROOT / file)
    assert found_here, f"{file} calls re, and no pattern is found in it"
    for found in found_here:
        run = run_of(found)
        for start, pump in sorted(Samples(found.pattern).all()):
            wrong = grows(run, start, pump, END) if pump else ""
            assert not wrong, f"{found.place} {found.pattern.pattern!r}: {wrong}"
    stopped_by("repeats that cannot begin, or end, in many places")


@pytest.mark.parametrize("slow", [r"a+b", r"\(errno: \d+ [^)]*\)", r"x\s*\s*y", r"<[^>]*!>", r"(?:ab?)*\d*c"])
def test_a_slow_pattern_is_found(slow: str) -> None:
    found = Found("here", re.compile(slow), frozenset({"search"}))
    assert any(grows(run_of(found), start, pump, END) for start, pump in Samples(found.pattern).all() if pump)

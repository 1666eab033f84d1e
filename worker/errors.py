# SPDX-License-Identifier: Apache-2.0
"""The exceptions of this package, by who can fix the problem.

The text of each one is a line for people: what it is about, what is wrong, and what to do. `exit_code` is the exit
status of a command when nothing catches the exception.
"""

from pathlib import Path

INTERRUPTED = 130
"""The exit status of a command that was interrupted by a signal."""


_LONGEST = 2000


class TurboHipsterError(Exception):
    """The base class of all exceptions that this package raises on purpose."""

    exit_code = 3


class UsageError(TurboHipsterError):
    """A command was called with something that it cannot work with."""

    exit_code = 2


def _located(path: Path | str, key: str, problem: str, remedy: str) -> str:
    where = f"{path}: {_shown(key)}" if key else f"{path}"
    text = f"{where}: {_shown(problem)}; {remedy}" if remedy else f"{where}: {_shown(problem)}"
    return " ".join(text.split())


def _shown(text: str) -> str:
    """Text from a file or a job, made safe for a line of a log or a terminal."""
    cut = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return "".join(char if char.isprintable() or char.isspace() else "\N{REPLACEMENT CHARACTER}" for char in cut)


class ConfigError(UsageError):
    """The configuration is wrong. `path` is the file, `key` the key in it (`plugins[1].name`), or ""."""

    def __init__(self, path: Path | str, key: str, problem: str, remedy: str = "") -> None:
        super().__init__(_located(path, key, problem, remedy))
        self.path = Path(path)
        self.key = key
        self.problem = problem
        self.remedy = remedy


class DatasetError(TurboHipsterError):
    """A dataset cannot be used. `path` is its file, `key` the key in it, or ""."""

    def __init__(self, path: Path | str, key: str, problem: str, remedy: str = "") -> None:
        super().__init__(_located(path, key, problem, remedy))
        self.path = Path(path)
        self.key = key
        self.problem = problem
        self.remedy = remedy


class RequestError(TurboHipsterError):
    """An argument of a job is wrong. `field` is its name, such as `ZUUL_REF`; nothing was run."""

    exit_code = 2

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {' '.join(_shown(problem).split())}")
        self.field = field
        self.problem = problem


class InfrastructureError(TurboHipsterError):
    """An infrastructure failure: the machine, or what its operator set up. `code` is a message code."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail

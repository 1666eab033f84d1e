# SPDX-License-Identifier: Apache-2.0
"""Progress on stderr (a bar on a terminal, lines otherwise), and tables of results on stdout."""

import sys
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from rich.progress import TaskID


class Display(Protocol):
    """A context manager that shows progress while it is open."""

    def __enter__(self) -> Self:
        """Start showing progress."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop showing progress, and leave the terminal clean."""

    def show(self, percent: int, text: str) -> None:
        """Show the progress in percent (0 to 100), and the current activity."""


def display() -> Display:
    """The display for stderr: a bar if it is a terminal, lines otherwise."""
    return _Bar() if sys.stderr.isatty() else _Lines()


class _Lines:
    def __init__(self) -> None:
        self._last = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, percent: int, text: str) -> None:
        if text and text != self._last:
            self._last = text
            print(f"[{percent:3d}%] {text}", file=sys.stderr, flush=True)


class _Bar:
    def __enter__(self) -> Self:
        # Imported here, because plain output and commands without progress do not need it.
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._progress: Progress = Progress(
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("{task.description}", markup=False),
            console=Console(stderr=True),
            transient=True,
        )
        self._task: TaskID = self._progress.add_task("waiting", total=100)
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, percent: int, text: str) -> None:
        self._progress.update(self._task, completed=percent, description=text or None)


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table on stdout: formatted on a terminal, columns of plain text otherwise."""
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        drawn = Table(*headers, box=None, pad_edge=False, header_style="bold")
        for row in rows:
            drawn.add_row(*map(Text, row))  # as Text: names from a change must not be parsed as markup
        Console().print(drawn)
        return
    lines = [headers, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())

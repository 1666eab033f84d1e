# SPDX-License-Identifier: Apache-2.0
"""How long work shows how far it is: a bar on a terminal, lines elsewhere; always on stderr, results are on stdout."""

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from rich.progress import TaskID


class Display(Protocol):
    """A context manager that shows progress while it is open."""

    def __enter__(self) -> Self:
        """Begin to show."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the terminal clean."""

    def show(self, percent: int, text: str) -> None:
        """It is that far (0 to 100), and this is what is being done."""


def display() -> Display:
    """The display that suits where stderr goes."""
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
        # Imported here: the plain way, and the commands without progress, do without it.
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

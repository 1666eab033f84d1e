# SPDX-License-Identifier: Apache-2.0
"""Run the demo: ``python -m demo``."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from demo import dataset, engines, project, services, zuul
from demo.project import Change
from demo.tools import DemoError, alone
from demo.zuul import Answer

CHECKOUT = Path(__file__).resolve().parent.parent

EXPECTED: Mapping[str, tuple[str, ...]] = {
    "good": ("SUCCESS",),
    "duplicates": ("FAILURE - ", "d5e6f7a8b9c0 failed to complete", "1062", "Duplicate entry"),
    "limit": ("WARNING - ", "e6f7a8b9c0d1 changed too many rows"),
}
"""By change, what the answer begins with, and what else it or its published result says."""


class Screen:
    """What the user sees of work under way: on a terminal one line that moves, without one plain lines."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._started = time.monotonic()
        self._last = ""

    @contextmanager
    def task(self, name: str) -> Iterator[Task]:
        """Show a piece of work until it is done."""
        with ExitStack() as stack:
            progress = None
            if self.console.is_terminal:
                columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(30), TimeElapsedColumn())
                progress = stack.enter_context(Progress(*columns, console=self.console, transient=True))
            task = Task(self, name, progress)
            yield task

    def line(self, text: str) -> None:
        """Print a line with the time since the start, unless it was the last one."""
        if text != self._last:
            self._last = text
            self.console.print(f"{time.monotonic() - self._started:6.1f} s  {text}", soft_wrap=True, highlight=False)


class Task:
    """One piece of work on the screen."""

    def __init__(self, screen: Screen, name: str, progress: Progress | None) -> None:
        self._screen, self._name, self._progress = screen, name, progress
        self._id = progress.add_task(name, total=None) if progress else None

    def say(self, text: str) -> None:
        """Tell what is being done now."""
        self.show(None, text)

    def show(self, percent: int | None, text: str) -> None:
        """Tell how far it is, and what is being done now."""
        line = f"{self._name}: {text}" if text else self._name
        if self._progress is None or self._id is None:
            self._screen.line(line)
        else:
            total = None if percent is None else 100
            self._progress.update(self._id, description=line, completed=percent or 0, total=total)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; return 0 when the three verdicts are the expected ones, else 1."""
    options = _options(arguments)
    console = Console(highlight=False)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _run(options, console)
    except (DemoError, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        print("demo: interrupted", file=sys.stderr)
        return 130


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m demo", description="Three changes of MLflow through a worker.")
    parser.add_argument("--work", type=Path, default=CHECKOUT / ".demo", help="folder to keep everything in")
    parser.add_argument("--scale", type=_scale, default=1.0, help="size of the dataset; 1.0 is 500,000 metrics")
    parser.add_argument("--engine", default=engines.SYSTEM, help="database server of engines.yaml (default: system)")
    parser.add_argument("--keep-running", action="store_true", help="leave the worker running until Ctrl-C")
    return parser.parse_args(arguments)


def _scale(text: str) -> float:
    value = float(text)
    if not 0.01 <= value <= 10:
        raise argparse.ArgumentTypeError("must be from 0.01 to 10")
    return value


def _run(options: argparse.Namespace, console: Console) -> int:
    screen = Screen(console)
    work = options.work.absolute()
    with ExitStack() as stack:
        stack.enter_context(alone(work))
        with screen.task("Preparing") as task:
            repository = project.build(work / "git", work / "downloads", task.say)
            engine = engines.get(options.engine, task.say)
            folder = dataset.folder_of(work, engine)
            data = dataset.build(folder, repository, work / "packages", engine, options.scale, task.say)
            task.say("starting the git server and the worker")
            url = stack.enter_context(services.git_server(repository.base))
            worker = stack.enter_context(services.worker(work, data))
        screen.line(f"A worker takes jobs at {worker.gearman}; its log is {work / 'debug.log'}")
        answers = {}
        for change in repository.changes:
            given = zuul.arguments(change, url)
            _keep(work / f"arguments-{change.name}.json", given)
            with screen.task(f"Change {change.number}, {change.name}") as task:
                answers[change] = zuul.submit(worker.gearman, given, task.show)
            screen.line(f"Change {change.number}, {change.name}: {answers[change].result.splitlines()[0]}")
        matched = _report(console, answers)
        if options.keep_running:
            params = work / "arguments-good.json"
            again = f"th submit --gearman {worker.gearman} --job {services.JOB} --params {params}"
            console.print(f"The worker goes on until Ctrl-C. To hand in a change again:\n  {again}", soft_wrap=True)
            with suppress(KeyboardInterrupt):
                signal.pause()
    return 0 if matched else 1


def _keep(path: Path, given: Mapping[str, str]) -> None:
    """Write job arguments for ``--params`` of th, without what names the one build."""
    kept = {name: value for name, value in given.items() if name not in ("ZUUL_UUID", "LOG_PATH")}
    path.write_text(json.dumps(kept, indent=2) + "\n")


def as_expected(change: Change, answer: Answer) -> bool:
    """Whether an answer is the one that this change of the demo must get, with a report behind its link."""
    begin, *parts = EXPECTED[change.name]
    folder = zuul.published(answer)
    if not answer.result.startswith(begin) or folder is None or not (folder / "index.html").is_file():
        return False
    whole = "\n".join((answer.result, *_details(folder)))
    return all(part in whole for part in parts)


def _details(folder: Path) -> list[str]:
    """Each message of a published result, with its detail."""
    messages = json.loads((folder / "result.json").read_text())["messages"]
    return [f"{message['text']}\n    {message['detail']}".rstrip() for message in messages]


def _report(console: Console, answers: Mapping[Change, Answer]) -> bool:
    for change, answer in answers.items():
        console.print(f"\nThe worker's answer for change {change.number}, {change.name}:")
        console.print_json(data=answer.data)
    table = Table("Change", "What it does", "Verdict", "Expected", "Seconds", title="Three changes, three verdicts")
    matched = True
    for change, answer in answers.items():
        fits = as_expected(change, answer)
        matched = matched and fits
        expected = EXPECTED[change.name][0].removesuffix(" - ") + (" ✓" if fits else " ✗")
        verdict = answer.result.partition(" - ")[0]
        row = (f"{change.number} {change.name}", change.subject, verdict, expected, f"{answer.seconds:.1f}")
        table.add_row(*row, style="green" if fits else "bold red")
    console.print()
    console.print(table)
    for change, answer in answers.items():
        folder = zuul.published(answer)
        link = f"{answer.url}index.html" if folder else "no logs were published"
        details = _details(folder) if folder else map(str, answer.data.get("messages", []))
        lines = (f"\n{change.number} {change.name}: {link}", *details)
        console.print("\n  ".join(lines), soft_wrap=True, markup=False)
    return matched


if __name__ == "__main__":
    sys.exit(main())

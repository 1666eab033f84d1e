# SPDX-License-Identifier: Apache-2.0
"""Measure the worker against the classic script and against itself without a sandbox: ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from benchmarks import engines
from demo import dataset, project, schema, server, services, zuul
from demo import engines as demo_engines
from demo.dataset import Dataset
from demo.project import Change
from demo.tools import DemoError, alone, run

CHECKOUT = Path(__file__).resolve().parent.parent
SCRIPT = Path(__file__).parent / "classic.sh"

MIGRATIONS = 40
"""Steps from the dataset's version to the good change's."""
RATIO_LIMIT = 1.0
"""The worker may take as long as the script, and no longer."""
BOX_LIMIT = 1.05
"""How many times as long as without the sandbox a job may take."""
MEMORY_LIMIT = 80_000_000
"""Bytes of resident memory that an idle worker may have."""
_SETTLE_SECONDS = 3


@dataclass(frozen=True)
class Figures:
    """What was measured: seconds of each run, and bytes of resident memory of the idle worker."""

    worker: Sequence[float]
    script: Sequence[float]
    unboxed: Sequence[float]
    memory_before: int
    memory_after: int

    @property
    def ratio(self) -> float:
        """The worker's median time over the script's."""
        return statistics.median(self.worker) / statistics.median(self.script)

    @property
    def box(self) -> float:
        """The worker's median time over that of one without the sandbox."""
        return statistics.median(self.worker) / statistics.median(self.unboxed)

    @property
    def failures(self) -> list[str]:
        """What is over its limit."""
        found = []
        if self.ratio > RATIO_LIMIT:
            found.append(f"the worker is slower than the script: {self.ratio:.2f} times its time")
        if self.box > BOX_LIMIT:
            found.append(f"the sandbox makes a job {self.box:.2f} times as long, {BOX_LIMIT:.2f} is allowed")
        memory = max(self.memory_before, self.memory_after)
        if memory > MEMORY_LIMIT:
            found.append(
                f"the idle worker has {memory / 1e6:.0f} MB of memory, {MEMORY_LIMIT / 1e6:.0f} MB are allowed"
            )
        return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 0 when nothing is over its limit, 1 when something is."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="The worker against a plain script.")
    parser.add_argument("--runs", type=_runs, default=3, help="measured runs of each side (default 3)")
    parser.add_argument("--work", type=Path, default=CHECKOUT / ".demo", help="the demo's folder")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--engine", help="compare a job on this engine of engines.yaml with one on the machine's own")
    options = parser.parse_args(arguments)
    try:
        if options.engine:
            comparison = engines.compare(options.work.absolute(), options.engine, options.runs, _say)
            print(comparison.as_json() if options.json else comparison.as_text())
            return 0
        figures = _measure(options.work.absolute(), options.runs)
    except (DemoError, OSError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        print("benchmarks: interrupted", file=sys.stderr)
        return 130
    print(_as_json(figures) if options.json else _as_text(figures))
    for failure in figures.failures:
        print(f"benchmarks: {failure}", file=sys.stderr)
    return 1 if figures.failures else 0


def _runs(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _measure(work: Path, runs: int) -> Figures:
    with ExitStack() as stack:
        stack.enter_context(alone(work))
        repository = project.build(work / "git", work / "downloads", _say)
        engine = demo_engines.get(demo_engines.SYSTEM)
        data = dataset.build(dataset.folder_of(work, engine), repository, work / "packages", engine, 1.0, _say)
        change = next(change for change in repository.changes if change.name == "good")
        url = stack.enter_context(services.git_server(repository.base))
        worker = stack.enter_context(services.worker(work, data))
        open_worker = stack.enter_context(services.worker(work, data, "none", beside="sandbox-none"))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="th-bench-", dir=server.SHORT)))
        # The script's server runs already, as it did for those who wrote such scripts; with the options of ours.
        socket = stack.enter_context(server.running(folder / "server", "mlflow", engine))
        time.sleep(_SETTLE_SECONDS)
        before = worker.memory

        def ours(gearman: str = worker.gearman) -> None:
            answer = zuul.submit(gearman, zuul.arguments(change, url))
            if answer.result != "SUCCESS":
                raise DemoError(f"the worker's answer is not SUCCESS but {answer.result!r}: {answer.url}")

        def unboxed() -> None:
            ours(open_worker.gearman)

        def script() -> None:
            _classic(folder, f"{url}/{project.PROJECT}", change, data, socket, work / "pip")

        # The first of each fills the caches: what is measured has everything warm.
        sides = {"worker": ours, "unboxed": unboxed, "script": script}
        _say("warming up: " + ", ".join(f"{name} {_timed(side):.1f} s" for name, side in sides.items()))
        times: dict[str, list[float]] = {name: [] for name in sides}
        for number in range(1, runs + 1):
            for name, side in sides.items():
                times[name].append(_timed(side))
                _say(f"run {number} of {runs}: {name} {times[name][-1]:.1f} s")
        time.sleep(_SETTLE_SECONDS)
        return Figures(times["worker"], times["script"], times["unboxed"], before, worker.memory)


def _classic(folder: Path, repository: str, change: Change, data: Dataset, socket: Path, cache: Path) -> None:
    """Run the script in an empty folder, and look whether it did the work."""
    work, counters = folder / "classic", folder / "counters"
    work.mkdir()
    packages = yaml.safe_load(schema.PROFILE.read_text())["install"]["packages"]
    environment = {"PIP_CACHE_DIR": str(cache), "PACKAGES": "\n".join(packages)}
    output = run([SCRIPT, work, repository, change.ref, data.dump, socket, counters], environment=environment)
    walked = [line.split() for line in counters.read_text().splitlines()]
    if not walked or output.decode().split()[-1] != walked[-1][1] or len(walked) != MIGRATIONS:
        raise DemoError(f"the script has not walked {MIGRATIONS} migrations to the change's: {walked[-1:]}")
    shutil.rmtree(work)


def _timed(side: Callable[[], None]) -> float:
    started = time.perf_counter()
    side()
    return time.perf_counter() - started


def _as_text(figures: Figures) -> str:
    sides = (figures.worker, figures.script, figures.unboxed)
    worker, script, unboxed = (statistics.median(times) for times in sides)
    return "\n".join(
        (
            f"{MIGRATIONS} migrations, medians of {len(figures.worker)} runs each, {os.cpu_count()} processors:",
            f"  worker / script   {figures.ratio:.2f}   ({worker:.1f} s / {script:.1f} s; limit {RATIO_LIMIT:.2f})",
            f"  sandbox / none    {figures.box:.2f}   ({worker:.1f} s / {unboxed:.1f} s; limit {BOX_LIMIT:.2f})",
            f"  idle worker       {figures.memory_before / 1e6:.0f} MB at the start,"
            f" {figures.memory_after / 1e6:.0f} MB after the jobs (limit {MEMORY_LIMIT / 1e6:.0f} MB)",
        )
    )


def _as_json(figures: Figures) -> str:
    computed = {"ratio": figures.ratio, "box": figures.box, "failures": figures.failures}
    return json.dumps({**asdict(figures), **computed}, indent=2)


if __name__ == "__main__":
    sys.exit(main())

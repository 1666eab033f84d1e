# SPDX-License-Identifier: Apache-2.0
"""Put load on several workers while they and their gearmand are killed: ``python -m benchmarks.load``."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.load.client import Build, Client
from benchmarks.load.place import FAILING, GATE, PASSING, PROJECT, Gearmand, Place, Worker, place, running
from demo.services import LOOPBACK
from demo.tools import DemoError

Event = tuple[int, Callable[[], None]]
"""What is done once so many builds have ended."""
SETTLED = 20
"""So many jobs a process has ended before its memory is looked at for the first time."""
GROWTH_LIMIT = 0.10
"""How much that may grow, or shrink, to the end."""
_GATES = 5  # one build in so many is a real one
_CALM = 0.4  # the share of the load after which no worker is killed any more, so that some live to be measured
_SILENCE = 1200.0
_LOOK = 0.2


@dataclass
class Memory:
    """The resident memory of one process, in bytes, when it was settled and now."""

    settled: int = 0
    now: int = 0
    jobs: int = 0

    @property
    def growth(self) -> float:
        """By which share it has grown."""
        return self.now / self.settled - 1 if self.settled else 0.0


@dataclass
class Figures:
    """What has come of it."""

    builds: int
    seconds: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)
    zeros: dict[str, int] = field(default_factory=dict)
    memory: dict[str, Memory] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    @property
    def failures(self) -> list[str]:
        """What is not as it has to be."""
        found = [f"{name}: {count}" for name, count in self.zeros.items() if count]
        for name, memory in self.memory.items():
            if abs(memory.growth) > GROWTH_LIMIT:
                found.append(f"the memory of {name} has changed by {memory.growth:+.0%}")
        return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the load; return 0 when all is as it has to be, 1 when something is not, 3 when it could not be run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description="Workers under load and chaos.")
    parser.add_argument("--jobs", type=int, default=200, help="builds (default 200)")
    parser.add_argument("--workers", type=int, default=4, help="worker processes (default 4)")
    parser.add_argument("--slots", type=int, default=2, help="slots of each (default 2)")
    parser.add_argument("--kills", type=int, default=20, help="how often a worker is killed (default 20)")
    parser.add_argument("--hits", type=int, default=20, help="how often a process of a job is killed (default 20)")
    parser.add_argument("--restarts", type=int, default=3, help="how often gearmand is restarted (default 3)")
    parser.add_argument("--seed", type=int, default=0, help="of what is left to chance (default 0)")
    parser.add_argument("--keep", action="store_true", help="leave the folder with all logs")
    options = parser.parse_args(arguments)
    root = Path(tempfile.mkdtemp(prefix="th-load-"))
    try:
        figures = _measure(root, options)
    except (DemoError, OSError) as error:
        print(f"benchmarks.load: {error} ({root} is left)", file=sys.stderr)
        return 3
    print(_as_text(figures))
    for failure in [*figures.failures, *figures.wrong]:
        print(f"benchmarks.load: {failure}", file=sys.stderr)
    if figures.failures or options.keep:
        print(f"benchmarks.load: the logs are in {root}", file=sys.stderr)
    else:
        shutil.rmtree(root)
    return 1 if figures.failures else 0


def _builds(place: Place, count: int, chance: random.Random) -> list[Build]:
    """What is asked for: mostly short jobs, some real ones; a tenth is stopped."""
    builds = []
    for number in range(count):
        arguments = {
            "ZUUL_PROJECT": PROJECT, "ZUUL_PIPELINE": "check", "ZUUL_URL": place.git_url, "ZUUL_VOTING": "1",
            "ZUUL_BRANCH": "master", "ZUUL_CHANGE": str(number + 1), "ZUUL_PATCHSET": "1",
            "BASE_LOG_PATH": f"{number % 100:02}/{number + 1}/1",
        }  # fmt: skip
        good = number % 2 == 0
        ref, commit = place.changes["good" if good else "bad"]
        arguments |= {"ZUUL_REF": ref, "ZUUL_COMMIT": commit}
        if number % _GATES == 0:
            function, wanted = GATE, "SUCCESS" if good else "FAILURE - Migration 2->3 failed to complete"
        else:
            function, wanted = (PASSING, "SUCCESS") if good else (FAILING, "FAILURE")
        stop = chance.uniform(0, 3) if number % 10 == 3 else None
        builds.append(Build(f"build:{function}", arguments, wanted, stop))
    chance.shuffle(builds)
    return builds


def _events(
    options: argparse.Namespace, workers: Sequence[Worker], gearmand: Gearmand, hit: Callable[[], None]
) -> list[Event]:
    """What happens, each once so many builds have ended. The last worker is killed by nobody."""
    victims = workers[:-1] or workers
    calm = options.jobs * _CALM
    events: list[Event] = [
        (int(calm * (number + 1) / (options.kills + 1)), victims[number % len(victims)].kill)
        for number in range(options.kills)
    ]
    for action, count in ((gearmand.restart, options.restarts), (hit, options.hits)):
        events += [(int(options.jobs * (number + 1) / (count + 1)), action) for number in range(count)]
    return sorted(events, key=lambda event: event[0])


def _measure(root: Path, options: argparse.Namespace) -> Figures:
    chance = random.Random(options.seed)  # noqa: S311 - no secret
    with ExitStack() as stack:
        there = stack.enter_context(place(root))
        gearmand = Gearmand(there)
        workers = [Worker(there, number, options.slots) for number in range(options.workers)]
        stack.enter_context(running(workers, gearmand))
        client = Client(LOOPBACK, there.gearman_port)
        stack.callback(client.shutdown)
        builds = _builds(there, options.jobs, chance)
        figures = Figures(len(builds))
        hits: Counter[bool] = Counter()

        def hit() -> None:
            hits[there.hit(chance)] += 1

        begun = time.monotonic()
        for build in builds:
            client.launch(build)
        _wait(client, builds, _events(options, workers, gearmand, hit), workers, figures)
        figures.seconds = time.monotonic() - begun
        statuses = [worker.stop() for worker in workers]
        figures.counts = {
            "workers killed": sum(worker.kills for worker in workers),
            "gearmand restarted": gearmand.restarts,
            "ansible-playbook, mariadbd killed": hits[True],
            "stops sent": client.counts["stops"],
            "builds canceled": client.counts["canceled"],
            "launched again: lost": client.counts["lost"],
            "launched again: no result": client.counts["given back"],
        }
        figures.wrong = client.wrong
        figures.zeros = {
            "builds without a result": sum(build.result is None for build in builds),
            "launches that ended twice": client.twice() + client.counts["ended after all"],
            "wrong verdicts": len(client.wrong),
            "workers that did not end well": sum(status != 0 for status in statuses),
            **{f"{name} left": count for name, count in there.left().items()},
        }
        return figures


def _wait(
    client: Client,
    builds: Sequence[Build],
    events: list[Event],
    workers: Sequence[Worker],
    figures: Figures,
) -> None:
    """Look after it until every build has a result."""
    ended, changed = 0, time.monotonic()
    while ended < len(builds):
        client.tend()
        now = sum(build.result is not None for build in builds)
        if now > ended:
            ended, changed = now, time.monotonic()
            _say(f"{ended}/{len(builds)}")
        if time.monotonic() - changed > _SILENCE:
            raise DemoError(f"nothing has ended for {_SILENCE:g} s")
        while events and events[0][0] <= ended:
            events.pop(0)[1]()
        _look(workers, figures)
        time.sleep(_LOOK)


def _look(workers: Sequence[Worker], figures: Figures) -> None:
    for worker in workers:
        jobs, memory = worker.look()
        if jobs >= SETTLED:
            seen = figures.memory.setdefault(f"worker {worker.number} (process {worker.pid})", Memory(memory))
            seen.now, seen.jobs = memory, jobs


def _say(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{text}", end="", file=sys.stderr, flush=True)


def _as_text(figures: Figures) -> str:
    lines = [f"{figures.builds} builds in {figures.seconds:.0f} s", ""]
    for title, counts in (("What was done to them", figures.counts), ("What has to be zero", figures.zeros)):
        lines += [title, *(f"    {name:34}{count:6}" for name, count in counts.items()), ""]
    lines.append(f"Memory after {SETTLED} jobs, and at the end")
    for name, memory in figures.memory.items():
        size = f"{memory.settled / 1e6:6.1f} MB  {memory.now / 1e6:6.1f} MB"
        lines.append(f"    {name:34}{size}  {memory.growth:+.1%}  ({memory.jobs} jobs)")
    if not figures.memory:
        lines.append("    no process has ended so many")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
"""What a task costs whose module is a role's of ours, and what if Ansible packed it: ``python -m benchmarks.tasks``.

Both run the same playbook, in turns: one module, many times. What Ansible takes to start is taken off.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from demo.tools import DemoError, run

CHECKOUT = Path(__file__).resolve().parent.parent
ROLES = CHECKOUT / "roles"
PROGRAM = Path(sys.executable).parent / "ansible-playbook"
TASKS = 10
RUNS = 5
LIMIT = 0.3
"""How much of the processor time of a packed module one may take that is not."""


@dataclass(frozen=True)
class Cost:
    """Seconds of wall and of processor time."""

    seconds: float
    processor: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return 0, or 1 when packing would not cost clearly more."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tasks", description="A task of ours, and packed.")
    parser.add_argument("--runs", type=int, default=RUNS, help=f"measured runs of each side (default {RUNS})")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="th-benchmark-") as folder:
        try:
            figures = measure(Path(folder), options.runs)
        except DemoError as error:
            print(f"benchmarks.tasks: {error}", file=sys.stderr)
            return 3
    ratio = figures["in place"].processor / figures["packed"].processor
    if options.json:
        print(json.dumps({name: vars(cost) for name, cost in figures.items()} | {"ratio": ratio}))
    else:
        for name, cost in figures.items():
            print(f"{name:10} {cost.seconds * 1000:5.0f} ms a task, of the processor {cost.processor * 1000:5.0f} ms")
        print(f"{'ratio':10} {ratio:5.2f} of the processor time, at most {LIMIT} is expected")
    return int(ratio > LIMIT)


def measure(folder: Path, runs: int, tasks: int = TASKS) -> dict[str, Cost]:
    """The medians of a task, run in place and packed, from plays of so many tasks. DemoError when a play fails."""
    (folder / "nothing").mkdir()
    plugins = {"in place": ROLES / "project" / "action_plugins", "packed": folder / "nothing"}
    playbooks = {count: folder / f"{count}.yaml" for count in (0, tasks)}
    for count, path in playbooks.items():
        task = {"name": "Stop no server", "stop_servers": {"job_dir": str(folder)}}
        play = {"hosts": "localhost", "gather_facts": False, "tasks": [task] * count}
        path.write_text(json.dumps([play]))
    _timed(playbooks[tasks], plugins["in place"])  # what is not compiled yet, is now
    taken: dict[str, list[Cost]] = {name: [] for name in plugins}
    for _ in range(runs):
        empty = _timed(playbooks[0], plugins["packed"])
        for name, path in plugins.items():
            full = _timed(playbooks[tasks], path)
            cost = Cost((full.seconds - empty.seconds) / tasks, (full.processor - empty.processor) / tasks)
            taken[name].append(cost)
    return {
        name: Cost(
            statistics.median(cost.seconds for cost in costs),
            statistics.median(cost.processor for cost in costs),
        )
        for name, costs in taken.items()
    }


def _timed(playbook: Path, plugins: Path) -> Cost:
    environment = {
        "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
        "ANSIBLE_LIBRARY": str(ROLES / "run_migrations" / "library"),
        "ANSIBLE_ACTION_PLUGINS": str(plugins),
    }
    began, before = time.monotonic(), _used()
    run([PROGRAM, "-i", CHECKOUT / "inventory" / "hosts.yaml", playbook], environment=environment)
    return Cost(time.monotonic() - began, _used() - before)


def _used() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    sys.exit(main())

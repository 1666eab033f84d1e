# SPDX-License-Identifier: Apache-2.0
"""A job on another engine beside the same job on the machine's own server: ``python -m benchmarks --engine NAME``."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from demo import dataset, engines, project, services, zuul
from demo.project import Change
from demo.tools import DemoError, Say, alone

PARTS = ("job", "restore", "walk")
"""What is compared: the whole job, restoring the dataset from its snapshot, and walking the migrations."""


@dataclass(frozen=True)
class Seconds:
    """How long one job took, and its parts."""

    job: float
    restore: float
    walk: float


@dataclass(frozen=True)
class Comparison:
    """The runs of the same job on two engines, by name; of the second, `version` is what its server prints."""

    runs: dict[str, Sequence[Seconds]]
    version: str

    def median(self, engine: str, part: str) -> float:
        """The median of a part's seconds."""
        return float(statistics.median(getattr(one, part) for one in self.runs[engine]))

    def ratio(self, part: str) -> float:
        """How many times as long a part takes on the second engine as on the first."""
        first, second = self.runs
        return self.median(second, part) / self.median(first, part)

    def as_text(self) -> str:
        """The figures for people."""
        first, second = self.runs
        number = len(self.runs[first])
        lines = [f"The demo's job on {second} ({self.version}) and on {first}, medians of {number} runs each:"]
        for part in PARTS:
            seconds = f"{self.median(second, part):.1f} s / {self.median(first, part):.1f} s"
            lines.append(f"  {part:<8} {self.ratio(part):.2f}   ({seconds})")
        return "\n".join(lines)

    def as_json(self) -> str:
        """The figures for programs."""
        medians = {name: {part: self.median(name, part) for part in PARTS} for name in self.runs}
        ratios = {part: self.ratio(part) for part in PARTS}
        return json.dumps({"version": self.version, "seconds": medians, "ratios": ratios}, indent=2)


def compare(work: Path, name: str, runs: int, say: Say) -> Comparison:
    """Run the demo's good change on both engines in turn. DemoError when a job does not end with SUCCESS."""
    with ExitStack() as stack:
        stack.enter_context(alone(work))
        repository = project.build(work / "git", work / "downloads", say)
        change = next(change for change in repository.changes if change.name == "good")
        url = stack.enter_context(services.git_server(repository.base))
        workers, version = {}, ""
        for one in (engines.SYSTEM, name):
            engine = engines.get(one, say)
            version = engines.version(engine)
            folder = dataset.folder_of(work, engine)
            data = dataset.build(folder, repository, work / "packages", engine, 1.0, say)
            workers[one] = stack.enter_context(services.worker(work, data, beside=one))
        found: dict[str, list[Seconds]] = {one: [] for one in workers}
        for number in range(runs + 1):  # the first fills the caches
            for one, worker in workers.items():
                seconds = _job(worker.gearman, change, url)
                say(f"{one}: {'warming up' if number == 0 else f'run {number} of {runs}'}: {seconds.job:.1f} s")
                if number:
                    found[one].append(seconds)
        return Comparison({one: tuple(seconds) for one, seconds in found.items()}, version)


def _job(gearman: str, change: Change, url: str) -> Seconds:
    answer = zuul.submit(gearman, zuul.arguments(change, url))
    folder = zuul.published(answer)
    if answer.result != "SUCCESS" or folder is None:
        raise DemoError(f"the worker's answer is not SUCCESS but {answer.result!r}: {answer.url}")
    (restored,) = (json.loads(path.read_text()) for path in (folder / "artifacts").glob("dataset-*.json"))
    (walked,) = (folder / "artifacts").glob("walk-*.jsonl")
    times = [_time(event) for line in walked.read_text().splitlines() if (event := json.loads(line))]
    job = float(json.loads((folder / "result.json").read_text())["seconds"])
    return Seconds(job, restored["seconds"]["clone"] + restored["seconds"]["start"], times[-1] - times[0])


def _time(event: dict[str, str]) -> float:
    return datetime.fromisoformat(event["at"]).timestamp()

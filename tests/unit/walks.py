# SPDX-License-Identifier: Apache-2.0
"""The recorded cases: a folder each, with artifacts and what they have to mean."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from worker.verdict import Problem, Verdict, artifacts, decide

FOLDER = Path(__file__).resolve().parents[1] / "data" / "walks"


@dataclass(frozen=True)
class Case:
    """A case; `expected` is what its expected.json holds."""

    folder: Path
    expected: dict[str, Any]

    @property
    def name(self) -> str:
        return self.folder.name

    def verdict(self) -> Verdict:
        job = self.expected["job"]
        read = artifacts.read(self.folder / "artifacts")
        said = [Problem(item["code"], item["detail"]) for item in job.get("worker", [])]
        return decide.decide(replace(read, problems=(*read.problems, *said)), job["datasets"])


def case(name: str) -> Case:
    folder = FOLDER / name
    return Case(folder, json.loads((folder / "expected.json").read_text()))


CASES = [case(path.name) for path in sorted(FOLDER.iterdir())]

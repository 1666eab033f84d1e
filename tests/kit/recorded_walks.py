# SPDX-License-Identifier: Apache-2.0
"""The recorded cases: a folder each, with artifacts and what they have to mean.

Most differ in a file or two: `base` of an expected.json names the artifacts that are those of tests/data/walk_base.
"""

import atexit
import functools
import json
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from worker.verdict import Problem, Verdict, artifacts, decide

DATA = Path(__file__).resolve().parents[1] / "data"
FOLDER = DATA / "walks"
BASE = DATA / "walk_base"


@functools.cache
def _whole() -> Path:
    """Where the cases' artifacts are put together, for as long as this process lives."""
    folder = tempfile.mkdtemp(prefix="walks-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


@dataclass(frozen=True)
class Case:
    """A case; `expected` is what its expected.json holds."""

    folder: Path
    expected: dict[str, Any]

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def artifacts(self) -> Path:
        """A folder with all artifacts of the case. It is of all tests: nobody writes to it."""
        whole = _whole() / self.name
        if not whole.exists():
            own = self.folder / "artifacts"
            if own.exists():
                shutil.copytree(own, whole, symlinks=True)
            for name in self.expected.get("base", []):
                whole.mkdir(exist_ok=True)
                shutil.copy(BASE / name, whole)
        return whole

    def verdict(self) -> Verdict:
        job = self.expected["job"]
        read = artifacts.read(self.artifacts)
        said = [Problem(item["code"], item["detail"]) for item in job.get("worker", [])]
        return decide.decide(replace(read, problems=(*read.problems, *said)), job["datasets"])


def case(name: str) -> Case:
    folder = FOLDER / name
    return Case(folder, json.loads((folder / "expected.json").read_text()))


CASES = [case(path.name) for path in sorted(FOLDER.iterdir())]

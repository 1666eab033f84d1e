# SPDX-License-Identifier: Apache-2.0
"""`th` that tries nothing again, in copies of one process that has imported all of it: that is most of its start."""

import json
import select
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.kit.installation import PATIENCE

COPIES = """
import json, os, sys
import ansible_runner
from worker import job, verdict
from worker.cli import check, history, init, run, status, submit, trial
from worker.cli.main import th
from worker.report import render

render._template()
job.RETRY_PAUSE = 0.0
verdict.Verdict.may_retry = False
for line in sys.stdin:
    words, *files = json.loads(line)
    child = os.fork()
    if not child:
        for number, name in enumerate([os.devnull, *files]):
            os.dup2(os.open(name, os.O_RDWR | os.O_CREAT), number)
        sys.argv[:] = ["th", *words]
        sys.exit(th())
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Copies:
    """The process. An infrastructure failure would be the same, a job later, so nothing is tried again."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", COPIES], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run `th` in a copy, to its end."""
        assert self._process.stdin and self._process.stdout
        with tempfile.TemporaryDirectory() as folder:
            files = [Path(folder, name) for name in ("stdout", "stderr")]
            self._process.stdin.write(json.dumps([list(words), *map(str, files)]) + "\n")
            self._process.stdin.flush()
            ready, _, _ = select.select([self._process.stdout], [], [], PATIENCE)
            assert ready, f"th {' '.join(words)} does not end"
            status = int(self._process.stdout.readline())
            return subprocess.CompletedProcess(words, status, *(file.read_text() for file in files))

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=PATIENCE)

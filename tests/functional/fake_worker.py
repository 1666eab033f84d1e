# SPDX-License-Identifier: Apache-2.0
"""A th-worker whose jobs wait: `python -m tests.functional.fake_worker -c CONFIG ...`.

A job ends when it is canceled, or with SUCCESS once there is a file `go/<its id>` beside the configuration.

With TH_TEST_DEAF set it does not even end when it is canceled, and the worker waits for it so many seconds. With
TH_TEST_CHILD set it has a folder and a process of its own, as a real one has. With TH_TEST_DEAD_SLOT
set the thread of each slot dies.
"""

import contextlib
import os
import queue
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from tests.kit.service import FakeJob
from worker import builds, service
from worker.cli import main
from worker.config import Config, JobEntry
from worker.gearman import slots
from worker.job_dir import MARKER, JobDir
from worker.progress import Progress
from worker.request import Request


class WaitingJob(FakeJob):
    def __init__(self, config: Config, request: Request, observer: Callable[[Progress], None]) -> None:
        super().__init__(request, observer)
        self.config = config

    def run(self) -> Any:
        self.observer(Progress("run_migrations", 50, "waiting"))
        with contextlib.ExitStack() as stack:
            if "TH_TEST_CHILD" in os.environ:
                folder = stack.enter_context(JobDir(self.config.jobs_working_dir, self.request.id))
                subprocess.Popen(["sleep", "600"], env={**os.environ, MARKER: str(folder.root)})
            while True:
                with contextlib.suppress(queue.Empty):
                    return self._orders.get(timeout=0.05)
                if (self.config.path.parent / "go" / self.request.id).exists():
                    self.end("SUCCESS")


class DeafJob(FakeJob):
    def run(self) -> Any:
        self.observer(Progress("run_migrations", 50, "deaf"))
        return super().run()

    def cancel(self, reason: str) -> None:
        pass


def make(config: Config, entry: JobEntry, request: Request, observer: Callable[[Progress], None]) -> Any:
    if "TH_TEST_DEAF" in os.environ:
        return DeafJob(request, observer)
    return WaitingJob(config, request, observer)


if __name__ == "__main__":
    assert service.serve.__defaults__ == (builds.make_job,)
    service.STOP_PATIENCE = float(os.environ.get("TH_TEST_DEAF", service.STOP_PATIENCE))
    if "TH_TEST_DEAD_SLOT" in os.environ:
        slots.Slots._loop = lambda *_: None  # type: ignore[method-assign]
    service.serve = partial(service.serve, factory=make)  # type: ignore[assignment]
    sys.exit(main.th_worker())

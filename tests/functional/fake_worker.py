# SPDX-License-Identifier: Apache-2.0
"""A th-worker whose jobs wait until they are canceled: `python -m tests.functional.fake_worker -c CONFIG ...`.

With TH_TEST_DEAF set they do not even end then, and the worker waits for them so many seconds. With TH_TEST_DEAD_SLOT
set the thread of each slot dies.
"""

import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from tests.functional.support import FakeJob
from worker import builds, service, slots
from worker.cli import main
from worker.config import Config, JobEntry
from worker.progress import Progress
from worker.request import Request


class DeafJob(FakeJob):
    def run(self) -> Any:
        self.observer(Progress("run_migrations", 50, "deaf"))
        return super().run()

    def cancel(self, reason: str) -> None:
        pass


def make(config: Config, entry: JobEntry, request: Request, observer: Callable[[Progress], None]) -> Any:
    return (DeafJob if "TH_TEST_DEAF" in os.environ else FakeJob)(request, observer)


if __name__ == "__main__":
    assert service.serve.__defaults__ == (builds.make_job,)
    service.STOP_PATIENCE = float(os.environ.get("TH_TEST_DEAF", service.STOP_PATIENCE))
    if "TH_TEST_DEAD_SLOT" in os.environ:
        slots.Slots._loop = lambda *_: None  # type: ignore[method-assign]
    service.serve = partial(service.serve, factory=make)  # type: ignore[assignment]
    sys.exit(main.th_worker())

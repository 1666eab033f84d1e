# SPDX-License-Identifier: Apache-2.0
"""Reports one build to Zuul (docs/zuul.md says what Zuul requires, and why).

It sends WORK_DATA that identifies the build, then WORK_STATUS; both again after changes; and at the end WORK_DATA with
the result and, whatever happens, exactly one WORK_COMPLETE or WORK_FAIL.
"""

import contextvars
import socket
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from worker.gearman.client import Task
from worker.progress import Progress
from worker.verdict import result_text
from worker.version import version

SEND_SECONDS = 1.0
"""The minimum seconds between two reports of changes, so that a job with many short steps does not flood the client."""

_MOST_MESSAGES = 100
_SUCCESS = "SUCCESS"


def worker_facts(manager: str) -> dict[str, str]:
    """The fields that Zuul shows about a worker. `manager` is the name in its stop function."""
    host = socket.gethostname()
    return {
        "manager": manager,
        "worker_name": manager,
        "worker_hostname": host,
        "worker_program": "turbo-hipster",
        "worker_version": version(),
    }


class Account:
    """The reports of one build. A separate thread sends them, so that a slow server never delays the job."""

    def __init__(self, task: Task, facts: Mapping[str, str]) -> None:
        self._task = task
        self._data: dict[str, Any] = dict(facts)
        self._percent = 0
        self._sent: tuple[dict[str, Any], int] | None = None
        self._lock = threading.Lock()
        self._ended = threading.Event()

    def begin(self, url: str = "") -> None:
        """Send the first packets, and keep sending changes. `url` is where the results will be, "" if nowhere."""
        self._data["url"] = result_text.url(url)
        self._send_changes()
        context = contextvars.copy_context()  # so that the thread's log messages name this build
        threading.Thread(target=context.run, args=(self._keep_sending,), name="account", daemon=True).start()

    def progress(self, progress: Progress) -> None:
        """Note the progress of the job."""
        with self._lock:
            self._data["progress"] = progress.text or progress.stage
            self._percent = max(self._percent, min(progress.percent, 100))

    def end(self, result: str | None, url: str, messages: Sequence[str]) -> None:
        """Send the result and the final packet. None means no result: Zuul then launches the build again."""
        with self._lock:
            self._data.update(url=result_text.url(url), messages=list(messages)[:_MOST_MESSAGES])
            self._data.pop("progress", None)
            self._percent = 100
            if sent := result_text.result(result):
                self._data["result"] = sent
        self._ended.set()
        self._send_changes()
        if result == _SUCCESS:
            self._task.complete()
        else:
            self._task.fail()

    def _keep_sending(self) -> None:
        while not self._ended.wait(SEND_SECONDS):
            self._send_changes()

    def _send_changes(self) -> None:
        with self._lock:
            sent, now = self._sent, (dict(self._data), self._percent)
            self._sent = now
            # The lock is held while sending, so that packets stay in order. WORK_DATA must come first: Zuul would
            # start a build twice if its first packet were WORK_STATUS.
            if sent is None or sent[0] != now[0]:
                self._task.data(now[0])
            if sent is None or sent[1] != now[1]:
                self._task.status(now[1], 100)

# SPDX-License-Identifier: Apache-2.0
"""One playbook through ansible-runner: the only module that knows that library.

Three of its habits are worked around here. Without a cancel callback it replaces the signal handlers of the
process; in a used private folder the first call's settings win over later ones; and what it kills is Ansible
alone, not what Ansible has started, which is the caller's to end (`jobdir.JobDir.end_processes`).
"""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import ansible_runner

from worker.inputs import untrusted
from worker.task_clock import TaskClock
from worker.verdict.run_times import RunTimes

_log = logging.getLogger(__name__)

POLL_SECONDS = 1
BY_HAND = "verdict"
"""The tag of tasks for manual runs only: the worker computes the verdict itself, from the same files."""
TASK_FAILED = 2
"""The exit status of ansible-playbook when a task has failed; others mean that the playbook itself is broken."""


@dataclass(frozen=True)
class PlaybookRun:
    """How a playbook ended: `status` is ``successful``, ``failed``, ``canceled`` or ``timeout``.

    `task` and `message` are of the task that failed last, if one did. `times` is how long its tasks took.
    """

    status: str
    rc: int
    task: str = ""
    message: str = ""
    times: RunTimes | None = None


_FAILURES = ("runner_on_failed", "runner_item_on_failed", "runner_on_unreachable")
_OF_A_LOOP = "One or more items failed"


_OF_VARIABLES = ("validate_argument_spec", "ansible.builtin.validate_argument_spec")
_OF_ORDER = tuple(
    f"{space}{name}"
    for space in ("", "ansible.builtin.")
    for name in ("meta", "set_fact", "include_tasks", "include_role")
)
"""Actions of tasks that only control other tasks, and are not progress of a job."""
_PRINTED = ("stderr", "module_stderr", "stdout", "module_stdout")
_TAIL = 1500
_LONGEST_MESSAGE = 4000


def failure_text(result: Mapping[str, Any]) -> str:
    """What a failed task says: its message and, of a program that it has run, the end of what that printed.

    The first line says most: of a message such as "non-zero return code", it has the last line that was printed.
    """
    message = str(result.get("msg", "") or result.get("censored", ""))
    parts = {name: str(result.get(name) or "").strip() for name in _PRINTED}
    printed = {name: text for name, text in parts.items() if text and text not in message}
    if not printed:
        return message[:_LONGEST_MESSAGE]
    last = next(iter(printed.values())).splitlines()[-1].strip()
    first, _, rest = message.partition("\n")
    lines = [f"{first}: {last[:300]}" if first else last[:300], *([rest] if rest else [])]
    for name, text in printed.items():
        kept = text if len(text) <= _TAIL else f"... {text[-_TAIL:]}"
        lines.append(f"{name.removeprefix('module_')}:\n{kept}")
    return "\n".join(lines)[:_LONGEST_MESSAGE]


class _Events:
    """The callbacks of ansible-runner; they are called for every event, and therefore small."""

    def __init__(self, log: IO[str], on_task: Callable[[str, str], None]) -> None:
        self._log, self._on_task = log, on_task
        self.clock = TaskClock()
        self._unwritten = False
        self._header = ""
        self.task = self.message = self.error = ""

    def handle(self, event: Mapping[str, Any]) -> bool:
        """Log an event's text and report tasks; False keeps the event from being stored once more."""
        kind, data = event.get("event"), event.get("event_data", {})
        failed = kind in _FAILURES and not data.get("ignore_errors")
        checks_variables = data.get("task_action") in _OF_VARIABLES
        if text := event.get("stdout"):
            # that variables are as they should be is nothing that a reader looks for
            if not checks_variables:
                self._write(text)
            elif failed:
                self._write(f"{self._header}\n{text}")
            else:
                self._header = text
        role, task = str(data.get("role", "")), str(data.get("task", ""))
        if kind == "error":  # of a playbook that is none: there is no task to fail
            self.error = str(event.get("stdout", "")).strip().removeprefix("[ERROR]: ")[:_LONGEST_MESSAGE]
        elif kind == "playbook_on_task_start":
            self.clock.begin(str(data.get("play", "")), role, task, str(data.get("task_action", "")))
            if not checks_variables:
                self._on_task(role, "" if data.get("task_action") in _OF_ORDER else task)
        elif failed:
            task = f"the variables of the role {role}" if checks_variables else task
            message = failure_text(data.get("res", {}))
            # behind the failures of its items, a loop fails with a message that says nothing
            if not (self.message and task == self.task and message == _OF_A_LOOP):
                self.task, self.message = task, message
        return False

    def _write(self, text: str) -> None:
        if self._unwritten:
            return
        try:
            # lines end with what the terminal of Ansible has made of a newline
            clean = "\n".join(line.rstrip("\r").replace("\r", "\n") for line in text.split("\n"))
            self._log.write(untrusted.text(clean, len(clean)) + "\n")
            self._log.flush()
        except OSError as error:
            # a full disk: what Ansible prints is no evidence, and the playbook goes on
            _log.warning("what Ansible prints cannot be written: %s", error.strerror)
            self._unwritten = True


def run(
    playbook: Path,
    *,
    ansible_dir: Path,
    job_yaml: Path,
    private_dir: Path,
    environment: Mapping[str, str],
    temporary: Path,
    log: Path,
    time_limit: int,
    canceled: Callable[[], bool],
    on_task: Callable[[str, str], None],
) -> PlaybookRun:
    """Run a playbook to its end, its time limit (seconds) or until `canceled` says so (asked about once a second).

    `private_dir` must be fresh; `temporary` is for the temporary files of Ansible and its modules.
    `on_task` gets the role and the name of each task as it begins; "" is one that only arranges the others.
    """
    with _closing(open(log, "a", encoding="utf-8", errors="replace", opener=_not_through_links)) as stream:
        events = _Events(stream, on_task)
        result = ansible_runner.run(
            private_data_dir=str(private_dir),
            project_dir=str(ansible_dir),
            playbook=str(playbook),
            inventory=str(ansible_dir / "inventory" / "hosts.yaml"),
            # in a file of 0600, not on the command line, where everybody could read it
            cmdline=shlex.join(["-e", f"@{job_yaml}", "--skip-tags", BY_HAND]),
            envvars={**_ansible_environment(ansible_dir, temporary), **environment},
            settings={"job_timeout": time_limit, "pexpect_timeout": POLL_SECONDS},
            ident="run",
            quiet=True,
            event_handler=events.handle,
            cancel_callback=canceled,
        )
    times = events.clock.end()
    if result.status != "failed":
        return PlaybookRun(result.status, result.rc, times=times)
    return PlaybookRun(result.status, result.rc, events.task, events.message if events.task else events.error, times)


@contextlib.contextmanager
def _closing(stream: IO[str]) -> Iterator[IO[str]]:
    """The stream, closed in the end; what could not be written does not fail once more then."""
    try:
        yield stream
    finally:
        with contextlib.suppress(OSError):
            stream.close()


def _not_through_links(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o644)


def _ansible_environment(ansible_dir: Path, temporary: Path) -> dict[str, str]:
    # the Ansible that is installed beside us, whatever else is on the PATH of the service
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {
        "PATH": path,
        "ANSIBLE_CONFIG": str(ansible_dir / "ansible.cfg"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_FORCE_COLOR": "0",
        # what is killed removes none of them
        **dict.fromkeys(("TMPDIR", "ANSIBLE_LOCAL_TEMP", "ANSIBLE_REMOTE_TEMP"), str(temporary)),
    }

# SPDX-License-Identifier: Apache-2.0
"""What the walking programs share: the talk with the measuring side, and running a project's own command.

A walking program runs in the project's own environment, one stage a process, and waits before every migration until
the measuring side has read the server's counters. The two speak JSON, one object a line, over the socket whose
descriptor is the only argument:

    measuring side                         walking side
    {"target": [...], "command": [...], …}
                                           {"plan": [["from", "to"], ...], ...}
    {"go": 0}
                                           {"done": 0}
    {"seen": 0}
    ...
                                           {"end": true}   or   {"error": {...}}

There may be several plans in one process, each when the migrations of the one before are done; steps are counted on.
Everything here runs beside code of the change under test, so nothing that is said is evidence. It must run with
whatever Python (3.6 or later) the project has.
"""

import contextlib
import json
import os
import runpy
import shutil
import socket
import sys
import traceback


class Failure(Exception):  # noqa: N818 - a reason, not always an error
    """A reason to end the walk that is no exception of the project's; `code` is what the measuring side calls it."""

    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


class Stepper:
    """The talk with the measuring side. `request` is what it has asked for.

    `raised` is what a migration has raised last, which a program of the project's may have kept to itself.
    """

    def __init__(self, descriptor):
        self._channel = socket.socket(fileno=descriptor).makefile("rw", encoding="utf-8")
        self._count = 0
        self.raised = None
        self.request = json.loads(self._channel.readline())

    def say(self, **message):
        """Send one message."""
        self._channel.write(json.dumps(message) + "\n")
        self._channel.flush()

    def plan(self, steps, **facts):
        """Announce the migrations that are to come, as (from, to); returns the number of the first."""
        self.raised = None
        first, self._count = self._count, self._count + len(steps)
        self.say(plan=[list(step) for step in steps], **facts)
        return first

    @contextlib.contextmanager
    def step(self, number):
        """Around one migration: waits until it may run, says that it is done, and waits until that was looked at."""
        self._wait_for({"go": number})
        yield
        self.say(done=number)
        self._wait_for({"seen": number})

    def _wait_for(self, message):
        if json.loads(self._channel.readline() or "null") != message:
            raise RuntimeError("the measuring side has gone")

    @contextlib.contextmanager
    def watching(self):
        """Around whatever runs migrations: remembers what is raised there."""
        try:
            yield
        except BaseException as error:
            self.raised = error
            raise


def main(walk):
    """Walk one stage with `walk(stepper)`; the exit status is 0 when it came to its end."""
    stepper = Stepper(int(sys.argv[1]))
    sys.path[0] = os.getcwd()
    error = None
    try:
        walk(stepper)
    except BaseException as found:
        error = found
    error = stepper.raised or error
    if error is None:
        stepper.say(end=True)
        return
    traceback.print_exception(type(error), error, error.__traceback__)
    sys.stderr.flush()
    stepper.say(error=describe(error, stepper.request["script_folders"]))
    raise SystemExit(1)


def run_command(argv):
    """Run a program of the project's, a Python script on PATH or ``python -m module``, in this process."""
    name, arguments = argv[0], argv[1:]
    path = shutil.which(name) or name
    module = os.path.basename(name).startswith("python") and arguments[:1] == ["-m"]
    if os.path.basename(name).startswith("python") and not module:
        path, arguments = arguments[0], arguments[1:]
    sys.argv = [path, *arguments]
    try:
        if module:
            sys.argv = arguments[1:]
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(path, run_name="__main__")
    except SystemExit as end:
        # a text is what Python would print, with status 1
        if end.code not in (None, 0):
            raise Failure("walk_failed", f"{os.path.basename(name)} ended with status {end.code}") from end


def describe(error, script_folders):
    """What is known of an exception: its message, and the innermost line of a migration that it passed."""
    if isinstance(error, Failure):
        return {"text": str(error)[:4000], "code": error.code, "import": False, "file": "", "line": 0}
    lines = "".join(traceback.format_exception_only(type(error), error)).strip().split("\n")
    passed = [frame[:2] for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError):  # its message comes last, and its file was never run
        lines.reverse()
        passed.append((error.filename or "", error.lineno or 0))
    # SQLAlchemy puts the statement on a line of its own behind the message
    text = " ".join([lines[0]] + [line[:500] for line in lines[1:] if line.startswith("[SQL: ")])
    place = next(
        (
            frame
            for frame in reversed(passed)
            if any(os.path.realpath(frame[0]).startswith(folder + os.sep) for folder in script_folders)
        ),
        None,
    )
    return {
        "text": text[:4000],
        "code": "",
        "import": isinstance(error, ImportError),
        "file": place[0] if place else "",
        "line": place[1] if place else 0,
    }

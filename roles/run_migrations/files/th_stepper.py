# SPDX-License-Identifier: Apache-2.0
"""What the walking programs share: the protocol with the measuring side, and running a project's own command.

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

There may be several plans in one process, each when the migrations of the previous one are done; steps are numbered
across plans. Everything here runs next to code of the change under test, so no message is evidence. It must run with
any Python (3.6 or later) that the project may use.
"""

import contextlib
import gc
import importlib
import json
import os
import runpy
import shutil
import socket
import sys
import traceback

SQL_LIMIT = 1000


class Failure(Exception):  # noqa: N818 - a reason, not always an error
    """A reason to end the walk other than an exception of the project; `code` is for the measuring side."""

    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


class Stepper:
    """The conversation with the measuring side. `request` is its first message.

    `raised` is the last exception of a migration, which the project's program may have swallowed; if the program then
    starts over, that exception ends the walk.
    """

    def __init__(self, descriptor):
        self._channel = socket.socket(fileno=descriptor).makefile("rw", encoding="utf-8")
        self._count = 0
        self._within = False
        self.raised = None
        self.request = json.loads(self._channel.readline())

    def send(self, **message):
        """Send one message."""
        self._channel.write(json.dumps(message) + "\n")
        self._channel.flush()

    def plan(self, steps, **facts):
        """Announce the next migrations as (from, to); returns the number of the first."""
        if self._within and self.raised is not None:
            self.report(self.raised)
            os._exit(1)
        self.raised = None
        first, self._count = self._count, self._count + len(steps)
        self.send(plan=[list(step) for step in steps], **facts)
        return first

    @contextlib.contextmanager
    def step(self, number):
        """Wraps one migration: waits until it may run, reports that it is done, and waits until that was measured."""
        self._wait_for({"go": number})
        self._within = True
        yield
        self._within = False
        self.send(done=number)
        self._wait_for({"seen": number})

    def _wait_for(self, message):
        if json.loads(self._channel.readline() or "null") != message:
            raise RuntimeError("the measuring side has gone")

    @contextlib.contextmanager
    def watching(self):
        """Wraps any code that runs migrations: remembers the exception that is raised there."""
        try:
            yield
        except BaseException as error:
            self.raised = error
            raise

    def report(self, error):
        """Report what ended the walk."""
        if not isinstance(error, Failure):
            traceback.print_exception(type(error), error, error.__traceback__)
        sys.stdout.flush()
        sys.stderr.flush()
        self.send(error=describe(error, self.request["script_folders"]))


def main(walk, *modules):
    """Walk one stage with `walk(stepper)`; the exit status is 0 when it came to its end.

    `modules` are imported from the environment before the checkout, which may have modules of the same name, is on the
    path.
    """
    stepper = Stepper(int(sys.argv[1]))
    error = None
    try:
        import_all(modules)
        sys.path[0] = os.getcwd()
        walk(stepper)
    except BaseException as found:
        error = found
    error = stepper.raised or error
    if error is None:
        stepper.send(end=True)
        return
    stepper.report(error)
    raise SystemExit(1)


def import_all(modules):
    """Import modules without garbage collection: the objects that they create stay for good."""
    gc.disable()
    try:
        for module in modules:
            importlib.import_module(module)
    finally:
        if hasattr(gc, "freeze"):  # Python 3.7
            gc.freeze()
        gc.enable()


def run_command(argv):
    """Run a program of the project's, a Python script on PATH or ``python -m module``, in this process."""
    name, arguments = argv[0], argv[1:]
    if os.path.basename(name).startswith("python") and arguments:
        name, arguments = arguments[0], arguments[1:]
    ended = None
    try:
        if name == "-m":
            name, sys.argv = arguments[0], arguments
            runpy.run_module(name, run_name="__main__", alter_sys=True)
        else:
            path = script(name)
            sys.argv, sys.path[0] = [path, *arguments], os.path.dirname(path)
            runpy.run_path(path, run_name="__main__")
    except SystemExit as end:
        ended = end
    if ended is not None and ended.code not in (None, 0):
        raise reason(os.path.basename(name), ended)


def reason(name, end):
    """Why a program exited: the exception that it was handling, as some programs do not report it."""
    if isinstance(end.code, str):  # Python would print it and exit with status 1
        return Failure("walk_failed", f"{name} ended with: {end.code}")
    if isinstance(end.__context__, Exception):
        return end.__context__
    return Failure("ended", f"{name} ended with status {end.code}")


def script(name):
    """The path of a Python script."""
    path = shutil.which(name) or os.path.abspath(name)
    if not os.path.isfile(path):
        raise Failure("walk_failed", f"there is no command {name} in the environment")
    with open(path, "rb") as stream:
        start = stream.read(200)
    if b"\0" in start or (start[:2] == b"#!" and b"python" not in start and b"exec" not in start):
        raise Failure("walk_failed", f"{name} is not written in Python: the walk cannot stop between its migrations")
    return path


def statement(error, lines):
    """The SQL statement that a database error is about, on one line; "" where it is not known."""
    found = getattr(error, "statement", None)  # SQLAlchemy's, which may have several lines
    if not isinstance(found, str):
        found = next((line[6:].rstrip("]") for line in lines[1:] if line.startswith("[SQL: ")), "")
    return " ".join(found.split())[:SQL_LIMIT]


def describe(error, script_folders):
    """An exception's message, and the innermost line of a migration in its traceback."""
    if isinstance(error, Failure):
        return {"text": str(error)[:4000], "code": error.code, "import": False, "file": "", "line": 0}
    lines = "".join(traceback.format_exception_only(type(error), error)).strip().split("\n")
    passed = [frame[:2] for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError):  # its message comes last, and its file is in no frame
        lines.reverse()
        passed.append((error.filename or "", error.lineno or 0))
    sql = statement(error, lines)
    text = lines[0] + (f" [SQL: {sql}]" if sql else "")
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

# SPDX-License-Identifier: Apache-2.0
"""Run a role's module in place: ``python run_module.py MODULE [ARGUMENTS]``.

MODULE is a path, ``roles/<role>/library/<name>.py``. ARGUMENTS, a file or standard input, are JSON:
``{"ANSIBLE_MODULE_ARGS": {…}}``; the result is JSON on standard output. Code that modules share is importable as under
Ansible, from `ansible.module_utils`.

Ansible itself, which has already imported what a module needs, runs it in a fork of its own process (`fork`).
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import runpy
import signal
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import ansible.module_utils
from ansible.module_utils import _internal, basic

HANDLED = (signal.SIGALRM, signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""Signals for which Ansible, or what started it, may have installed handlers."""


@dataclass(frozen=True)
class ModuleResult:
    """A module's exit status, like a shell's (128 plus the signal), and its output."""

    status: int
    stdout: bytes
    stderr: bytes


def main() -> None:
    """Run the module that the command line names."""
    sys.exit(run(sys.argv.pop(1)))


def run(module: str) -> int:
    """Run a module; returns its exit status. An exception is reported in the same way as by Ansible."""
    roles = Path(module).resolve().parents[2]
    ansible.module_utils.__path__.extend(map(str, sorted(roles.glob("*/module_utils"))))
    try:
        runpy.run_path(module, run_name="__main__")
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception as error:
        message = f"{type(error).__name__}: {error}"
        print(json.dumps({"failed": True, "msg": message, "exception": traceback.format_exc()}))
        return 1
    return 0


def fork(module: str, arguments: bytes, environment: Mapping[str, str]) -> ModuleResult:
    """Run a module in a fork of this process, and wait for it to end.

    However the fork ends, this process continues. It is in the same process group. Processes that it leaves running may
    keep its output open, and are not waited for.
    """
    stdout, stderr = (os.memfd_create(name, os.MFD_CLOEXEC) for name in ("stdout", "stderr"))
    try:
        child = os.fork()
        if not child:
            _become(module, arguments, environment, stdout, stderr)
        try:
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        except BaseException:  # a time limit of the task
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise
        return ModuleResult(status if status >= 0 else 128 - status, _content(stdout), _content(stderr))
    finally:
        os.close(stdout)
        os.close(stderr)


def _become(module: str, arguments: bytes, environment: Mapping[str, str], stdout: int, stderr: int) -> NoReturn:
    """Turn the fork into what a process started for the module would be."""
    status = 1
    try:
        for number in HANDLED:
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        atexit._clear()  # Ansible's handlers, which remove its temporary files
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (stdout, 1), (stderr, 2)):
            os.dup2(source, target)
        for file in map(int, os.listdir("/proc/self/fd")):
            if file > 2:
                with contextlib.suppress(OSError):  # the descriptor that the list was read from
                    os.close(file)
        sys.stdin = os.fdopen(0, closefd=False)
        sys.stdout, sys.stderr = (os.fdopen(file, "w", errors="backslashreplace", closefd=False) for file in (1, 2))
        os.environ.update(environment)
        sys.argv[:] = [module]
        _internal.is_controller = False
        basic._ANSIBLE_ARGS, basic._ANSIBLE_PROFILE = arguments, "legacy"
        status = run(module)
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)


def _content(file: int) -> bytes:
    with open(file, "rb", closefd=False) as reader:
        reader.seek(0)
        return reader.read()


if __name__ == "__main__":
    main()

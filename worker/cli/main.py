# SPDX-License-Identifier: Apache-2.0
"""The two console scripts. An error that a user can cause is reported as one line on stderr and an exit status."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from worker.config import config
from worker.errors import INTERRUPTED, TurboHipsterError
from worker.version import version


def th(argv: Sequence[str] | None = None) -> int:
    """The command `th`; returns its exit status."""
    from worker.cli import check, history, init, run, status, submit, verdict

    commands = {
        "run": run, "submit": submit, "status": status, "check": check, "init": init, "verdict": verdict,
        "history": history,
    }  # fmt: skip
    parser = argparse.ArgumentParser(prog="th", description="Runs and checks jobs of turbo-hipster by hand.")
    _add_version(parser)
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in commands.values():
        module.add_parser(subparsers)
    args = parser.parse_args(argv)
    return _guarded("th", lambda: commands[args.command].run(args))


def th_worker(argv: Sequence[str] | None = None) -> int:
    """The command `th-worker`, the service; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="th-worker",
        description="Takes jobs from Gearman and runs them, as many at once as `slots` of the configuration says.",
        epilog="SIGTERM: cancel what runs, and end. SIGUSR1: take no more, and end once nothing runs. SIGHUP: read "
        "the configuration again. `th status` says what it is doing.",
    )
    parser.add_argument(
        "-c",
        metavar="PATH",
        nargs="?",
        const="",
        default=str(config.DEFAULT_PATH),
        help=f"the configuration (default: {config.DEFAULT_PATH}); without PATH, print its path and exit",
    )
    _add_version(parser)
    parser.add_argument("-b", action="store_true", help="go to the background, and return once the worker is up")
    parser.add_argument("-p", metavar="PIDFILE", help="write the process's number to this file, and lock it")
    args = parser.parse_args(argv)
    if not args.c:
        print(config.DEFAULT_PATH)
        return 0
    return _guarded("th-worker", lambda: _serve(args))


def _add_version(parser: argparse.ArgumentParser) -> None:
    shown = f"turbo-hipster {version() or 'not installed'}"
    parser.add_argument("--version", action="version", version=shown, help="print the version and exit")


def _serve(args: argparse.Namespace) -> int:
    from worker import service

    pid_path = Path(args.p).absolute() if args.p else None
    return service.serve(config.load(Path(args.c)), pid_path, args.b)


def _guarded(name: str, command: Callable[[], int]) -> int:
    try:
        return command()
    except TurboHipsterError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of stdout has closed the pipe. Output that is still buffered must not raise at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0

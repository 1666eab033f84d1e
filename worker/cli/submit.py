# SPDX-License-Identifier: Apache-2.0
"""`th submit`: submit one job through Gearman, as Zuul would, and follow it to its end."""

import argparse
import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from worker import process
from worker.cli import arguments
from worker.cli.display import Display, display
from worker.config import tls
from worker.errors import INTERRUPTED, TurboHipsterError, UsageError
from worker.gearman.client import Event, Submitter
from worker.inputs import untrusted

NO_RESULT = 3
QUEUED_SECONDS = 3.0
"""Interval, in seconds, of the message that a job is still queued."""

_SSL = {"key": "our private key", "cert": "our certificate", "ca": "the CA that the server's certificate is from"}


def add_parser(subparsers: Any) -> None:
    """Add the command's parser."""
    parser = subparsers.add_parser("submit", help="run one job through Gearman, as Zuul would")
    parser.add_argument("--gearman", metavar="HOST:PORT", default="127.0.0.1:4730", help="the Gearman server")
    for part, what in _SSL.items():
        parser.add_argument(f"--ssl-{part}", metavar="PEM", type=Path, help=f"TLS: {what}; the three go together")
    parser.add_argument("--ssl-name", metavar="NAME", help="TLS: the name in the server's certificate (default: HOST)")
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=float, default=10.0, help="how long to wait for server and worker"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    arguments.add_options(parser, job_required=True)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    host, port = _address(args.gearman)
    name = args.job.removeprefix("build:")
    files = _files(args)
    given = arguments.zuul_arguments(args, name)
    # gear logs each attempt to connect with a traceback; a final failure is reported below
    logging.getLogger("gear").setLevel(logging.CRITICAL)
    submitter = Submitter(host, port, args.timeout, files)
    try:
        if not submitter.registered(f"build:{name}", args.timeout):
            raise UsageError(f"--job: no worker at {host}:{port} serves build:{name}; is it running?")
        submitter.submit(f"build:{name}", str(given["ZUUL_UUID"]), given)
        with display() as progress:
            data, last, interrupted = _follow(submitter, progress, f"build:{name}")
    finally:
        submitter.close()
    if last == "lost":
        raise TurboHipsterError("the Gearman server went away before the job ended; submit it again")
    result = data.get("result")
    _print(args.json, data, result)
    if interrupted:
        return INTERRUPTED
    return NO_RESULT if result is None else 0 if result == "SUCCESS" else 1


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise UsageError(f"--gearman: {text!r} is not HOST:PORT")
    return host.strip("[]"), int(port)


def _files(args: argparse.Namespace) -> tls.Files | None:
    given = {part: getattr(args, f"ssl_{part}") for part in tls.PARTS}
    if not args.ssl_name and not any(given.values()):
        return None
    for part, path in given.items():
        if path is None:
            raise UsageError(f"--ssl-{part}: is missing; --ssl-key, --ssl-cert and --ssl-ca go together")
    files = tls.Files(**given, name=args.ssl_name or "")
    try:
        files.check()
    except tls.FileError as error:
        raise UsageError(f"--ssl-{error.part}: {error.problem}; {error.remedy}") from error
    return files


def _follow(submitter: Submitter, progress: Display, function: str) -> tuple[Mapping[str, Any], str, bool]:
    """Wait for the end; returns the last data, the kind of the last event, and whether the user has interrupted it."""
    signals = process.Signals()
    data: Mapping[str, Any] = {}
    percent = 0
    stopped = False
    progress.show(0, "waiting for a worker")
    ask_at = time.monotonic() + QUEUED_SECONDS
    while True:
        event: Event | None = submitter.next_event(0.2)
        if signals.stop and not stopped:
            if data:
                # The first data packet named the worker that runs the build.
                submitter.stop(str(data.get("manager")), str(data.get("name")), str(data.get("number")))
                stopped = True
            elif submitter.cancel():
                return {}, "fail", True
        if event is None:
            if not data and not signals.stop and time.monotonic() > ask_at:
                progress.show(0, _queued(submitter, function))
                ask_at = time.monotonic() + QUEUED_SECONDS
            continue
        if event.data:
            data = event.data
        percent = event.percent if event.kind == "status" else percent
        progress.show(percent, "stopping" if stopped else untrusted.name(data.get("progress")))
        if event.final:
            return data, event.kind, signals.stop


def _queued(submitter: Submitter, function: str) -> str:
    """The message that explains why no worker has taken the job yet."""
    text = "queued: no worker has taken the job yet"
    if queue := submitter.queue(function):
        waiting, running, workers = queue
        text += f" ({function}: {waiting} waiting, {running} running, {workers} workers registered)"
    return f"{text}; `th status` on the worker's machine says what it waits for"


def _print(as_json: bool, data: Mapping[str, Any], result: Any) -> None:
    if as_json:
        shown = {"result": result, "url": data.get("url", ""), "messages": data.get("messages", [])}
        print(json.dumps(shown, indent=2))
        return
    if result is None:
        for message in untrusted.sequence(data.get("messages")):
            print(untrusted.text(message))
    print(untrusted.name(data.get("url")) or "no logs were published")
    print("no result: the worker failed, and Zuul would try again" if result is None else untrusted.text(result))

# SPDX-License-Identifier: Apache-2.0
"""`th status`: show the status that the worker on this machine reports."""

import argparse
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from worker.cli.display import table
from worker.config import config
from worker.inputs import untrusted
from worker.observe import status_socket
from worker.observe.status_socket import NoWorkerError

_COLUMNS = ("slot", "build", "job", "project", "change", "for", "%", "what")


def add_parser(subparsers: Any) -> None:
    """Add the command's parser."""
    parser = subparsers.add_parser("status", help="what the worker on this machine is doing")
    parser.add_argument("-c", metavar="PATH", default=str(config.DEFAULT_PATH), help="the worker's configuration")
    parser.add_argument("--socket", metavar="PATH", type=Path, help="its status_socket, instead of its configuration")
    parser.add_argument("--json", action="store_true", help="print all that it says, as JSON")


def run(args: argparse.Namespace) -> int:
    """Run the command; returns 0 if a worker has answered. Raises NoWorkerError (exit status 1) if none does."""
    path = args.socket or config.load(Path(args.c)).status_socket
    data = status_socket.ask(path)
    try:
        document = json.loads(data)
        if not isinstance(document, dict):
            raise ValueError
    except (ValueError, RecursionError) as error:
        raise NoWorkerError(f"what answers at {path} is not a worker") from error
    if args.json:
        print(json.dumps(document, indent=2))
        return 0
    for line in _lines(document):
        print(line)
    jobs = untrusted.mappings(document.get("jobs"))
    if jobs:
        print()
        table(_COLUMNS, [_row(job) for job in jobs])
    return 0


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    """The lines about the worker itself, the most important first."""
    value, name = document.get, untrusted.name
    state = name(value("state"))
    process = f"process {_number(value('pid'))}, version {name(value('version'))}"
    yield f"worker    {state}, started {_ago(value('since'))} ago, {process}"
    yield f"          {name(value('manager'))}"
    yield f"          {name(value('config'))}"
    sensors = untrusted.mappings(value("sensors"))
    wrong = [name(sensor.get("reason")) for sensor in sensors if not sensor.get("ok")]
    if value("taking"):
        yield "jobs      are taken"
    elif not wrong:
        yield f"jobs      are not taken: it is {state}"
    for reason in wrong:
        yield f"jobs      are not taken: {reason}"
    server = dict(untrusted.items(value("gearman")))
    there = "connected" if server.get("connected") else "NOT connected"
    why = f": {name(server.get('trouble'))}" if server.get("trouble") else ""
    by = " by TLS" if server.get("tls") else ""
    place = f"{name(server.get('host'))}:{_number(server.get('port'))}{by}"
    yield f"gearman   {place}, {there} for {_ago(server.get('since'))}{why}"
    for function in untrusted.sequence(value("functions")):
        yield f"serves    {name(function)}"
    slots = untrusted.mappings(value("slots"))
    yield f"slots     {sum(bool(slot.get('busy')) for slot in slots)} of {len(slots)} busy"
    fine = [name(sensor.get("name")) for sensor in sensors if sensor.get("ok")]
    if fine:
        yield f"sensors   ok: {', '.join(fine)}"
    for total in untrusted.mappings(value("totals")):
        yield f"ended     {_number(total.get('count'))} {name(total.get('outcome'))} of {name(total.get('name'))}"


def _row(job: Mapping[str, Any]) -> tuple[str, ...]:
    name = untrusted.name
    what = ": ".join(filter(None, (name(job.get("stage")), name(job.get("text"))))) or "begins"
    if job.get("canceled"):
        what = f"canceled ({name(job['canceled'])}), {what}"
    shown = (name(job.get(key)) or "-" for key in ("build", "name", "project", "change"))
    return _number(job.get("slot")), *shown, _ago(job.get("since")), _number(job.get("percent")), what


def _ago(instant: object) -> str:
    since = untrusted.number(instant)
    if since is None:
        return "?"
    minutes, seconds = divmod(int(max(0.0, time.time() - since)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = {"d": days, "h": hours, "min": minutes, "s": seconds}
    shown = [f"{number} {unit}" for unit, number in parts.items() if number or unit == "s"]
    return " ".join(shown[:2])


def _number(value: object) -> str:
    found = untrusted.integer(value)
    return "?" if found is None else str(found)

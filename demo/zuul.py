# SPDX-License-Identifier: Apache-2.0
"""A job as Zuul 2.x hands it in for a change in its check pipeline, and the answer that it would get."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from demo.project import PROJECT, TARGET, Change
from demo.services import JOB
from demo.tools import DemoError
from worker.errors import TurboHipsterError
from worker.gearman.client import Submitter

PIPELINE = "check"
_REGISTRATION_SECONDS = 300
_SILENCE_SECONDS = 900  # the worker tells of every step that it takes


@dataclass(frozen=True)
class Answer:
    """How a job ended: ``result`` is what Zuul would show, ``data`` the worker's last WORK_DATA, whole."""

    result: str
    url: str
    seconds: float
    data: dict[str, Any]


def arguments(change: Change, url: str) -> dict[str, str]:
    """Make a change's job arguments; each call is a new build."""
    build = uuid4().hex
    base = f"{str(change.number)[-2:]}/{change.number}/1"
    return {
        "ZUUL_UUID": build,
        "ZUUL_PROJECT": PROJECT,
        "ZUUL_PIPELINE": PIPELINE,
        "ZUUL_URL": url,
        "ZUUL_VOTING": "1",
        "ZUUL_BRANCH": TARGET,
        "ZUUL_CHANGE": str(change.number),
        "ZUUL_PATCHSET": "1",
        "ZUUL_COMMIT": change.commit,
        "ZUUL_REF": change.ref,
        "ZUUL_CHANGES": f"{PROJECT}:{TARGET}:{change.refspec}",
        "ZUUL_CHANGE_IDS": f"{change.number},1",
        "BASE_LOG_PATH": base,
        "LOG_PATH": f"{base}/{PIPELINE}/{JOB}/{build[:7]}",
    }


def submit(
    gearman: str, given: dict[str, str], show: Callable[[int, str], None] = lambda percent, text: None
) -> Answer:
    """Hand in a job at ``gearman`` (host:port) and follow it to its end; ``show`` gets percent and step.

    DemoError when there is no worker for it, or none any more.
    """
    host, _, port = gearman.rpartition(":")
    started = time.monotonic()
    try:
        client = Submitter(host, int(port), _REGISTRATION_SECONDS)
        try:
            return _follow(client, given, show, started)
        finally:
            client.close()
    except TurboHipsterError as error:
        raise DemoError(str(error)) from error


def _follow(client: Submitter, given: dict[str, str], show: Callable[[int, str], None], started: float) -> Answer:
    if not client.registered(f"build:{JOB}", _REGISTRATION_SECONDS):
        raise DemoError(f"no worker has registered build:{JOB}")
    client.submit(f"build:{JOB}", given["ZUUL_UUID"], given)
    show(0, "handed in")
    data: dict[str, Any] = {}
    percent = 0
    while True:
        event = client.next_event(_SILENCE_SECONDS)
        if event is None or event.kind == "lost":
            raise DemoError("the worker has gone silent: see worker.log and debug.log in the demo's folder")
        if event.data:
            data = dict(event.data)
        if event.kind == "status":
            percent = event.percent
        if event.final:
            result = str(data.get("result") or "none: Zuul would launch it again")
            return Answer(result, str(data.get("url", "")), time.monotonic() - started, data)
        if "progress" in data:
            show(percent, str(data["progress"]))


def published(answer: Answer) -> Path | None:
    """The folder behind an answer's link; the demo's worker publishes on this machine."""
    url = urlsplit(answer.url)
    return Path(unquote(url.path)) if url.scheme == "file" else None

# SPDX-License-Identifier: Apache-2.0
"""The steps after the verdict of a job: writing the report and publishing it.

A failure here never changes the verdict; it only adds a message that does not count.
"""

from __future__ import annotations

import datetime
import errno
import json
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from worker import publish
from worker.inputs import documents
from worker.job_dir import JobDir
from worker.report import render
from worker.runner import PlaybookRun
from worker.verdict import AFTERWARDS, Message, Verdict, decide, run_times
from worker.verdict.artifacts import Artifacts

log = logging.getLogger(__name__)

STOP = "stop"
SHUTDOWN = "shutdown"
SHUTDOWN_SECONDS = 12.0
"""Seconds that jobs have to publish their results when the worker ends, which does not wait much longer."""

_FULL = (errno.ENOSPC, errno.EDQUOT)


def failure_of(error: Exception) -> Message:
    """The message for an unexpected exception."""
    if isinstance(error, OSError):
        # shutil's error for several files has no errno
        full = error.errno in _FULL or any(os.strerror(number) in str(error) for number in _FULL)
        reason = error.strerror or str(error)
        detail = f"{error.filename}: {reason}" if error.filename else reason
        return Message.of("disk_full" if full else "worker_failed", detail=detail[:1000])
    return Message.of("worker_failed", detail=f"{type(error).__name__}: {error}"[:1000])


def explained(found: Artifacts) -> bool:
    """Whether the artifacts say what went wrong."""
    return bool(found.problems) or any(walk.problems for walk in found.walks.values())


def stamp(moment: datetime.datetime) -> str:
    """A moment of UTC, as in the artifacts."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def late(message: Message) -> Message:
    """A copy of a message about a failure after the verdict, marked so that it is reported but does not count."""
    return replace(message, excuse=AFTERWARDS)


def add(found: Verdict, messages: Sequence[Message]) -> Verdict:
    """The verdict with messages about later failures, without duplicates."""
    for message in messages:
        if message.code not in [known.code for known in found.messages]:
            found = decide.with_message(found, late(message))
    return found


def write(
    folder: JobDir, variables: Mapping[str, Any], plugin: str, found: Verdict, header: Callable[[], render.Header]
) -> Verdict:
    """Write the report, and the other files to publish, to the folder of results. Never raises.

    Returns the verdict, with messages about what could not be written.
    """
    if failed := _attempt(folder, lambda: publish.collect(folder, variables, plugin)):
        found = add(found, [failed])
    shown = found
    if failed := _attempt(folder, lambda: render.write(folder.results, shown, header())):
        found = add(found, [failed])
    return found


def _attempt(folder: JobDir, action: Callable[[], None]) -> Message | None:
    """Run an action; on a full disk, once more after removing what the job no longer needs."""
    try:
        try:
            action()
        except OSError as error:
            if failure_of(error).code != "disk_full" or not folder.make_room():
                raise
            log.warning("the disk is full (%s): removed what the job no longer needs", error)
            action()
    except Exception as error:
        log.exception("a part of the results could not be written")
        return failure_of(error)
    return None


def write_times(folder: JobDir, end: PlaybookRun) -> None:
    """Record how long the tasks of the job's playbook took; without it, the report does not say where the time went."""
    if end.times is None:
        return
    try:
        documents.write_anew(folder.artifacts / run_times.FILE, json.dumps(run_times.as_document(end.times)) + "\n")
    except OSError as error:
        log.warning("how long the tasks took cannot be written to the artifacts: %s", error)


def upload_failed(end: PlaybookRun, limit: int) -> Message | None:
    """The message for an upload with a time limit (seconds) that has failed; None if it was successful."""
    if end.status == "successful":
        return None
    detail = end.message or f"the upload ended as {end.status} after at most {limit} s"
    if end.status == "canceled":
        detail = "the worker was stopped before it was done"
    log.error("the results could not be published: %s", detail)
    return Message.of("upload_failed", detail=detail)


def published(folder: JobDir, end: PlaybookRun, limit: int, expected: str) -> tuple[list[Message], str]:
    """The messages about a finished upload, and the URL of the results ("" for none).

    The role returns the URL. If it returns none and has not failed, the results are at the `expected` URL. A step that
    fails after the results were published does not remove the link.
    """
    failed = upload_failed(end, limit)
    try:
        url = publish.handed_back(folder)
    except publish.WrongUrlError as error:
        log.error("the results have no link: %s", error)
        return [failed or Message.of("upload_failed", detail=str(error))], ""
    if failed or url is not None:
        return [failed] if failed else [], url or ""
    if not expected:
        detail = "the role upload_logs does not say where the results are, nor does publish_logs.prepend_url"
        return [Message.of("upload_failed", detail=detail)], ""
    return [], expected


def write_first_try(folder: JobDir, first: Verdict, seconds: float) -> None:
    """Record for the second try why the first one ended, and after how many seconds. Raises OSError."""
    messages = [
        {"code": message.code, "dataset": message.dataset, "detail": message.detail} for message in first.messages
    ]
    document = {"schema": 1, "seconds": round(seconds, 3), "messages": messages}
    (folder.artifacts / "first-try.json").write_text(json.dumps(document, indent=1) + "\n", "utf-8")


class Cancellation:
    """Whether and why (`STOP`, `SHUTDOWN`) a job is canceled, and when it is too late to publish. Thread-safe."""

    def __init__(self) -> None:
        self.reason = ""
        self._event = threading.Event()
        self._publish_until = math.inf

    def cancel(self, reason: str) -> None:
        """Cancel the job. The first reason counts; a shutdown always limits the time to publish."""
        self.reason = self.reason or reason
        if reason == SHUTDOWN:
            self._publish_until = min(self._publish_until, time.monotonic() + SHUTDOWN_SECONDS)
        self._event.set()

    def is_set(self) -> bool:
        """Whether the job is canceled."""
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait until the job is canceled, at most this many seconds; returns whether it is."""
        return self._event.wait(seconds)

    @property
    def code(self) -> str:
        """The message code of a canceled job."""
        return "worker_stopped" if self.reason == SHUTDOWN else "canceled"

    @property
    def too_late(self) -> bool:
        """Whether it is too late to publish, because the worker is ending."""
        return time.monotonic() > self._publish_until

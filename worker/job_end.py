# SPDX-License-Identifier: Apache-2.0
"""The end of a job, after its verdict: the report, and what is published with it.

A verdict is never lost to what comes after it. Whatever fails here is one more message, which does not count.
"""

from __future__ import annotations

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
from worker.job_dir import JobDir
from worker.report import render
from worker.runner import PlaybookRun
from worker.verdict import AFTERWARDS, Message, Verdict, decide

log = logging.getLogger(__name__)

STOP = "stop"
SHUTDOWN = "shutdown"
SHUTDOWN_SECONDS = 12.0
"""Seconds that jobs get to publish their results when the worker ends, which does not wait much longer for them."""

_FULL = (errno.ENOSPC, errno.EDQUOT)


def failure_of(error: Exception) -> Message:
    """The message for an error that nothing else explains."""
    if isinstance(error, OSError):
        # what shutil raises for several files has no number of its own
        full = error.errno in _FULL or any(os.strerror(number) in str(error) for number in _FULL)
        reason = error.strerror or str(error)
        detail = f"{error.filename}: {reason}" if error.filename else reason
        return Message.of("disk_full" if full else "worker_failed", detail=detail[:1000])
    return Message.of("worker_failed", detail=f"{type(error).__name__}: {error}"[:1000])


def late(message: Message) -> Message:
    """The same message, of what went wrong when the verdict was there: it is reported, and does not count."""
    return replace(message, excuse=AFTERWARDS)


def add(found: Verdict, messages: Sequence[Message]) -> Verdict:
    """The verdict with what has failed after it; no message twice."""
    for message in messages:
        if message.code not in [known.code for known in found.messages]:
            found = decide.with_message(found, late(message))
    return found


def write(
    folder: JobDir, variables: Mapping[str, Any], plugin: str, found: Verdict, header: Callable[[], render.Header]
) -> Verdict:
    """Put the report, and what is published beside it, into the folder of results. Never raises.

    Returns the verdict, with what could not be written.
    """
    if failed := _attempt(folder, lambda: publish.collect(folder, variables, plugin)):
        found = add(found, [failed])
    shown = found
    if failed := _attempt(folder, lambda: render.write(folder.results, shown, header())):
        found = add(found, [failed])
    return found


def _attempt(folder: JobDir, action: Callable[[], None]) -> Message | None:
    """Do it; on a full disk once more, with what the job no longer needs out of the way."""
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


def upload_failed(end: PlaybookRun, limit: int) -> Message | None:
    """The message for an upload that ended so, within its time limit (seconds); None when it was successful."""
    if end.status == "successful":
        return None
    detail = end.message or f"the upload ended as {end.status} after at most {limit} s"
    if end.status == "canceled":
        detail = "the worker was stopped before it was done"
    log.error("the results could not be published: %s", detail)
    return Message.of("upload_failed", detail=detail)


def published(folder: JobDir, end: PlaybookRun, limit: int, expected: str) -> tuple[list[Message], str]:
    """What has failed of an upload that ended so, and where the results can be read ("" for nowhere).

    The role says where; one that says nothing, and has not failed, has put them where they are `expected`. A step that
    failed when the results were published already takes no link away.
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
    """Record for the second try what ended the first one, and after how many seconds. Raises OSError."""
    messages = [
        {"code": message.code, "dataset": message.dataset, "detail": message.detail} for message in first.messages
    ]
    document = {"schema": 1, "seconds": round(seconds, 3), "messages": messages}
    (folder.artifacts / "first-try.json").write_text(json.dumps(document, indent=1) + "\n", "utf-8")


class Cancellation:
    """Whether a job is canceled, why (`STOP`, `SHUTDOWN`), and when it is too late to publish. For any thread."""

    def __init__(self) -> None:
        self.reason = ""
        self._event = threading.Event()
        self._publish_until = math.inf

    def cancel(self, reason: str) -> None:
        """Cancel it. The first reason counts, and the end of the worker limits the rest in any case."""
        self.reason = self.reason or reason
        if reason == SHUTDOWN:
            self._publish_until = min(self._publish_until, time.monotonic() + SHUTDOWN_SECONDS)
        self._event.set()

    def is_set(self) -> bool:
        """Whether it is canceled."""
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait until it is canceled, at most so long; returns whether it is."""
        return self._event.wait(seconds)

    @property
    def code(self) -> str:
        """The code of the message for a job that is canceled."""
        return "worker_stopped" if self.reason == SHUTDOWN else "canceled"

    @property
    def too_late(self) -> bool:
        """Whether nothing can be published any more, as the worker ends."""
        return time.monotonic() > self._publish_until

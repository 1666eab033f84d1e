# SPDX-License-Identifier: Apache-2.0
"""Whether a dump is whole, as far as that can be seen without loading it."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from ansible.module_utils import th_dump
from ansible.module_utils.th_text import printable

WHOLE, BROKEN, UNKNOWN = "whole", "broken", "unknown"
_KEPT = 4096


def look(path: Path, database: str, time_limit: float) -> tuple[str, str]:
    """WHOLE; BROKEN or UNKNOWN, and why. Raises OSError. Nothing of the rows is in the reason.

    `database` is the one that it is for. After `time_limit` seconds the rest is not read, and the state is UNKNOWN.
    """
    if path.suffix not in th_dump.READERS:
        return BROKEN, f"its name ends with none of {', '.join(sorted(th_dump.READERS))}"
    ends = time.monotonic() + time_limit
    head = tail = b""
    with contextlib.ExitStack() as stack:
        source, stream = th_dump.unpacked(stack, path)
        while chunk := stream.read(th_dump.CHUNK):
            head = head or chunk[:_KEPT]
            tail = (tail + chunk)[-_KEPT:]
            if time.monotonic() > ends:
                if source is not None:
                    source.kill()
                return UNKNOWN, f"it was not read to its end, which takes longer than {time_limit:g} s"
        if source is not None and source.stderr is not None:
            said = source.stderr.read(_KEPT).decode("utf-8", "replace")
            if source.wait() != 0:
                return BROKEN, f"it cannot be unpacked: {printable(' '.join(said.split()))[-300:]}"
    if not head:
        return BROKEN, "it is empty"
    if th_dump.cut_off(head, tail):
        return BROKEN, "it is cut off: its last line, '-- Dump completed', is missing; make it again"
    if not th_dump.marked(head):
        return UNKNOWN, "nothing at its end says that it is whole: it was not made by mysqldump or mariadb-dump"
    return WHOLE, ""

# SPDX-License-Identifier: Apache-2.0
"""The recorded logs: each a text log, and beside it what it has to mean.

`python -m tests.kit.old_logs` records anew what the logs mean now; look at the difference before it is committed.
"""

import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.history import LogReader, text_log
from worker.history.log_steps import NAMES

FOLDER = Path(__file__).resolve().parents[1] / "data" / "logs"
LOGS = sorted(FOLDER.glob("*.log"))


@dataclass
class Meaning:
    """What was made of a log: the events of each of its walks, and its reader."""

    walks: dict[int, list[dict[str, Any]]]
    reader: LogReader

    def as_document(self) -> dict[str, Any]:
        reader = self.reader
        return {
            "not_understood": reader.unknown,
            "cuts": reader.cuts,
            "clock_changes": reader.clock.changes,
            "server": list(reader.server),
            "walks": [
                {
                    "version": walk.first,
                    "final": walk.final,
                    "migrations": walk.migrations,
                    "unfinished": walk.unfinished,
                    "untimed": walk.untimed,
                    "seconds": round(walk.seconds, 3),
                    "follows": walk.follows,
                    "events": list(map(_told, self.walks.get(walk.number, []))),
                }
                for walk in reader.walks
            ],
        }


def meaning(data: bytes | Iterable[bytes]) -> Meaning:
    """Read a log: its bytes, or its lines."""
    lines = text_log.lines(io.BytesIO(data), text_log.Condition()) if isinstance(data, bytes) else data
    reader, walks = LogReader(), dict[int, list[dict[str, Any]]]()
    for line in lines:
        for number, event in reader.take(line):
            walks.setdefault(number, []).append(event)
    for number, event in reader.close():
        walks.setdefault(number, []).append(event)
    return Meaning(walks, reader)


def _told(event: dict[str, Any]) -> dict[str, Any]:
    """An event with those of its counters that the log tells: it has all of them, the others None."""
    if "counters" not in event:
        return event
    assert tuple(event["counters"]) == NAMES
    return {**event, "counters": {name: value for name, value in event["counters"].items() if value is not None}}


def _rendered(document: dict[str, Any]) -> str:
    """JSON with a line for each event."""
    marked = json.loads(json.dumps(document))
    lines: list[str] = []
    for walk in marked["walks"]:
        for index, event in enumerate(walk["events"]):
            lines.append(json.dumps(event, ensure_ascii=False))
            walk["events"][index] = f"@{len(lines) - 1}@"
    text = json.dumps(marked, indent=1, ensure_ascii=False)
    for number, line in enumerate(lines):
        text = text.replace(f'"@{number}@"', line)
    return text + "\n"


if __name__ == "__main__":
    for log in LOGS:
        path = log.with_suffix(".json")
        about = json.loads(path.read_text())["about"] if path.exists() else ""
        path.write_text(_rendered({"about": about, **meaning(log.read_bytes()).as_document()}))

# SPDX-License-Identifier: Apache-2.0
"""Converts a walk's text log, of the first turbo-hipster or of this version, to the events of `walk-<dataset>.jsonl`
(docs/history.md).

Anybody could have written a log, so the events are no evidence: they only repeat what the log says. What it does not
say is left out or None, never guessed. Memory use does not depend on the size of the log.
"""

from __future__ import annotations

import datetime
import re

from worker.history.log_line import Clock, LineReader, LogLine
from worker.history.log_steps import NAMES, READINGS, Stage, Walk
from worker.history.log_walks import Event, Walks

_STATUS_ORDER = ("Innodb_rows_inserted", "Innodb_rows_updated", "Innodb_rows_deleted", "Innodb_rows_read")
_WANTED = {name for names in READINGS.values() for name in names}
_KINDS = {"trunk": "tip", "patchset": "change", "downgrade": "change"}
_SEED = {"1045": "seed_broken", "1049": "seed_missing"}
_IMPORT = re.compile(r"\(?(?:[\w.]*\.)?(?:ImportError|ModuleNotFoundError)\b")
_SCRIPT = re.compile(r"(?:^|/)(?:versions|migrations)/")
_MAX_DETAIL = 4000


class LogReader:
    """Takes a log line by line; returns (number of the walk, event) pairs, each as soon as it is certain.

    For the whole log: `unknown` counts lines that were not understood, `cuts` counts places where the log says that
    something is left out; `server` is the database server's version and flavour, "" if the log does not have them.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.lines = self.understood = self.unknown = self.cuts = 0
        self.server = ("", "")
        self._walks = Walks()
        self._reader = LineReader()
        self._ours = self._lost = False
        self._present = 0
        self._exception = ""
        self._source = ("", 0)
        self._error: tuple[str, list[str], int] | None = None
        self._timed_out = self._failed = False

    @property
    def walks(self) -> list[Walk]:
        """The walks of the log; there is always one."""
        return self._walks.all

    @property
    def full(self) -> bool:
        """Whether the log has more events than the limits allow."""
        return self._walks.full

    def take(self, line: bytes) -> list[tuple[int, Event]]:
        """Take the next line."""
        self.lines += 1
        self._walks.line = self.lines
        for parsed in self._reader.read(line):
            self._take(parsed)
        return self._new_events()

    def close(self) -> list[tuple[int, Event]]:
        """Handle the end of the log."""
        self._end_error()
        self._walks.close()
        return self._new_events()

    def _new_events(self) -> list[tuple[int, Event]]:
        events = self._walks.events
        if events:
            self._walks.events = []
        return events

    def _take(self, line: LogLine) -> None:
        if line.kind == "more":
            self._more(line.words[0])
            return
        self._end_error()
        if line.kind == "unknown":
            self.unknown += 1
        else:
            self.understood += 1
        now = self.clock.moment(line)
        if line.kind in ("nothing", "unknown", "heartbeat"):
            return
        self._walks.now = now
        self._walks.at = _instant(line.at) if line.at is not None and line.dated else ""
        getattr(self, f"_on_{line.kind}")(*line.words)

    def _on_step(self, from_: str, to: str, done: str) -> None:
        if self._ours and self._walks.running and not self._lost:
            return  # printed by the migration: the worker logs nothing while one runs
        self._lost = False
        self._walks.begin(from_, to, alone=self._ours)
        self._begin_anew()
        if done:
            self._on_done(done)

    def _on_done(self, _: str) -> None:
        if not self._ours:  # this version's logs have a line of the worker; a migration's process can print anything
            self._walks.done()

    def _on_measured(self, from_: str, to: str, seconds: str, counters: str) -> None:
        self._ours = True
        found = re.findall(r"(?:^|, )(\w{1,40}) (-?\d{1,18})(?=,|$)", counters)
        known: dict[str, int | None] = {name: int(value) for name, value in found if name in NAMES}
        self._walks.measured(from_, to, float(seconds), known)

    def _on_counter(self, name: str, value: str) -> None:
        if name in _WANTED:
            self._walks.reading(name, int(value))

    def _on_rows(self, *values: str) -> None:
        for name, value in zip(_STATUS_ORDER, values, strict=True):
            self._walks.reading(name, int(value))

    def _on_restart(self, _: str) -> None:
        self._walks.gap()

    def _on_stage(self, name: str) -> None:
        self._on_stage_end("")
        self._walks.pause(Stage(name, _KINDS.get(name, "release")))
        self._present = 0
        self._begin_anew()

    def _on_our_stage(self, name: str, commit: str, steps: str, way: str, target: str) -> None:
        self._ours = True
        kind = "change" if name.startswith("change ") or commit.startswith(name) else "release"
        self._walks.pause(Stage(name, kind, commit, target, int(steps), down=way == "down"))
        self._walks.tell_stage(self._walks.recent)
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._exception, self._source, self._timed_out, self._failed = "", ("", 0), False, False

    def _on_stage_end(self, _: str) -> None:
        if self._exception and len(self._walks.running) == 1:
            self._process_ended(0, "migration_ended", "")
        self._walks.pause()

    def _on_commit(self, commit: str) -> None:
        self._walks.stage.commit = self._walks.stage.commit or commit

    def _on_listing(self, _: str) -> None:
        self._present = 0

    def _on_present(self, number: str) -> None:
        self._present = max(self._present, int(number))

    def _on_will(self, from_: str, to: str) -> None:
        stage, steps = self._walks.stage, int(to) - int(from_)
        stage.down, stage.steps, stage.target = steps < 0, abs(steps), str(int(to))

    def _on_version(self, version: str) -> None:
        walk = self._walks.at_version(version)
        if walk.open and walk.open.ended:
            walk.open.version = version
        self._walks.pause()
        walk.first, walk.last = walk.first or version, version

    def _on_final(self, version: str) -> None:
        walk = self._walks.recent = self._walks.at_version(version)
        for other in self._walks.all:
            if other is walk or not other.runs:
                self._walks.settle(other)
        self._walks.tell_stage(walk)
        target = self._walks.stage.target
        expected = target if self._ours or not self._present else str(self._present)
        self._walks.emit(walk, "final", {"version": version, "expected": expected or walk.last or version})
        walk.first, walk.last, walk.final = walk.first or version, version, version

    def _on_exit(self, status: str) -> None:
        self._process_ended(int(status), "migration_ended", f"its process ended with status {status}")

    def _on_script(self, status: str) -> None:
        code = "migration_killed" if int(status) < 0 else "migration_ended"
        code = "migration_timed_out" if self._timed_out else code
        detail = "it was ended at the time limit" if self._timed_out else f"the script ended with status {status}"
        self._process_ended(int(status), code, detail)

    def _process_ended(self, status: int, code: str, detail: str) -> None:
        running = self._walks.running
        if len(running) > 1 or (not running and (not status or self._failed)):
            return
        if any(self._walks.left_behind(walk) for walk in running):
            return
        if self._exception and code == "migration_ended":
            code = "import_failed" if _IMPORT.match(self._exception) else "migration_raised"
            detail = self._exception
        if not running and code != "import_failed":
            code = "walk_failed"
        self._failed = True
        walk = running[0] if running else self._walks.recent
        self._walks.fail(walk, None if status == 0 or self._timed_out else status, code, detail, self._source)

    def _on_timeout(self) -> None:
        self._timed_out = True

    def _on_mysql_error(self, text: str) -> None:
        if not self._failed and not any(walk.migrations for walk in self.walks):
            self._failed = True
            self._walks.fail(self._walks.recent, None, _SEED[text[6:10]], text)

    def _on_server(self, version: str, rest: str) -> None:
        flavour = next((name for name in ("MariaDB", "Percona") if name in version + rest), "MySQL")
        self.server = (version, flavour)

    def _on_source(self, file: str, line: str) -> None:
        if _SCRIPT.search(file):
            self._source = ("/".join(file.strip("/").split("/")[-6:]), int(line))

    def _on_exception(self, text: str) -> None:
        self._exception = text

    def _on_error(self, code: str, detail: str) -> None:
        self._error = (code, [detail], len(detail))

    def _on_cut(self, _: str) -> None:
        self.cuts += 1
        if self._ours:  # after the cut, the worker's lines still name the migrations that it has measured
            self._lost = True
        else:
            self._walks.cut()

    def _more(self, text: str) -> None:
        if self._error and self._error[2] < _MAX_DETAIL:
            code, details, size = self._error
            self._error = (code, [*details, text], size + len(text) + 1)
        if self._error or not text.strip():
            self.understood += 1
        else:
            self.unknown += 1

    def _end_error(self) -> None:
        """Handle an error that the worker has logged, once all of its lines were taken."""
        if self._error is None:
            return
        (code, details, _), self._error = self._error, None
        detail = "\n".join(details).rstrip()[:_MAX_DETAIL]
        # the worker logs a stage's name once it has begun; a failure before that is in an unknown stage
        self._walks.fail(self._walks.recent, None, code, detail, stage_known=not self._walks.stage.over)


def _instant(at: float) -> str:
    moment = datetime.datetime.fromtimestamp(at, datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"

# SPDX-License-Identifier: Apache-2.0
"""What the measuring side reads from the dataset's server over its own connections: none of it comes from the code
under test."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql
from ansible.module_utils.th_measure import locks, meter
from ansible.module_utils.th_measure.ledger import CounterLedger
from ansible.module_utils.th_sandbox.limits import QUOTA, DatabaseLimits, Exceeded
from ansible.module_utils.th_server import mariadb
from ansible.module_utils.th_server.plain_table import not_plain
from ansible.module_utils.th_tools.tools import heads_of
from ansible.module_utils.th_tools.versions import prefixed
from ansible.module_utils.th_walk import leftovers
from ansible.module_utils.th_walk.forbidden import ForbiddenStatements
from ansible.module_utils.th_walk.server_limits import ServerLimits
from ansible.module_utils.th_walk.stages import in_packages
from ansible.module_utils.th_walk.walkers import WalkError

KILL_PATIENCE = 20.0
"""Seconds that the server may take to end the connections of a process that has gone, and to roll back."""
READ_PATIENCE = 20.0
"""Seconds that reading the version may take: a change may lock its table, or replace it by an endless view."""
LITTLE_SPACE = 32 << 20
_UNKNOWN_DATABASE = 1049
_OF_ROWS = re.compile(
    r"(?:\(|\b)(?:1048|1062|1138|1264|1265|1292|1366|1406|1451|1452|3819|4025)(?:, ?[\"']| \([0-9A-Z]{5}\))"
)
"""An error about existing rows, which more disk space would not avoid, in the two formats of the drivers."""


@dataclass(frozen=True)
class VersionState:
    """What the version tables contain: all `rows`, and the `heads` among them, which are the version; both sorted."""

    rows: tuple[str, ...]
    heads: tuple[str, ...]

    def __str__(self) -> str:
        return ",".join(self.heads) or "base"

    def after(self, step: str) -> str:
        """The version after a step; includes the step's own revision where the database has it but no tree does."""
        return ",".join(sorted({*self.heads, *set(step.split(",")).intersection(self.rows)})) or "base"


class ServerProbe:
    """Reads the server of one dataset; `databases` are the profile's, `revisions` those of all its databases.

    What the change may have created, its version table included, is only read with the job's own account: a view there
    may call a function, which runs with the privileges of the account that reads the view.

    `quota` is whether a disk quota of the kernel limits the job. `waited` describes the last lock wait that was seen
    during the current step.
    """

    def __init__(
        self,
        server: mariadb.Server,
        databases: Sequence[Mapping[str, Any]],
        revisions: Mapping[str, Mapping[str, Any]],
        limits: DatabaseLimits,
        quota: bool = False,
    ) -> None:
        self._server, self._databases, self._revisions = server, databases, revisions
        self._limits, self._quota = ServerLimits(server, limits), quota
        self._forbidden_statements = ForbiddenStatements(server)
        self._ledger = CounterLedger(server, {one["name"]: one["version_table"] for one in databases})
        self.waited = ""
        self._looking: Any = None
        self._kept = contextlib.ExitStack()
        self._gone = "server_died" if server.private else "server_unreachable"

    @contextlib.contextmanager
    def connection(self) -> Iterator[Any]:
        """A connection of the administrator, for what the change cannot have created. Raises WalkError."""
        if not self._server.private:
            self.alive()  # without the job's lock the databases may be another job's
        try:
            with mariadb.connect(self._server, self._server.admin_file) as connection:
                yield connection
        except (pymysql.Error, OSError) as error:
            raise self._dead(f"{error}\n{self._server.last_words()}") from error

    def version_state(self, *, within: bool = False) -> VersionState:
        """What the version tables contain: what is committed and, `within` a step, what is not yet. Raises WalkError.

        With one transaction around all migrations, as in some env.py, the version is written after each and committed
        after the last.
        """
        self.alive()
        rows: list[str] = []
        heads: list[str] = []
        for database in self._databases:
            found = self._rows(database, within)
            self._ledger.has_read(len(found))
            rows += [prefixed(row, database["name"]) for row in found]
            heads += heads_of(found, database, self._revisions)
        return VersionState(tuple(sorted(rows)), tuple(sorted(heads)))

    def begin(self) -> None:
        """Start counting what the server does. Raises WalkError."""
        with self.connection() as connection:
            self._ledger.open(connection)

    def before(self) -> VersionState:
        """The version before a step. The counters are read last, right before the step."""
        with self.connection() as connection:
            self._ledger.pause(connection)
            state = self.version_state(within=True)
            self.waited = ""
            self._begin_to_look()
            self._forbidden_statements.begin(connection)
            self._ledger.begin(connection)
        return state

    def after(self) -> tuple[dict[str, int | None], VersionState]:
        """A step's counters, and the version after it. The counters are read first, right after the step."""
        with self.connection() as connection:
            counters = self._ledger.end(connection)
            state = self.version_state(within=True)
            self._ledger.resume(connection)
            leftovers.delayed(connection, self._server)
        return counters, state

    def between(self) -> tuple[str, dict[str, int | None], float | None]:
        """The version; the counters and seconds of what the server did outside of steps since the last call."""
        version = str(self.version_state())
        with self.connection() as connection:
            return version, *self._ledger.close(connection)

    @contextlib.contextmanager
    def connected(self) -> Iterator[Callable[[], bool]]:
        """Yields a function that tells whether anybody has connected to the server since. Raises WalkError."""
        with self.connection() as connection:
            before = meter.connections(connection, self._server)
            yield lambda: meter.connections(connection, self._server) > before

    def doing(self) -> str:
        """The job's longest running statement; "" for none."""
        with contextlib.suppress(WalkError), self.connection() as connection:
            there = [one for one in locks.process_list(connection) if one.user == self._server.user and one.statement]
            return max(there, key=lambda one: one.seconds).statement[:1000] if there else ""
        return ""

    @property
    def of_packages(self) -> bool:
        """Whether migrations may be in packages, and so in none of the trees."""
        return any(map(in_packages, self._databases))

    def look_for_locks(self) -> None:
        """Note which connection waits for whose lock, if any does."""
        try:
            if self._looking:
                self.waited = locks.waiting(self._looking, self._server.user) or self.waited
        except (pymysql.Error, OSError):
            self._looking = None

    def _begin_to_look(self) -> None:
        """Connect for that before a step: a new connection during the step would be taken for the project's."""
        if self._looking is None:
            with contextlib.suppress(pymysql.Error, OSError), contextlib.ExitStack() as stack:
                self._looking = stack.enter_context(mariadb.connect(self._server, self._server.admin_file))
                self._kept = stack.pop_all()

    def version_columns(self) -> list[tuple[str, str, int]]:
        """The text columns of the version tables: table, column, and its length in characters."""
        found: list[tuple[str, str, int]] = []
        with contextlib.suppress(WalkError), self.connection() as connection:
            for database in self._databases:
                schema, _, table = database["version_table"].rpartition(".")
                rows = mariadb.query(
                    connection,
                    "SELECT column_name, character_maximum_length FROM information_schema.columns"
                    " WHERE table_schema = %s AND table_name = %s AND character_maximum_length IS NOT NULL",
                    schema or self._server.databases[database["name"]],
                    table,
                )
                found += [(database["version_table"], str(name), int(room)) for name, room in rows]
        return found

    def end_connections(self) -> None:
        """End what the project's code left running in the server, as far as possible: another error is already being
        handled."""
        with contextlib.suppress(WalkError):
            self._end_connections()

    def nothing_left(self) -> None:
        """End what the project's code left running in the server, so that nothing runs on into the next stage and the
        version tables contain committed rows only. Raises WalkError where that fails."""
        self._end_connections()
        with self.connection() as connection:
            leftovers.nothing_prepared(connection, self._server)

    def _end_connections(self) -> None:
        with self.connection() as connection:
            leftovers.end_connections(connection, self._server, KILL_PATIENCE)

    def alive(self) -> None:
        """Raises WalkError when the server has gone."""
        if not self._server.running():
            raise self._dead(self._server.last_words())

    def check(self) -> None:
        """Raises WalkError when the server has gone, or has exceeded a limit; its statements are ended then."""
        self.alive()
        self.look_for_locks()
        if error := self._limits.exceeded():
            self.end_connections()
            raise error

    @contextlib.contextmanager
    def limits_enforced(self) -> Iterator[None]:
        """Enforce the server's limits for as long as this lasts, whatever the walk is doing. Raises WalkError."""
        if self._server.private:
            with self.connection() as connection:
                self._limits.limit_temporary_space(connection)
        with self._limits.enforced(self.end_connections):
            yield

    def explained(self, error: WalkError, folder: Path) -> WalkError:
        """The error behind this one, if it is a dead server, a full disk, or a rule of the worker; else the same."""
        if not self._server.running():
            return self._dead(self._server.last_words())
        if found := self._limits.cause_of(error):
            return found
        if mariadb.free_bytes(folder) < LITTLE_SPACE and not _OF_ROWS.search(error.detail[:4000]):
            return self._full(folder, error.detail)
        with contextlib.suppress(WalkError), self.connection() as connection:
            return self._forbidden_statements.cause_of(error, connection) or error
        return error

    def _dead(self, detail: str) -> WalkError:
        """The error for a server that has ended, or does not answer."""
        if error := self._limits.ended(detail):
            return error
        if self._server.private and self._server.filled_its_disk():
            return self._full(Path(self._server.folder), detail)
        return WalkError(self._gone, detail)

    def _full(self, folder: Path, detail: str) -> WalkError:
        """The error for a full disk, or for the job's disk quota where there is one."""
        if self._quota:
            return WalkError("over_limit", f"{Exceeded(QUOTA, shutil.disk_usage(folder).total)}: {detail}")
        return WalkError("disk_full", f"no space is left under {folder}: {detail}")

    def _rows(self, database: Mapping[str, Any], within: bool) -> list[str]:
        """The rows of a database's version table, `within` a step also those that are not committed."""
        server, name = self._server, self._server.databases[database["name"]]
        level = "UNCOMMITTED" if within else "COMMITTED"
        try:
            with mariadb.connect(server, server.job_file, database=name, time_limit=READ_PATIENCE) as connection:
                mariadb.query(connection, f"SET SESSION TRANSACTION ISOLATION LEVEL READ {level}")
                if problem := not_plain(connection, name, database["version_query"]):
                    raise WalkError("walk_failed", problem)
                found = mariadb.read_version(connection, database["version_query"])
                # then the server has counted what was read, before anybody looks what the account has done
                connection.ping(reconnect=False)
                return found
        except (pymysql.Error, OSError, mariadb.ServerError) as error:
            if isinstance(error, pymysql.err.OperationalError) and error.args[0] == _UNKNOWN_DATABASE:
                return []  # a migration has dropped it
            self.alive()
            raise WalkError("walk_failed", f"the version of {name} cannot be read: {error}") from error

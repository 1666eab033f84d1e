# SPDX-License-Identifier: Apache-2.0
"""What the measuring side asks the dataset's server, over connections of its own: none of it comes from the walk."""

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
from ansible.module_utils.th_measure.ledger import Ledger
from ansible.module_utils.th_sandbox.limits import QUOTA, DatabaseLimits, Exceeded
from ansible.module_utils.th_server import mariadb
from ansible.module_utils.th_server.plain_table import not_plain
from ansible.module_utils.th_tools.tools import heads_of
from ansible.module_utils.th_tools.versions import prefixed
from ansible.module_utils.th_walk import leftovers
from ansible.module_utils.th_walk.forbidden import Forbidden
from ansible.module_utils.th_walk.server_limits import ServerLimits
from ansible.module_utils.th_walk.stages import in_packages
from ansible.module_utils.th_walk.walkers import WalkError

KILL_PATIENCE = 20.0
"""Seconds that the server may take to end the connections of a process that is gone, and to roll back what it did."""
READ_PATIENCE = 20.0
"""Seconds that reading the version may take: a change may lock its table, or make it a view that never ends."""
LITTLE_SPACE = 32 << 20
_UNKNOWN_DATABASE = 1049
_OF_ROWS = re.compile(
    r"(?:\(|\b)(?:1048|1062|1138|1264|1265|1292|1366|1406|1451|1452|3819|4025)(?:, ?[\"']| \([0-9A-Z]{5}\))"
)
"""An error about the rows that are there, which space on the disk would not change: drivers' two ways to write it."""


@dataclass(frozen=True)
class Standing:
    """What the version tables hold: all `rows`, and the `heads` among them, which are the version. Both are sorted."""

    rows: tuple[str, ...]
    heads: tuple[str, ...]

    def __str__(self) -> str:
        return ",".join(self.heads) or "base"

    def after(self, step: str) -> str:
        """The version after a step; the step's own revision is named where the database has it but no tree does."""
        return ",".join(sorted({*self.heads, *set(step.split(",")).intersection(self.rows)})) or "base"


class Evidence:
    """The server of one dataset; `databases` are the profile's, `revisions` the forest of migrations.

    What the change may have made, which its version table is part of, is only read with the job's own account: a view
    there may call a function, which has the rights of whoever reads the view.

    `quota` is whether the kernel holds what the job may occupy on the disk. `waited` is what was seen last, during the
    step at hand, of a connection that waits for another one's lock.
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
        self._forbidden = Forbidden(server)
        self._ledger = Ledger(server, {one["name"]: one["version_table"] for one in databases})
        self.waited = ""
        self._looking: Any = None
        self._kept = contextlib.ExitStack()
        self._gone = "server_died" if server.private else "server_unreachable"

    @contextlib.contextmanager
    def connection(self) -> Iterator[Any]:
        """A connection of the administrator's, for what the change has not made. Raises WalkError."""
        if not self._server.private:
            self.alive()  # without its locks, what is there may be another job's
        try:
            with mariadb.connect(self._server, self._server.admin_file) as connection:
                yield connection
        except (pymysql.Error, OSError) as error:
            raise self._dead(f"{error}\n{self._server.last_words()}") from error

    def standing(self, *, within: bool = False) -> Standing:
        """Where the databases stand: what is committed, and `within` a step also what is not yet. Raises WalkError.

        Within one transaction around all migrations, as some env.py have it, the version is written after each and
        committed after the last.
        """
        self.alive()
        rows: list[str] = []
        heads: list[str] = []
        for database in self._databases:
            found = self._rows(database, within)
            self._ledger.has_read(len(found))
            rows += [prefixed(row, database["name"]) for row in found]
            heads += heads_of(found, database, self._revisions)
        return Standing(tuple(sorted(rows)), tuple(sorted(heads)))

    def begin(self) -> None:
        """The walk begins: what the server does from now on is counted. Raises WalkError."""
        with self.connection() as connection:
            self._ledger.open(connection)

    def before(self) -> Standing:
        """Where the databases stand before a step. The counters are read last: the step is next."""
        with self.connection() as connection:
            self._ledger.pause(connection)
            standing = self.standing(within=True)
            self.waited = ""
            self._begin_to_look()
            self._forbidden.begin(connection)
            self._ledger.begin(connection)
        return standing

    def after(self) -> tuple[dict[str, int | None], Standing]:
        """What a step has done, and where the databases stand after it. The counters come first: the step was last."""
        with self.connection() as connection:
            counters = self._ledger.end(connection)
            standing = self.standing(within=True)
            self._ledger.resume(connection)
            leftovers.delayed(connection, self._server)
        return counters, standing

    def between(self) -> tuple[str, dict[str, int | None], float | None]:
        """The version; what the server has done outside of the steps since this was asked; the seconds that it took."""
        version = str(self.standing())
        with self.connection() as connection:
            return version, *self._ledger.close(connection)

    @contextlib.contextmanager
    def connected(self) -> Iterator[Callable[[], bool]]:
        """What tells whether somebody else has connected to the server since then. Raises WalkError."""
        with self.connection() as connection:
            before = meter.connections(connection, self._server)
            yield lambda: meter.connections(connection, self._server) > before

    def doing(self) -> str:
        """The statement of the job's that has run for the longest time; "" for none."""
        with contextlib.suppress(WalkError), self.connection() as connection:
            rows = mariadb.query(
                connection,
                "SELECT info FROM information_schema.processlist"
                " WHERE user = %s AND info IS NOT NULL ORDER BY time DESC LIMIT 1",
                self._server.user,
            )
            return str(rows[0][0][:1000]) if rows else ""
        return ""

    @property
    def of_packages(self) -> bool:
        """Whether migrations can be of packages, which no tree here has."""
        return any(map(in_packages, self._databases))

    def look_for_locks(self) -> None:
        """Remember who waits for whose lock, if anybody does."""
        try:
            if self._looking:
                self.waited = locks.waiting(self._looking, self._server.user) or self.waited
        except (pymysql.Error, OSError):
            self._looking = None

    def _begin_to_look(self) -> None:
        """Connect for that before a step begins: a new connection during it would be taken for the project's."""
        if self._looking is None:
            with contextlib.suppress(pymysql.Error, OSError), contextlib.ExitStack() as stack:
                self._looking = stack.enter_context(mariadb.connect(self._server, self._server.admin_file))
                self._kept = stack.pop_all()

    def version_columns(self) -> list[tuple[str, str, int]]:
        """The version tables' columns of text: table, column, and how many characters it holds."""
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
        """End what the project's code has left running in the server, as far as that can be done: something else is
        wrong already."""
        with contextlib.suppress(WalkError):
            self._end_connections()

    def nothing_left(self) -> None:
        """End what the project's code has left running in the server: nothing runs into the next stage, and what the
        version tables hold is committed. Raises WalkError where that is not so."""
        self._end_connections()
        with self.connection() as connection:
            leftovers.nothing_prepared(connection, self._server)

    def _end_connections(self) -> None:
        with self.connection() as connection:
            leftovers.end_connections(connection, self._server, KILL_PATIENCE)

    def alive(self) -> None:
        """Raises WalkError when the server is gone."""
        if not self._server.running():
            raise self._dead(self._server.last_words())

    def check(self) -> None:
        """Raises WalkError when the server is gone, or has got more than it may; nothing goes on in it then."""
        self.alive()
        self.look_for_locks()
        if error := self._limits.exceeded():
            self.end_connections()
            raise error

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the server to its limits for as long as this lasts, whatever the walk is doing. Raises WalkError."""
        if self._server.private:
            with self.connection() as connection:
                self._limits.limit_temporary_space(connection)
        with self._limits.held(self.end_connections):
            yield

    def explained(self, error: WalkError, folder: Path) -> WalkError:
        """The reason behind an error, where the machine is it: a dead server, a full disk, or a rule of the worker."""
        if not self._server.running():
            return self._dead(self._server.last_words())
        if found := self._limits.behind(error):
            return found
        if mariadb.free_bytes(folder) < LITTLE_SPACE and not _OF_ROWS.search(error.detail[:4000]):
            return self._full(folder, error.detail)
        with contextlib.suppress(WalkError), self.connection() as connection:
            return self._forbidden.behind(error, connection) or error
        return error

    def _dead(self, detail: str) -> WalkError:
        """The error of a server that has ended, or does not answer."""
        if error := self._limits.ended(detail):
            return error
        if self._server.private and self._server.filled_its_disk():
            return self._full(Path(self._server.folder), detail)
        return WalkError(self._gone, detail)

    def _full(self, folder: Path, detail: str) -> WalkError:
        """The error of a full disk; where each job has a quota of it, of that."""
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

# SPDX-License-Identifier: Apache-2.0
"""The cause of a migration's error, where the error does not name it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from ansible.module_utils.th_walk.server_probe import ServerProbe
from ansible.module_utils.th_walk.stages import WalkTree
from ansible.module_utils.th_walk.walkers import StepResult, WalkError

_LOCK = re.compile(r"\b1205\b|Lock wait timeout exceeded", re.IGNORECASE)
_TOO_LONG = re.compile(r"Data too long for column ['`\"]?([A-Za-z0-9_$]{1,64})", re.IGNORECASE)
CONNECTIONS = "commit or close that one first, or use the migration's own connection"


def diagnosed(ended: StepResult, after: str, probe: ServerProbe) -> StepResult:
    """The result of a migration, with what the measuring side knows added to its error.

    `after` are the revisions that the migration leads to.
    """
    error = ended.error
    if error is None:
        return ended
    detail = error.detail
    if error.code == "migration_timed_out":
        probe.look_for_locks()
        doing = probe.doing()
        probe.end_connections()
        detail += f"; it was executing: {doing}" if doing else ""
        detail += _of_lock(probe)
    elif _LOCK.search(detail):
        detail += _of_lock(probe)
    elif (found := _TOO_LONG.search(detail)) and (explanation := too_long(after.split(","), found[1], probe)):
        detail = f"{explanation}: {detail}"
    if detail == error.detail:
        return ended
    return replace(ended, error=WalkError(error.code, detail, error.file, error.line))


def _of_lock(probe: ServerProbe) -> str:
    return f"; {probe.waited}: {CONNECTIONS}" if probe.waited else ""


def refuse_another_database(after: str, was: Iterable[str], tree: WalkTree) -> None:
    """Refuse a migration that the database already has: it was planned for another database or version table.

    An env.py that goes through several databases (binds, tenants) is detected this way. Raises WalkError.
    """
    if not (done := set(after.split(",")) & tree.with_ancestors(was) & tree.revisions.keys()):
        return
    what = f"{', '.join(sorted(done))} is to run again, although the database has it"
    remedy = "let it migrate this one database alone, or see docs/profiles.md, \"One tree over several databases\""
    detail = f"{what}: the project's code migrates another database as well, which nobody measures: {remedy}"
    raise WalkError("walk_failed" if tree.alters_env else "profile_wrong", detail)


def too_long(revisions: Iterable[str], column: str, probe: ServerProbe) -> str:
    """Explains a revision id that does not fit into the version table; "" where all do."""
    for table, name, room in probe.version_columns():
        for revision in revisions:
            short = revision.rpartition(":")[2]
            if name.lower() == column.lower() and len(short) > room:
                return (
                    f"the revision id {short} has {len(short)} characters, and {table}.{name} holds {room}: give the "
                    "migration a shorter id, or make the column wider in a migration before it"
                )
    return ""


def truncated(foreign: Iterable[str], after: str) -> str:
    """Explains a version that is just the beginning of the one that should have been written; "" for any other."""
    for version in foreign:
        for revision in after.split(","):
            if version and version != revision and revision.startswith(version):
                room = len(version.rpartition(":")[2])
                return (
                    f"it is the beginning of {revision}: the version table's column holds {room} characters, give the "
                    "migration a shorter id"
                )
    return ""

# SPDX-License-Identifier: Apache-2.0
"""What is behind the errors of a migration that do not say it by themselves."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from ansible.module_utils.th_walk.server_probe import Evidence
from ansible.module_utils.th_walk.stages import Tree
from ansible.module_utils.th_walk.walkers import StepEnd, WalkError

_LOCK = re.compile(r"\b1205\b|Lock wait timeout exceeded", re.IGNORECASE)
_TOO_LONG = re.compile(r"Data too long for column ['`\"]?([A-Za-z0-9_$]{1,64})", re.IGNORECASE)
CONNECTIONS = "commit or close that one first, or use the migration's own connection"


def diagnosed(ended: StepEnd, after: str, evidence: Evidence) -> StepEnd:
    """How a migration ended, its error with what the measuring side knows of it.

    `after` are the revisions that the migration leads to.
    """
    error = ended.error
    if error is None:
        return ended
    detail = error.detail
    if error.code == "migration_timed_out":
        evidence.look_for_locks()
        doing = evidence.doing()
        evidence.end_connections()
        detail += f"; it was executing: {doing}" if doing else ""
        detail += _of_lock(evidence)
    elif _LOCK.search(detail):
        detail += _of_lock(evidence)
    elif (found := _TOO_LONG.search(detail)) and (told := too_long(after.split(","), found[1], evidence)):
        detail = f"{told}: {detail}"
    if detail == error.detail:
        return ended
    return replace(ended, error=WalkError(error.code, detail, error.file, error.line))


def _of_lock(evidence: Evidence) -> str:
    return f"; {evidence.waited}: {CONNECTIONS}" if evidence.waited else ""


def refuse_another_database(after: str, was: Iterable[str], tree: Tree) -> None:
    """Refuse a migration that the database has: whoever plans it looks at another database, or another version table.

    An env.py that goes through several databases (binds, tenants) comes to the second one like this. Raises WalkError.
    """
    if not (done := set(after.split(",")) & tree.behind(was) & tree.revisions.keys()):
        return
    what = f"{', '.join(sorted(done))} is to run again, although the database has it"
    remedy = "let it migrate this one database alone, or see docs/profiles.md, \"One tree over several databases\""
    detail = f"{what}: the project's code migrates another database as well, which nobody measures: {remedy}"
    raise WalkError("walk_failed" if tree.alters_env else "profile_wrong", detail)


def too_long(revisions: Iterable[str], column: str, evidence: Evidence) -> str:
    """What to say of a revision id that the version table has no room for; "" where it has."""
    for table, name, room in evidence.version_columns():
        for revision in revisions:
            short = revision.rpartition(":")[2]
            if name.lower() == column.lower() and len(short) > room:
                return (
                    f"the revision id {short} has {len(short)} characters, and {table}.{name} holds {room}: give the "
                    "migration a shorter id, or make the column wider in a migration before it"
                )
    return ""


def truncated(foreign: Iterable[str], after: str) -> str:
    """What to say of a version that is nothing but the beginning of the one that was to be written; "" otherwise."""
    for version in foreign:
        for revision in after.split(","):
            if version and version != revision and revision.startswith(version):
                room = len(version.rpartition(":")[2])
                return (
                    f"it is the beginning of {revision}: the version table's column holds {room} characters, give the "
                    "migration a shorter id"
                )
    return ""

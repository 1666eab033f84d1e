# SPDX-License-Identifier: Apache-2.0
"""What a walk's migrations have over the dataset's limits, and whether that counts against the change."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from worker.config.limits import AROUND, DOWNGRADE, SCHEMA, keys_of, plain
from worker.counters import MEASURED, SECONDS, Counter
from worker.inputs import brief
from worker.verdict.artifacts import Migration, Walk
from worker.verdict.checkout import Checkout
from worker.verdict.outcome import Fault, Message

BEFORE_TOO = "a stage before the change does as much"
"""Why what the change's stage does outside of its migrations does not count."""
SHOWN = 3
"""Files that are named."""
MERGED = "the migration is merged already: no change is refused for it"
"""Why what a migration of others' has over a limit does not count."""


def by_change(migration: Migration, checkout: Checkout) -> bool:
    """Whether a migration is one that the change adds or alters, or what else the change's stage does."""
    own = {stage.name for stage in checkout.stages if stage.kind == "change"}
    if migration.stage not in own or not migration.subject:
        return migration.stage in own
    return checkout.brings(migration.subject)


def merged(migration: Migration, checkout: Checkout) -> bool:
    """Whether the change has no part in what a migration does: others have merged it, and it ran as they have it."""
    if not checkout.touch_known:
        return False
    if checkout.before_the_change(migration.stage):
        return True
    return bool(migration.subject) and not by_change(migration, checkout) and not _used(migration, checkout)


def _used(migration: Migration, checkout: Checkout) -> tuple[str, ...]:
    """What the change alters of what a migration of others' may use. Those that always run in the change's stage would
    fail every change: a downgrade, and a package's, which none of the project's other files alter."""
    if migration.kind == DOWNGRADE or migration.subject in checkout.merged_packages:
        return checkout.helpers
    return (*checkout.helpers, *checkout.others)


def allowed(walk: Walk, counter: Counter, migration: Migration) -> float | None:
    """The most that a migration may have of what is measured; None without a limit."""
    return walk.limits.allowed(counter.limit, migration.from_, migration.to, migration.kind)


def messages(
    migration: Migration, walk: Walk, place: Mapping[str, Any], timed_out: bool, checkout: Checkout
) -> tuple[list[Message], frozenset[str], dict[str, str]]:
    """The messages for what is over its limit, the names of those values, and why some of them do not count.

    A time limit is reported once, also where the migration was ended by one (`timed_out`). What a migration of others'
    has over a limit is reported, and does not fail a change.
    """
    messages: list[Message] = []
    over: set[str] = set()
    excused: dict[str, str] = {}
    for counter in MEASURED:
        measured = migration.measured(counter)
        most = allowed(walk, counter, migration)
        if not migration.ended or most is None or measured is None or measured <= most:
            continue
        step = (brief(migration.from_), brief(migration.to))
        detail = f"{plain(measured)} {counter.unit}, the limit is {plain(most)} {counter.unit}"
        if migration.kind == AROUND:
            detail = f"outside of the migrations of {brief(migration.stage)}: {detail}"
        excuse = walk.limits.excuse(counter.limit, migration.from_, migration.to, migration.kind)
        about = dict(place)
        if not excuse and merged(migration, checkout):
            excuse = MERGED if checkout.tests_a_change else ""
            about = {"blame": Fault.DATASET, **place, "alone": not checkout.tests_a_change}
            about["cure"] = _cure(walk.file or f"{walk.name}.json", counter, migration, measured)
        elif not excuse and _before_too(walk, counter, migration, measured, checkout):
            excuse = BEFORE_TOO
            about = {"blame": Fault.DATASET, **place}
            about["cure"] = _cure(walk.file or f"{walk.name}.json", counter, migration, measured)
        elif not excuse and _with_the_change(migration, checkout):
            used = _names(_used(migration, checkout))
            detail += f"; the migration is merged already, but it ran with what the change alters: {used}"
        if excuse:
            excused[counter.name] = excuse
            detail += f"; {excuse}"
        counted = () if counter is SECONDS else (measured,)
        if not (timed_out and counter is SECONDS):
            messages.append(Message.of(counter.code, *step, *counted, detail=detail, excuse=excuse, **about))
        over.add(counter.name)
    return messages, frozenset(over), excused


def _with_the_change(migration: Migration, checkout: Checkout) -> bool:
    """Whether a migration that is merged already ran with other code of the change's."""
    known = checkout.touch_known and checkout.tests_a_change and migration.kind == SCHEMA
    return known and not by_change(migration, checkout) and bool(_used(migration, checkout))


def _names(files: Sequence[str]) -> str:
    shown = ", ".join(map(brief, files[:SHOWN]))
    return f"{shown} and {len(files) - SHOWN} more" if len(files) > SHOWN else shown


def _before_too(walk: Walk, counter: Counter, migration: Migration, measured: float, checkout: Checkout) -> bool:
    """Whether merged code has done as much outside of its migrations as the change's stage has."""
    if migration.kind != AROUND or not checkout.tests_a_change:
        return False
    earlier = [one for one in walk.migrations if one.kind == AROUND and merged(one, checkout)]
    return any((one.measured(counter) or 0) >= measured for one in earlier)


def _cure(file: str, counter: Counter, migration: Migration, measured: float) -> str:
    """What the dataset's maintainer can write into its file about a migration that is merged already."""
    step = key_of(migration)
    digits = max(len(str(int(measured))) - 2, 0)
    enough = (int(measured) // 10**digits + 1) * 10**digits
    table = json.dumps({counter.limit: {step: enough}}, ensure_ascii=False)[1:-1]
    waiver = json.dumps({"migration": step, "limit": counter.limit, "reason": "…"}, ensure_ascii=False)
    return (
        f"The owner of the dataset decides, in {file}: raise the limit for this migration, {table}, or waive "
        f'the excess, "waivers": [{waiver}].'
    )


def key_of(migration: Migration) -> str:
    """The key of a dataset's file that is about a migration."""
    keys = keys_of(brief(migration.from_), brief(migration.to), migration.kind)
    return keys[-1]


def not_measurable(walk: Walk, checkout: Checkout) -> list[Message]:
    """A limit that nothing was measured for must not pass in silence: one message a limit.

    It fails no change where only migrations were not measured that are merged already.
    """
    messages = []
    for counter in MEASURED:
        blind = [
            migration
            for migration in walk.migrations
            if migration.well
            and not (migration.kind == AROUND and counter is SECONDS)  # not every server counts them
            and allowed(walk, counter, migration) is not None
            and migration.measured(counter) is None
        ]
        if blind:
            first = f"{brief(blind[0].from_)}->{brief(blind[0].to)}"
            count = f"{len(blind)} of {len(walk.migrations)} migrations"
            detail = f"{counter.limit}: not measured for {count}, first for {first}"
            others = MERGED if checkout.tests_a_change else ""
            excuses = {
                walk.limits.excuse(counter.limit, one.from_, one.to, one.kind)
                or (others if merged(one, checkout) else "")
                for one in blind
            }
            excuse = "" if "" in excuses else "; ".join(sorted(excuses))
            if excuse:
                detail += f"; {excuse}"
            messages.append(Message.of("limit_not_measurable", detail=detail, excuse=excuse))
    return messages

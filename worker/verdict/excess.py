# SPDX-License-Identifier: Apache-2.0
"""Which migrations of a walk exceed the dataset's limits, and whether that counts against the change."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from worker.config.limits import AROUND, DOWNGRADE, SCHEMA, keys_of, plain
from worker.counters import MEASURED, SECONDS, Counter
from worker.inputs import brief
from worker.verdict.artifacts import Migration, WalkRecord
from worker.verdict.checkout import CheckoutRecord
from worker.verdict.outcome import Fault, Message

BEFORE_TOO = "a stage before the change does as much"
"""Why an excess of the change's stage outside of its migrations does not count."""
SHOWN = 3
"""How many files a message names."""
MERGED = "the migration is merged already: no change is refused for it"
"""Why an excess of somebody else's migration does not count."""


def by_change(migration: Migration, checkout: CheckoutRecord) -> bool:
    """Whether the change adds or alters the migration, or it is something else that the change's stage does."""
    own = {stage.name for stage in checkout.stages if stage.kind == "change"}
    if migration.stage not in own or not migration.subject:
        return migration.stage in own
    return checkout.brings(migration.subject)


def merged(migration: Migration, checkout: CheckoutRecord) -> bool:
    """Whether the change has no influence on a migration: it was merged before, and ran with merged code only."""
    if not checkout.touch_known:
        return False
    if checkout.before_the_change(migration.stage):
        return True
    return bool(migration.subject) and not by_change(migration, checkout) and not _used(migration, checkout)


def _used(migration: Migration, checkout: CheckoutRecord) -> tuple[str, ...]:
    """The files altered by the change that somebody else's migration may use. For downgrades and packaged migrations,
    which always run in the change's stage, only the helpers count, or they would fail every change."""
    if migration.kind == DOWNGRADE or migration.subject in checkout.merged_packages:
        return checkout.helpers
    return (*checkout.helpers, *checkout.others)


def allowed(walk: WalkRecord, counter: Counter, migration: Migration) -> float | None:
    """A migration's limit for a counter; None without one."""
    return walk.limits.allowed(counter.limit, migration.from_, migration.to, migration.kind)


def messages(
    migration: Migration, walk: WalkRecord, place: Mapping[str, Any], timed_out: bool, checkout: CheckoutRecord
) -> tuple[list[Message], frozenset[str], dict[str, str]]:
    """The messages for values over their limits, the names of those values, and why some of them do not count.

    Time is reported once, even if a time limit ended the migration (`timed_out`). An excess of somebody else's
    migration is reported but does not fail a change.
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


def _with_the_change(migration: Migration, checkout: CheckoutRecord) -> bool:
    """Whether a merged migration ran together with other code that the change alters."""
    known = checkout.touch_known and checkout.tests_a_change and migration.kind == SCHEMA
    return known and not by_change(migration, checkout) and bool(_used(migration, checkout))


def _names(files: Sequence[str]) -> str:
    shown = ", ".join(map(brief, files[:SHOWN]))
    return f"{shown} and {len(files) - SHOWN} more" if len(files) > SHOWN else shown


def _before_too(
    walk: WalkRecord, counter: Counter, migration: Migration, measured: float, checkout: CheckoutRecord
) -> bool:
    """Whether merged code did as much outside of its migrations as the change's stage."""
    if migration.kind != AROUND or not checkout.tests_a_change:
        return False
    earlier = [one for one in walk.migrations if one.kind == AROUND and merged(one, checkout)]
    return any((one.measured(counter) or 0) >= measured for one in earlier)


def _cure(file: str, counter: Counter, migration: Migration, measured: float) -> str:
    """What the dataset's maintainer can add to its file for a merged migration."""
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
    """A migration's key in a dataset's file."""
    keys = keys_of(brief(migration.from_), brief(migration.to), migration.kind)
    return keys[-1]


def not_measurable(walk: WalkRecord, checkout: CheckoutRecord) -> list[Message]:
    """One message for each limit for which a value was not measured, so that this is not overlooked.

    It does not fail a change if only merged migrations are affected.
    """
    messages = []
    for counter in MEASURED:
        blind = [
            migration
            for migration in walk.migrations
            if migration.succeeded
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

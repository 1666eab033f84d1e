# SPDX-License-Identifier: Apache-2.0
"""A verdict in one line, and a few sentences on how the job was run: what a reader sees first."""

from __future__ import annotations

from worker.config.limits import AROUND, DATA, DOWNGRADE
from worker.counters import COUNTERS, MEASURED, Counter
from worker.inputs import brief
from worker.inputs import text as text_of
from worker.report.formatting import count, seconds, size
from worker.verdict import AFTERWARDS, CODES, Fault, Outcome, Verdict
from worker.verdict.artifacts import Migration
from worker.verdict.checkout import CheckoutRecord
from worker.verdict.judge import some

HEADLINES = {
    Outcome.SUCCESS: "The migrations run on every dataset, within all limits.",
    Outcome.WARNING: "The migrations run, but go over a limit.",
    Outcome.FAILURE: "The migrations do not run on real data.",
    Outcome.INFRASTRUCTURE: "The change could not be tested.",
    Outcome.CANCELED: "The job was canceled before its end.",
}
FAULTS = {
    Fault.NONE: "",
    Fault.CHANGE: "The fault is the change's: its author can fix it.",
    Fault.DATASET: "The fault is the dataset's: the keeper of the datasets can fix it.",
    Fault.OPERATOR: "The fault is in the set-up: the operator of this worker can fix it.",
    Fault.MACHINE: "The fault is the machine's: the job may be run again as it is.",
}
_EXCUSED = (
    "The migrations run on every dataset. What is over a limit is waived, merged already, or a limit that only warns."
)
_DOWNGRADE_HEADLINES = {
    Outcome.WARNING: "The migrations can be taken back, but go over a limit.",
    Outcome.FAILURE: "The migrations cannot be taken back on real data.",
}
# The messages that the headlines of WARNING and FAILURE fit; for others, their own explanation is better.
_TYPICAL = ("migration_unfinished", *(counter.code for counter in MEASURED))
_LONGEST_NOTE = 1000
_NAMES = 5
_MOST_NOTES = 30


def line(verdict: Verdict) -> str:
    """The verdict, whose fault it is, and what was found, in one line."""
    return f"{verdict.outcome.name}{whose(verdict.fault)}: {reason(verdict) or headline(verdict)}"


def whose(fault: Fault) -> str:
    """Whose fault it is, in brackets: the change's, or that of the infrastructure."""
    if fault is Fault.NONE:
        return ""
    return f" (not the change's fault, but the {fault.value}'s)" if fault.infrastructure else " (change's fault)"


def headline(verdict: Verdict) -> str:
    """The verdict in one sentence."""
    weighty = verdict.weighty
    if weighty and verdict.outcome in (Outcome.WARNING, Outcome.FAILURE):
        if all(message.code in _TYPICAL and message.step == DOWNGRADE for message in weighty):
            return _DOWNGRADE_HEADLINES[verdict.outcome]
        if any(message.code in _TYPICAL for message in weighty):
            return HEADLINES[verdict.outcome]
        return weighty[0].kind.explanation
    if verdict.outcome is Outcome.SUCCESS and any(message.excuse != AFTERWARDS for message in verdict.messages):
        return _EXCUSED
    return HEADLINES[verdict.outcome] if verdict.datasets or verdict.messages else "The test succeeded."


def reason(verdict: Verdict) -> str:
    """What determined the verdict, where, and the detail; "" for a success."""
    return verdict.first_line if verdict.outcome not in (Outcome.SUCCESS, Outcome.CANCELED) else ""


def lines(verdict: Verdict) -> list[str]:
    """All messages, one line each, for readers without the report, after the verdict and whose fault it is."""
    return [line(verdict), *(message.text for message in verdict.messages)]


def notes(verdict: Verdict) -> list[str]:
    """What a reader needs to know about how the job was run."""
    found = verdict.artifacts
    if found is None:
        return []
    plugin_note = [f"The test says: {found.message}"] if found.message else []
    notes = [*_second_try(verdict), *plugin_note, *(_touched(verdict, found.checkout) if found.checkout else [])]
    notes += [*_further(verdict), *_of_datasets(verdict)]
    return [text_of(note, _LONGEST_NOTE) for note in notes[:_MOST_NOTES]]


def _second_try(verdict: Verdict) -> list[str]:
    first = verdict.artifacts.first_try if verdict.artifacts else None
    if first is None:
        return []
    texts = [CODES[item.code].text if item.code in CODES else item.code for item in first.problems]
    reason = "; ".join(dict.fromkeys(text.partition(" - ")[2] or text for text in texts))
    lasted = seconds(first.seconds)
    return [f"This is the second try. An infrastructure failure ended the first after {lasted}: {reason}."]


def _touched(verdict: Verdict, checkout: CheckoutRecord) -> list[str]:
    notes = []
    change = any(stage.kind == "change" for stage in checkout.stages)
    if change and checkout.touch_known and not checkout.by_change and not checkout.removed:
        notes.append(
            "The change touches no migration. Models and helpers matter as well, so it was tested all the same: "
            f"{_walked(verdict, checkout)}, and then with the change's code."
        )
    if checkout.helpers:
        notes.append(f"The change touches what the migrations run with: {some(checkout.helpers, _NAMES)}.")
    if checkout.pointers:
        notes.append(
            "The checkout has Git LFS pointers in place of files, which the worker does not fetch: "
            f"{some(checkout.pointers, _NAMES)}. What reads such a file finds the pointer's text."
        )
    if checkout.removed:
        notes.append(f"The change removes {some(sorted(checkout.removed), _NAMES)}.")
    if checkout.tip_left_out:
        notes.append(f"The branch's tip was left out: {checkout.tip_left_out}.")
    notes += [f"{name} was left out: {reason}." for name, reason in checkout.left_out]
    return notes


def _walked(verdict: Verdict, checkout: CheckoutRecord) -> str:
    tip = next((stage.name for stage in checkout.stages if stage.kind == "tip"), "")
    walks = [result.walk for result in verdict.datasets]
    whole = bool(walks) and all(walk is not None and walk.final is not None for walk in walks)
    where = f"the tip of {tip}" if tip else "the end of its branch"
    return f"the datasets were walked to {where}" if whole else f"the datasets had to be walked to {where}"


def _of_datasets(verdict: Verdict) -> list[str]:
    """Notes on the datasets' dumps."""
    return [f"{result.name}: {note}" for result in verdict.datasets if result.walk for note in result.walk.notes]


def _further(verdict: Verdict) -> list[str]:
    rows = [row.migration for result in verdict.datasets for row in result.migrations]
    data = dict.fromkeys(row.to for row in rows if row.kind == DATA)
    down = dict.fromkeys(row.from_ for row in rows if row.kind == DOWNGRADE)
    notes = []
    for row in rows:
        if row.kind == AROUND:
            notes.append(f"Outside of its migrations, {brief(row.stage)} {_did(row)}.")
    if data:
        notes.append(f"Data migrations were run after the schema's: {some(list(data), _NAMES)}.")
    if down:
        notes.append(f"Walked down as well: {some(list(down), _NAMES)}.")
    return notes


def _did(row: Migration) -> str:
    """A migration's counters in words."""
    *most, last = [counter.note.format(_amount(row, counter)) for counter in COUNTERS if counter.note]
    return f"{', '.join(most)} and {last}"


def _amount(row: Migration, counter: Counter) -> str:
    value = row.measured(counter)
    if counter.unit == "bytes":
        return size(value)
    return count(value) if value is not None else "an unknown number of"

# SPDX-License-Identifier: Apache-2.0
"""The table of messages: texts that people search for, whose fault each is, and its documentation.

`python -m tests.unit.test_outcome` prints the table of docs/verdicts.md as it has to be.
"""

import re

import pytest

from tests.kit import ROOT
from worker.verdict.outcome import CODES, Code, Fault, Message, Outcome, worst

DOCUMENT = (ROOT / "docs" / "verdicts.md").read_text()
HEAD = ("code", "text", "when", "whose fault", "result", "tried once more", "what to look at", "what to do")
ALL = pytest.mark.parametrize("code", CODES.values(), ids=lambda code: code.code)


def line(*cells: str) -> str:
    """A line of a table in Markdown."""
    return f"| {' | '.join(cell.replace('|', '&#124;').replace('<', '&lt;') for cell in cells)} |"


def row(code: Code) -> str:
    """A code's line in the table of docs/verdicts.md."""
    again = "yes" if code.retry else "no"
    words = (code.explanation, code.fault.value, code.outcome.name, again, code.look, code.remedy)
    return line(f"`{code.code}`", f"`{code.text}`", *words)


def table() -> list[str]:
    """The table of docs/verdicts.md."""
    return [line(*HEAD), "|---" * len(HEAD) + "|", *map(row, CODES.values())]


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("migration_unfinished", "FAILURE - Did not find the end of a migration after a start"),
        ("version_mismatch", "FAILURE - Final schema version does not match expectation"),
        ("seed_broken", "FAILURE - Could not setup seed database."),
        ("seed_missing", "FAILURE - Could not find seed database."),
        ("no_dataset", "FAILURE - Could not find seed database."),
        ("import_failed", "FAILURE - Could not import required module."),
        ("migration_too_long", "WARNING - Migration %s->%s took too long"),
        ("migration_timed_out", "WARNING - Migration %s->%s took too long"),
        ("migration_killed", "WARNING - Migration %s->%s failed to complete"),
        ("migration_ended", "WARNING - Migration %s->%s failed to complete"),
        ("migration_raised", "WARNING - Migration %s->%s failed to complete"),
        ("migration_changed_rows", "WARNING - Migration %s->%s changed too many rows (%d)"),
        ("migration_read_rows", "WARNING - Migration %s->%s read too many rows (%d)"),
        ("no_migrations_run", "No migrations run"),
    ],
)
def test_the_classic_texts_stay_as_people_know_them(code: str, text: str) -> None:
    assert CODES[code].text == text


@ALL
def test_a_text_begins_with_its_level(code: Code) -> None:
    if code.code != "no_migrations_run":
        level = "FAILURE" if code.outcome is Outcome.INFRASTRUCTURE else code.outcome.name
        assert code.text.startswith(f"{level} - ")


@ALL
def test_trouble_that_is_not_the_changes_fault_is_never_put_down_to_it(code: Code) -> None:
    if code.outcome is Outcome.INFRASTRUCTURE:
        assert code.fault in (Fault.DATASET, Fault.OPERATOR, Fault.MACHINE)
    if code.fault is Fault.MACHINE:
        assert code.outcome is Outcome.INFRASTRUCTURE, "to try again may help"


@ALL
def test_a_code_is_documented_as_it_is(code: Code) -> None:
    assert row(code) in DOCUMENT.splitlines()


def test_the_document_begins_with_the_table_and_it_has_nothing_else() -> None:
    begin, *rest = (number for number, text in enumerate(DOCUMENT.splitlines()) if text == line(*HEAD))
    assert begin < 12 and not rest
    assert DOCUMENT.splitlines()[begin : begin + len(CODES) + 3] == [*table(), ""]


@ALL
def test_every_explanation_and_remedy_is_a_sentence(code: Code) -> None:
    for text in (code.explanation, code.look, code.remedy):
        assert re.fullmatch(r"[A-Zget].*\.", text)
        assert len(text) <= 200


@ALL
def test_what_is_tried_again_is_ours_and_heals_by_itself(code: Code) -> None:
    if code.retry:
        assert code.outcome is Outcome.INFRASTRUCTURE and code.fault is Fault.MACHINE


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], "SUCCESS"),
        (["SUCCESS", "SUCCESS"], "SUCCESS"),
        (["INFRASTRUCTURE", "SUCCESS"], "INFRASTRUCTURE"),
        (["WARNING", "INFRASTRUCTURE"], "WARNING"),
        (["WARNING", "FAILURE", "INFRASTRUCTURE"], "FAILURE"),
        (["FAILURE", "CANCELED"], "CANCELED"),
    ],
)
def test_the_worst_outcome_wins(names: list[str], expected: str) -> None:
    assert worst(Outcome[name] for name in names) is Outcome[expected]


def test_exit_statuses() -> None:
    assert {outcome.name: outcome.exit_code for outcome in Outcome} == {
        "SUCCESS": 0,
        "WARNING": 1,
        "FAILURE": 1,
        "INFRASTRUCTURE": 3,
        "CANCELED": 130,
    }


def test_a_message_is_filled_in() -> None:
    message = Message.of("migration_changed_rows", "a", "b%s", 12, dataset="user_001")
    assert message.text == "WARNING - Migration a->b%s changed too many rows (12)"
    assert (message.level, message.fault, message.dataset) == ("WARNING", Fault.CHANGE, "user_001")
    assert (message.counts, message.outcome) == (True, Outcome.WARNING)


def test_a_way_down_has_a_remedy_of_its_own() -> None:
    assert "migration's downgrade" in Message.of("migration_raised", "b", "a", step="downgrade").remedy
    assert Message.of("migration_raised", "a", "b").remedy == CODES["migration_raised"].remedy
    assert Message.of("migration_too_long", "b", "a", step="downgrade").remedy == CODES["migration_too_long"].remedy


def test_a_message_says_where_to_look_with_its_datasets_name() -> None:
    assert "user_001.log" in Message.of("migration_raised", "a", "b", dataset="user_001").look


def test_a_message_that_is_excused_does_not_count() -> None:
    message = Message.of("migration_too_long", "a", "b", excuse="waived: known")
    assert (message.counts, message.outcome, message.level) == (False, Outcome.SUCCESS, "WARNING")


def test_ours_is_what_is_not_the_changes() -> None:
    assert [fault.value for fault in Fault if fault.ours] == ["dataset", "operator", "machine"]


def test_trouble_of_ours_reads_as_a_failure() -> None:
    assert Message.of("disk_full").level == "FAILURE"


if __name__ == "__main__":
    print("\n".join(table()))

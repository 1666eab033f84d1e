# SPDX-License-Identifier: Apache-2.0
"""The table of messages: texts that people search for, whose fault each is, and its documentation."""

import re
from pathlib import Path

import pytest

from worker.outcome import CODES, Code, Fault, Message, Outcome, worst

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "verdicts.md").read_text()
SECTIONS = dict(re.findall(r"^### `(\w+)`\n(.*?)(?=^##|\Z)", DOCUMENT, re.DOTALL | re.MULTILINE))
ALL = pytest.mark.parametrize("code", CODES.values(), ids=lambda code: code.code)


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
        ("migration_failed", "WARNING - Migration %s->%s failed to complete"),
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
    section = SECTIONS[code.code]
    assert f"\n    {code.text}\n" in section
    assert f"Result: {code.outcome.name}" in section
    assert f"Fault: {code.fault.value}." in section
    assert code.explanation in section
    assert code.remedy in section


def test_nothing_else_is_documented() -> None:
    assert list(SECTIONS) == list(CODES)


@ALL
def test_every_explanation_and_remedy_is_a_sentence(code: Code) -> None:
    for text in (code.explanation, code.remedy):
        assert re.fullmatch(r"[A-Zg].*\.", text)
        assert len(text) <= 200


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


def test_trouble_of_ours_reads_as_a_failure() -> None:
    assert Message.of("disk_full").level == "FAILURE"

# SPDX-License-Identifier: Apache-2.0
"""The first line: the cause and not the sequel, its place and its datasets, whoever else has something to say."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.recorded_walks import CASES, Case
from worker.report import render, summary
from worker.verdict import CODES, Fault, Message, Outcome, decide, result_text
from worker.verdict.first_line import ROOM

DUPLICATE = (
    "sqlalchemy.exc.IntegrityError: (pymysql.err.IntegrityError) "
    "(1062, \"Duplicate entry '%s' for key 'u_name'\")"
)
SQL = " [SQL: ALTER TABLE users ADD CONSTRAINT u_name UNIQUE (name)]"
OVER = {"stage": "master", "from_": "a1", "to": "b2", "file": "versions/b2_fill.py", "blame": Fault.DATASET}


def raised(dataset: str = "user_001", value: str = "name0", **more: Any) -> list[Message]:
    """What a migration gives that raises an error: the end that was not found, and the error."""
    step = {"stage": "change 7,1", "from_": "c3", "to": "d4", "file": "versions/d4_unique.py", **more}
    error = {"line": 17, "detail": DUPLICATE % value + SQL, **step}
    return [
        Message.of("migration_unfinished", dataset=dataset, **step),
        Message.of("migration_raised", step["from_"], step["to"], dataset=dataset, **error),
    ]


def over(dataset: str = "user_001") -> Message:
    """A merged migration over its limit."""
    detail = "40,001 rows, the limit is 10,000 rows"
    return Message.of("migration_changed_rows", "a1", "b2", 40001, dataset=dataset, detail=detail, **OVER)


def sent(*messages: Message) -> str:
    result = decide.of_messages(messages).gearman_result()
    assert result == result_text.result(result)
    assert result is not None
    return result


def test_the_line_names_migration_place_cause_and_dataset() -> None:
    line = "Migration c3->d4 failed to complete: versions/d4_unique.py:17: Duplicate entry name0 for key u_name"
    found = decide.of_messages(raised())
    assert found.gearman_result() == f"FAILURE - {line} (dataset user_001)"
    assert summary.line(found) == f"FAILURE (change's fault): {line} (dataset user_001)"
    assert summary.lines(found)[0] == render.render_text(found).splitlines()[-1] == summary.line(found)
    document = render.as_document(found, render.Header({}))
    assert document["summary"] == summary.line(found)
    texts = [CODES["migration_unfinished"].text, "WARNING - Migration c3->d4 failed to complete"]
    assert [message["text"] for message in document["messages"]] == texts
    page = render.as_page(found, render.Header({}))
    assert "Duplicate entry name0 for key u_name (dataset user_001)" in page


@pytest.mark.parametrize("first", [True, False])
def test_a_failing_change_beside_a_merged_migration_over_its_limit_keeps_its_own_detail(first: bool) -> None:
    said = [over(), *raised()] if first else [*raised(), over()]
    found = decide.of_messages(said)
    assert [message.code for message in found.messages] == [
        "migration_unfinished", "migration_raised", "migration_changed_rows",
    ]  # fmt: skip
    result = sent(*said)
    assert "d4_unique.py:17: Duplicate entry name0 for key u_name" in result
    # what does not count against the change is not counted
    assert "40,001" not in result and result.endswith("(dataset user_001)")
    details = {message.code: message.detail for message in found.messages}
    assert "1062" in details["migration_raised"] and "40,001" in details["migration_changed_rows"]


def test_the_change_comes_first_though_another_dataset_is_worse_off() -> None:
    worse = raised("b", blame=Fault.DATASET, stage="master")
    own = Message.of("migration_too_long", "c3", "d4", dataset="a", detail="61 s, the limit is 60 s", stage="change")
    found = decide.of_messages([*worse, own])
    assert [message.dataset for message in found.messages] == ["a", "b", "b"]
    assert (found.outcome, found.fault) == (Outcome.WARNING, Fault.CHANGE)
    assert "(dataset a)" in sent(*worse, own), "the line is about what made the verdict"


def test_an_excess_before_the_failure_is_not_its_cause() -> None:
    before = Message.of("migration_too_long", "b2", "c3", dataset="user_001", detail="61 s", to="c3", from_="b2")
    assert "Duplicate entry" in sent(before, *raised())


def test_datasets_with_the_same_failure_are_named_together() -> None:
    assert sent(*raised("a", "x"), *raised("b", "y")).endswith("Duplicate entry x for key u_name (datasets a, b)")
    five = [message for name in "abcde" for message in raised(name)]
    assert sent(*five).endswith("(datasets a, b, c and 2 more)")
    other = Message.of("migration_too_long", "c3", "d4", dataset="z", detail="61 s", from_="c3", to="d4")
    assert sent(*raised("a"), *raised("b"), other).endswith("(datasets a, b) and 1 more")


def test_what_does_not_count_is_no_failure() -> None:
    excused = Message.of("migration_too_long", "a", "b", dataset="a", detail="61 s", excuse="waived: known")
    assert sent(excused, *raised()).endswith("(dataset user_001)")


def test_long_names_are_shortened_so_that_cause_and_dataset_stay() -> None:
    names = {
        "from_": "app_with_a_long_name.0041_alter_a_field_of_some_model_and_add_another",
        "to": "app_with_a_long_name.0042_alter_another_field_of_some_model",
        "file": "src/a/deep/tree/of/folders/without/end/app_with_a_long_name/migrations/0042_alter_another_field.py",
    }
    result = sent(*raised("a_dataset_with_a_long_name_001", **names))
    assert len(result) <= 250
    assert "0042_alter_another_field.py:17: Duplicate entry name0 for key u_name" in result
    assert result.endswith("(dataset a_dataset_with_a_long_name_001)") and result.startswith("FAILURE - Migration app_")
    hashes = {"from_": "5d" * 20, "to": "6e" * 20}
    assert "Migration 5d5d5d5d5d5d->6e6e6e6e6e6e failed" in sent(
        *raised(file="folder/" * 20 + "x" * 60 + ".py", **hashes)
    )


def test_a_long_cause_is_cut_before_the_dataset() -> None:
    long = Message.of("walk_failed", dataset="user_001", detail="RuntimeError: " + "why " * 300)
    assert sent(long).endswith("why... (dataset user_001)") and 240 < len(sent(long)) <= 250


@pytest.mark.parametrize(
    "uv",
    [
        "error: No solution found when resolving dependencies cause: ",
        "\u00d7 No solution found when resolving dependencies: \u2570\u2500\u25b6 ",
    ],
)
def test_a_requirement_is_named_once_and_its_reason_comes_after_it(uv: str) -> None:
    place = {"file": "backend/requirements.txt", "line": 3}
    detail = f"backend/requirements.txt:3: gone==9.9: {uv}Because gone was not found in the package registry"
    message = Message.of("environment_failed", detail=detail, stage="change", **place)
    assert sent(message) == (
        "FAILURE - Could not build the virtual environment: backend/requirements.txt:3: gone==9.9: "
        "Because gone was not found in the package registry"
    )
    hint = f"{detail}. hint: An index (https://pypi.example.org/simple/) returned a 401 Unauthorized error. Check that"
    refused = Message.of("environment_failed", detail=hint, stage="change", blame=Fault.OPERATOR, **place)
    assert "requirements.txt:3: An index (https://pypi.example.org/simple/) returned a 401 Unauthorized: gone==9.9" in (
        decide.of_messages([refused]).first_line
    )
    assert "read that index" in refused.remedy and "read that index" not in message.remedy
    # a file's name is no module of an exception's class
    two = "requirements.txt:1: a; limits.txt:2: b: error: both"
    assert sent(Message.of("environment_failed", detail=two, stage="change")).endswith(f"environment: {two}")


def test_a_null_is_called_so() -> None:
    said = "(1265, \"Data truncated for column 'isbn' at row 7\")"
    step = {"from_": "c3", "to": "d4", "dataset": "a"}
    sql = " [SQL: ALTER TABLE b MODIFY isbn INT NOT NULL]"
    bare = Message.of("migration_raised", "c3", "d4", detail=said + sql, **step)
    assert "column isbn at row 7, or NULL in it: the column becomes NOT NULL (dataset a)" in sent_warning(bare)
    asked = Message.of("migration_raised", "c3", "d4", detail=said, rows="2 rows of b hold NULL in isbn", **step)
    assert "column isbn at row 7, 2 rows of b hold NULL in isbn (dataset a)" in sent_warning(asked)


def sent_warning(message: Message) -> str:
    result = sent(message)
    assert result.startswith("WARNING - Migration c3->d4 failed to complete: ")
    return result


@pytest.mark.parametrize("walked", CASES, ids=lambda walked: walked.name)
def test_every_recorded_answer_passes_the_door_unchanged(walked: Case) -> None:
    found = walked.verdict()
    result = found.gearman_result()
    assert result == result_text.result(result)
    assert len(found.first_line) <= ROOM
    if found.outcome not in (Outcome.SUCCESS, Outcome.CANCELED):
        assert found.first_line and found.first_line in summary.line(found)
        counted = [message for message in found.messages if message.counts and message.code != "migration_unfinished"]
        assert any(message.text.split(" - ")[-1][:20] in found.first_line for message in counted)


@given(
    st.lists(
        st.builds(
            lambda code, dataset, detail, file, step: Message.of(
                code,
                *("a", "b", 1)[: CODES[code].text.count("%")],
                dataset=dataset, detail=detail, file=file, from_="a", to=step,
            ),
            st.sampled_from(sorted(set(CODES) - {"canceled"})),
            st.text(max_size=300), st.text(max_size=300), st.text(max_size=300), st.sampled_from("bc"),
        ),
        min_size=1, max_size=6,
    )
)  # fmt: skip
def test_any_messages_give_a_line_that_the_door_takes_as_it_is(messages: list[Message]) -> None:
    found = decide.of_messages(messages)
    result = found.gearman_result()
    assert result == result_text.result(result)
    assert len(found.first_line) <= ROOM and "\n" not in summary.line(found)

# SPDX-License-Identifier: Apache-2.0
"""What the database says of the rows in the way, from the walk's event to whoever reads the verdict."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.kit.recorded_walks import case
from worker.report import render
from worker.verdict import Verdict, artifacts, decide
from worker.verdict.sql_errors import ERRORS

ROWS = "2 rows of books have a value of isbn that others have, 1 value: 978-… (2 rows)"
BACKGROUND = "\n(Background on this error at: https://sqlalche.me/e/20/gkpj)"


def decided(tmp_path: Path, **more: Any) -> Verdict:
    """The verdict on a migration that has raised, with more in its error."""
    shutil.copytree(case("migration_raised").artifacts, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "walk-user_001.jsonl"
    events = [json.loads(line) for line in path.read_text().splitlines()]
    for event in events:
        if event["event"] == "error":
            event.update(more)
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    return decide.decide(artifacts.read(tmp_path), ["user_001"])


def test_the_rows_are_in_every_report(tmp_path: Path) -> None:
    found = decided(tmp_path, rows=ROWS)
    assert [message.rows for message in found.messages] == ["", ROWS]
    header = render.Header({})
    assert [message["rows"] for message in render.as_document(found, header)["messages"]] == ["", ROWS]
    assert ROWS in render.as_page(found, header)
    assert f"    {ROWS}\n" in render.render_text(found)


@pytest.mark.parametrize("rows", [None, 7, [], "<script>alert(1)</script>\n\x1b[2J" + "x" * 5000])
def test_hostile_rows_are_harmless(tmp_path: Path, rows: Any) -> None:
    found = decided(tmp_path, rows=rows)
    assert len(found.messages[1].rows) <= 400 and "\n" not in found.messages[1].rows
    page = render.as_page(found, render.Header({}))
    assert "<script>" not in page and "\x1b" not in page


def test_the_report_advises_by_the_number_and_hides_what_tells_nothing(tmp_path: Path) -> None:
    said = case("migration_raised").expected["messages"][1]["detail"]
    found = decided(tmp_path, detail=said + BACKGROUND)
    assert found.messages[1].detail == said
    shown = render.render_text(found)
    assert ERRORS[1062].remedy in shown and ERRORS[1062].explanation in shown


def test_a_truncation_by_a_null_says_null_first(tmp_path: Path) -> None:
    said = "(1265, \"Data truncated for column 'isbn' at row 7\")"
    found = decided(tmp_path, detail=said, rows="4 rows of books hold NULL in isbn, with id 6, 7, 9")
    result = found.gearman_result()
    assert result and "row 7, 4 rows of books hold NULL in isbn, with id 6, 7, 9 (dataset user_001)" in result
    assert found.messages[1].explanation == ERRORS[1138].explanation

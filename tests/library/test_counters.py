# SPDX-License-Identifier: Apache-2.0
"""What is measured is a row of one table on each side, and the documents say the same."""

import json
import re
import subprocess
import sys
from pathlib import Path

from ansible.module_utils.th_server import counters as of_roles
from ansible.module_utils.th_server.counters import DATA, Source

from tests.kit import ROOT
from worker import counters as of_worker
from worker.history.log_steps import NAMES, READINGS

from . import conftest  # noqa: F401 - ansible.module_utils knows the roles' helpers
from .one_more_counter import CODE, LIMIT, NAME


def cells(document: str, head: str) -> list[list[str]]:
    """The rows of the table of a document that has such a first line."""
    lines = (ROOT / "docs" / document).read_text().splitlines()
    below = lines[lines.index(head) + 2 :]
    end = next(number for number, line in enumerate(below) if not line.startswith("|"))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in below[:end]]


def test_both_tables_have_the_same_rows() -> None:
    ours = [(counter.name, counter.limit) for counter in of_worker.MEASURED]
    assert ours == [(counter.name, counter.limit) for counter in of_roles.MEASURED]
    assert [counter.name for counter in of_worker.COUNTERS] == [counter.name for counter in of_roles.COUNTERS]


def test_no_two_rows_are_about_the_same() -> None:
    for field in ("name", "limit", "label", "code"):
        assert len({getattr(counter, field) for counter in of_worker.MEASURED}) == len(of_worker.MEASURED), field


def test_what_old_logs_have_are_counters() -> None:
    assert READINGS.keys() < set(NAMES) == {counter.name for counter in of_roles.COUNTERS}


def test_the_documents_have_a_row_for_each_limit() -> None:
    limits = [f"`{counter.limit}`" for counter in of_worker.MEASURED]
    keys = [key for key, text in cells("datasets.md", "| key | what it is |") if text.startswith("limit: ")]
    assert keys == limits
    rows = cells("verdicts.md", "| key | what is measured | message |")
    assert [(key, code) for key, _, code in rows] == [
        (f"`{counter.limit}`", f"`{counter.code}`") for counter in of_worker.MEASURED
    ]


def test_the_documents_have_a_row_for_how_each_counter_is_read() -> None:
    rows = {label: row for label, *row in cells("datasets.md", "| | MySQL, Percona | MariaDB | external server |")}
    assert [label for label in rows if label in {one.label for one in of_worker.COUNTERS}] == [
        counter.label for counter in of_worker.COUNTERS
    ]
    for shown, counter in zip(of_worker.COUNTERS, of_roles.COUNTERS, strict=True):
        for source, cell in zip(of_roles.PRIVATE, rows[shown.label], strict=False):
            named = re.findall(r"`(\w+)`", cell)  # `Handler_write`, `_update`
            read = [name for name in counter.read[source] if name != DATA]
            assert len(named) == len(read) and all(map(str.endswith, read, named)), f"{counter.name}: {cell}"
        told = not {Source.USER_STATISTICS, Source.STATUS_BY_USER}.isdisjoint(counter.read)
        assert told != rows[shown.label][2].startswith("not measurable"), counter.name


def test_the_documents_say_how_little_is_nothing_to_speak_of() -> None:
    text = " ".join((ROOT / "docs" / "verdicts.md").read_text().split())
    (told,) = re.findall(r"next to nothing: at most ([^;]*?), and none of these above", text)
    amounts = {"1000 ": 1000, "1 MiB ": 1 << 20, "a second ": 1}
    found = [next(size for words, size in amounts.items() if one.startswith(words)) for one in told.split(", ")]
    assert found == [one.little for one in (*of_roles.COUNTERS, of_roles.SECONDS) if one.little is not None]


def test_the_documents_have_each_value_of_the_artifacts() -> None:
    text = (ROOT / "docs" / "artifacts.md").read_text()
    (example,) = re.findall(r'"counters": (\{[^}]*\})', text)
    assert list(json.loads(example)) == [counter.name for counter in of_roles.COUNTERS]
    (limits,) = re.findall(r'"limits": (\{"seconds"[^}]*\})', text)
    assert list(json.loads(limits)) == [counter.name for counter in of_worker.MEASURED]
    (row,) = re.findall(r'"seconds": …, "start_up": …, "rounds": …,([^{]*)"result"', text)
    assert re.findall(r'"(\w+)": …', row) == [counter.name for counter in of_worker.COUNTERS]
    (told,) = re.findall(r"^\* `counters` are .*?(?=^\* )", text, re.MULTILINE | re.DOTALL)
    assert {counter.name for counter in of_roles.COUNTERS} <= set(re.findall(r"`(\w+)`", told))
    (dataset,) = re.findall(r'^ *"limits": \{("maximum.*?)^ *"waivers"', text, re.MULTILINE | re.DOTALL)
    assert re.findall(r'"(\w+)": \{', dataset) == [counter.limit for counter in of_worker.MEASURED]


def test_a_row_in_each_table_is_all_that_a_counter_needs(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "tests.library.one_more_counter", tmp_path], cwd=ROOT, check=True, timeout=60)
    events = [json.loads(line) for line in (tmp_path / "artifacts" / "walk-user_001.jsonl").read_text().splitlines()]
    ends = [event for event in events if event["event"] == "end"]
    assert [(end.get("kind"), end["counters"][NAME]) for end in ends[-2:]] == [(None, 7), ("around", 6)]

    result = json.loads((tmp_path / "results" / "result.json").read_text())
    assert result["result"] == "WARNING"
    limit, step = "tables, the limit is 5 tables", f"{ends[-2]['from']}->{ends[-2]['to']}"
    assert [(one["code"], one["text"], one["detail"]) for one in result["messages"]] == [
        (CODE, f"WARNING - Migration {step} made too many temporary tables (7)", f"7 {limit}"),
        (
            CODE,
            "WARNING - Migration around->change made too many temporary tables (6)",
            f"outside of the migrations of change 42,3: 6 {limit}",
        ),
    ]
    migration, around = result["datasets"][0]["migrations"][-2:]
    assert (migration[NAME], migration["limits"][NAME], migration["over"]) == (7, 5, [NAME])
    assert (around[NAME], around["over"]) == (6, [NAME])
    assert any("made 6 temporary tables" in note for note in result["notes"])

    page = (tmp_path / "results" / "index.html").read_text()
    assert '<th scope="col" class="number">Temporary tables</th>' in page
    assert 'data-label="Temporary tables">7<span class="limit"> over the limit of 5 tables</span></td>' in page
    assert "<dt>Limit: temporary tables</dt><dd>5 tables</dd>" in page

    walks = json.loads((tmp_path / "history.json").read_text())
    told = [event["counters"][NAME] for event in walks["0"] if event["event"] == "end"]
    assert told == [7, 6]
    assert LIMIT in (tmp_path / "artifacts" / "dataset-user_001.json").read_text()
